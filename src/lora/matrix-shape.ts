/**
 * Rows and columns of a matrix or a 1×1 convolution: [out, in, 1, 1] counts as [out, in].
 * @returns `undefined` for any other shape
 */
export function matrixShape(shape: readonly number[]): readonly [number, number] | undefined {
  const [rows, columns, ...rest] = shape;
  if (rows === undefined || columns === undefined || rest.some((length) => length !== 1)) return undefined;
  return [rows, columns];
}
