import type { Signature } from "../engines/engine.ts";
import { compiledBefore } from "../engines/onnxruntime/engine.ts";
import { signatureOf } from "../engines/onnxruntime/compile.ts";
import {
  type LoadForecast,
  forecastCompiled,
  forecastProgram,
} from "../engines/onnxruntime/load-forecast.ts";
import { openOnnxProgram } from "../link/onnx-program.ts";
import { planLink } from "../model/plan.ts";
import { type Shares, sharesOf, usersOf, weightBytes } from "../model/sharing.ts";
import type { Method, Weight } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { DType } from "../tensor/dtype.ts";
import type { LinkPlan } from "../model/link-plan.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { engineOf, type Runner } from "../engines/engine-of.ts";
import {
  type DescribeProgram,
  type ExecutorchInfo,
  executorchDescriber,
} from "./executorch/executorch-info.ts";
import { FileCompileCache } from "../local-store/compile-cache.ts";
import { type LoraInfo, lorasOf } from "../lora/lora-bases.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { listModels, readModel } from "../store/read-model.ts";

/** A weight of a model, and who else uses it. */
export interface WeightInfo extends Weight {
  /** In bytes. */
  readonly bytes: number;
  /** Other models with the same bytes. */
  readonly sharedWith: readonly string[];
  /** Whether the engine keeps a packed copy of it for each session. */
  readonly copied: boolean;
  /** Whether the engine maps one packed copy of it for all sessions and processes. */
  readonly prepacked: boolean;
  /** Whether the engine maps what is derived from it, once for all, and not the weight itself. */
  readonly folded: boolean;
}

/** A method of a model. */
export interface MethodInfo {
  readonly name: string;
  /** Digest of its program: models with the same one are a family. */
  readonly program: Digest;
  readonly family: readonly string[];
  readonly signature: Signature;
  readonly weights: readonly WeightInfo[];
  /** The operator that makes the engine prepack; `undefined` where it gains nothing. */
  readonly prepackingOperator: string | undefined;
  /** Why the program cannot be compiled without its weights; `undefined` where it can. */
  readonly weightlessBlocker: string | undefined;
  /** What an ExecuTorch program says of it. */
  readonly executorch?: ExecutorchInfo;
}

/** A model, and what it shares with the others of its store. */
export interface ModelInfo extends Shares {
  readonly name: string;
  readonly digest: Digest;
  readonly format: string;
  /** What runs it; `undefined` where no engine does by itself: weights without a program. */
  readonly engine: Runner | undefined;
  /** Its original files. Sizes in bytes. */
  readonly files: readonly { readonly path: string; readonly size: number }[];
  readonly fileBytes: number;
  readonly methods: readonly MethodInfo[];
  /** What it is for, where it is a LoRA adapter. */
  readonly lora?: LoraInfo;
  /** LoRA adapters of the store that fit it. */
  readonly adapters: readonly string[];
}

/** Describes a model of a store. */
export async function describeModel(store: LocalStore, name: string): Promise<ModelInfo> {
  const model = await readModel(store, name);
  const models = await listModels(store);
  const users = usersOf(models);
  const methods: MethodInfo[] = [];
  const describeProgram =
    model.config.format === "executorch" ? executorchDescriber(store, model) : undefined;
  for (const method of model.config.methods)
    methods.push(await describeMethod(store, model, method, models, users, describeProgram));
  const files = model.config.files.map(({ path, size }) => ({ path, size }));
  const loras = await lorasOf(store, models);
  const lora = loras.get(name);
  return {
    name,
    digest: model.digest,
    format: model.config.format,
    engine: engineOf(model.config.format),
    files,
    fileBytes: files.reduce((sum, file) => sum + file.size, 0),
    ...sharesOf(model, users),
    methods,
    ...(lora && { lora }),
    adapters: [...loras].filter(([, { bases }]) => bases.includes(name)).map(([each]) => each),
  };
}

async function describeMethod(
  store: LocalStore,
  model: StoredModel,
  method: Method,
  models: readonly StoredModel[],
  users: ReadonlyMap<Digest, readonly string[]>,
  describeProgram: DescribeProgram | undefined,
): Promise<MethodInfo> {
  const plan = planLink(model, method, (blob) => store.location(blob));
  const engine = await engineInfo(store, model, method, plan);
  const program = await describeProgram?.(method);
  return {
    name: method.name,
    program: plan.program,
    family: models
      .filter((each) =>
        each.config.methods.some(({ file }) => each.config.files[file]?.rest === plan.program),
      )
      .map((each) => each.name)
      .filter((each) => each !== model.name),
    signature: program?.signature ?? engine.signature,
    ...(program && { executorch: { delegates: program.delegates, sharedMethods: program.sharedMethods } }),
    weights: method.weights.map((weight) => ({
      ...weight,
      bytes: weightBytes(weight),
      sharedWith: (users.get(weight.digest) ?? []).filter((each) => each !== model.name),
      copied: engine.copied.has(weight.name),
      prepacked: engine.prepacked.has(weight.name),
      folded: engine.folded.has(weight.name),
    })),
    prepackingOperator: engine.prepackingOperator,
    weightlessBlocker: engine.weightlessBlocker,
  };
}

/** What an engine will do with a method. */
interface EngineInfo extends LoadForecast {
  readonly signature: Signature;
}

async function engineInfo(
  store: LocalStore,
  model: StoredModel,
  method: Method,
  plan: LinkPlan,
): Promise<EngineInfo> {
  const runner = engineOf(model.config.format);
  if (runner === "ONNX Runtime") return onnxInfo(store, model, method, plan);
  if (runner === "llama.cpp") return llamaInfo(method);
  return {
    signature: { inputs: [], outputs: [] },
    prepackingOperator: undefined,
    copied: new Set(),
    prepacked: new Set(),
    folded: new Set(),
    weightlessBlocker: undefined,
  };
}

async function onnxInfo(
  store: LocalStore,
  model: StoredModel,
  method: Method,
  plan: LinkPlan,
): Promise<EngineInfo> {
  const { graph, bound } = await openOnnxProgram(store, model, method, plan);
  const compiled = await compiledBefore(plan, new FileCompileCache(store));
  const outlook = compiled ? forecastCompiled(compiled) : forecastProgram(graph, bound);
  return { signature: signatureOf(graph), ...outlook };
}

/** Types that llama.cpp's CPU backend repacks into a private copy when it loads them (on x86; ARM repacks more). */
const REPACKED: readonly DType[] = ["q4_0", "q4_k", "iq4_nl"];

function llamaInfo(method: Method): EngineInfo {
  const repacked = method.weights.filter(({ dtype, shape }) => shape.length > 1 && REPACKED.includes(dtype));
  const types = [...new Set(repacked.map((weight) => weight.dtype))];
  return {
    signature: { inputs: [], outputs: [] },
    prepackingOperator: types.length > 0 ? types.join(", ") : undefined,
    copied: new Set(repacked.map((weight) => weight.name)),
    prepacked: new Set(),
    folded: new Set(),
    weightlessBlocker: undefined,
  };
}
