import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { writeAll } from "../node/write-chunks.ts";

/** Length of the tail of a file: u32 length of the record before it, sha256 of the record. */
const TAIL_BYTES = 36;

/** Writes a record as JSON at the end of a file, with its length and sha256. */
export async function appendRecord(file: FileHandle, at: number, record: object): Promise<void> {
  const json = Buffer.from(JSON.stringify(record));
  const tail = Buffer.alloc(TAIL_BYTES);
  tail.writeUInt32LE(json.byteLength);
  createHash("sha256").update(json).digest().copy(tail, 4);
  await writeAll(file, Buffer.concat([json, tail]), at);
}

/**
 * Reads the record at the end of a file.
 * @param largest size limit of record and tail, in bytes
 * @returns the record and its offset; `undefined` if it is damaged or missing
 */
export async function readTail(
  file: FileHandle,
  size: number,
  largest: number,
): Promise<{ readonly record: unknown; readonly start: number } | undefined> {
  const length = Math.min(size, largest);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
  if (bytesRead < length || length < TAIL_BYTES) return undefined;
  const end = length - TAIL_BYTES;
  const begin = end - buffer.readUInt32LE(end);
  if (begin < 0) return undefined;
  const json = buffer.subarray(begin, end);
  const digest = createHash("sha256").update(json).digest();
  if (!digest.equals(buffer.subarray(end + 4))) return undefined;
  return { record: JSON.parse(json.toString()) as unknown, start: size - length + begin };
}
