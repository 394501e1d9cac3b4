import { dirname, relative, resolve, sep } from "node:path";
import type { NamedData } from "../compile/named-data/named-data.ts";
import { parseRefitMapping } from "../compile/refit/refit-mapping.ts";
import { matchWeights } from "../compile/refit/refit-match.ts";
import { LinkError, SourceError } from "../errors.ts";
import { linkOnnx, openOnnxProgram } from "../link/onnx-program.ts";
import { methodOf, planLink } from "../link/plan.ts";
import type { Method } from "../model/config.ts";
import type { Binding } from "../model/link-plan.ts";
import type { FileStore } from "../node/store/file-store.ts";
import { writeNewFile } from "../node/write-new-file.ts";
import { requireEngine } from "./engine-of.ts";
import { openModelData } from "./model-data.ts";

/** Options of {@link linkInPlace}. */
export interface InPlaceOptions {
  /** May be left out where the model has one method. */
  readonly method?: string | undefined;
  /** Names of the model → names in the file, where they differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A program that uses a checkpoint as its external data. */
export interface InPlaceResult {
  readonly path: string;
  /** Of the program, in bytes. */
  readonly size: number;
  /** Where each weight lies; locations are relative to the program. */
  readonly bindings: readonly Pick<Binding, "name" | "dtype" | "shape" | "location" | "offset" | "length">[];
}

/**
 * Writes an ONNX program whose external data is a checkpoint as it lies there (.safetensors, GGUF, …): nothing is
 * converted or copied, and any ONNX runtime opens it. Strict, as a refit is.
 * @param weights the checkpoint, in or below the program's folder: runtimes open no data outside of it
 * @param path of the program
 * @throws LinkError listing every weight that does not fit; SourceError `unsafe-path`, `exists`
 */
export async function linkInPlace(
  store: FileStore,
  name: string,
  weights: string,
  path: string,
  options: InPlaceOptions = {},
): Promise<InPlaceResult> {
  const { signal, map = {} } = options;
  const model = await store.model(name);
  requireEngine(model, "ONNX Runtime", "link");
  const method = methodOf(model, options.method);
  await using data = await openModelData([weights], { signal });
  const target = resolve(path);
  const bindings = await bindingsIn(method, data, dirname(target), map);
  const plan = planLink(model, method, (blob) => blob);
  const program = await openOnnxProgram(store, model, method, { ...plan, weights: bindings });
  const size = await writeNewFile(target, once(linkOnnx(program)), { signal });
  return { path: target, size, bindings };
}

async function bindingsIn(
  method: Method,
  data: NamedData,
  folder: string,
  map: Readonly<Record<string, string>>,
): Promise<Binding[]> {
  const checkpoint = new Map(
    data.keys().map((key) => {
      const { dtype, shape } = data.layout(key) ?? missing(data, key);
      return [key, { name: key, dtype, shape }];
    }),
  );
  const { bound } = matchWeights(method.weights, checkpoint, {
    mapping: parseRefitMapping(map, "the link"),
    doing: "link in place",
  });
  const bindings: Binding[] = [];
  for (const weight of method.weights) {
    const key = bound.get(weight.name)?.name ?? weight.name;
    const range = await data.locate(key);
    if (!range) {
      throw new LinkError(
        "unsupported",
        `Cannot use weight "${key}" of "${data.name}" in place: its bytes are spelled`,
        {
          tensor: key,
        },
      );
    }
    bindings.push({
      ...weight,
      location: locationOf(range.path, folder),
      offset: range.offset,
      length: range.length,
    });
  }
  return bindings;
}

/** As ONNX writes it: relative to the program, with `/`. */
function locationOf(path: string, folder: string): string {
  const way = relative(folder, path);
  if (way !== "" && !way.startsWith("..")) return way.split(sep).join("/");
  throw new SourceError("unsafe-path", `Cannot use "${path}" in place: it is not in the program's folder`, {
    path,
    hint: `ONNX runtimes open no external data outside of it: write the program into "${dirname(path)}"`,
  });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function missing(data: NamedData, key: string): never {
  throw new LinkError("missing-weight", `Cannot link: "${data.name}" lost "${key}"`, { tensor: key });
}
