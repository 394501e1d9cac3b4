import { Op } from "../../src/formats/pytorch/opcodes.ts";
import { joined, otherNumber, setNumber } from "./mutate.ts";
import type { Random } from "./random.ts";

/** How long an opcode's argument is: so many bytes, lines, or what a number of so many bytes before it says. */
const FIXED: ReadonlyMap<number, number> = new Map([
  ...([Op.proto, Op.binint1, Op.binget, Op.binput] as const).map((op) => [op, 1] as const),
  [Op.binint2, 2],
  ...([Op.binint, Op.longBinget, Op.longBinput] as const).map((op) => [op, 4] as const),
  ...([Op.binfloat, Op.frame] as const).map((op) => [op, 8] as const),
]);
const COUNTED: ReadonlyMap<number, number> = new Map([
  ...([Op.long1, Op.shortBinunicode, Op.shortBinstring, Op.shortBinbytes] as const).map(
    (op) => [op, 1] as const,
  ),
  ...([Op.long4, Op.binunicode, Op.binstring, Op.binbytes] as const).map((op) => [op, 4] as const),
  ...([Op.binunicode8, Op.binbytes8, Op.bytearray8] as const).map((op) => [op, 8] as const),
]);
/** Names that a pickle calls: what checkpoints have, what they do not, and what would run code. */
const NAMES = [
  ["torch._utils\n_rebuild_tensor_v2\n", "torch._utils\n_rebuild_parameter\n", "torch\nFloatStorage\n"],
  ["collections\nOrderedDict\n", "torch\nSize\n", "torch._utils\n_rebuild_qtensor\n", "torch\nfloat32\n"],
  ["posix\nsystem\n", "builtins\neval\n", "torch._tensor\n_rebuild_from_type_v2\n", "x\n", "\n\n"],
].flat();

/** The instructions of a right pickle, one after the other. */
export function instructionsOf(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; ) {
    const op = bytes[at] as number;
    let end = at + 1 + (FIXED.get(op) ?? 0);
    const counted = COUNTED.get(op);
    if (counted !== undefined) {
      end += counted;
      end += counted === 1 ? view.getUint8(at + 1) : view.getUint32(at + 1, true);
    } else if (op === Op.global) {
      for (let lines = 0; lines < 2; lines++) end = bytes.indexOf(0x0a, end) + 1;
    }
    found.push(bytes.subarray(at, end));
    at = end;
  }
  return found;
}

/** Changes a program for the pickle machine: its instructions, the places in the memo that they name, and texts. */
export function changePickle(random: Random, program: readonly Uint8Array[]): Uint8Array {
  const list = [...program];
  for (let left = random.times(4); left > 0; left--) {
    const nth = random.below(list.length);
    const old = list[nth] as Uint8Array;
    switch (random.below(8)) {
      case 0:
        list.splice(nth, 1 + random.below(3));
        break;
      case 1:
        list.splice(random.below(list.length), 0, ...list.slice(nth, nth + 1 + random.below(4)));
        break;
      case 2:
        list.splice(nth, 0, Uint8Array.of(random.pick(Object.values(Op))));
        break;
      case 3: {
        const other = random.below(list.length);
        [list[nth], list[other]] = [list[other] as Uint8Array, old];
        break;
      }
      case 4: {
        // What was kept before: itself in itself, one value in many places.
        const kind = random.pick([Op.binget, Op.binput]);
        list.splice(nth, 0, Uint8Array.of(kind, random.below(40)));
        break;
      }
      case 5:
        list[nth] = joined(Uint8Array.of(Op.global), new TextEncoder().encode(random.pick(NAMES)));
        break;
      default:
        list[nth] = otherArgument(random, old);
    }
  }
  return joined(...list);
}

function otherArgument(random: Random, old: Uint8Array): Uint8Array {
  const op = old[0] as number;
  const changed = old.slice();
  const size = COUNTED.get(op) ?? FIXED.get(op) ?? 0;
  if (size > 0 && (changed.length === 1 + size || random.chance(0.5))) {
    let value = 0n;
    for (let at = size; at > 0; at--) value = value * 256n + BigInt(old[at] ?? 0);
    setNumber(changed, { at: 1, size }, otherNumber(random, value, 64));
  } else if (changed.length > 1) {
    changed[1 + size + random.below(changed.length - 1 - size)] = random.pick([
      0, 0x2e, 0x30, 0x31, 0x80, 0xff, 0x0a,
    ]);
  } else changed[0] = random.pick(Object.values(Op));
  return changed;
}
