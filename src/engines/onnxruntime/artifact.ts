import { EngineError } from "../../errors.ts";
import type { LoneNodes } from "../../formats/onnx/lone-nodes.ts";
import type { CompiledTemplate } from "../../formats/onnx/weightless.ts";
import type { DType } from "../../model/dtype.ts";
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

/** A weight that the engine packs, and what to pack it with to get the same as in its program. */
export interface Packing {
  /** Name of the initializer in the compiled program. */
  readonly input: string;
  /** Weights of the program that go in, that one first: name in the lone nodes, name in the compiled program. */
  readonly operands: LoneNodes["operands"];
  /** The nodes that it is packed for, alone: the template's parts in base64. */
  readonly before: string;
  readonly graph: string;
}

/** What a compilation made: all that loading another model of the family needs, so that nothing is parsed again. */
export interface Artifact {
  readonly signature: Signature;
  readonly weights: readonly WantedWeight[];
  /** Operator for which the engine has to prepack; `undefined` where it gains nothing. */
  readonly prepacking: string | undefined;
  /** Names of the weights that the engine copies for each session where it prepacks. */
  readonly packed: readonly string[];
  /** Weights of which one packed copy can serve every session. */
  readonly packings: readonly Packing[];
  /** `undefined` where the engine has to optimize with the weights at each load, for the reason in `whole`. */
  readonly template: CompiledTemplate | undefined;
  readonly whole: string | undefined;
}

const PARTS = ["before", "graph", "after"] as const;

/** Encodes an artifact: u32 length of a JSON header, the header, the parts of the template. */
export function encodeArtifact({ template, ...rest }: Artifact): Uint8Array {
  const lengths = template && PARTS.map((part) => template[part].byteLength);
  const header = new TextEncoder().encode(JSON.stringify({ ...rest, lengths }));
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, header.byteLength, true);
  return Buffer.concat([prefix, header, ...(template ? PARTS.map((part) => template[part]) : [])]);
}

/** Decodes what {@link encodeArtifact} wrote; the cache has checked its digest. */
export function decodeArtifact(bytes: Uint8Array): Artifact {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerEnd = 4 + view.getUint32(0, true);
  const { lengths, ...rest } = JSON.parse(new TextDecoder().decode(bytes.subarray(4, headerEnd))) as Omit<
    Artifact,
    "template"
  > & { lengths: [number, number, number] | undefined };
  const artifact = { ...rest, prepacking: rest.prepacking, whole: rest.whole };
  if (!lengths) return { ...artifact, template: undefined };
  const [before, graph, after] = lengths;
  if (headerEnd + before + graph + after !== bytes.byteLength) {
    throw new EngineError("engine", "Cannot read a compiled program: its parts do not add up", {
      hint: "tare gc --cache drops compiled programs; they are made again",
    });
  }
  const cut = (start: number, length: number): Uint8Array => bytes.subarray(start, start + length);
  const template = {
    before: cut(headerEnd, before),
    graph: cut(headerEnd + before, graph),
    after: cut(headerEnd + before + graph, after),
  };
  return { ...artifact, template };
}
