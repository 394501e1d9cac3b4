/** How many bytes from a file's start tell its format. */
export const MAGIC_BYTES = 1024;

/** What the first {@link MAGIC_BYTES} of a file show, a format each; they exclude each other. */
export const MAGIC_CHECKS: Readonly<Record<string, (head: DataView, size: number) => boolean>> = {
  executorch: (head) => head.byteLength >= 8 && /^(ET|FT)\d\d$/.test(text(head, 4, 8)),
  gguf: (head) => text(head, 0, 4) === "GGUF",
  irpa: (head) => text(head, 0, 4) === "IRPA",
  mlc: (head) => /^\s*\{/.test(text(head)) && /"(dataPath|ParamSize|ParamBytes)"\s*:/.test(text(head)),
  mlir: (head) => text(head, 0, 4) === "ML\xefR",
  numpy: (head) => text(head, 0, 6) === "\x93NUMPY" || firstMember(head).endsWith(".npy"),
  pytorch: (head) => /^[^/]+\/data\.pkl$/.test(firstMember(head)) || text(head, 0, 10) === LEGACY_PYTORCH,
  // Its length, and the brace that its header starts with.
  safetensors: (head, size) =>
    head.byteLength > 8 &&
    head.getUint8(8) === 0x7b &&
    head.getBigUint64(0, true) <= BigInt(Math.max(0, size - 8)),
  "tvm-params": (head) => head.byteLength >= 8 && head.getBigUint64(0, true) === 0xf7e58d4f05049cb7n,
};

/** The pickled number that files of PyTorch before 1.6 start with. */
const LEGACY_PYTORCH = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20";

/**
 * Whether a file may be an ONNX model, which has no magic number: a protobuf message that starts with the version of
 * the representation, as writers do, and then another of the model's fields.
 */
export function looksLikeOnnx(head: Uint8Array): boolean {
  const [tag, version, next = 0] = head;
  const field = next >> 3;
  return (
    tag === 0x08 &&
    version !== undefined &&
    version > 0 &&
    version < 64 &&
    field >= 2 &&
    [0, 2].includes(next & 7)
  );
}

/** Whether a file may be MLIR as text, which has no magic number: by the first thing in it that is no comment. */
export function looksLikeMlir(head: Uint8Array): boolean {
  const start = text(new DataView(head.buffer, head.byteOffset, head.byteLength)).replace(
    /^(\s+|\/\/[^\n]*\n)+/,
    "",
  );
  return /^("?builtin\.module"?|module|func\.func|ml_program\.\w+|llvm\.\w+)\b|^[#!][A-Za-z_][\w.$]* = |^\{-#/.test(
    start,
  );
}

/** The name of a zip archive's first file; empty for what is no archive. */
function firstMember(head: DataView): string {
  if (head.byteLength < 30 || head.getUint32(0, true) !== 0x04034b50) return "";
  return text(head, 30, 30 + head.getUint16(26, true));
}

/** Bytes as characters of the same numbers. */
function text(head: DataView, start = 0, end: number = head.byteLength): string {
  const from = Math.min(start, head.byteLength);
  const length = Math.min(end, head.byteLength) - from;
  return String.fromCharCode(...new Uint8Array(head.buffer, head.byteOffset + from, length));
}
