import { matchWeights, weightTable } from "../weights/match-weights.ts";
import type { CompileOptions } from "../compile/compile-stored.ts";
import type { RunOptions, Session, Signature } from "../engines/engine.ts";
import type { OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import { LinkError, StoreError } from "../errors.ts";
import { methodOf } from "../model/plan.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { NumberTensor, Tensors } from "../tensor/tensor.ts";
import type { MutableWeights, WeightChanges } from "./mutable-weights.ts";
import { requireEngine } from "../engines/engine-of.ts";
import { ONNX_RUNTIME } from "../engines/onnxruntime/entry.ts";
import type { OpenEngines } from "../engines/open-engines.ts";
import { mergedWeights } from "../lora/merged-weights.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import type { LoadHost } from "./load-model.ts";
import { currentModel } from "../store/read-model.ts";
import { withModel } from "../store/with-model.ts";

/** Options of {@link Runtime.openMutable}. */
export interface MutableOptions extends OrtLoadOptions {
  /** Name of the method; optional if the model has one method. */
  readonly method?: string | undefined;
  /**
   * Patterns for names of weights that are in memory from the start; `*` stands for any characters. Their first change
   * is as fast as any later one. Other weights are mapped from the store until they change.
   */
  readonly mutable?: readonly string[] | undefined;
  /**
   * Loads the model compiled with these options, in a session for each partition. Changed weights are then written to
   * the store, and every change loads all sessions again.
   */
  readonly compiled?: CompileOptions | undefined;
}

/** Loads a method so that its weights can change. */
export type OpenMutableWeights = (model: StoredModel, method: Method) => Promise<MutableWeights>;

/** The work that a change of weights took. */
export interface WeightChange {
  /**
   * `in-place`: the next run uses the new tensors. `relink`: the compiled program was linked again, for example because
   * a changed weight was mapped before. `recompile`: another program was compiled.
   */
  readonly how: "in-place" | "relink" | "recompile";
  /** Number of weights that changed. */
  readonly weights: number;
}

/**
 * A loaded model whose weights can change. The next run uses the new weights; running calls finish with the old ones.
 * Changes run one after the other, and a failed change has no effect. Weights in memory are passed to every run without
 * a copy.
 *
 * @example
 * ```ts
 * await using model = await runtime.openMutable("base", { mutable: ["*lm_head*"] });
 * await model.set("lm_head.weight", { dtype: "float32", shape: [99, 192], bytes });
 * const { logits } = await model.run({ input_ids });
 * ```
 */
export class MutableModel implements Session {
  readonly #files: LocalStore;
  readonly #engines: OpenEngines;
  readonly #open: OpenMutableWeights;
  #name: string;
  #model: StoredModel;
  #method: Method;
  #weights: MutableWeights;
  /** Names of weights that {@link MutableModel.set} or {@link MutableModel.loadStateDict} changed. */
  readonly #set = new Set<string>();
  /** Names of weights that a LoRA changed. */
  readonly #merged = new Set<string>();
  #last: Promise<unknown> = Promise.resolve();
  #released = false;

  private constructor(
    { store, engines }: LoadHost,
    open: OpenMutableWeights,
    loaded: { readonly model: StoredModel; readonly method: Method; readonly weights: MutableWeights },
  ) {
    this.#files = store;
    this.#engines = engines;
    this.#open = open;
    this.#name = loaded.model.name;
    this.#model = loaded.model;
    this.#method = loaded.method;
    this.#weights = loaded.weights;
  }

  /** Use {@link Runtime.openMutable}. */
  static async open(
    host: LoadHost,
    name: string,
    options: MutableOptions,
    open: OpenMutableWeights,
  ): Promise<MutableModel> {
    return withModel(host.store, name, async (model) => {
      const method = checkedMethod(model, options, host.engines);
      const weights = await open(model, method);
      return new MutableModel(host, open, { model, method, weights });
    });
  }

  get signature(): Signature {
    return this.#weights.session.signature;
  }

  /** Names of the weights that are in memory. */
  get live(): readonly string[] {
    return this.#weights.names;
  }

  async run(inputs: Tensors, options: RunOptions = {}): Promise<Tensors> {
    return this.#weights.session.run(inputs, options);
  }

  /**
   * Changes one weight.
   * @throws LinkError `not-found`, `mismatch`
   */
  async set(name: string, tensor: NumberTensor): Promise<WeightChange> {
    return this.loadStateDict({ [name]: tensor }, { partial: true });
  }

  /**
   * Changes weights by name, in one step: all weights of the method, or some of them with `partial`.
   * @throws LinkError that lists every weight that does not match
   */
  async loadStateDict(
    tensors: Tensors,
    options: { readonly partial?: boolean | undefined } = {},
  ): Promise<WeightChange> {
    return this.#change(async () => {
      const given = new Map(
        Object.entries(tensors).map(([name, tensor]) => [name, { name, ...numbersOf(name, tensor) }]),
      );
      const { bound } = matchWeights(this.#method.weights, weightTable("the new weights", given.values()), {
        program: this.#model.name,
        partial: options.partial,
        rebind: true,
      });
      const how = await this.#put(given);
      for (const name of bound.keys()) {
        this.#set.add(name);
        this.#merged.delete(name);
      }
      return { how, weights: bound.size };
    });
  }

  /**
   * Merges a LoRA of the store into its target weights, in memory. It replaces a LoRA that was loaded before.
   * @param options `scale` multiplies the adapter; 1, the trained strength, unless given
   * @throws LinkError if the LoRA does not match the model, or if a target weight was set before
   */
  async loadLora(lora: string, options: { readonly scale?: number | undefined } = {}): Promise<WeightChange> {
    return this.#change(async () => {
      const { scale = 1 } = options;
      const model = await this.#current();
      const targets = await mergedWeights(this.#files, model, this.#method.name, { model: lora, scale });
      const changed = targets.find(({ weight }) => this.#set.has(weight.name));
      if (changed) {
        throw new LinkError(
          "unsupported",
          `Cannot add "${lora}" to weight "${changed.weight.name}": it was changed in memory`,
          {
            tensor: changed.weight.name,
            hint: "Merge the LoRA into the tensors that you set, or open the model again",
          },
        );
      }
      const old = [...this.#merged].filter((name) => !targets.some(({ weight }) => weight.name === name));
      const changes = new Map<string, NumberTensor | undefined>(old.map((name) => [name, undefined]));
      for (const target of targets) {
        const { weight } = target;
        changes.set(weight.name, { dtype: weight.dtype, shape: weight.shape, bytes: await target.bytes() });
      }
      const how = await this.#put(changes);
      this.#merged.clear();
      for (const { weight } of targets) this.#merged.add(weight.name);
      return { how, weights: targets.length };
    });
  }

  /** Removes the LoRA: its target weights have their stored values again. */
  async unloadLora(): Promise<WeightChange> {
    return this.#change(async () => {
      const names = [...this.#merged];
      const how = await this.#put(new Map(names.map((name) => [name, undefined])));
      this.#merged.clear();
      return { how, weights: names.length };
    });
  }

  /**
   * Replaces all weights with those of another model of the store, and discards changes in memory.
   * @param options `recompile` allows a model with another program, and compiles it
   * @throws LinkError `mismatch` for a model with another program, unless `recompile` is given
   */
  async loadModel(
    name: string,
    options: { readonly recompile?: boolean | undefined } = {},
  ): Promise<WeightChange> {
    return this.#change(() =>
      withModel(this.#files, name, async (model) => {
        const method = checkedMethod(model, { method: this.#method.name }, this.#engines);
        const program = (one: StoredModel, { file }: Method): unknown => one.config.files[file]?.skeleton;
        const same = program(model, method) === program(this.#model, this.#method);
        if (!same && !options.recompile) {
          throw new LinkError(
            "mismatch",
            `Cannot load the weights of "${name}": it has another program than "${this.#name}"`,
            {
              hint: "Set recompile: true to load its program too",
            },
          );
        }
        const weights = await this.#open(model, method);
        const old = this.#weights;
        this.#weights = weights;
        await old.release();
        [this.#name, this.#model, this.#method] = [name, model, method];
        this.#set.clear();
        this.#merged.clear();
        return { how: same ? "relink" : "recompile", weights: method.weights.length };
      }),
    );
  }

  async release(): Promise<void> {
    this.#released = true;
    await this.#last;
    await this.#weights.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  #put(changes: WeightChanges): Promise<"in-place" | "relink"> {
    return this.#weights.put(changes, () => this.#current());
  }

  /** Runs a change after all changes before it. */
  async #change<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const change = before.then(async () => {
      if (this.#released) throw new LinkError("released", `Cannot change "${this.#name}": it was released`);
      return work();
    });
    this.#last = change.catch(() => undefined);
    return change;
  }

  /** Reads the current manifest: another process may have repacked the model's blobs. */
  async #current(): Promise<StoredModel> {
    const model = await currentModel(this.#files, this.#model);
    if (model.manifest.config.digest !== this.#model.manifest.config.digest) {
      throw new StoreError(
        "source-changed",
        `Cannot change "${this.#name}": another model has its name now`,
        {
          hint: "Load the weights of the new model with loadModel",
        },
      );
    }
    this.#model = model;
    return model;
  }
}

function checkedMethod(model: StoredModel, { method }: MutableOptions, { entries }: OpenEngines): Method {
  requireEngine(model, ONNX_RUNTIME.id, "load", entries);
  return methodOf(model, method);
}

function numbersOf(name: string, tensor: Tensors[string] | undefined): NumberTensor {
  if (tensor && tensor.dtype !== "string") return tensor;
  throw new LinkError("mismatch", `Cannot set "${name}": a weight cannot be a tensor of strings`, {
    tensor: name,
  });
}
