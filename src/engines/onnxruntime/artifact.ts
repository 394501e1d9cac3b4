import { EngineError } from "../../errors.ts";
import type { LoneNodes } from "../../formats/onnx/lone-nodes.ts";
import type { CompiledTemplate } from "../../formats/onnx/weightless.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Signature } from "../engine.ts";

/** A weight that a compiled program wants, and the name it has there. */
export interface WantedWeight {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  /** Name in the model's weight table. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A weight that the engine prepacks, and what to prepack it with to get the same as in its program. */
export interface Prepacking {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  /** Weights of the program that go in, that one first: name in the lone nodes, name in the compiled program. */
  readonly operands: LoneNodes["operands"];
  /** The nodes that it is prepacked for, alone: the template's parts in base64. */
  readonly before: string;
  readonly graph: string;
}

/** A value that only weights go into, and how to make it. */
export interface Folding {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Weights that go in, in order: name in the lone nodes, name in the compiled program. */
  readonly operands: LoneNodes["operands"];
  /** What the lone nodes call it. */
  readonly result: string;
  /** The nodes that make it, alone: the template's parts in base64. */
  readonly before: string;
  readonly graph: string;
}

/** The same program with constants folded once, where its template computes them at each call. */
export interface FoldedProgram {
  readonly foldings: readonly Folding[];
  /** Initializers that it does not take: its foldings alone do. */
  readonly dropped: readonly string[];
  readonly template: CompiledTemplate;
}

/** What a compilation made: all that loading another model of the family needs, so that nothing is parsed again. */
export interface Artifact {
  readonly signature: Signature;
  readonly weights: readonly WantedWeight[];
  /** Operator for which the engine has to prepack; `undefined` where it gains nothing. */
  readonly prepackingOperator: string | undefined;
  /** Names of the weights that the engine copies for each session where it prepacks. */
  readonly prepacked: readonly string[];
  /** Weights of which one prepacked copy can serve every session. */
  readonly prepackings: readonly Prepacking[];
  /** `undefined` where the engine has to optimize with the weights at each load, because of the blocker. */
  readonly template: CompiledTemplate | undefined;
  readonly weightlessBlocker: string | undefined;
  /** `undefined` where there is nothing to fold. */
  readonly folded: FoldedProgram | undefined;
}

const PARTS = ["before", "graph", "after"] as const;

/** An artifact's header in JSON, in the words of the first version of the cache. */
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
  /** Of each part of the templates, in bytes. */
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
    throw new EngineError("engine", "Cannot read a compiled program: its parts do not add up", {
      hint: "Drop compiled programs with tare gc --cache; they are compiled again",
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
