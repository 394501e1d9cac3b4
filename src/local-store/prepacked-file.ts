import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { alignUp } from "../io/align.ts";
import { SourceError } from "../errors.ts";
import { PREPACKED_ALIGNMENT, type PrepackedEntry, type PrepackedParts } from "../model/prepacked-weight.ts";
import { writeAll } from "../node/write-chunks.ts";
import { appendRecord, readTail } from "./file-record.ts";

const CHUNK = 1024 * 1024;
/** Alignment of the first prepacked copy, in bytes, so that its memory pages contain no bytes of the weight. */
const PAGE = 4096;
const MAX_RECORD_BYTES = 64 * 1024;

/** Record at the end of a file with a weight and its prepacked copies. */
export interface PrepackedRecord {
  /** Length of the weight at the start, in bytes. */
  readonly weight: number;
  /** Start and end of the prepacked bytes, in bytes from the start of the file. */
  readonly start: number;
  readonly end: number;
  /** sha256 of the prepacked bytes, in hexadecimal. */
  readonly sha256: string;
  readonly entries: readonly PrepackedEntry[];
}

/**
 * Appends prepacked copies and the record to a file.
 * @param weight length of the weight at the start of the file, in bytes
 */
export async function writePrepacked(
  file: FileHandle,
  weight: number,
  { path, entries }: PrepackedParts,
): Promise<PrepackedRecord> {
  const start = alignUp(weight, PAGE);
  const hash = createHash("sha256");
  const placed: PrepackedEntry[] = [];
  let end = start;
  if (entries.length > 0) {
    const from = await open(path, "r");
    try {
      for (const { key, buffers } of entries) {
        const moved: { offset: number; length: number }[] = [];
        for (const { offset, length } of buffers) {
          const at = alignUp(end, PREPACKED_ALIGNMENT);
          hash.update(new Uint8Array(at - end));
          for await (const chunk of chunksOf(from, path, offset, length, file, at)) hash.update(chunk);
          moved.push({ offset: at, length });
          end = at + length;
        }
        placed.push({ key, buffers: moved });
      }
    } finally {
      await from.close();
    }
  }
  const record: PrepackedRecord = { weight, start, end, sha256: hash.digest("hex"), entries: placed };
  await appendRecord(file, end, record);
  return record;
}

/**
 * Reads a file's record, and checks that all buffers are aligned and inside of the file.
 * @returns `undefined` for a damaged file
 */
export async function readRecord(file: FileHandle, size: number): Promise<PrepackedRecord | undefined> {
  const tail = await readTail(file, size, MAX_RECORD_BYTES);
  if (!tail) return undefined;
  const record = tail.record as PrepackedRecord;
  const inside = record.entries.every(({ buffers }) =>
    buffers.every(
      ({ offset, length: bytes }) =>
        offset % PREPACKED_ALIGNMENT === 0 && offset >= record.start && offset + bytes <= record.end,
    ),
  );
  return inside && record.end === tail.start ? record : undefined;
}

/**
 * Whether a file is undamaged. Hashes the file.
 * @param digest sha256 of the weight, in hexadecimal
 */
export async function isSound(file: FileHandle, record: PrepackedRecord, digest: string): Promise<boolean> {
  const { weight, start, end, sha256, entries } = record;
  const prepacked = await hashRange(file, start, end - start);
  return prepacked === sha256 && (entries.length === 0 || (await hashRange(file, 0, weight)) === digest);
}

/** Copies a range of a file to another file. */
export async function copyRange(
  from: FileHandle,
  path: string,
  { offset, length }: { readonly offset: number; readonly length: number },
  to: FileHandle,
): Promise<void> {
  for await (const chunk of chunksOf(from, path, offset, length, to, 0)) void chunk;
}

/** Returns the sha256 of a range of a file, in hexadecimal. */
export async function hashRange(file: FileHandle, offset: number, length: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunksOf(file, "", offset, length)) hash.update(chunk);
  return hash.digest("hex");
}

/** Yields the bytes of a range, after it writes each chunk to `to`, if given. The next chunk overwrites the memory. */
async function* chunksOf(
  from: FileHandle,
  path: string,
  offset: number,
  length: number,
  to?: FileHandle,
  at = 0,
): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.alloc(Math.min(CHUNK, length));
  for (let done = 0; done < length; ) {
    const { bytesRead } = await from.read(buffer, 0, Math.min(CHUNK, length - done), offset + done);
    if (bytesRead === 0) {
      throw new SourceError("short-read", `Cannot read "${path}" at ${offset + done}: it ends there`, {
        path,
        offset: offset + done,
      });
    }
    const chunk = buffer.subarray(0, bytesRead);
    if (to) await writeAll(to, chunk, at + done);
    yield chunk;
    done += bytesRead;
  }
}
