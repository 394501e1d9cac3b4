import { OpenEngines } from "../engines/open-engines.ts";
import { ONNX_RUNTIME } from "../engines/onnxruntime/entry.ts";
import { compareSessions, type RefitCheck } from "../operations/refit/verify-refit.ts";
import { readModel } from "../store/read-model.ts";
import type { Tensors } from "../tensor/tensor.ts";
import { type LoadHost, loadModel } from "./load-model.ts";

/** Options of {@link verifyRefit}. */
export interface VerifyRefitOptions {
  /** Inputs by method; generated unless given. */
  readonly inputs?: Readonly<Record<string, Tensors>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compares the outputs of each method under the family's cached program with those of a fresh compilation, bit for bit.
 * @throws LinkError `mismatch` naming the output; EngineError; StoreError
 */
export async function verifyRefit(
  host: LoadHost,
  name: string,
  { inputs = {}, signal }: VerifyRefitOptions,
): Promise<RefitCheck[]> {
  const model = await readModel(host.store, name);
  // Engines without caches compile every program.
  await using engines = new OpenEngines(host.engines.entries, { workers: 1 });
  const checks: RefitCheck[] = [];
  for (const { name: method } of model.config.methods) {
    await using ours = await loadModel(host, ONNX_RUNTIME, name, { method, signal });
    await using theirs = await loadModel({ ...host, engines }, ONNX_RUNTIME, name, { method, signal });
    checks.push(await compareSessions(method, ours, theirs, inputs[method]));
  }
  return checks;
}
