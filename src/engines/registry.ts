import type { EngineEntry } from "./engine-entry.ts";
import { LLAMA } from "./llama/entry.ts";
import { ONNX_RUNTIME } from "./onnxruntime/entry.ts";

/** All engines. */
export const ENGINES: readonly EngineEntry[] = [ONNX_RUNTIME, LLAMA];
