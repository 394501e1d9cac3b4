import { createHash } from "node:crypto";
import { join } from "node:path";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { readPrepacked } from "../../formats/onnx/prepacked.ts";
import { bindTemplate } from "../../formats/onnx/weightless.ts";
import { digestHex } from "../../tensor/digest.ts";
import { ANONYMOUS, type Binding, type LinkPlan } from "../../model/link-plan.ts";
import type { PrepackedFile, PrepackedParts } from "../../model/prepacked-weight.ts";
import type { CompileCache, PrepackedCache } from "../engine.ts";
import type { Artifact, Prepacking } from "./artifact.ts";
import { cpuFingerprint } from "./cpu.ts";
import { takesPacked } from "./packing-probe.ts";
import { type CreateSettings, PACKED_DATA } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";
import { SingleFlight } from "../../io/single-flight.ts";

/** Version of how packed files are made: part of every key. */
const RECIPE = 1;

/** What packed bytes depend on, besides the weight and its nodes. */
export interface PrepackTarget {
  /** Of the engine. */
  readonly version: string;
  /** Kernels choose a layout by instruction set. */
  readonly cpu: string;
}

/** How packings are made and found again. */
export interface PrepackOptions {
  /** Hash packed files, instead of trusting what was not written since it was hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An operand's own name, and what it is bound to. */
export type Operand = readonly [name: string, binding: Binding];

/** Packs weights once for every session and process: the engine is given the file, and maps it. */
export class Prepacker {
  readonly #target: PrepackTarget;
  readonly #cache: PrepackedCache;
  readonly #results: CompileCache | undefined;
  readonly #makings = new SingleFlight<PrepackedFile>();
  #takes: Promise<boolean> | undefined;

  /** @param results keeps whether the engine takes packed weights on this machine */
  constructor(version: string, cache: PrepackedCache, results: CompileCache | undefined) {
    this.#target = { version, cpu: cpuFingerprint() };
    this.#cache = cache;
    this.#results = results;
  }

  /**
   * Finds or makes the packed file of each weight that one can be shared of.
   * @param folder that the plan's locations are relative to
   * @returns by initializer of the compiled program; what is not there the engine packs for the session alone
   */
  async pack(
    artifact: Artifact,
    plan: LinkPlan,
    folder: string,
    thread: EngineThread,
    options: PrepackOptions = {},
  ): Promise<ReadonlyMap<string, PrepackedFile>> {
    const files = new Map<string, PrepackedFile>();
    if (artifact.prepackings.length === 0) return files;
    this.#takes ??= takesPacked(this.#target, thread, this.#results);
    if (!(await this.#takes)) return files;
    const jobs = artifact.prepackings.flatMap((packing) => {
      const operands = operandsOf(packing, artifact, plan);
      return operands ? [{ packing, operands, key: prepackKey(packing, operands, this.#target) }] : [];
    });
    const known = await Promise.all(
      jobs.map(({ key }) => this.#cache.get(key, { full: options.verify ?? false })),
    );
    // One at a time: the engine's file goes before the next is made.
    for (const [index, { packing, operands, key }] of jobs.entries()) {
      options.signal?.throwIfAborted();
      const file = known[index] ?? (await this.#make(key, packing, operands, folder, thread));
      if (file && file.entries.length > 0) files.set(packing.input, file);
    }
    return files;
  }

  async #make(
    key: string,
    packing: Prepacking,
    operands: readonly Operand[],
    folder: string,
    thread: EngineThread,
  ): Promise<PrepackedFile | undefined> {
    const [[, weight]] = operands as [Operand];
    const work = (into: string): Promise<PrepackedParts> =>
      packAlone(packing, operands, folder, into, thread);
    return this.#makings.make(key, () => this.#cache.make(key, weight, work));
  }
}

/** The key of a packed weight: its own digest (which a cache may look for), and all that its packed bytes depend on. */
export function prepackKey(
  packing: Pick<Prepacking, "before" | "graph">,
  operands: readonly Operand[],
  { version, cpu }: PrepackTarget,
): string {
  const [[, weight]] = operands as [Operand];
  const parts = operands.map(([name, { dtype, shape, digest }]) => [name, dtype, shape, digest]);
  const nodes = [packing.before, packing.graph];
  const all = JSON.stringify([RECIPE, version, process.platform, process.arch, cpu, nodes, parts]);
  return `${digestHex(weight.digest)}-${createHash("sha256").update(all).digest("hex").slice(0, 32)}`;
}

/** What a packing is made with: nothing but the kernels decides. */
const PACK_SETTINGS: Omit<CreateSettings, "folder"> = {
  level: "disabled",
  prepack: true,
  threads: 1,
  spinning: false,
};

/** Lets the engine pack a weight for its nodes alone, into a file of a folder. */
async function packAlone(
  packing: Prepacking,
  operands: readonly Operand[],
  folder: string,
  into: string,
  thread: EngineThread,
): Promise<PrepackedParts> {
  const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
  const template = {
    before: fromBase64(packing.before),
    graph: fromBase64(packing.graph),
    after: new Uint8Array(0),
  };
  const bound = operands.map(([input, { dtype, shape, location, offset, length }]) => {
    return { input, dtype, shape, binding: { kind: "file", location, offset, length } as const };
  });
  const model = bindTemplate(template, bound);
  const [[name, weight]] = operands as [Operand];
  const settings = { ...PACK_SETTINGS, folder };
  const saved = await thread.ask({ op: "pack", model, settings, into, least: weight.length });
  const view = new SparseBytes("packed program", saved);
  const tensor = parseOnnx(view).tensors.find((each) => each.local === name);
  return { path: join(into, PACKED_DATA), entries: tensor ? readPrepacked(view, tensor) : [] };
}

/** Finds the weights that go into lone nodes; `undefined` where a model lacks one, or nobody hashed it. */
export function operandsOf(
  packing: Pick<Prepacking, "operands">,
  artifact: Artifact,
  plan: LinkPlan,
): Operand[] | undefined {
  const names = new Map(artifact.weights.map(({ input, name }) => [input, name]));
  const bindings = new Map(plan.weights.map((weight) => [weight.name, weight]));
  const operands = packing.operands.flatMap(([name, input]): Operand[] => {
    const binding = bindings.get(names.get(input) ?? "");
    return binding && binding.digest !== ANONYMOUS ? [[name, binding]] : [];
  });
  return operands.length === packing.operands.length ? operands : undefined;
}
