import { EngineError } from "../../errors.ts";
import type { LoneNodes } from "../../formats/onnx/lone-nodes.ts";
import type { CompiledTemplate } from "../../formats/onnx/weightless.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Signature } from "../engine.ts";

/** A weight of a compiled program, and its name there. */
export interface WantedWeight {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  /** Name in the model's weight table. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A weight that the engine prepacks, and the nodes to prepack it with, which give the same bytes as its program. */
export interface Prepacking {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  /** Inputs of the nodes, the prepacked weight first: their names in the lone nodes and in the compiled program. */
  readonly operands: LoneNodes["operands"];
  /** Program of only the nodes that it is prepacked for: the template's parts in base64. */
  readonly before: string;
  readonly graph: string;
}

/** A value that depends only on weights, and the nodes that compute it. */
export interface Folding {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Weights that are inputs of the nodes, in order: name in the lone nodes, and name in the compiled program. */
  readonly operands: LoneNodes["operands"];
  /** Name of the value in the lone nodes. */
  readonly result: string;
  /** Program of only the nodes that compute it: the template's parts in base64. */
  readonly before: string;
  readonly graph: string;
}

/** The same program with folded constants, which its template computes at each call. */
export interface FoldedProgram {
  readonly foldings: readonly Folding[];
  /** Initializers that only its foldings use. */
  readonly dropped: readonly string[];
  readonly template: CompiledTemplate;
}

/** Result of a compilation: all data that a load of another model of the family needs, without parsing the program again. */
export interface Artifact {
  readonly signature: Signature;
  readonly weights: readonly WantedWeight[];
  /** Operator that makes prepacking necessary; `undefined` if prepacking gains nothing. */
  readonly prepackingOperator: string | undefined;
  /** Names of the weights that the engine copies for each session if it prepacks. */
  readonly prepacked: readonly string[];
  /** Weights whose prepacked copy all sessions can share. */
  readonly prepackings: readonly Prepacking[];
  /** `undefined` if the engine has to optimize with the weights at each load, because of `weightlessBlocker`. */
  readonly template: CompiledTemplate | undefined;
  readonly weightlessBlocker: string | undefined;
  /** `undefined` if no constant can be folded. */
  readonly folded: FoldedProgram | undefined;
}

const PARTS = ["before", "graph", "after"] as const;

/** JSON header of an artifact, with the field names of the first version of the cache. */
interface Header {
  readonly signature: Signature;
  readonly weights: readonly WantedWeight[];
  readonly prepacking?: string | undefined;
  readonly packed: readonly string[];
  readonly packings: readonly Prepacking[];
  readonly whole?: string | undefined;
  readonly derived?:
    | { readonly derivations: readonly Folding[]; readonly dropped: readonly string[] }
    | undefined;
  /** Size of each part of the templates, in bytes. */
  readonly lengths: readonly number[];
}

/** Encodes an artifact: u32 length of a JSON header, the header, the parts of its templates. */
export function encodeArtifact(artifact: Artifact): Uint8Array {
  const { signature, weights, folded } = artifact;
  const parts = [artifact.template, folded?.template].flatMap((each) =>
    each ? PARTS.map((part) => each[part]) : [],
  );
  const fields: Header = {
    signature,
    weights,
    prepacking: artifact.prepackingOperator,
    packed: artifact.prepacked,
    packings: artifact.prepackings,
    whole: artifact.weightlessBlocker,
    derived: folded && { derivations: folded.foldings, dropped: folded.dropped },
    lengths: parts.map((part) => part.byteLength),
  };
  const header = new TextEncoder().encode(JSON.stringify(fields));
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, header.byteLength, true);
  return Buffer.concat([prefix, header, ...parts]);
}

/** Decodes what {@link encodeArtifact} wrote; the cache has checked its digest. */
export function decodeArtifact(bytes: Uint8Array): Artifact {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerEnd = 4 + view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, headerEnd))) as Header;
  let at = headerEnd;
  const parts = header.lengths.map((length) => bytes.subarray(at, (at += length)));
  if (at !== bytes.byteLength) {
    throw new EngineError("engine", "Cannot read a compiled program: its size does not match its parts", {
      hint: "Remove compiled programs with tare gc --cache; the next load compiles them again",
    });
  }
  const { signature, weights, derived } = header;
  const other = templateOf(parts.slice(PARTS.length));
  return {
    signature,
    weights,
    prepackingOperator: header.prepacking,
    prepacked: header.packed,
    prepackings: header.packings,
    weightlessBlocker: header.whole,
    template: templateOf(parts.slice(0, PARTS.length)),
    folded: derived && other && { foldings: derived.derivations, dropped: derived.dropped, template: other },
  };
}

function templateOf([before, graph, after]: readonly Uint8Array[]): CompiledTemplate | undefined {
  return before && graph && after && { before, graph, after };
}
