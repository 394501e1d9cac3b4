import { StoreError } from "../../errors.ts";
import { isPlainPath } from "../../model/config.ts";
import { layoutBytes, formatLayout, type TensorLayout } from "../../tensor/tensor-layout.ts";

/** A key goes into files as UTF-8: one that has no spelling there would come back as another. */
export function checkKey(key: string): void {
  if (key !== "" && !/\p{Surrogate}/u.test(key)) return;
  const reason = key === "" ? "it is empty" : "it is no well-formed text";
  throw new StoreError("bad-name", `Cannot put "${key}": ${reason}`, { tensor: key });
}

/** A tag becomes part of a file's name. */
export function checkTag(key: string, tag: string): void {
  if (isPlainPath(tag) && !tag.includes("/") && !/\p{Surrogate}/u.test(tag)) return;
  throw new StoreError("bad-name", `Cannot put "${key}": its tag "${tag}" is no plain file name`, {
    tensor: key,
  });
}

/** @returns the bytes that a layout takes */
export function checkLayout(key: string, layout: TensorLayout): number {
  const length = layoutBytes(layout);
  if (length !== undefined) return length;
  throw new StoreError("size-mismatch", `Cannot put "${key}": no tensor can be ${formatLayout(layout)}`, {
    tensor: key,
  });
}

/**
 * Compares the bytes that came with those that a layout takes.
 * @param whole whether more may come
 */
export function checkSize(
  key: string,
  layout: TensorLayout,
  expected: number | undefined,
  size: number,
  whole = true,
): void {
  if (size === expected) return;
  const came = whole ? `${size} bytes` : `${size} bytes and more`;
  throw new StoreError(
    "size-mismatch",
    `Cannot put "${key}": ${formatLayout(layout)} takes ${expected} bytes, ${came} came`,
    { tensor: key, hint: "is it another dtype, or another shape?" },
  );
}
