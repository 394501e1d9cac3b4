import { afterAll } from "vitest";
import { type Llama, openLlama } from "../../src/engines/llama/engine.ts";

let shared: Llama | undefined;

/** llama.cpp for all tests of a file that are not about its process, which takes a second to start. Do not close it. */
export function sharedLlama(): Llama {
  shared ??= openLlama({ threads: 2 });
  return shared;
}

afterAll(() => shared?.[Symbol.asyncDispose]());
