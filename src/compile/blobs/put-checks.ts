import { StoreError } from "../../errors.ts";
import { isPlainPath } from "../../model/config.ts";
import { layoutBytes, formatLayout, type TensorLayout } from "../../tensor/tensor-layout.ts";

/** Checks that a key can be encoded as UTF-8, as data files do, and decoded to the same key. */
export function checkKey(key: string): void {
  if (key !== "" && !/\p{Surrogate}/u.test(key)) return;
  const reason = key === "" ? "it is empty" : "it is no well-formed text";
  throw new StoreError("bad-name", `Cannot put "${key}": ${reason}`, { tensor: key });
}

/** Checks that a tag can be part of a file name. */
export function checkTag(key: string, tag: string): void {
  if (isPlainPath(tag) && !tag.includes("/") && !/\p{Surrogate}/u.test(tag)) return;
  throw new StoreError("bad-name", `Cannot put "${key}": its tag "${tag}" is not a plain file name`, {
    tensor: key,
  });
}

/** Returns the size of a layout in bytes. */
export function checkLayout(key: string, layout: TensorLayout): number {
  const length = layoutBytes(layout);
  if (length !== undefined) return length;
  throw new StoreError(
    "size-mismatch",
    `Cannot put "${key}": no tensor has the layout ${formatLayout(layout)}`,
    {
      tensor: key,
    },
  );
}

/**
 * Compares the number of received bytes with the size of a layout.
 * @param complete whether all bytes were received
 */
export function checkSize(
  key: string,
  layout: TensorLayout,
  expected: number | undefined,
  size: number,
  complete = true,
): void {
  if (size === expected) return;
  const received = complete ? `${size} bytes` : `over ${size} bytes`;
  throw new StoreError(
    "size-mismatch",
    `Cannot put "${key}": ${formatLayout(layout)} takes ${expected} bytes, not ${received}`,
    { tensor: key, hint: "Check its dtype and shape" },
  );
}
