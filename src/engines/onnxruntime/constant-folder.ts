import { createHash } from "node:crypto";
import { bindTemplate } from "../../formats/onnx/weightless.ts";
import type { FoldedFile } from "../../model/folded-weight.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { LinkedOnnx } from "../../link/linked-program.ts";
import type { FoldedCache } from "../engine-caches.ts";
import type { Artifact, Folding } from "./artifact.ts";
import { cpuFingerprint } from "./cpu.ts";
import type { CachedFileOptions, CacheTarget } from "./cache-target.ts";
import { type Operand, operandsOf } from "./operands.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";
import { SingleFlight } from "../../io/single-flight.ts";

/** Version of folded files, part of every key. */
const RECIPE = 1;

/** Folds constants from weights in the engine, once for all sessions and processes, which map the file of each constant. */
export class ConstantFolder {
  readonly #target: CacheTarget;
  readonly #cache: FoldedCache;
  readonly #underway = new SingleFlight<FoldedFile>();

  constructor(version: string, cache: FoldedCache) {
    this.#target = { version, cpu: cpuFingerprint() };
    this.#cache = cache;
  }

  /**
   * Finds or makes the file of each constant that can be folded from a program's weights.
   * @returns files by initializer of the folded program; `undefined` if a file is missing, so that its nodes have to run
   */
  async fold(
    artifact: Artifact,
    { plan, folder }: Pick<LinkedOnnx, "plan" | "folder">,
    thread: EngineThread,
    options: CachedFileOptions = {},
  ): Promise<ReadonlyMap<string, FoldedFile> | undefined> {
    const files = new Map<string, FoldedFile>();
    for (const folding of artifact.folded?.foldings ?? []) {
      options.signal?.throwIfAborted();
      const operands = operandsOf(folding, artifact, plan);
      if (!operands) return undefined;
      const key = foldKey(folding, operands, this.#target);
      const known = await this.#cache.get(key, { full: options.verify ?? false });
      const file = known ?? (await this.#make(key, folding, operands, folder, thread));
      if (!file || file.length !== tensorBytes(folding.dtype, folding.shape)) return undefined;
      files.set(folding.input, file);
    }
    return files;
  }

  async #make(
    key: string,
    folding: Folding,
    operands: readonly Operand[],
    folder: string,
    thread: EngineThread,
  ): Promise<FoldedFile | undefined> {
    const digests = operands.map(([, { digest }]) => digest);
    const work = (path: string): Promise<string> => foldAlone(folding, operands, folder, path, thread);
    return this.#underway.make(key, () => this.#cache.make(key, digests, work));
  }
}

/** Key of a folded constant. It identifies all inputs of its bytes, and does not depend on the model or on paths. */
export function foldKey(
  { before, graph, result }: Pick<Folding, "before" | "graph" | "result">,
  operands: readonly Operand[],
  { version, cpu }: CacheTarget,
): string {
  const parts = operands.map(([name, { dtype, shape, digest }]) => [name, dtype, shape, digest]);
  const nodes = [before, graph, result];
  const all = JSON.stringify([RECIPE, version, process.platform, process.arch, cpu, nodes, parts]);
  return createHash("sha256").update(all).digest("hex");
}

/** Session options for the same values as those of the nodes in a program. */
const SETTINGS: Omit<CreateSettings, "folder"> = {
  level: "disabled",
  prepack: false,
  threads: 0,
  spinning: false,
};

async function foldAlone(
  { before, graph, result, dtype, shape }: Folding,
  operands: readonly Operand[],
  folder: string,
  path: string,
  thread: EngineThread,
): Promise<string> {
  const [header, body] = [before, graph].map((part) => new Uint8Array(Buffer.from(part, "base64")));
  const template = { before: header as Uint8Array, graph: body as Uint8Array, after: new Uint8Array(0) };
  const model = bindTemplate(
    template,
    operands.map(([input, operand]) => {
      const { location, offset, length } = operand;
      const binding = { kind: "file", location, offset, length } as const;
      return { input, dtype: operand.dtype, shape: operand.shape, binding };
    }),
  );
  const settings = { ...SETTINGS, folder };
  return thread.ask({ op: "fold", model, settings, output: result, dtype, shape, path });
}
