import * as v from "valibot";
import { FormatError } from "../../errors.ts";
import { digestSchema, newerVersion, parseShape, sizeSchema } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import { DTYPE_BITS, type DType, tensorBytes } from "../../tensor/dtype.ts";
import type { Port, Signature } from "../../tensor/signature.ts";

/** Version of the record. */
const VERSION = 1;

/** Engine, machine and settings that programs were compiled with. */
export interface CompileRecord {
  /** Id of the backend. */
  readonly backend: string;
  /** Engine that compiled them; `any` if every engine may load them. */
  readonly engine: string;
  readonly version: string;
  /** Operating system and architecture, as `linux-x64`; `any` for every machine. */
  readonly target: string;
  /** Features of the processor that the engine could use. */
  readonly cpu: readonly string[];
  readonly settings: Readonly<Record<string, string>>;
  /** Bounds of the named dimensions of the inputs; `null` for no bound. */
  readonly dimensions: readonly {
    readonly name: string;
    readonly from: number;
    readonly to: number | null;
  }[];
}

/** A weight of the model, and the input of a compiled program that is bound to it. */
export interface CompiledBinding {
  /** Name of the input in the program. */
  readonly input: string;
  /** Name in the method's weight table. */
  readonly weight: string;
  readonly digest: Digest;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: string;
}

/** A compiled partition of a method. */
export interface CompiledPartition {
  /** Id of the backend. */
  readonly backend: string;
  readonly form: string;
  readonly program: { readonly digest: Digest /** Size in bytes. */; readonly size: number };
  readonly signature: Signature;
  readonly bindings: readonly CompiledBinding[];
  /** Number of nodes before and after the compilation. */
  readonly nodes: { readonly before: number; readonly after: number };
  readonly settings: Readonly<Record<string, string>>;
}

/** A compiled method: its partitions, in the order in which they run. */
export interface CompiledMethod {
  readonly name: string;
  /** Digest of the program that was compiled. */
  readonly source: Digest;
  readonly signature: Signature;
  readonly partitions: readonly CompiledPartition[];
}

/** Data that a backend made during compilation, for its programs. */
export interface CompiledData {
  readonly key: string;
  readonly digest: Digest;
  /** Size in bytes. */
  readonly size: number;
  /** Required alignment in memory or in a file, in bytes. */
  readonly alignment: number;
}

/** Record of a compiled model, without the bytes of its programs. */
export interface CompiledModel {
  readonly model: string;
  readonly methods: readonly CompiledMethod[];
  /** One record for each backend. */
  readonly records: readonly CompileRecord[];
  readonly data: readonly CompiledData[];
}

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(10_000));
const settings = v.record(v.string(), v.string());
const dtypes = Object.keys(DTYPE_BITS) as DType[];
/** In JSON, `null` stands for `undefined`. */
const port = v.strictObject({
  name: text,
  dtype: v.nullable(v.picklist([...dtypes, "string"])),
  shape: v.nullable(v.array(v.nullable(v.union([v.pipe(v.number(), v.safeInteger()), v.string()])))),
});
const signature = v.pipe(
  v.strictObject({ inputs: v.array(port), outputs: v.array(port) }),
  v.check(
    ({ inputs, outputs }) => isSet(inputs.map(nameOf)) && isSet(outputs.map(nameOf)),
    "two ports of one name",
  ),
);
const binding = v.pipe(
  v.strictObject({
    input: v.string(),
    weight: v.string(),
    digest: digestSchema,
    dtype: v.picklist(dtypes),
    shape: v.array(sizeSchema),
    layout: text,
  }),
  v.check(({ dtype, shape }) => tensorBytes(dtype, shape) !== undefined, "a shape that is too large"),
);
const partition = v.pipe(
  v.strictObject({
    backend: text,
    form: text,
    program: v.strictObject({ digest: digestSchema, size: sizeSchema }),
    signature,
    bindings: v.array(binding),
    nodes: v.strictObject({ before: sizeSchema, after: sizeSchema }),
    settings,
  }),
  v.check(({ bindings }) => isSet(bindings.map((each) => each.input)), "an input that is bound twice"),
);
const method = v.strictObject({
  name: text,
  source: digestSchema,
  signature,
  partitions: v.pipe(v.array(partition), v.minLength(1)),
});
const record = v.strictObject({
  backend: text,
  engine: text,
  version: text,
  target: text,
  cpu: v.array(v.string()),
  settings,
  dimensions: v.array(v.strictObject({ name: text, from: sizeSchema, to: v.nullable(sizeSchema) })),
});
const compiled = v.pipe(
  v.strictObject({
    version: v.literal(VERSION),
    model: text,
    methods: v.array(method),
    records: v.array(record),
    data: v.array(
      v.strictObject({
        key: text,
        digest: digestSchema,
        size: sizeSchema,
        alignment: v.pipe(sizeSchema, v.minValue(1)),
      }),
    ),
  }),
  v.check(({ data }) => isSet(data.map((each) => each.key)), "two data of one key"),
  v.check(({ methods }) => isSet(methods.map(nameOf)), "two methods of one name"),
  v.check(({ records }) => isSet(records.map((each) => each.backend)), "two records of one backend"),
  v.check(({ methods, records }) => {
    const ids = new Set(records.map((each) => each.backend));
    return methods.every((each) => each.partitions.every(({ backend }) => ids.has(backend)));
  }, "a partition whose backend has no record"),
);

/** Converts a record to the JSON that {@link parseCompiledModel} reads. */
export function compiledModelJson(value: CompiledModel): unknown {
  const ports = (list: readonly Port[]): unknown =>
    list.map(({ name, dtype, shape }) => ({
      name,
      dtype: dtype ?? null,
      shape: shape?.map((dim) => dim ?? null) ?? null,
    }));
  const both = ({ inputs, outputs }: Signature): unknown => {
    return { inputs: ports(inputs), outputs: ports(outputs) };
  };
  const { model, methods, records, data } = value;
  return {
    version: VERSION,
    model,
    methods: methods.map((each) => ({
      ...each,
      signature: both(each.signature),
      partitions: each.partitions.map((part) => ({ ...part, signature: both(part.signature) })),
    })),
    records,
    data,
  };
}

/**
 * Parses the record of a compiled model.
 * @param name name of the file or cache entry, for errors
 * @throws FormatError `malformed`, `newer-version`
 */
export function parseCompiledModel(value: unknown, name: string): CompiledModel {
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version > VERSION) throw newerVersion(name, version);
  const { model, methods, records, data } = parseShape(
    compiled as v.GenericSchema<v.InferOutput<typeof compiled>>,
    value,
    name,
  );
  const parsed = {
    model,
    methods: methods.map((each) => ({
      ...each,
      signature: signatureOf(each.signature),
      partitions: each.partitions.map((part) => ({ ...part, signature: signatureOf(part.signature) })),
    })),
    records,
    data,
  };
  for (const each of parsed.methods) checkFlow(each, name);
  return parsed;
}

/**
 * Checks that the partitions of a method can run one after the other: the inputs of each are inputs of the method or
 * outputs of earlier partitions, and together they compute the outputs of the method.
 * @throws FormatError `malformed`
 */
export function checkFlow(
  { name: method, signature: whole, partitions }: CompiledMethod,
  name: string,
): void {
  const fail = (reason: string): FormatError =>
    new FormatError("malformed", `Cannot use "${name}": method "${method}" ${reason}`, { path: name });
  const given = new Set(whole.inputs.map(nameOf));
  const made = new Set<string>();
  for (const [index, part] of partitions.entries()) {
    const missing = part.signature.inputs.find((input) => !given.has(input.name));
    if (missing) throw fail(`needs "${missing.name}" in partition ${index} before a partition computes it`);
    for (const output of part.signature.outputs) {
      if (made.has(output.name)) throw fail(`computes "${output.name}" twice`);
      made.add(output.name);
      given.add(output.name);
    }
  }
  const missing = whole.outputs.find((output) => !made.has(output.name));
  if (missing) throw fail(`never computes "${missing.name}"`);
}

function signatureOf({ inputs, outputs }: v.InferOutput<typeof signature>): Signature {
  const ports = (list: typeof inputs): Port[] =>
    list.map(({ name, dtype, shape }) => ({
      name,
      dtype: dtype ?? undefined,
      shape: shape?.map((dim) => dim ?? undefined) ?? undefined,
    }));
  return { inputs: ports(inputs), outputs: ports(outputs) };
}

function nameOf({ name }: { readonly name: string }): string {
  return name;
}

function isSet(names: readonly string[]): boolean {
  return new Set(names).size === names.length;
}
