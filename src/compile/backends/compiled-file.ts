import { parseStrictJson } from "../../encodings/json.ts";
import { FormatError } from "../../errors.ts";
import type { Digest } from "../../tensor/digest.ts";
import { type CompiledModel, compiledModelJson, parseCompiledModel } from "./compiled-model.ts";

/** A compiled model with its programs and data, by digest. */
export interface CompiledFile {
  readonly model: CompiledModel;
  readonly parts: ReadonlyMap<Digest, Uint8Array>;
}

/** Encodes a compiled model as one file: u32 length of a JSON header, the header, programs and data end to end. */
export function encodeCompiled({ model, parts }: CompiledFile): Uint8Array {
  const order = partsOf(model);
  const header = new TextEncoder().encode(JSON.stringify(compiledModelJson(model)));
  const sizes = [...order.values()];
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 4 + header.byteLength));
  new DataView(bytes.buffer).setUint32(0, header.byteLength, true);
  bytes.set(header, 4);
  let at = 4 + header.byteLength;
  for (const digest of order.keys()) {
    const program = parts.get(digest);
    if (!program) throw new TypeError(`${digest} is missing`);
    bytes.set(program, at);
    at += program.byteLength;
  }
  return bytes;
}

/**
 * Decodes what {@link encodeCompiled} wrote, and checks every part against its digest.
 * @param name name of the file or cache entry, for errors
 * @throws FormatError `malformed`, `newer-version`, `mismatch`
 */
export function decodeCompiled(
  bytes: Uint8Array,
  name: string,
  digest: (bytes: Uint8Array) => Digest,
): CompiledFile {
  const cut = (): FormatError =>
    new FormatError(
      "malformed",
      `Cannot read "${name}": its ${bytes.byteLength} bytes do not match the sizes of its parts`,
      {
        path: name,
      },
    );
  if (bytes.byteLength < 4) throw cut();
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  if (end > bytes.byteLength) throw cut();
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(4, end));
  } catch (cause) {
    throw new FormatError("malformed", `Cannot read "${name}": its header is not valid UTF-8`, {
      path: name,
      cause,
    });
  }
  const model = parseCompiledModel(parseStrictJson(text, name), name);
  const parts = new Map<Digest, Uint8Array>();
  let at = end;
  for (const [wanted, size] of partsOf(model)) {
    if (size > bytes.byteLength - at) throw cut();
    const part = bytes.subarray(at, at + size);
    checkPart(part, wanted, digest(part), name);
    parts.set(wanted, part);
    at += size;
  }
  if (at !== bytes.byteLength) throw cut();
  return { model, parts };
}

/**
 * Checks the digest of a program or of data.
 * @throws FormatError `mismatch`
 */
export function checkPart(part: Uint8Array, wanted: Digest, found: Digest, name: string): void {
  if (found === wanted) return;
  throw new FormatError(
    "mismatch",
    `Cannot use a part of "${name}": its ${part.byteLength} bytes have digest ${found}, not ${wanted}`,
    { path: name, digest: wanted, hint: "Compile it again: it was changed after it was compiled" },
  );
}

/** Lists the size of each part, in the order of their first use. */
function partsOf(model: CompiledModel): Map<Digest, number> {
  const programs = model.methods.flatMap((method) => method.partitions.map((each) => each.program));
  return new Map([...programs, ...model.data].map(({ digest, size }) => [digest, size]));
}
