/** A value of a pickle, as plain data. */
export type PickleValue = null | boolean | number | bigint | string | Uint8Array | PickleObject;

/** A value that contains others. */
export type PickleObject = PickleList | PickleDict | PickleGlobal | PickleCall | PicklePersistent;

/** A list, a tuple or a set. */
export interface PickleList {
  readonly kind: "list" | "tuple" | "set";
  readonly items: PickleValue[];
}

/** A dict, or an OrderedDict. */
export interface PickleDict {
  readonly kind: "dict";
  readonly entries: Map<PickleValue, PickleValue>;
}

/** A class or a function, by its name: module, dot, name. */
export interface PickleGlobal {
  readonly kind: "global";
  readonly name: string;
}

/** An object that Python would make by a call. The call is not made here. */
export interface PickleCall {
  readonly kind: "call";
  /** Name of the class or function. */
  readonly name: string;
  readonly args: readonly PickleValue[];
  /** Set for an object of a class that tare does not know: its state, its items and their keys. */
  readonly inside?: PickleValue[];
}

/** An object outside of the pickle: a storage. */
export interface PicklePersistent {
  readonly kind: "persistent";
  readonly id: PickleValue;
}

/** Narrows to an object of a kind. */
export function isKind<K extends PickleObject["kind"]>(
  value: PickleValue | undefined,
  kind: K,
): value is PickleObject & { readonly kind: K } {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}
