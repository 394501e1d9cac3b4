import type { DType } from "../../tensor/dtype.ts";

/** An element type of storages: PyTorch's name, the bytes of an element, and tare's dtype. */
export interface ElementType {
  readonly name: string;
  /** Bytes of an element. */
  readonly bytes: number;
  /** `undefined` for quantized elements, whose scales are stored elsewhere. */
  readonly dtype?: DType;
}

const one = (name: string, bytes: number, dtype?: DType): ElementType => ({
  name,
  bytes,
  ...(dtype && { dtype }),
});

/** Element types by the storage classes in pickles. */
const STORAGES: ReadonlyMap<string, ElementType> = new Map([
  ["DoubleStorage", one("float64", 8, "float64")],
  ["FloatStorage", one("float32", 4, "float32")],
  ["HalfStorage", one("float16", 2, "float16")],
  ["BFloat16Storage", one("bfloat16", 2, "bfloat16")],
  ["LongStorage", one("int64", 8, "int64")],
  ["IntStorage", one("int32", 4, "int32")],
  ["ShortStorage", one("int16", 2, "int16")],
  ["CharStorage", one("int8", 1, "int8")],
  ["ByteStorage", one("uint8", 1, "uint8")],
  ["BoolStorage", one("bool", 1, "bool")],
  ["ComplexFloatStorage", one("complex64", 8, "complex64")],
  ["ComplexDoubleStorage", one("complex128", 16, "complex128")],
  ["QInt8Storage", one("qint8", 1)],
  ["QUInt8Storage", one("quint8", 1)],
  ["QInt32Storage", one("qint32", 4)],
  ["QUInt4x2Storage", one("quint4x2", 1)],
  ["QUInt2x4Storage", one("quint2x4", 1)],
  ["UntypedStorage", one("uint8", 1, "uint8")],
]);

/** Element types by the names of `torch.dtype` in pickles. */
const DTYPES: ReadonlyMap<string, ElementType> = new Map(
  [
    ...STORAGES.values(),
    one("uint16", 2, "uint16"),
    one("uint32", 4, "uint32"),
    one("uint64", 8, "uint64"),
    one("float8_e4m3fn", 1, "float8_e4m3fn"),
    one("float8_e4m3fnuz", 1, "float8_e4m3fnuz"),
    one("float8_e5m2", 1, "float8_e5m2"),
    one("float8_e5m2fnuz", 1, "float8_e5m2fnuz"),
    one("float8_e8m0fnu", 1, "float8_e8m0"),
    one("complex32", 4),
    one("float4_e2m1fn_x2", 1),
  ].map((each) => [each.name, each]),
);

/** The element type of a storage class, such as `torch.FloatStorage` or `torch.cuda.FloatStorage`. */
export function storageType(global: string): ElementType | undefined {
  const [, name = ""] = /^torch(?:\.cuda|\.storage)?\.(\w+)$/.exec(global) ?? [];
  return STORAGES.get(name);
}

/** The element type of a `torch.dtype`. */
export function elementType(global: string): ElementType | undefined {
  return global.startsWith("torch.") ? DTYPES.get(global.slice("torch.".length)) : undefined;
}

/** A tensor's type in a pickle. */
export interface TorchType {
  /** Module and name of the storage's class. */
  readonly storage: readonly [module: string, name: string];
  /** The `torch.dtype`, if the storage's class has no element type: such a storage counts bytes. */
  readonly dtype?: string;
}

/** PyTorch's type for a dtype; `undefined` if it has none, or packs several elements into one. */
export function torchTypeOf(dtype: DType): TorchType | undefined {
  for (const [name, type] of STORAGES) {
    if (type.dtype === dtype) return { storage: ["torch", name] };
  }
  for (const [name, type] of DTYPES) {
    if (type.dtype === dtype) return { storage: ["torch.storage", "UntypedStorage"], dtype: name };
  }
  return undefined;
}

/** Functions that make plain tensors from storages, or from another tensor. */
export const Rebuild = {
  tensor: "torch._utils._rebuild_tensor",
  tensor2: "torch._utils._rebuild_tensor_v2",
  tensor3: "torch._utils._rebuild_tensor_v3",
  parameter: "torch._utils._rebuild_parameter",
  parameterWithState: "torch._utils._rebuild_parameter_with_state",
  fromType: "torch._tensor._rebuild_from_type_v2",
} as const;

/** Other names in pickles of checkpoints. The objects that they make are part of the program. */
const OTHERS: ReadonlySet<string> = new Set([
  ...Object.values(Rebuild),
  ...["sparse_tensor", "qtensor", "meta_tensor_no_storage", "sparse_csr_tensor", "nested_tensor"].map(
    (name) => `torch._utils._rebuild_${name}`,
  ),
  "torch._utils._rebuild_device_tensor_from_numpy",
  "torch._utils._rebuild_wrapper_subclass",
  "torch.serialization._get_layout",
  "torch.Size",
  "torch.device",
  "torch.Tensor",
  "torch.nn.parameter.Parameter",
  "torch.nn.parameter.Buffer",
  "torch.storage.TypedStorage",
  "torch.storage._load_from_bytes",
  ...["per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric"].map(
    (name) => `torch.${name}`,
  ),
  "collections.OrderedDict",
  "collections.Counter",
  "collections.defaultdict",
  "_codecs.encode",
  ...["set", "frozenset", "bytearray", "complex", "dict", "list", "tuple", "int", "float"].flatMap((name) => [
    `builtins.${name}`,
    `__builtin__.${name}`,
  ]),
  "numpy.dtype",
  "numpy.ndarray",
  ...["scalar", "_reconstruct"].flatMap((name) => [
    `numpy.core.multiarray.${name}`,
    `numpy._core.multiarray.${name}`,
  ]),
]);

/** Modules of functions that run code or change files. A checkpoint that names them was made to do harm. */
const UNSAFE_MODULES: ReadonlySet<string> = new Set(
  (
    "os posix nt posixpath ntpath subprocess pty sys shutil socket runpy importlib imp code codeop pickle _pickle marshal " +
    "shelve ctypes _ctypes webbrowser multiprocessing threading signal tempfile requests urllib http ftplib smtplib asyncio " +
    "pip pkgutil pydoc timeit cProfile profile pdb bdb trace doctest builtins __builtin__ commands operator _operator types"
  ).split(" "),
);
/** Names of the unsafe modules that only make values. */
const SAFE_NAMES: ReadonlySet<string> = new Set([
  "types.SimpleNamespace",
  ...["object", "str", "bytes", "bool", "slice", "range"].flatMap((name) => [
    `builtins.${name}`,
    `__builtin__.${name}`,
  ]),
]);

/** Whether tare knows what the name makes. */
export function isKnownGlobal(name: string): boolean {
  return OTHERS.has(name) || storageType(name) !== undefined || elementType(name) !== undefined;
}

/** Whether the name is of a class or function that a checkpoint has no use for, and that could run code. */
export function isUnsafeGlobal(name: string): boolean {
  const [root = ""] = name.split(".");
  return !isKnownGlobal(name) && !SAFE_NAMES.has(name) && UNSAFE_MODULES.has(root);
}
