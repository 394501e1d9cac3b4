/** What a pickle says, as plain data: nothing is called to make it. */
export type PickleValue = null | boolean | number | bigint | string | Uint8Array | PickleObject;

/** A value with others in it. */
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

/** What Python would make by calling something; here nobody does. */
export interface PickleCall {
  readonly kind: "call";
  /** Of what is called. */
  readonly name: string;
  readonly args: readonly PickleValue[];
}

/** Something that is kept outside of the pickle: a storage. */
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
