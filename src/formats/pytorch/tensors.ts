import { elementCount } from "../../tensor/dtype.ts";
import type { FileFail } from "../../errors.ts";
import { type ElementType, elementType, Rebuild, storageType } from "./globals.ts";
import { isKind, type PickleValue } from "./values.ts";

/** A tensor of a checkpoint. */
export interface CheckpointTensor {
  /** The keys on the way to it, joined by dots. */
  readonly name: string;
  readonly view: TensorView | OddTensor;
}

/** A tensor whose elements are in a storage. */
export interface TensorView {
  readonly storage: CheckpointStorage;
  readonly element: ElementType;
  readonly shape: readonly number[];
  /** Elements from the start of the storage. */
  readonly offset: number;
  /** Elements of the storage from one index of each dimension to the next; left out where they are row-major. */
  readonly strides?: readonly number[];
  /** Whether the imaginary parts have the other sign. */
  readonly conjugated: boolean;
  /** Whether all numbers have the other sign. */
  readonly negated: boolean;
}

/** A tensor whose elements cannot be had. */
export interface OddTensor {
  /** A description, to follow "is". */
  readonly odd: string;
}

/** The data of tensors. */
export interface CheckpointStorage {
  /** Name of the file, in the archive's folder `data`. */
  readonly key: string;
  /** In bytes. */
  readonly size: number;
}

/** Deepest nesting. State dicts are a few levels deep. */
const DEEPEST = 64;
/**
 * Most values. A value counts each time that it occurs: a small pickle may reference a large list any number of times.
 */
const MAX_VALUES = 5_000_000;
/** PyTorch's own limit. */
const MAX_DIMENSIONS = 64;
/** Longest name of a tensor, in characters. */
export const MAX_NAME_LENGTH = 4096;
/** Longest total of all names, in characters. */
const MAX_NAMES_LENGTH = 32 * 1024 * 1024;

/**
 * Finds the tensors of a checkpoint, in order: in a dict, and in all dicts, lists and tuples inside it.
 * @throws FormatError `malformed`, `duplicate`, `too-large`
 */
export function collectTensors(root: PickleValue, fail: FileFail): CheckpointTensor[] {
  const found = new Map<string, CheckpointTensor>();
  let values = 0;
  let characters = 0;
  /** @param owner the unknown class of the object around the value */
  const visit = (value: PickleValue, name: string, depth: number, owner?: string): void => {
    if (depth > DEEPEST) throw fail("too-large", `it is nested over ${DEEPEST} levels deep`);
    const tensor = tensorOf(value, name, fail);
    if (tensor) {
      const view =
        owner === undefined ? tensor : { odd: `in an object of class "${owner}", which tare does not know` };
      const path = freeName(name || "tensor", owner === undefined ? undefined : found);
      characters += path.length;
      if (path.length > MAX_NAME_LENGTH || characters > MAX_NAMES_LENGTH) {
        throw fail("too-large", "the names of its tensors are too long");
      }
      if (found.has(path)) throw fail("duplicate", "several tensors have that name", { tensor: path });
      found.set(path, { name: path, view });
      return;
    }
    const below = (key: string, child: PickleValue): void => {
      if (++values > MAX_VALUES) throw fail("too-large", `it has over ${MAX_VALUES} values`);
      // Most values contain no others: they neither are tensors nor have any.
      if (typeof child !== "object" || child === null || child instanceof Uint8Array) return;
      visit(child, name === "" ? key : `${name}.${key}`, depth + 1, owner);
    };
    if (isKind(value, "dict")) {
      let nth = 0;
      for (const [key, child] of value.entries) below(keyOf(key, nth++), child);
    } else if (isKind(value, "list") || isKind(value, "tuple") || isKind(value, "set")) {
      for (const [nth, child] of value.items.entries()) below(String(nth), child);
    } else if (isKind(value, "call") && value.inside) {
      for (const child of [...value.args, ...value.inside]) {
        if (++values > MAX_VALUES) throw fail("too-large", `it has over ${MAX_VALUES} values`);
        visit(child, name, depth + 1, owner ?? value.name);
      }
    }
  };
  visit(root, "", 0);
  return [...found.values()];
}

/** The name, or where others may have it, one like it. */
function freeName(name: string, taken: ReadonlyMap<string, unknown> | undefined): string {
  let free = name;
  for (let nth = 2; taken?.has(free); nth++) free = `${name}#${nth}`;
  return free;
}

/** Names a key; keys that are neither strings nor numbers are named by their place. */
function keyOf(key: PickleValue, nth: number): string {
  if (typeof key === "string") return key.length > MAX_NAME_LENGTH ? key.slice(0, MAX_NAME_LENGTH + 1) : key;
  return typeof key === "number" || typeof key === "bigint" ? String(key) : `#${nth}`;
}

function tensorOf(value: PickleValue, name: string, fail: FileFail): TensorView | OddTensor | undefined {
  let call = value;
  // A parameter wraps a tensor, and a subclass wraps the parameter. Eight levels are more than files have.
  for (let depth = 0; depth < 8; depth++) {
    if (!isKind(call, "call")) return undefined;
    const { name: called, args } = call;
    switch (called) {
      case Rebuild.tensor:
      case Rebuild.tensor2:
        return viewOf(args, undefined, args[6], name, fail);
      case Rebuild.tensor3:
        return viewOf(args, args[6], args[7], name, fail);
      case Rebuild.parameter:
      case Rebuild.parameterWithState:
        call = args[0] ?? null;
        break;
      case Rebuild.fromType: {
        const [rebuild, , inner] = args;
        if (!isKind(rebuild, "global") || !isKind(inner, "tuple")) {
          throw fail("malformed", "its constructor is missing", { tensor: name });
        }
        call = { kind: "call", name: rebuild.name, args: inner.items };
        break;
      }
      default:
        return called.startsWith("torch._utils._rebuild_") ? { odd: `made by ${called}` } : undefined;
    }
  }
  throw fail("too-large", "its parameters are nested too deep", { tensor: name });
}

function viewOf(
  args: readonly PickleValue[],
  dtype: PickleValue | undefined,
  metadata: PickleValue | undefined,
  name: string,
  fail: FileFail,
): TensorView | OddTensor {
  const [stored, offset, size, strides] = args;
  const { storage, element: elements, first } = storageOf(stored, name, fail);
  const element =
    dtype === undefined ? elements : isKind(dtype, "global") ? elementType(dtype.name) : undefined;
  const shape = wholesOf(size);
  const stride = wholesOf(strides);
  if (!element || !isWhole(offset) || !shape || stride?.length !== shape.length) {
    throw fail("malformed", "its type, offset, shape or stride is invalid", {
      tensor: name,
    });
  }
  const start = first + offset;
  const count = elementCount(shape);
  if (count === undefined) throw fail("too-large", `its shape is [${shape.join(", ")}]`, { tensor: name });
  if (!element.dtype) return { odd: `of type ${element.name}` };
  const last =
    count > 0 ? shape.reduce((sum, size, axis) => sum + (size - 1) * (stride[axis] as number), start) : 0;
  if (count > 0 && (last + 1) * element.bytes > storage.size) {
    const reason = `it ends at element ${last + 1}, past the end of storage "${storage.key}"`;
    throw fail("malformed", reason, { tensor: name });
  }
  const has = (key: string): boolean => isKind(metadata, "dict") && metadata.entries.get(key) === true;
  return {
    storage,
    element,
    shape,
    offset: count > 0 ? start : 0,
    ...(!isContiguous(shape, stride) && { strides: stride }),
    conjugated: has("conj"),
    negated: has("neg"),
  };
}

/** Where a tensor's elements are: its storage, their type, and the first of the storage's elements that it may have. */
interface StorageRef {
  readonly storage: CheckpointStorage;
  readonly element: ElementType;
  readonly first: number;
}

/**
 * Parses `("storage", type, key, location, number of elements)`, the storages of `torch.save`, and before PyTorch 1.6 a
 * part of one: `(key, first element, number of elements)` follows.
 * @throws FormatError `malformed`, `too-large`
 */
export function storageOf(value: PickleValue | undefined, name: string, fail: FileFail): StorageRef {
  const parts = isKind(value, "persistent") && isKind(value.id, "tuple") ? value.id.items : [];
  const [kind, type, key, , count, part] = parts;
  const element = isKind(type, "global") ? storageType(type.name) : undefined;
  const first = isKind(part, "tuple") ? part.items[1] : 0;
  if (kind !== "storage" || !element || typeof key !== "string" || !isWhole(count) || !isWhole(first)) {
    throw fail("malformed", "it is in no storage", { tensor: name });
  }
  const size = count * element.bytes;
  if (!Number.isSafeInteger(size)) throw fail("too-large", `its storage has ${size} bytes`, { tensor: name });
  return { storage: { key, size }, element, first };
}

/** Whether the elements are stored in row-major order. Dimensions of one element may have any stride. */
function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let nth = shape.length - 1; nth >= 0; nth--) {
    const dimension = shape[nth] as number;
    if (dimension === 1) continue;
    if (stride[nth] !== expected) return false;
    expected *= dimension;
  }
  return true;
}

/** Parses a tuple of whole numbers, or a `torch.Size`. */
function wholesOf(value: PickleValue | undefined): number[] | undefined {
  const tuple = isKind(value, "call") && value.name === "torch.Size" ? value.args[0] : value;
  if (!isKind(tuple, "tuple") && !isKind(tuple, "list")) return undefined;
  return tuple.items.length <= MAX_DIMENSIONS && tuple.items.every(isWhole) ? tuple.items : undefined;
}

function isWhole(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
}
