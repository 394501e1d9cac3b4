import { engineOf } from "../engines/engine-of.ts";
import type { EngineEntry } from "../engines/engine-entry.ts";
import { type LoadForecast, plainForecast } from "../engines/load-forecast.ts";
import { ENGINES } from "../engines/registry.ts";
import { type StoredProgram, storedProgram } from "../link/stored-program.ts";
import { FileCompileCache } from "../local-store/compile-cache.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { type LoraInfo, lorasOf } from "../lora/lora-bases.ts";
import type { Method, Weight } from "../model/config.ts";
import { type Shares, sharesOf, usersOf, weightBytes } from "../model/sharing.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Signature } from "../tensor/signature.ts";
import {
  type DescribeProgram,
  type ExecutorchInfo,
  executorchDescriber,
} from "./executorch/executorch-info.ts";
import { listModels, readModel } from "../store/read-model.ts";

/** A weight of a model, the models that share it, and what the engine does with it. */
export interface WeightInfo extends Weight {
  /** Size in bytes. */
  readonly bytes: number;
  /** Names of the other models that have the same bytes. */
  readonly sharedWith: readonly string[];
  /** Whether each session has a prepacked copy of it. */
  readonly copied: boolean;
  /** Whether all sessions and processes map one prepacked copy of it. */
  readonly prepacked: boolean;
  /** Whether the engine maps constants that were folded from it once, and not the weight itself. */
  readonly folded: boolean;
}

/** A method of a model. */
export interface MethodInfo {
  readonly name: string;
  /** Digest of its program. Models with the same program are a family. */
  readonly program: Digest;
  /** Names of the other models with the same program. */
  readonly family: readonly string[];
  readonly signature: Signature;
  readonly weights: readonly WeightInfo[];
  /** The operator that makes the engine prepack; `undefined` if it prepacks nothing. */
  readonly prepackingOperator: string | undefined;
  /** Why the program cannot be compiled without its weights; `undefined` if it can. */
  readonly weightlessBlocker: string | undefined;
  /** Given for ExecuTorch programs. */
  readonly executorch?: ExecutorchInfo;
}

/** A model, and the weights that it shares with other models of its store. */
export interface ModelInfo extends Shares {
  readonly name: string;
  readonly digest: Digest;
  readonly format: string;
  /** Label of the engine that runs it; `undefined` if no engine does, for example because it has no program. */
  readonly engine: string | undefined;
  /** The original files. Sizes in bytes. */
  readonly files: readonly { readonly path: string; readonly size: number }[];
  readonly fileBytes: number;
  readonly methods: readonly MethodInfo[];
  /** Given for a LoRA adapter: its rank, and the models that it fits. */
  readonly lora?: LoraInfo;
  /** LoRA adapters of the store that fit it. */
  readonly adapters: readonly string[];
}

/** The store, the models and the engine that describe the methods of a model. */
interface Context {
  readonly store: LocalStore;
  readonly model: StoredModel;
  readonly models: readonly StoredModel[];
  /** Names of the models that use a weight, by its digest. */
  readonly users: ReadonlyMap<Digest, readonly string[]>;
  readonly engine: EngineEntry | undefined;
  /** Given for ExecuTorch programs. */
  readonly describeProgram: DescribeProgram | undefined;
}

/**
 * Describes a model of a store.
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`
 */
export async function describeModel(
  store: LocalStore,
  name: string,
  engines: readonly EngineEntry[] = ENGINES,
): Promise<ModelInfo> {
  const model = await readModel(store, name);
  const models = await listModels(store);
  const users = usersOf(models);
  const { format } = model.config;
  const engine = engineOf(format, engines);
  const describeProgram = format === "executorch" ? executorchDescriber(store, model) : undefined;
  const context: Context = { store, model, models, users, engine, describeProgram };
  const methods: MethodInfo[] = [];
  for (const method of model.config.methods) methods.push(await describeMethod(context, method));
  const files = model.config.files.map(({ path, size }) => ({ path, size }));
  const loras = await lorasOf(store, models);
  const lora = loras.get(name);
  return {
    name,
    digest: model.digest,
    format,
    engine: engine?.label,
    files,
    fileBytes: files.reduce((sum, file) => sum + file.size, 0),
    ...sharesOf(model, users),
    methods,
    ...(lora && { lora }),
    adapters: [...loras].filter(([, { bases }]) => bases.includes(name)).map(([each]) => each),
  };
}

async function describeMethod(context: Context, method: Method): Promise<MethodInfo> {
  const { store, model, models, users } = context;
  const linked = storedProgram(store, model, method);
  const forecast = await forecastOf(context, linked);
  const program = await context.describeProgram?.(method);
  const isUser = (each: StoredModel): boolean =>
    each.config.methods.some(({ file }) => each.config.files[file]?.skeleton === linked.plan.program);
  return {
    name: method.name,
    program: linked.plan.program,
    family: models
      .filter(isUser)
      .map((each) => each.name)
      .filter((each) => each !== model.name),
    signature: program?.signature ?? forecast.signature,
    ...(program && { executorch: { delegates: program.delegates, sharedMethods: program.sharedMethods } }),
    weights: method.weights.map((weight) => ({
      ...weight,
      bytes: weightBytes(weight),
      sharedWith: (users.get(weight.digest) ?? []).filter((each) => each !== model.name),
      copied: forecast.copied.has(weight.name),
      prepacked: forecast.prepacked.has(weight.name),
      folded: forecast.folded.has(weight.name),
    })),
    prepackingOperator: forecast.prepackingOperator,
    weightlessBlocker: forecast.weightlessBlocker,
  };
}

async function forecastOf({ store, engine }: Context, program: StoredProgram): Promise<LoadForecast> {
  const compiled = new FileCompileCache(store);
  return (await engine?.forecast?.(program, { compiled })) ?? plainForecast();
}
