import type { LocalStore } from "../local-store/local-store.ts";
import type { Method } from "../model/config.ts";
import type { Binding, LinkPlan } from "../model/link-plan.ts";
import { planLink } from "../model/plan.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { storedWeights } from "../weights/stored.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import type { LinkedOnnx, LinkedProgram, OnnxProgram } from "./linked-program.ts";
import { openOnnxProgram } from "./onnx-program.ts";

/**
 * Links a method of a stored model to the blobs of the store, without reading or checking a blob.
 * @throws LinkError `missing-weight`, `not-found`
 */
export function storedProgram(store: LocalStore, model: StoredModel, method: Method): StoredProgram {
  return model.config.format === "onnx"
    ? new StoredOnnx(store, model, method)
    : new StoredProgram(store, model, method);
}

/** A stored program, linked to the blobs of the store. */
export class StoredProgram implements LinkedProgram {
  readonly format: string;
  readonly name: string;
  readonly method: string;
  readonly folder: string;
  readonly plan: LinkPlan;
  readonly #weights: () => WeightSource;

  /** Use {@link storedProgram}. */
  constructor(store: LocalStore, model: StoredModel, method: Method) {
    this.format = model.config.format;
    this.name = model.name;
    this.method = method.name;
    this.folder = store.name;
    this.plan = planLink(model, method, (blob) => store.location(blob));
    this.#weights = () => storedWeights(store, model, { method: method.name });
  }

  get bindings(): readonly Binding[] {
    return this.plan.weights;
  }

  get weights(): WeightSource {
    return this.#weights();
  }
}

/** A stored ONNX program, linked to the blobs of the store. */
export class StoredOnnx extends StoredProgram implements LinkedOnnx {
  declare readonly format: "onnx";
  readonly inMemory: ReadonlySet<string> | undefined;
  readonly #open: () => Promise<OnnxProgram>;

  /** @param inMemory names of the weights that the session holds in memory */
  constructor(store: LocalStore, model: StoredModel, method: Method, inMemory?: ReadonlySet<string>) {
    super(store, model, method);
    this.inMemory = inMemory;
    this.#open = () => openOnnxProgram(store, model, method, this.plan);
  }

  /** @throws LinkError `missing-weight`, `unused-weight`, `mismatch` */
  open(): Promise<OnnxProgram> {
    return this.#open();
  }
}
