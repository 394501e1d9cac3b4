import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { readZip, type ZipMember } from "../../encodings/zip/read.ts";
import type { ModelDraft, WeightDraft } from "../../model/draft.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import { fileErrors, type FileFail, shorten } from "../../errors.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { readPerFile } from "../method-per-file.ts";
import { parsePickle } from "./pickle.ts";
import { LEGACY_MAGIC, PICKLE_NAME } from "./schema.ts";
import { collectTensors, type TensorView } from "./tensors.ts";

/** Longest pickle, in bytes. A tensor takes some 200. */
const MAX_PICKLE_BYTES = 32 * 1024 * 1024;
/** How often views may cover the bytes of a file. Checkpoints stay far below. */
const MAX_OVERLAP = 16;
const SAVE_AGAIN = "Load it with PyTorch, and save its state_dict again: with torch.save, or as safetensors";

/**
 * Reads checkpoints of `torch.save`: a method for each file, a weight for each tensor that can be used in place. Other
 * tensors stay in the file's other bytes, and a note of the draft says so. The pickle is parsed as data: nothing that
 * it names is called, and names that do not belong to checkpoints are refused.
 * Reads the archive's directory, the pickle and the record of the byte order only.
 * @throws FormatError with file, tensor and offset
 */
export async function readPytorch(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  return readPerFile("pytorch", files, (source, file, notes) => readCheckpoint(source, file, notes, options));
}

async function readCheckpoint(
  source: ByteSource,
  file: number,
  notes: string[],
  options: ReadOptions,
): Promise<WeightDraft[]> {
  const fail = fileErrors(source);
  await refuseLegacy(source, fail, options);
  const members = new Map((await readZip(source, options)).map((member) => [member.name, member]));
  const pickles = [...members.values()].filter(({ name }) => PICKLE_NAME.test(name));
  const [pickle] = pickles;
  if (!pickle || pickles.length > 1) {
    throw fail("unknown-format", "it is no archive of torch.save", { hint: SAVE_AGAIN });
  }
  if (pickle.compression !== "stored") {
    throw fail("unsupported", "its pickle is compressed", { offset: pickle.start, hint: SAVE_AGAIN });
  }
  if (pickle.size > MAX_PICKLE_BYTES) {
    throw fail("too-large", `its pickle has ${pickle.size} bytes`, { offset: pickle.start });
  }
  const root = parsePickle(
    await source.read(pickle.start, pickle.size, options),
    (code, reason, { offset = 0, hint } = {}) => fail(code, reason, { offset: pickle.start + offset, hint }),
  );
  const folder = pickle.name.slice(0, -"data.pkl".length);
  const little = await isLittleEndian(source, members.get(`${folder}byteorder`), fail, options);
  const odd = new Map<string, string[]>();
  const weights: WeightDraft[] = [];
  for (const { name, view } of collectTensors(root, fail)) {
    const found = "odd" in view ? view : placeOf(view, members, folder, little, name, fail);
    if (!("odd" in found)) {
      weights.push({ name, ...found, at: { file, ...found.at } });
      continue;
    }
    const names = odd.get(found.odd);
    if (names) names.push(name);
    else odd.set(found.odd, [name]);
  }
  checkOverlap(weights, source.size, fail);
  for (const [what, [first = "", ...others]] of odd) {
    const are = others.length > 0 ? `and ${others.length} more are` : "is";
    notes.push(`Tensor "${shorten(first)}" ${are} ${what}: kept as plain bytes`);
  }
  return weights;
}

type Placed = Pick<WeightDraft, "dtype" | "shape"> & { readonly at: { offset: number; length: number } };

/** Finds a tensor's bytes in the file, or the reason why they cannot be used in place. */
function placeOf(
  { storage, element, shape, offset }: TensorView,
  members: ReadonlyMap<string, ZipMember>,
  folder: string,
  little: boolean,
  name: string,
  fail: FileFail,
): Placed | { readonly odd: string } {
  const member = members.get(`${folder}data/${storage.key}`);
  if (!member) throw fail("malformed", `storage "${shorten(storage.key)}" is not in it`, { tensor: name });
  if (member.size !== storage.size) {
    const reason = `storage "${shorten(storage.key)}" has ${member.size} bytes, not ${storage.size}`;
    throw fail("size-mismatch", reason, { offset: member.start, tensor: name });
  }
  if (member.compression !== "stored") return { odd: "compressed" };
  if (!little && element.bytes > 1) return { odd: "big-endian" };
  const { dtype } = element;
  const length = dtype && tensorBytes(dtype, shape);
  if (!dtype || length === undefined) return { odd: `of type ${element.name}` };
  return { dtype, shape, at: { offset: member.start + offset * element.bytes, length } };
}

/** Before version 2.1 PyTorch wrote no record; its files are little-endian. */
async function isLittleEndian(
  source: ByteSource,
  record: ZipMember | undefined,
  fail: FileFail,
  options: ReadOptions,
): Promise<boolean> {
  if (!record) return true;
  const bytes =
    record.packed <= 16 ? await source.read(record.start, record.packed, options) : new Uint8Array();
  const text = new TextDecoder().decode(bytes);
  if (record.compression === "stored" && (text === "little" || text === "big")) return text === "little";
  throw fail("unsupported", "its byte order is neither little nor big", { offset: record.start });
}

async function refuseLegacy(source: ByteSource, fail: FileFail, options: ReadOptions): Promise<void> {
  const first = await source.read(0, Math.min(source.size, LEGACY_MAGIC.byteLength), options);
  if (first.byteLength < LEGACY_MAGIC.byteLength || !LEGACY_MAGIC.every((byte, nth) => first[nth] === byte))
    return;
  const reason = "it has the form from before PyTorch 1.6, a pickle without an archive";
  throw fail("unsupported", reason, { offset: 0, hint: SAVE_AGAIN });
}

/** Bounds the bytes of all tensors: a small file must not become any number of large weights. */
function checkOverlap(weights: readonly WeightDraft[], size: number, fail: FileFail): void {
  const ranges = new Map(weights.map(({ at }) => [`${at.offset}:${at.length}`, at.length]));
  const total = [...ranges.values()].reduce((sum, length) => sum + length, 0);
  if (total > size * MAX_OVERLAP) {
    throw fail("too-large", `its tensors have ${total} bytes, and share those of a file of ${size}`);
  }
}
