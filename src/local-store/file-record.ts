import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { writeAll } from "../node/write-chunks.ts";

/** At the end of a file: u32 length of the record before it, sha256 of the record. */
const TAIL = 36;

/** Writes what a file says of itself at its end, and what tells whether that is whole. */
export async function appendRecord(file: FileHandle, at: number, record: object): Promise<void> {
  const json = Buffer.from(JSON.stringify(record));
  const tail = Buffer.alloc(TAIL);
  tail.writeUInt32LE(json.byteLength);
  createHash("sha256").update(json).digest().copy(tail, 4);
  await writeAll(file, Buffer.concat([json, tail]), at);
}

/**
 * Reads what a file says of itself.
 * @returns the record and where it starts; `undefined` where it is not as it was written
 */
export async function readTail(
  file: FileHandle,
  size: number,
  largest: number,
): Promise<{ readonly record: unknown; readonly start: number } | undefined> {
  const length = Math.min(size, largest);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
  if (bytesRead < length || length < TAIL) return undefined;
  const end = length - TAIL;
  const begin = end - buffer.readUInt32LE(end);
  if (begin < 0) return undefined;
  const json = buffer.subarray(begin, end);
  const digest = createHash("sha256").update(json).digest();
  if (!digest.equals(buffer.subarray(end + 4))) return undefined;
  return { record: JSON.parse(json.toString()) as unknown, start: size - length + begin };
}
