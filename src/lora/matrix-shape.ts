/**
 * Rows and columns of a matrix, which a 1×1 convolution is too: [out, in, 1, 1] is [out, in].
 * @returns `undefined` for any other shape
 */
export function matrixShape(shape: readonly number[]): readonly [number, number] | undefined {
  const [rows, columns, ...rest] = shape;
  if (rows === undefined || columns === undefined || rest.some((length) => length !== 1)) return undefined;
  return [rows, columns];
}
