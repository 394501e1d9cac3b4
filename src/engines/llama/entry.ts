import type { EngineEntry } from "../engine-entry.ts";
import type { Llama } from "./engine.ts";

/** llama.cpp in the registry. */
export const LLAMA: EngineEntry<Llama> = {
  id: "llama",
  label: "llama.cpp",
  formats: ["gguf"],
  hint: "Run it in llama.cpp: loadText, or tare run; or make a folder that llama.cpp opens with tare link",
  async open() {
    const { openLlama } = await import("./engine.ts");
    return openLlama();
  },
  async forecast(program) {
    const { forecastLoad } = await import("./load-forecast.ts");
    return forecastLoad(program);
  },
};
