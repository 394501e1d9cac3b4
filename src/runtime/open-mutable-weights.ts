import { ONNX_RUNTIME } from "../engines/onnxruntime/entry.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { loadCompiled } from "./load-compiled.ts";
import type { LoadHost } from "./load-model.ts";
import { MemoryWeights } from "./memory-weights.ts";
import type { MutableOptions } from "./mutable-model.ts";
import type { MutableWeights } from "./mutable-weights.ts";
import { RelinkedWeights } from "./relinked-weights.ts";

/** Loads a method whose weights can change: in memory, or through the store if `compiled` options are given. */
export async function openMutableWeights(
  host: LoadHost,
  model: StoredModel,
  method: Method,
  options: MutableOptions,
): Promise<MutableWeights> {
  const { store, engines } = host;
  const { compiled } = options;
  if (!compiled) {
    const engine = await engines.get(ONNX_RUNTIME);
    return MemoryWeights.open({ files: store, engine, options }, model, method);
  }
  return RelinkedWeights.open(store, model, method, async (changed) =>
    loadCompiled(host, changed, { ...compiled, ...options, method: method.name }),
  );
}
