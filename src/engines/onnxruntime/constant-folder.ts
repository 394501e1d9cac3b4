import { createHash } from "node:crypto";
import { bindTemplate } from "../../formats/onnx/weightless.ts";
import type { FoldedFile } from "../../model/folded-weight.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { LinkPlan } from "../../model/link-plan.ts";
import type { FoldedCache } from "../engine.ts";
import type { Artifact, Folding } from "./artifact.ts";
import { cpuFingerprint } from "./cpu.ts";
import { operandsOf, type Operand, type PrepackOptions, type PrepackTarget } from "./prepacker.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";
import { SingleFlight } from "../../io/single-flight.ts";

/** Version of how derived files are made: part of every key. */
const RECIPE = 1;

/** Derives weights once for every session and process, in the engine itself: it is given the file, and maps it. */
export class ConstantFolder {
  readonly #target: PrepackTarget;
  readonly #cache: FoldedCache;
  readonly #makings = new SingleFlight<FoldedFile>();

  constructor(version: string, cache: FoldedCache) {
    this.#target = { version, cpu: cpuFingerprint() };
    this.#cache = cache;
  }

  /**
   * Finds or makes the file of each value that a program can be given derived.
   * @param folder that the plan's locations are relative to
   * @returns by initializer of the compiled program; `undefined` where one is lacking: its nodes then have to run
   */
  async fold(
    artifact: Artifact,
    plan: LinkPlan,
    folder: string,
    thread: EngineThread,
    options: PrepackOptions = {},
  ): Promise<ReadonlyMap<string, FoldedFile> | undefined> {
    const files = new Map<string, FoldedFile>();
    for (const derivation of artifact.folded?.foldings ?? []) {
      options.signal?.throwIfAborted();
      const operands = operandsOf(derivation, artifact, plan);
      if (!operands) return undefined;
      const key = foldKey(derivation, operands, this.#target);
      const known = await this.#cache.get(key, { full: options.verify ?? false });
      const file = known ?? (await this.#make(key, derivation, operands, folder, thread));
      if (!file || file.length !== tensorBytes(derivation.dtype, derivation.shape)) return undefined;
      files.set(derivation.input, file);
    }
    return files;
  }

  async #make(
    key: string,
    derivation: Folding,
    operands: readonly Operand[],
    folder: string,
    thread: EngineThread,
  ): Promise<FoldedFile | undefined> {
    const digests = operands.map(([, { digest }]) => digest);
    const work = (path: string): Promise<string> => foldAlone(derivation, operands, folder, path, thread);
    return this.#makings.make(key, () => this.#cache.make(key, digests, work));
  }
}

/** The key of a derived weight: all that its bytes depend on, and nothing of where or in which model that is. */
export function foldKey(
  { before, graph, result }: Pick<Folding, "before" | "graph" | "result">,
  operands: readonly Operand[],
  { version, cpu }: PrepackTarget,
): string {
  const parts = operands.map(([name, { dtype, shape, digest }]) => [name, dtype, shape, digest]);
  const nodes = [before, graph, result];
  const all = JSON.stringify([RECIPE, version, process.platform, process.arch, cpu, nodes, parts]);
  return createHash("sha256").update(all).digest("hex");
}

/** As the nodes run where they are kept in a program. */
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
  const [head, body] = [before, graph].map((part) => new Uint8Array(Buffer.from(part, "base64")));
  const template = { before: head as Uint8Array, graph: body as Uint8Array, after: new Uint8Array(0) };
  const model = bindTemplate(
    template,
    operands.map(([input, operand]) => {
      const { location, offset, length } = operand;
      const binding = { kind: "file", location, offset, length } as const;
      return { input, dtype: operand.dtype, shape: operand.shape, binding };
    }),
  );
  const settings = { ...SETTINGS, folder };
  return thread.ask({ op: "derive", model, settings, output: result, dtype, shape, path });
}
