import type { LinkedOnnx } from "../../link/linked-program.ts";
import type { EngineEntry } from "../engine-entry.ts";
import type { OnnxRuntime } from "./engine.ts";

/** ONNX Runtime in the registry. */
export const ONNX_RUNTIME: EngineEntry<OnnxRuntime, LinkedOnnx> = {
  id: "onnxruntime",
  label: "ONNX Runtime",
  formats: ["onnx"],
  hint: "Run it in ONNX Runtime: runtime.load, or tare run with inputs",
  async open({ workers, caches }) {
    const { openOnnxRuntime } = await import("./engine.ts");
    return openOnnxRuntime({ workers, caches });
  },
  async forecast(program, caches) {
    const { forecastLoad } = await import("./load-forecast.ts");
    return forecastLoad(program, caches);
  },
};
