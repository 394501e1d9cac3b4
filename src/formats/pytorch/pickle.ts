import type { ErrorCode, FileFail, FormatError } from "../../errors.ts";
import { isKnownGlobal, isUnsafeGlobal } from "./globals.ts";
import { Op } from "./opcodes.ts";
import {
  isKind,
  type PickleCall,
  type PickleGlobal,
  type PickleList,
  type PicklePersistent,
  type PickleValue,
} from "./values.ts";

/** Most objects that a pickle may make, and most values that it may memoize. Checkpoints have seven per tensor. */
const MOST = 1_000_000;
/** Most values, including those in lists and references. */
const MAX_VALUES = 8_000_000;
/** Longest whole number, in bytes. Those of checkpoints are far shorter. */
const MAX_INTEGER_LENGTH = 64;
const MAX_GLOBAL_LENGTH = 200;
const NAME_HINT =
  "Do not load it with PyTorch unless you trust its author. Ask for a file of its state_dict, best as safetensors";

/**
 * Parses a pickle as data. Nothing is imported and nothing is called: the result names what Python would call. Objects of
 * unknown classes are kept with what is inside them; names of functions that could run code are refused.
 * @throws FormatError `malformed`, `unsupported`, `too-large` with the offset in the pickle
 */
export function parsePickle(bytes: Uint8Array, fail: FileFail): PickleValue {
  const { value, end } = parsePickleAt(bytes, 0, fail);
  if (end === bytes.byteLength) return value;
  throw fail("malformed", "its pickle cannot be read: it continues after its end", { offset: end });
}

/** A pickle among other bytes. */
export interface ParsedPickle {
  readonly value: PickleValue;
  /** Offset of its end. */
  readonly end: number;
  /** The objects outside of it that it refers to. */
  readonly persistent: readonly PicklePersistent[];
}

/**
 * Parses the pickle at an offset, which other bytes may follow.
 * @throws FormatError what {@link parsePickle} throws
 */
export function parsePickleAt(bytes: Uint8Array, offset: number, fail: FileFail): ParsedPickle {
  return new Machine(bytes, offset, fail).run();
}

/** The machine that runs pickles: a stack, marks in it, and a memo. */
class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fail: FileFail;
  readonly #memo = new Map<number, PickleValue>();
  readonly #marks: number[] = [];
  readonly #stack: PickleValue[] = [];
  readonly #persistent: PicklePersistent[] = [];
  #at: number;
  /** Offset of the current opcode. */
  #opcodeAt = 0;
  #made = 0;
  #pushed = 0;

  constructor(bytes: Uint8Array, offset: number, fail: FileFail) {
    this.#at = offset;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fail = fail;
  }

  run(): ParsedPickle {
    for (;;) {
      this.#opcodeAt = this.#at;
      const opcode = this.#take(1);
      if (opcode === Op.stop) break;
      this.#step(opcode);
    }
    const value = this.#pop();
    if (this.#stack.length > 0 || this.#marks.length > 0) {
      throw this.#refuse("malformed", "it leaves more than one value");
    }
    return { value, end: this.#at, persistent: this.#persistent };
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
        this.#itemsOf("list").push(item);
        return;
      }
      case Op.appends:
      case Op.additems: {
        const added = this.#popMark();
        const items = this.#itemsOf(opcode === Op.appends ? "list" : "set");
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
        const named = this.#pop();
        return this.#call(this.#pop(), named);
      }
      case Op.build: {
        // The state of an object; for a state_dict, the versions of its modules.
        const state = this.#pop();
        const target = this.#top();
        if (isKind(target, "call")) target.inside?.push(state);
        return;
      }
      case Op.binpersid: {
        const object: PicklePersistent = { kind: "persistent", id: this.#pop() };
        this.#persistent.push(object);
        return this.#make(object);
      }
      default:
        throw this.#refuse("unsupported", `it has opcode 0x${opcode.toString(16).padStart(2, "0")}`);
    }
  }

  #call(args: PickleValue, named: PickleValue = null): void {
    const target = this.#pop();
    const isOpaque = isKind(target, "call") ? target.inside !== undefined : undefined;
    if (!isKind(target, "global") && !isOpaque)
      throw this.#refuse("malformed", "it calls a value that is no class or function");
    const { name } = target as PickleGlobal | PickleCall;
    if (!isKind(args, "tuple")) throw this.#refuse("malformed", `it calls ${name} without arguments`);
    if (/^collections\.(OrderedDict|defaultdict|Counter)$/.test(name)) return this.#makeDict(args);
    if (isKnownGlobal(name)) return this.#make({ kind: "call", name, args: args.items });
    // Whatever a callable has is inside what it makes.
    const inside = isOpaque ? [target, named] : named === null ? [] : [named];
    this.#make({ kind: "call", name, args: args.items, inside });
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
    if (isKind(target, "call") && target.inside) {
      for (const item of items) target.inside.push(item);
      return;
    }
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
    if (isUnsafeGlobal(name)) {
      throw this.#fail("unsupported", `its pickle names "${name}", which could run code`, {
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

  #itemsOf(kind: "list" | "set"): PickleValue[] {
    const target = this.#top();
    if (isKind(target, "list") || isKind(target, "set")) return target.items;
    if (isKind(target, "call") && target.inside) return target.inside;
    throw this.#refuse("malformed", `it adds to a value that is no ${kind}`);
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
