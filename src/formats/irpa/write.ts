import { alignUp } from "../../io/align.ts";
import type { DType } from "../../tensor/dtype.ts";
import { fileErrors } from "../../errors.ts";
import {
  Alignment,
  IrpaEntryFields,
  EntryType,
  IrpaHeaderFields,
  MAGIC,
  STRUCT_BYTES,
  TENSOR_METADATA,
} from "./schema.ts";

/** A parameter to write. The results of `parseIrpaEntries` are such. */
export type IrpaSpec = IrpaDataSpec | IrpaSplatSpec;

interface IrpaDataSpec {
  readonly kind: "data";
  readonly name: string;
  /** {@link irpaTensorMetadata}, or any bytes. */
  readonly metadata?: Uint8Array;
  /** In bytes; 64 by default. */
  readonly alignment?: number;
  /** In bytes. */
  readonly length: number;
}

interface IrpaSplatSpec {
  readonly kind: "splat";
  readonly name: string;
  readonly metadata?: Uint8Array;
  /** 1, 2, 4, 8 or 16 bytes. */
  readonly pattern: Uint8Array;
  /** Bytes of all repetitions. */
  readonly length: number;
}

/** An encoded header, and the places of the data after it. */
export interface EncodedIrpaHeader {
  readonly bytes: Uint8Array;
  /** Start of each entry's data, in bytes from the start of the file; `undefined` for splats. */
  readonly offsets: readonly (number | undefined)[];
  /** Of the whole file, in bytes; gaps are zeros. */
  readonly size: number;
}

/** Bounds the padding before the data, which is held in memory: a huge page, in bytes. */
const MAX_ALIGNMENT = 2 ** 21;

const fail = fileErrors({ format: "irpa" });

/**
 * Encodes everything before the data of an IREE parameter archive, byte for byte as IREE's own tools.
 * @throws FormatError `duplicate`, `malformed`, `too-large`
 */
export function encodeIrpaHeader(entries: readonly IrpaSpec[]): EncodedIrpaHeader {
  const encoder = new TextEncoder();
  const names = new Set<string>();
  const items: { spec: IrpaSpec; name: Uint8Array; at: number; start: number; storage: number }[] = [];
  const tableStart = alignUp(STRUCT_BYTES.header, Alignment.entry);
  let table = 0;
  let metadata = 0;
  let storage = 0;
  let base = 1;
  for (const spec of entries) {
    checkSpec(spec, names);
    names.add(spec.name);
    const name = encoder.encode(spec.name);
    const at = alignUp(table, Alignment.entry);
    table = at + (spec.kind === "data" ? STRUCT_BYTES.data : STRUCT_BYTES.splat);
    const alignment = spec.kind === "data" ? (spec.alignment ?? Alignment.data) : 1;
    const place = spec.kind === "data" ? alignUp(storage, alignment) : 0;
    items.push({ spec, name, at: tableStart + at, start: metadata, storage: place });
    metadata += name.byteLength + (spec.metadata?.byteLength ?? 0);
    if (spec.kind !== "data") continue;
    storage = place + spec.length;
    base = Math.max(base, alignment);
    if (!Number.isSafeInteger(storage))
      throw fail("too-large", "over 2^53 bytes of data", { tensor: spec.name });
  }
  const metadataStart = tableStart + table;
  const storageStart = alignUp(metadataStart + metadata, base);
  const bytes = new Uint8Array(storageStart);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  const setRange = (at: number, offset: number, length: number): void => {
    view.setBigUint64(at, BigInt(offset), true);
    view.setBigUint64(at + 8, BigInt(length), true);
  };
  view.setBigUint64(IrpaHeaderFields.headerSize, BigInt(STRUCT_BYTES.header), true);
  view.setBigUint64(IrpaHeaderFields.entryCount, BigInt(items.length), true);
  setRange(IrpaHeaderFields.entries, tableStart, table);
  setRange(IrpaHeaderFields.metadata, metadataStart, metadata);
  setRange(IrpaHeaderFields.storage, storageStart, storage);
  for (const { spec, name, at, start, storage: place } of items) {
    const data = spec.kind === "data";
    view.setBigUint64(at + IrpaEntryFields.size, BigInt(data ? STRUCT_BYTES.data : STRUCT_BYTES.splat), true);
    view.setUint32(at + IrpaEntryFields.type, data ? EntryType.data : EntryType.splat, true);
    setRange(at + IrpaEntryFields.name, start, name.byteLength);
    bytes.set(name, metadataStart + start);
    if (spec.metadata && spec.metadata.byteLength > 0) {
      setRange(at + IrpaEntryFields.metadata, start + name.byteLength, spec.metadata.byteLength);
      bytes.set(spec.metadata, metadataStart + start + name.byteLength);
    }
    if (spec.kind === "data") {
      view.setBigUint64(at + IrpaEntryFields.alignment, BigInt(spec.alignment ?? Alignment.data), true);
      setRange(at + IrpaEntryFields.storage, place, spec.length);
    } else {
      view.setBigUint64(at + IrpaEntryFields.splatLength, BigInt(spec.length), true);
      bytes.set(spec.pattern, at + IrpaEntryFields.pattern);
      view.setUint8(at + IrpaEntryFields.patternLength, spec.pattern.byteLength);
    }
  }
  const offsets = items.map(({ spec, storage: place }) =>
    spec.kind === "data" ? storageStart + place : undefined,
  );
  return { bytes, offsets, size: alignUp(storageStart + storage, Alignment.file) };
}

/** Encodes a tensor's dtype and shape as metadata for IREE's Python tools. */
export function irpaTensorMetadata(dtype: DType, shape: readonly number[]): Uint8Array {
  return new TextEncoder().encode(`${TENSOR_METADATA[0]}${JSON.stringify({ type: "Tensor", dtype, shape })}`);
}

function checkSpec(spec: IrpaSpec, names: ReadonlySet<string>): void {
  const { name, length } = spec;
  if (names.has(name)) throw fail("duplicate", "it occurs twice", { tensor: name });
  if (!Number.isSafeInteger(length) || length < 0)
    throw fail("too-large", `it has ${length} bytes`, { tensor: name });
  if (spec.kind === "splat") {
    const { byteLength } = spec.pattern;
    if (![1, 2, 4, 8, 16].includes(byteLength)) {
      throw fail("malformed", `its pattern has ${byteLength} bytes, not 1, 2, 4, 8 or 16`, { tensor: name });
    }
    return;
  }
  const { alignment = Alignment.data } = spec;
  if (!Number.isInteger(Math.log2(alignment)) || alignment < 1 || alignment > MAX_ALIGNMENT) {
    throw fail("malformed", `its alignment is ${alignment}, no power of two up to 2^21`, { tensor: name });
  }
}
