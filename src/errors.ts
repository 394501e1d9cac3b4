/** Kinds of failures: a closed list that a program can switch on. */
export type ErrorCode =
  // sources and files
  | "not-found"
  | "short-read"
  | "out-of-range"
  | "source-changed"
  | "unsafe-path"
  | "exists"
  | "io"
  | "disk-full"
  | "http"
  // formats
  | "unknown-format"
  | "malformed"
  | "unsupported"
  | "too-large"
  | "size-mismatch"
  | "duplicate"
  // store
  | "not-a-store"
  | "newer-version"
  | "name-taken"
  | "bad-name"
  | "locked"
  | "missing-blob"
  | "corrupted"
  // linking and engines
  | "missing-weight"
  | "unused-weight"
  | "mismatch"
  | "missing-input"
  | "bad-input"
  | "no-engine"
  | "engine"
  | "released"
  | "usage";

/** Where a failure happened, and what to do about it. Unknown fields are left out. */
export interface ErrorDetails {
  /** File, folder or URL. */
  readonly path?: string | undefined;
  /** Byte offset in that file. */
  readonly offset?: number | undefined;
  /** Name of the tensor (or other named part). */
  readonly tensor?: string | undefined;
  readonly digest?: string | undefined;
  /** Further lines of the message, such as a list. */
  readonly lines?: readonly string[] | undefined;
  /** What to do about the failure. Starts with a capital letter. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/**
 * The base of all errors of tare. `code` is the kind of failure, the typed fields say where it happened, `hint` what to
 * do. A caller's programming mistake is a `TypeError` or `RangeError` instead.
 */
export class TareError extends Error {
  readonly code: ErrorCode;
  readonly path: string | undefined;
  readonly offset: number | undefined;
  readonly tensor: string | undefined;
  readonly digest: string | undefined;
  /** The lines of `message` after its first part, if it ends with a list. */
  readonly lines: readonly string[] | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(
      [message, ...(details.lines ?? [])].join("\n"),
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.name = new.target.name;
    this.code = code;
    this.path = details.path;
    this.offset = details.offset;
    this.tensor = details.tensor;
    this.digest = details.digest;
    this.lines = details.lines;
    this.hint = details.hint;
  }
}

/** A file, folder or URL cannot be read or written. */
export class SourceError extends TareError {}
/** A file does not conform to its format, or its format is not supported. */
export class FormatError extends TareError {}
/** A store refused an operation, or lacks data for it. */
export class StoreError extends TareError {}
/** Weights cannot be bound to a program. */
export class LinkError extends TareError {}
/** An engine refused a program, or failed. */
export class EngineError extends TareError {}
/** The command line, or a file named on it, contains a request that cannot be fulfilled. */
export class UsageError extends TareError {}

/** The failure of an operation: input of {@link operationError}. */
export interface OperationProblem extends ErrorDetails {
  readonly code: ErrorCode;
  /** The operation, as it follows "Cannot" in the message: `link "base"`. */
  readonly doing: string;
  /** Why it fails, without a full stop. */
  readonly reason?: string | undefined;
}

/**
 * Makes the error of an operation: `Cannot link "base": it has no weight "w"`.
 * @example
 * throw operationError(LinkError, { code: "missing-weight", doing: `link "${name}"`, reason, tensor, hint });
 */
export function operationError<E extends TareError>(
  Class: new (code: ErrorCode, message: string, details?: ErrorDetails) => E,
  { code, doing, reason, ...details }: OperationProblem,
): E {
  return new Class(code, `Cannot ${doing}${reason === undefined ? "" : `: ${reason}`}`, details);
}

/** How errors name a file: by its name if it is read, by its format if it is written. */
export type FileSubject = { readonly name: string } | { readonly format: string };

/** Makes an error about a file, or about the tensor that `details` names. */
export type FileFail = (code: ErrorCode, reason: string, details?: Omit<ErrorDetails, "path">) => FormatError;

/** Options of {@link fileErrors}. */
export interface FileErrorOptions {
  /** "read" unless given. */
  readonly verb?: "read" | "parse" | "rewrite";
  /** The format's word for a tensor; "tensor" unless given. */
  readonly part?: string;
  /** Whether messages include the offset. */
  readonly showOffset?: boolean;
}

/**
 * Returns a function that makes errors about one file: `Cannot read tensor "w" of "a.gguf": two tensors have that name`
 * or, for a file that is written, `Cannot write tensor "w" as irpa: it occurs twice`.
 * @example
 * const fail = fileErrors(source);
 * throw fail("malformed", `it has ${count} dimensions`, { offset, tensor: name });
 */
export function fileErrors(
  file: FileSubject,
  { verb = "read", part = "tensor", showOffset = false }: FileErrorOptions = {},
): FileFail {
  return (code, reason, details = {}) => {
    const { offset, tensor } = details;
    const named = tensor === undefined ? undefined : `${part} "${shorten(tensor)}"`;
    if ("format" in file) {
      const doing = named === undefined ? `write ${file.format} file` : `write ${named} as ${file.format}`;
      return operationError(FormatError, { ...details, code, doing, reason });
    }
    const place = showOffset && offset !== undefined ? ` at byte ${offset}` : "";
    const doing = `${verb} ${named === undefined ? "" : `${named} of `}"${file.name}"${place}`;
    return operationError(FormatError, { ...details, code, doing, reason, path: file.name });
  };
}

/** Shortens a name to 80 characters and an ellipsis, for messages. */
export function shorten(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}

const CLASSES = {
  TareError,
  SourceError,
  FormatError,
  StoreError,
  LinkError,
  EngineError,
  UsageError,
} as const;

/** An error as plain data, for another thread: messages between threads lose classes and custom fields. */
export interface PackedError extends Omit<ErrorDetails, "cause" | "lines"> {
  readonly name: string;
  readonly code: ErrorCode | undefined;
  readonly message: string;
}

/** Turns any thrown value into plain data for another thread. */
export function packError(error: unknown): PackedError {
  if (error instanceof TareError) {
    const { name, code, message, path, offset, tensor, digest, hint } = error;
    return { name, code, message, path, offset, tensor, digest, hint };
  }
  return { name: "Error", code: undefined, message: error instanceof Error ? error.message : String(error) };
}

/** Restores an error from the result of {@link packError}; `otherwise` is the code of errors that were no TareError. */
export function unpackError(packed: PackedError, otherwise: ErrorCode): TareError {
  const Class = CLASSES[packed.name as keyof typeof CLASSES] ?? TareError;
  return new Class(packed.code ?? otherwise, packed.message, packed);
}
