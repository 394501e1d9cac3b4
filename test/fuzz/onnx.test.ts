import { SparseBytes } from "../../src/encodings/protobuf/sparse-bytes.ts";
import { parseOnnx } from "../../src/formats/onnx/parse.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import { EVERYTHING } from "../support/onnx-everything.ts";
import { type Fixture, fuzz } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { filesIn, lone } from "./fixtures.ts";
import { must } from "./must.ts";
import { allFields, changeMessage, fieldsOf, type ProtoField } from "./protobuf.ts";

interface Model extends Fixture {
  readonly fields: readonly ProtoField[];
  readonly all: readonly ProtoField[];
  /** Where its graph ends: what follows may be missed or not. */
  readonly end: number;
}

/** Of a `ModelProto`. */
const GRAPH = 7;

function model(fixture: Fixture): Model {
  const bytes = fixture.files[fixture.given[0] as string] as Uint8Array;
  const fields = fieldsOf(bytes) as ProtoField[];
  const { body } = fields.find(({ number }) => number === GRAPH) as ProtoField;
  return {
    ...fixture,
    fields,
    all: allFields(fields),
    end: body.byteOffset - bytes.byteOffset + body.length,
  };
}

function withData(name: string, data: string): Fixture {
  return { files: filesIn("onnx", new RegExp(`^(${name}\\.onnx|${data})$`)), given: [`${name}.onnx`] };
}

fuzz({
  name: "onnx",
  fixtures: [
    ...lone(filesIn("onnx", /^(constants|control-flow|functions|sparse|typed)\.onnx$/)),
    withData("control-flow-external", "control-flow.data"),
    { files: { "m.onnx": EVERYTHING, "w.bin": new Uint8Array(9) }, given: ["m.onnx"], broken: ["m.onnx"] },
  ].map(model),
  read: ({ given, folder }) => readOnnx(given, folder),
  check(draft, files, given) {
    checkDraft(draft);
    for (const path of given) {
      // The same without leaving anything out.
      const { tensors } = parseOnnx(new SparseBytes(path, files[path] as Uint8Array));
      must(tensors.length >= (draft.methods[0]?.weights.length ?? 0), "the whole file has fewer tensors");
    }
  },
  refusesCut: ({ given, end: graph }, path, end) => given.includes(path) && end < graph,
  mutate(random, { files, given, fields, all }) {
    const [name = ""] = given;
    return { files: { ...files, [name]: changeMessage(random, fields, all) } };
  },
});
