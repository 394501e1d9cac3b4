import type { Port, Signature } from "../../engines/engine.ts";
import type { ParsedProgram, ProgramPort } from "../../formats/executorch/parse-program.ts";
import { isData, readProgram } from "../../formats/executorch/read.ts";
import { BOUNDED, SCALAR_TYPES, UNBOUNDED } from "../../formats/executorch/schema.ts";
import { delegateName } from "../../formats/executorch/weights.ts";
import { weightBytes } from "../../model/sharing.ts";
import type { Method, StoredFile, Weight } from "../../model/config.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import { storedSource } from "../../store/stored-source.ts";
import type { BlobReader } from "../../store/store.ts";

/** A subgraph that an ExecuTorch backend runs. */
export interface DelegateInfo {
  readonly backend: string;
  /** Name of the weight that contains the backend's compiled subgraph. */
  readonly weight: string;
  /** Size in bytes. */
  readonly bytes: number;
  /** Names of the other methods of the model that have the same delegate. */
  readonly methods: readonly string[];
}

/** Delegates of an ExecuTorch method, and the methods that share its weights. */
export interface ExecutorchInfo {
  readonly delegates: readonly DelegateInfo[];
  /** The other methods of the model that use some of its weights, with the size of these in bytes. */
  readonly sharedMethods: readonly { readonly name: string; readonly bytes: number }[];
}

/** Describes a method of an ExecuTorch model; `undefined` for a data file, which has only weights. */
export type DescribeProgram = (
  method: Method,
) => Promise<(ExecutorchInfo & { readonly signature: Signature }) | undefined>;

/** Returns a function that describes methods. It reads each program of the model from the store once. */
export function executorchDescriber(store: BlobReader, model: StoredModel): DescribeProgram {
  const programs = new Map<number, Promise<ParsedProgram | undefined>>();
  return async (method) => {
    const file = model.config.files[method.file] as StoredFile;
    const reading = programs.get(method.file) ?? readStored(store, model, file);
    programs.set(method.file, reading);
    const program = await reading;
    if (!program) return undefined;
    const nth = model.config.methods.filter((each) => each.file === method.file).indexOf(method);
    const plan = program.plans[nth];
    if (!plan) return undefined;
    const others = model.config.methods.filter((each) => each !== method);
    return {
      signature: { inputs: plan.inputs.map(portOf("input")), outputs: plan.outputs.map(portOf("output")) },
      delegates: plan.delegates.map(({ id, blob }, at) =>
        delegateOf(id, delegateName(at), blob.length, method, others),
      ),
      sharedMethods: others.flatMap((other) => {
        const bytes = sharedBytes(method, other);
        return bytes > 0 ? [{ name: other.name, bytes }] : [];
      }),
    };
  };
}

/**
 * Reads a stored program.
 * @returns `undefined` for a data file
 */
async function readStored(
  store: BlobReader,
  model: StoredModel,
  file: StoredFile,
): Promise<ParsedProgram | undefined> {
  await using source = storedSource(store, model, file);
  return (await isData({ path: file.path, source })) ? undefined : await readProgram(source);
}

function delegateOf(
  backend: string,
  weight: string,
  bytes: number,
  method: Method,
  others: readonly Method[],
): DelegateInfo {
  const digest = method.weights.find(({ name }) => name === weight)?.digest;
  const same = others.filter((other) => other.weights.some((each) => each.digest === digest));
  return { backend, weight, bytes, methods: same.map(({ name }) => name) };
}

function sharedBytes(one: Method, other: Method): number {
  const theirs = new Set(other.weights.map(({ digest }) => digest));
  const common = new Map<string, Weight>();
  for (const weight of one.weights) if (theirs.has(weight.digest)) common.set(weight.digest, weight);
  return [...common.values()].reduce((sum, weight) => sum + weightBytes(weight), 0);
}

/** Names inputs and outputs by their position, because programs have no names for them. */
function portOf(kind: string): (port: ProgramPort, nth: number) => Port {
  return (port, nth) => {
    const name = `${kind} ${nth}`;
    if (!port) return { name, dtype: undefined, shape: undefined };
    const { layout, dynamism } = port;
    const shape =
      dynamism === UNBOUNDED
        ? undefined
        : layout.sizes.map((size) => (dynamism === BOUNDED ? `up to ${size}` : size));
    return { name, dtype: SCALAR_TYPES.get(layout.type)?.dtype, shape };
  };
}
