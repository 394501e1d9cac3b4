import { arrangedSource, rowMajor } from "../../encodings/arranged-source.ts";
import { readZip, type ZipMember } from "../../encodings/zip/read.ts";
import { fileErrors, type FileFail, shorten } from "../../errors.ts";
import { type ByteSource, type ReadOptions, sliceSource } from "../../io/byte-source.ts";
import { LOOSE_NOTE, type LooseTensor, type ModelDraft, type WeightDraft } from "../../model/draft.ts";
import { type DType, tensorBytes } from "../../tensor/dtype.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { methodPerFile } from "../method-per-file.ts";
import { isLegacy, readLegacy } from "./legacy.ts";
import { parsePickle } from "./pickle.ts";
import { PICKLE_NAME } from "./schema.ts";
import { archivedStorages, type FindStorage } from "./storages.ts";
import { collectTensors, type TensorView } from "./tensors.ts";
import type { PickleValue } from "./values.ts";

/** Longest pickle, in bytes. A tensor takes some 200. */
const MAX_PICKLE_BYTES = 32 * 1024 * 1024;
/** How often views may cover the bytes of a file. Checkpoints stay far below. */
const MAX_OVERLAP = 16;
/** Bytes of views that repeat elements which every file may have. */
const MIN_REPEATED_BYTES = 16 * 1024 * 1024;
/** Types whose highest bit is the sign. */
const SIGNED_FLOATS: readonly DType[] = ["float16", "bfloat16", "float32", "float64"];
const SAVE_AGAIN = "Load it with PyTorch, and save its state_dict again: with torch.save, or as safetensors";

/** What a checkpoint has. */
interface Checkpoint {
  readonly root: PickleValue;
  readonly find: FindStorage;
  readonly isLittleEndian: boolean;
}

/** What a checkpoint's tensors become. */
interface Found {
  readonly weights: WeightDraft[];
  readonly loose: LooseTensor[];
}

/**
 * Reads checkpoints of `torch.save`: a method for each file, a weight for each tensor that can be used in place. Others
 * (views with strides, compressed, big-endian) are loose tensors, and so are those that cannot be read (quantized, sparse):
 * they stay in the file's other bytes, and a note of the draft says so. The pickle is parsed as data: nothing that it
 * names is called. Objects of unknown classes are skipped.
 * Reads the archive's directory, the pickle and the record of the byte order only.
 * @throws FormatError with file, tensor and offset
 */
export async function readPytorch(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const notes: string[] = [];
  const found: Found[] = [];
  for (const [file, { source }] of files.entries()) {
    const fail = fileErrors(source);
    const checkpoint = (await isLegacy(source, options))
      ? { ...(await readLegacy(source, fail, options)), isLittleEndian: true }
      : await readArchive(source, fail, options);
    const tensors = tensorsOf(checkpoint, source, file, fail);
    notes.push(...notesOf(tensors.loose));
    found.push(tensors);
  }
  const methods = methodPerFile(
    files,
    found.map(({ weights }) => weights),
  ).map((method, nth) => {
    const loose = found[nth]?.loose ?? [];
    return loose.length > 0 ? { ...method, loose } : method;
  });
  const draft = { format: "pytorch", methods, files: files.map(({ path, source }) => ({ path, source })) };
  return notes.length > 0 ? { ...draft, notes } : draft;
}

async function readArchive(source: ByteSource, fail: FileFail, options: ReadOptions): Promise<Checkpoint> {
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
  const isLittleEndian = await isLittle(source, members.get(`${folder}byteorder`), fail, options);
  return { root, find: archivedStorages(source, members, folder, fail), isLittleEndian };
}

function tensorsOf(
  { root, find, isLittleEndian }: Checkpoint,
  source: ByteSource,
  file: number,
  fail: FileFail,
): Found {
  const found: Found = { weights: [], loose: [] };
  /** Bytes of views: their elements may repeat, or be in other tensors too. */
  let repeated = 0;
  for (const { name, view } of collectTensors(root, fail)) {
    const place = "odd" in view ? { form: view.odd } : placeOf(view, find, isLittleEndian, name, fail);
    if (!("form" in place)) {
      found.weights.push({ name, ...place, at: { file, ...place.at } });
      continue;
    }
    const { content } = place;
    if (content && "strides" in view) repeated += tensorBytes(content.dtype, content.shape) ?? 0;
    const isTooLarge = repeated > Math.max(MIN_REPEATED_BYTES, source.size * MAX_OVERLAP);
    if (content && isTooLarge)
      found.loose.push({ name, form: "a view that repeats the elements of its file" });
    else found.loose.push({ name, hint: content ? undefined : SAVE_AGAIN, ...place });
  }
  checkOverlap(found.weights, source.size, fail);
  const inside = found.loose.find(({ form }) => form.startsWith("in an object"));
  if (inside && found.weights.length === 0 && found.loose.every(({ content }) => !content)) {
    throw fail("unsupported", `it is ${inside.form}`, { tensor: inside.name, hint: SAVE_AGAIN });
  }
  return found;
}

/** One note for each form. */
function notesOf(loose: readonly LooseTensor[]): string[] {
  const names = new Map<string, string[]>();
  for (const { name, form } of loose) {
    const known = names.get(form);
    if (known) known.push(name);
    else names.set(form, [name]);
  }
  return [...names].map(([form, [first = "", ...others]]) => {
    const are = others.length > 0 ? `and ${others.length} more are` : "is";
    return `Tensor "${shorten(first)}" ${are} ${form}: ${LOOSE_NOTE}`;
  });
}

type Placed = Pick<WeightDraft, "dtype" | "shape"> & { readonly at: { offset: number; length: number } };

/** Finds a tensor's bytes in the file, or how to make them. */
function placeOf(
  { storage, element, shape, offset, strides, conjugated, negated }: TensorView,
  find: FindStorage,
  isLittleEndian: boolean,
  name: string,
  fail: FileFail,
): Placed | Pick<LooseTensor, "form" | "content"> {
  const place = find(storage.key);
  if (!place) throw fail("malformed", `storage "${shorten(storage.key)}" is not in it`, { tensor: name });
  if (place.size !== storage.size) {
    const reason = `storage "${shorten(storage.key)}" has ${place.size} bytes, not ${storage.size}`;
    throw fail("size-mismatch", reason, { offset: place.start, tensor: name });
  }
  const { dtype, bytes: width } = element;
  const length = dtype && tensorBytes(dtype, shape);
  if (!dtype || length === undefined) return { form: `of type ${element.name}` };
  const isComplex = dtype.startsWith("complex");
  const part = isComplex ? width / 2 : width;
  const swap = isLittleEndian ? 1 : part;
  const forms = [
    ...(place.start === undefined ? ["compressed"] : []),
    ...(swap > 1 ? ["big-endian"] : []),
    ...(strides ? ["not contiguous"] : []),
    ...(conjugated || negated ? ["conjugated or negated when it is read"] : []),
  ];
  const form = forms.join(", ");
  if (place.start !== undefined && forms.length === 0) {
    return { dtype, shape, at: { offset: place.start + offset * width, length } };
  }
  if (negated && !isComplex && !SIGNED_FLOATS.includes(dtype)) return { form };
  // The sign of a real part changes if it is negated, that of an imaginary one if only one of both is the case.
  const signs = [...(negated ? [part - 1] : []), ...(isComplex && negated !== conjugated ? [width - 1] : [])];
  const order = { width, shape, strides: strides ?? rowMajor(shape), offset, swap, flip: signs };
  const isPlain = forms.length === 1 && place.start === undefined;
  const open = (): ByteSource =>
    isPlain ? sliceSource(place.open(), offset * width, length) : arrangedSource(place.open(), order);
  return { form, content: { dtype, shape, open } };
}

/** Before version 2.1 PyTorch wrote no record; its files are little-endian. */
async function isLittle(
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

/** Bounds the bytes of all tensors: a small file must not become any number of large weights. */
function checkOverlap(weights: readonly WeightDraft[], size: number, fail: FileFail): void {
  const ranges = new Map(weights.map(({ at }) => [`${at.offset}:${at.length}`, at.length]));
  const total = [...ranges.values()].reduce((sum, length) => sum + length, 0);
  if (total > size * MAX_OVERLAP) {
    throw fail("too-large", `its tensors have ${total} bytes, and share those of a file of ${size}`);
  }
}
