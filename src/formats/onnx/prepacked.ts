import { eachField, frameOf } from "../../encodings/protobuf/fields.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { FormatError, operationError } from "../../errors.ts";
import type { PrepackedEntry } from "../../model/prepacked-weight.ts";
import type { OnnxTensor } from "./graph.ts";
import { readString } from "./parse-tensor.ts";
import { EntryFields, TensorFields } from "./schema.ts";

/**
 * Start of ONNX Runtime's keys for prepacked weights in a tensor's external data. The engine does not check these
 * entries, so those of a model's files are never used: binding a weight replaces its tensor.
 */
export const PREPACKED = "prepacked_";

/**
 * Reads the entries of prepacked weights that ONNX Runtime wrote for a tensor.
 * @throws FormatError `malformed`
 */
export function readPrepacked(view: SparseBytes, tensor: OnnxTensor): PrepackedEntry[] {
  const entries: PrepackedEntry[] = [];
  const { frame } = tensor;
  eachField(view, frame.start, frame.end, (field) => {
    if (field.number !== TensorFields.external) return;
    const { start, end } = frameOf(field, frame, view);
    let key = "";
    let value = "";
    eachField(view, start, end, (part) => {
      if (part.number === EntryFields.key) key = readString(view, part);
      else if (part.number === EntryFields.value) value = readString(view, part);
    });
    if (key.startsWith(PREPACKED)) entries.push(parsePrepacked(value, view.name, tensor.name));
  });
  return entries;
}

/** Encodes an entry for ONNX Runtime: key, then offset, length and an unused checksum of each buffer. */
export function formatPrepacked({ key, buffers }: PrepackedEntry): string {
  return [key, ...buffers.map(({ offset, length }) => `${offset};${length};0`)].join("|");
}

function parsePrepacked(text: string, path: string, tensor: string): PrepackedEntry {
  const [key = "", ...rest] = text.split("|");
  const buffers = rest.map((part) => {
    const [, offset, length] = /^(\d{1,15});(\d{1,15});[^;]*$/.exec(part) ?? [];
    if (offset === undefined || length === undefined) {
      throw operationError(FormatError, {
        code: "malformed",
        doing: `read the prepacked copies of "${tensor}"`,
        reason: `its entry has "${part}"`,
        path,
        tensor,
      });
    }
    return { offset: Number(offset), length: Number(length) };
  });
  return { key, buffers };
}
