import type { LinkedProgram } from "../../link/linked-program.ts";
import type { DType } from "../../tensor/dtype.ts";
import { type LoadForecast, plainForecast } from "../load-forecast.ts";

/** Dtypes that llama.cpp's CPU backend repacks into a private copy at each load (on x86; ARM has more). */
const REPACKED: readonly DType[] = ["q4_0", "q4_k", "iq4_nl"];

/** Forecasts which weights llama.cpp copies. */
export function forecastLoad({ bindings }: Pick<LinkedProgram, "bindings">): LoadForecast {
  const repacked = bindings.filter(({ dtype, shape }) => shape.length > 1 && REPACKED.includes(dtype));
  const types = [...new Set(repacked.map((weight) => weight.dtype))];
  return {
    ...plainForecast(),
    prepackingOperator: types.length > 0 ? types.join(", ") : undefined,
    copied: new Set(repacked.map((weight) => weight.name)),
  };
}
