import type { ErrorCode, FileFail, FormatError } from "../../errors.ts";
import { isKnownGlobal } from "./globals.ts";
import { Op } from "./opcodes.ts";
import { isKind, type PickleList, type PickleValue } from "./values.ts";

/** Most objects that a pickle may make, and most values that it may memoize. Checkpoints have seven per tensor. */
const MOST = 1_000_000;
/** Most values, including those in lists and references. */
const MAX_VALUES = 8_000_000;
/** Longest whole number, in bytes. Those of checkpoints are far shorter. */
const MAX_INTEGER_LENGTH = 64;
const MAX_GLOBAL_LENGTH = 200;
const NAME_HINT =
  "Naming it would let the file run code. Load it with PyTorch, and save its state_dict as safetensors";

/**
 * Parses a pickle as data. Nothing is imported and nothing is called: the result names what Python would call, and
 * names that do not belong to checkpoints are refused.
 * @throws FormatError `malformed`, `unsupported`, `too-large` with the offset in the pickle
 */
export function parsePickle(bytes: Uint8Array, fail: FileFail): PickleValue {
  return new Machine(bytes, fail).run();
}

/** The machine that runs pickles: a stack, marks in it, and a memo. */
class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fail: FileFail;
  readonly #memo = new Map<number, PickleValue>();
  readonly #marks: number[] = [];
  readonly #stack: PickleValue[] = [];
  #at = 0;
  /** Offset of the current opcode. */
  #opcodeAt = 0;
  #made = 0;
  #pushed = 0;

  constructor(bytes: Uint8Array, fail: FileFail) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fail = fail;
  }

  run(): PickleValue {
    for (;;) {
      this.#opcodeAt = this.#at;
      const opcode = this.#take(1);
      if (opcode === Op.stop) break;
      this.#step(opcode);
    }
    if (this.#at !== this.#bytes.byteLength) throw this.#refuse("malformed", "it continues after its end");
    const value = this.#pop();
    if (this.#stack.length > 0 || this.#marks.length > 0) {
      throw this.#refuse("malformed", "it leaves more than one value");
    }
    return value;
  }

  #step(opcode: number): void {
    switch (opcode) {
      case Op.proto: {
        const version = this.#take(1);
        if (version < 2 || version > 5) throw this.#refuse("unsupported", `its protocol is ${version}`);
        return;
      }
      case Op.frame:
        if (this.#length(8) > this.#bytes.byteLength - this.#at)
          throw this.#refuse("malformed", "it is cut off");
        return;
      case Op.mark:
        if (this.#marks.push(this.#stack.length) > MOST) {
          throw this.#refuse("too-large", `it has over ${MOST} marks at once`);
        }
        return;
      case Op.pop:
        this.#pop();
        return;
      case Op.none:
        return this.#push(null);
      case Op.newtrue:
        return this.#push(true);
      case Op.newfalse:
        return this.#push(false);
      case Op.binint:
        return this.#push(this.#view.getInt32(this.#need(4), true));
      case Op.binint1:
        return this.#push(this.#take(1));
      case Op.binint2:
        return this.#push(this.#take(2));
      case Op.binfloat:
        return this.#push(this.#view.getFloat64(this.#need(8), false));
      case Op.long1:
        return this.#push(this.#integer(this.#take(1)));
      case Op.long4:
        return this.#push(this.#integer(this.#length(4)));
      case Op.shortBinunicode:
        return this.#push(this.#text(this.#take(1)));
      case Op.binunicode:
        return this.#push(this.#text(this.#length(4)));
      case Op.binunicode8:
        return this.#push(this.#text(this.#length(8)));
      case Op.shortBinstring:
      case Op.shortBinbytes:
        return this.#push(this.#raw(this.#take(1)));
      case Op.binstring:
      case Op.binbytes:
        return this.#push(this.#raw(this.#length(4)));
      case Op.binbytes8:
      case Op.bytearray8:
        return this.#push(this.#raw(this.#length(8)));
      default:
        return this.#compose(opcode);
    }
  }

  /** Runs an opcode that makes an object of values on the stack. */
  #compose(opcode: number): void {
    switch (opcode) {
      case Op.emptyList:
        return this.#make({ kind: "list", items: [] });
      case Op.emptySet:
        return this.#make({ kind: "set", items: [] });
      case Op.emptyTuple:
        return this.#make({ kind: "tuple", items: [] });
      case Op.emptyDict:
        return this.#make({ kind: "dict", entries: new Map() });
      case Op.tuple:
        return this.#make({ kind: "tuple", items: this.#popMark() });
      case Op.frozenset:
        return this.#make({ kind: "set", items: this.#popMark() });
      case Op.tuple1:
      case Op.tuple2:
      case Op.tuple3:
        return this.#make({ kind: "tuple", items: this.#popMany(opcode - Op.tuple1 + 1) });
      case Op.append: {
        const item = this.#pop();
        this.#list("list").items.push(item);
        return;
      }
      case Op.appends:
      case Op.additems: {
        const added = this.#popMark();
        const { items } = this.#list(opcode === Op.appends ? "list" : "set");
        for (const item of added) items.push(item);
        return;
      }
      case Op.setitem:
        return this.#setItems(this.#popMany(2));
      case Op.setitems:
        return this.#setItems(this.#popMark());
      case Op.binput:
        return this.#remember(this.#take(1));
      case Op.longBinput:
        return this.#remember(this.#length(4));
      case Op.memoize:
        return this.#remember(this.#memo.size);
      case Op.binget:
        return this.#recall(this.#take(1));
      case Op.longBinget:
        return this.#recall(this.#length(4));
      case Op.global: {
        const module = this.#line();
        return this.#name(`${module}.${this.#line()}`);
      }
      case Op.stackGlobal: {
        const [module, name] = this.#popMany(2);
        if (typeof module !== "string" || typeof name !== "string") {
          throw this.#refuse("malformed", "it has a name that is not a string");
        }
        return this.#name(`${module}.${name}`);
      }
      case Op.reduce:
      case Op.newobj:
        return this.#call(this.#pop());
      case Op.newobjEx: {
        this.#pop();
        return this.#call(this.#pop());
      }
      case Op.build:
        // The state of an object; for a state_dict, the versions of its modules.
        this.#pop();
        this.#top();
        return;
      case Op.binpersid:
        return this.#make({ kind: "persistent", id: this.#pop() });
      default:
        throw this.#refuse("unsupported", `it has opcode 0x${opcode.toString(16).padStart(2, "0")}`);
    }
  }

  #call(args: PickleValue): void {
    const target = this.#pop();
    if (!isKind(target, "global"))
      throw this.#refuse("malformed", "it calls a value that is no class or function");
    if (!isKind(args, "tuple")) throw this.#refuse("malformed", `it calls ${target.name} without arguments`);
    if (/^collections\.(OrderedDict|defaultdict|Counter)$/.test(target.name)) return this.#makeDict(args);
    this.#make({ kind: "call", name: target.name, args: args.items });
  }

  /** Makes a dict from another dict, or from pairs, as protocol 2 of Python 2 writes them. */
  #makeDict(args: PickleList): void {
    const entries = new Map<PickleValue, PickleValue>();
    const from = args.items.at(-1);
    // Checked before the copy: a pickle may reference one large list any number of times.
    if (isKind(from, "dict")) this.#made += from.entries.size;
    if (isKind(from, "list")) this.#made += from.items.length;
    this.#checkMade();
    if (isKind(from, "dict")) for (const [key, value] of from.entries) entries.set(key, value);
    if (isKind(from, "list")) {
      for (const pair of from.items) {
        if (!(isKind(pair, "tuple") || isKind(pair, "list")) || pair.items.length !== 2) {
          throw this.#refuse("malformed", "it makes a dict from values that are no pairs");
        }
        entries.set(pair.items[0] as PickleValue, pair.items[1] as PickleValue);
      }
    }
    this.#make({ kind: "dict", entries });
  }

  #setItems(items: readonly PickleValue[]): void {
    const target = this.#top();
    if (!isKind(target, "dict") || items.length % 2 !== 0) {
      throw this.#refuse("malformed", "it sets items of a value that is no dict");
    }
    for (let nth = 0; nth < items.length; nth += 2) {
      target.entries.set(items[nth] as PickleValue, items[nth + 1] as PickleValue);
    }
  }

  #name(name: string): void {
    if (name.length > MAX_GLOBAL_LENGTH)
      throw this.#refuse("malformed", "it has a name of over 200 characters");
    if (!isKnownGlobal(name)) {
      throw this.#fail("unsupported", `its pickle names "${name}", which tare does not know`, {
        offset: this.#opcodeAt,
        hint: NAME_HINT,
      });
    }
    this.#make({ kind: "global", name });
  }

  #remember(index: number): void {
    this.#memo.set(index, this.#top());
    if (this.#memo.size > MOST) throw this.#refuse("too-large", `it keeps over ${MOST} values`);
  }

  #recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#refuse("malformed", `it has no value ${index}`);
    this.#push(value);
  }

  #make(value: PickleValue): void {
    this.#made++;
    this.#checkMade();
    this.#push(value);
  }

  #checkMade(): void {
    if (this.#made > MOST) throw this.#refuse("too-large", `it makes over ${MOST} objects`);
  }

  #push(value: PickleValue): void {
    if (++this.#pushed > MAX_VALUES) throw this.#refuse("too-large", `it has over ${MAX_VALUES} values`);
    this.#stack.push(value);
  }

  /** Pops values above the last mark. */
  #popMany(count: number): PickleValue[] {
    if (this.#stack.length - count < (this.#marks.at(-1) ?? 0)) {
      throw this.#refuse("malformed", "it pops a value that is missing");
    }
    return this.#stack.splice(this.#stack.length - count, count);
  }

  #pop(): PickleValue {
    return this.#popMany(1)[0] as PickleValue;
  }

  #popMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.#refuse("malformed", "it pops a value that is missing");
    return this.#stack.splice(mark);
  }

  #top(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) {
      throw this.#refuse("malformed", "it pops a value that is missing");
    }
    return this.#stack.at(-1) as PickleValue;
  }

  #list(kind: "list" | "set"): PickleList {
    const target = this.#top();
    if (!isKind(target, "list") && !isKind(target, "set")) {
      throw this.#refuse("malformed", `it adds to a value that is no ${kind}`);
    }
    return target;
  }

  /** Moves past so many bytes. @returns their offset */
  #need(length: number): number {
    if (length > this.#bytes.byteLength - this.#at) throw this.#refuse("malformed", "it is cut off");
    this.#at += length;
    return this.#at - length;
  }

  /** Reads an unsigned number of 1 or 2 bytes. */
  #take(length: 1 | 2): number {
    const at = this.#need(length);
    return length === 1 ? this.#view.getUint8(at) : this.#view.getUint16(at, true);
  }

  /** Reads an unsigned number of 4 or 8 bytes. Over 2^53 it is rounded, and remains longer than every pickle. */
  #length(length: 4 | 8): number {
    const at = this.#need(length);
    return length === 4 ? this.#view.getUint32(at, true) : Number(this.#view.getBigUint64(at, true));
  }

  #raw(length: number): Uint8Array {
    const at = this.#need(length);
    return this.#bytes.subarray(at, at + length);
  }

  #text(length: number): string {
    const bytes = this.#raw(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw this.#refuse("malformed", "its text is not UTF-8");
    }
  }

  /** Reads a little-endian two's complement; returns a `number` if it is exact. */
  #integer(length: number): number | bigint {
    if (length > MAX_INTEGER_LENGTH)
      throw this.#refuse("too-large", `it has a whole number of ${length} bytes`);
    let value = 0n;
    for (const byte of this.#raw(length).toReversed()) value = (value << 8n) | BigInt(byte);
    value = BigInt.asIntN(Math.max(1, length * 8), value);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end === -1 || end - this.#at > MAX_GLOBAL_LENGTH) {
      throw this.#refuse("malformed", "it has a name without an end");
    }
    const text = this.#text(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  #refuse(code: ErrorCode, reason: string): FormatError {
    return this.#fail(code, `its pickle cannot be read: ${reason}`, { offset: this.#opcodeAt });
  }
}
