import { memorySource } from "../../src/io/byte-source.ts";
import { builtinResources, type MlirBytecode, readBytecode } from "../../src/formats/mlir/bytecode.ts";
import { declaredKeys, fillBytecode } from "../../src/formats/mlir/fill-bytecode.ts";
import { mlir } from "../../src/formats/mlir/format.ts";
import { bytecodeManifest, detachableBlobs, thinBytecode } from "../../src/formats/mlir/thin-bytecode.ts";
import { encodePrefixVarint } from "../../src/formats/mlir/varint.ts";
import { render } from "../support/mlir.ts";
import { type Fixture, fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone, onlyFile } from "./fixtures.ts";
import { must } from "./must.ts";
import { joined, otherNumber } from "./mutate.ts";
import type { Random } from "./random.ts";

interface MlirPiece {
  readonly id: number;
  readonly data: Uint8Array;
  readonly alignment: number;
}

interface Program extends Fixture {
  /** The magic number, the version and the producer. */
  readonly head: Uint8Array;
  readonly sections: readonly MlirPiece[];
}

async function program(fixture: Fixture): Promise<Program> {
  const [name, bytes] = onlyFile(fixture);
  const { version, producer, sections } = await readBytecode(memorySource(bytes, name));
  const head = joined(
    bytes.slice(0, 4),
    encodePrefixVarint(version),
    new TextEncoder().encode(`${producer}\0`),
  );
  return {
    ...fixture,
    head,
    sections: sections.map(({ id, offset, length, alignment }) => {
      return { id, data: bytes.slice(offset, offset + length), alignment };
    }),
  };
}

const FIXTURES: Program[] = [];
for (const fixture of lone(filesIn("mlir", /^(small-[03456]|thin-22|lowered-thin-19)\.mlirbc$/))) {
  FIXTURES.push(await program(fixture));
}

/** Sections that are tables, and the one with the blobs. */
const TABLES = [0, 1, 5, 6];

/** Other numbers in the tables, and sections that go, come twice or change places; lengths and padding are kept right. */
function changeSections(random: Random, { head, sections }: Program): Uint8Array {
  const list = [...sections];
  if (random.chance(0.15)) {
    const nth = random.below(list.length);
    const kind = random.below(3);
    if (kind === 0) list.splice(nth, 1);
    else if (kind === 1) list.push(list[nth] as MlirPiece);
    else list.push(...list.splice(nth, 1));
  }
  const chosen = random.pick(TABLES);
  const edited = list.map((piece) => {
    if (piece.id !== chosen) return piece;
    let { data } = piece;
    for (let left = random.times(3); left > 0; left--) data = editVarint(random, data);
    const alignment = random.chance(0.05)
      ? random.pick([3, 16, 64, 4096, 2 ** 21, 2 ** 22])
      : piece.alignment;
    return { ...piece, data, alignment };
  });
  const parts: Uint8Array[] = [random.chance(0.97) ? head : otherVersion(random, head)];
  let at = (parts[0] as Uint8Array).length;
  for (const { id, data, alignment } of edited) {
    if (alignment > 4096) continue;
    const length = random.chance(0.99) ? encodePrefixVarint(data.length) : odd(random, data.length);
    const start = joined(Uint8Array.of(id | 0x80), length, encodePrefixVarint(alignment));
    const padding = (alignment - ((at + start.length) % alignment)) % alignment;
    const piece = joined(start, new Uint8Array(padding).fill(0xcb), data);
    parts.push(piece);
    at += piece.length;
  }
  return joined(...parts);
}

function otherVersion(random: Random, head: Uint8Array): Uint8Array {
  return joined(head.subarray(0, 4), encodePrefixVarint(random.below(9)), head.subarray(5));
}

/** Puts a number where one may stand, over a byte or between two. */
function editVarint(random: Random, data: Uint8Array): Uint8Array {
  const at = random.below(data.length);
  const spelled = odd(random, (data[at] ?? 0) >> 1);
  return joined(data.subarray(0, at), spelled, data.subarray(at + (random.chance(0.9) ? 1 : 0)));
}

/** Another number, or the same by a longer spelling than it needs. */
function odd(random: Random, old: number): Uint8Array {
  if (random.chance(0.5))
    return encodePrefixVarint(random.chance(0.7) ? random.below(40) : old + random.pick([-1, 0, 1, 2]) + 1);
  const wide = BigInt.asUintN(64, random.chance(0.2) ? BigInt(old) : otherNumber(random, BigInt(old), 1024));
  const bytes = new Uint8Array(9);
  new DataView(bytes.buffer).setBigUint64(1, wide, true);
  return bytes;
}

/** Detaches what can be: what is left reads as a thin file that takes the same bytes back. */
async function detach(file: MlirBytecode, bytes: Uint8Array): Promise<void> {
  bytecodeManifest(file);
  const blobs = detachableBlobs(file);
  let end = 0;
  for (const { offset, length } of blobs) {
    must(offset >= end, "blobs lie one over another");
    end = offset + length;
  }
  must(end <= bytes.length, "a blob ends past the end");
  const manifest = {
    file: { version: 1 } as const,
    weights: new Map(blobs.map(({ key, length, alignment }) => [key, { length, alignment }])),
  };
  const thin = render(thinBytecode(file, manifest), bytes);
  const read = await readBytecode(memorySource(thin, "thin"));
  const keys = new Set([...declaredKeys(file), ...blobs.map((blob) => blob.key)]);
  must(same([...declaredKeys(read)].sort(), [...keys].sort()), "a thin file declares other resources");
  must(
    same([...(bytecodeManifest(read)?.weights ?? [])], [...manifest.weights]),
    "a thin file says other weights",
  );
  const data = new Map(blobs.map(({ key, offset, length }) => [key, bytes.slice(offset, offset + length)]));
  const full = render(fillBytecode(read, manifest.weights).pieces, thin, data);
  const again = await readBytecode(memorySource(full, "full"));
  const names = (of: MlirBytecode): string[] => builtinResources(of).map(({ name }) => name);
  must(same(names(again), names(file)), "a filled file has other resources");
  for (const { key, offset, length } of detachableBlobs(again)) {
    const filled = full.subarray(offset, offset + length);
    must(Buffer.compare(filled, data.get(key) as Uint8Array) === 0, `"${key}" comes back with other bytes`);
  }
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

fuzz({
  name: "mlir",
  fixtures: FIXTURES,
  read: ({ given, folder }) => mlir.read(given, folder),
  async check(draft, files, given) {
    checkDraft(draft);
    const [name, bytes] = onlyFile({ files, given });
    await detach(await readBytecode(memorySource(bytes, name)), bytes);
  },
  refusesCut: () => true,
  mutate(random, fixture) {
    return { files: { [onlyFile(fixture)[0]]: changeSections(random, fixture) } };
  },
});
