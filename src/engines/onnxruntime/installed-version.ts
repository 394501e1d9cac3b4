import { createRequire } from "node:module";

/** The version of `onnxruntime-node`; `undefined` if it is not installed. */
export function installedVersion(): string | undefined {
  try {
    return (createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string }).version;
  } catch {
    return undefined;
  }
}
