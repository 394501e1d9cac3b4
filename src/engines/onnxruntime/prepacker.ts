import { createHash } from "node:crypto";
import { join } from "node:path";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { readPrepacked } from "../../formats/onnx/prepacked.ts";
import { bindTemplate } from "../../formats/onnx/weightless.ts";
import type { LinkedOnnx } from "../../link/linked-program.ts";
import { digestHex } from "../../tensor/digest.ts";
import type { PrepackedFile, PrepackedParts } from "../../model/prepacked-weight.ts";
import type { CompileCache, PrepackedCache } from "../engine-caches.ts";
import type { Artifact, Prepacking } from "./artifact.ts";
import type { CachedFileOptions, CacheTarget } from "./cache-target.ts";
import { cpuFingerprint } from "./cpu.ts";
import { type Operand, operandsOf } from "./operands.ts";
import { takesPrepacked } from "./prepacking-probe.ts";
import { type CreateSettings, PREPACKED_DATA } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";
import { SingleFlight } from "../../io/single-flight.ts";

/** Version of prepacked files, part of every key. */
const RECIPE = 1;

/** Prepacks weights once for all sessions and processes, which map the file of each weight. */
export class Prepacker {
  readonly #target: CacheTarget;
  readonly #cache: PrepackedCache;
  readonly #results: CompileCache | undefined;
  readonly #underway = new SingleFlight<PrepackedFile>();
  #takes: Promise<boolean> | undefined;

  /** @param results cache of the test whether the engine maps prepacked weights on this machine */
  constructor(version: string, cache: PrepackedCache, results: CompileCache | undefined) {
    this.#target = { version, cpu: cpuFingerprint() };
    this.#cache = cache;
    this.#results = results;
  }

  /**
   * Finds or makes the file of each weight whose prepacked copy can be shared.
   * @returns files by initializer of the compiled program; the engine prepacks other weights for each session
   */
  async prepack(
    artifact: Artifact,
    { plan, folder }: Pick<LinkedOnnx, "plan" | "folder">,
    thread: EngineThread,
    options: CachedFileOptions = {},
  ): Promise<ReadonlyMap<string, PrepackedFile>> {
    const files = new Map<string, PrepackedFile>();
    if (artifact.prepackings.length === 0) return files;
    this.#takes ??= takesPrepacked(this.#target, thread, this.#results);
    if (!(await this.#takes)) return files;
    const jobs = artifact.prepackings.flatMap((prepacking) => {
      const operands = operandsOf(prepacking, artifact, plan);
      return operands ? [{ prepacking, operands, key: prepackKey(prepacking, operands, this.#target) }] : [];
    });
    const known = await Promise.all(
      jobs.map(({ key }) => this.#cache.get(key, { full: options.verify ?? false })),
    );
    // Prepack one weight at a time, and remove the engine's file before the next one.
    for (const [index, { prepacking, operands, key }] of jobs.entries()) {
      options.signal?.throwIfAborted();
      const file = known[index] ?? (await this.#make(key, prepacking, operands, folder, thread));
      if (file && file.entries.length > 0) files.set(prepacking.input, file);
    }
    return files;
  }

  async #make(
    key: string,
    prepacking: Prepacking,
    operands: readonly Operand[],
    folder: string,
    thread: EngineThread,
  ): Promise<PrepackedFile | undefined> {
    const [[, weight]] = operands as [Operand];
    const work = (into: string): Promise<PrepackedParts> =>
      prepackAlone(prepacking, operands, folder, into, thread);
    return this.#underway.make(key, () => this.#cache.make(key, weight, work));
  }
}

/** Key of a prepacked weight: its digest, which a cache may search for, and all other inputs of its bytes. */
export function prepackKey(
  prepacking: Pick<Prepacking, "before" | "graph">,
  operands: readonly Operand[],
  { version, cpu }: CacheTarget,
): string {
  const [[, weight]] = operands as [Operand];
  const parts = operands.map(([name, { dtype, shape, digest }]) => [name, dtype, shape, digest]);
  const nodes = [prepacking.before, prepacking.graph];
  const all = JSON.stringify([RECIPE, version, process.platform, process.arch, cpu, nodes, parts]);
  return `${digestHex(weight.digest)}-${createHash("sha256").update(all).digest("hex").slice(0, 32)}`;
}

/** Session options of prepacking, in which only the kernels choose the layout. */
const SETTINGS: Omit<CreateSettings, "folder"> = {
  level: "disabled",
  prepack: true,
  threads: 1,
  spinning: false,
};

/** Prepacks a weight in the engine for only its nodes, into a file of a folder. */
async function prepackAlone(
  prepacking: Prepacking,
  operands: readonly Operand[],
  folder: string,
  into: string,
  thread: EngineThread,
): Promise<PrepackedParts> {
  const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
  const template = {
    before: fromBase64(prepacking.before),
    graph: fromBase64(prepacking.graph),
    after: new Uint8Array(0),
  };
  const bound = operands.map(([input, { dtype, shape, location, offset, length }]) => {
    return { input, dtype, shape, binding: { kind: "file", location, offset, length } as const };
  });
  const model = bindTemplate(template, bound);
  const [[name, weight]] = operands as [Operand];
  const settings = { ...SETTINGS, folder };
  const saved = await thread.ask({ op: "prepack", model, settings, into, minBytes: weight.length });
  const view = new SparseBytes("prepacked program", saved);
  const tensor = parseOnnx(view).tensors.find((each) => each.local === name);
  return { path: join(into, PREPACKED_DATA), entries: tensor ? readPrepacked(view, tensor) : [] };
}
