/**
 * Copies bytes with every unit reversed: big-endian to little-endian and back.
 * @param unit bytes to reverse as one: an element, or one part of a complex element
 */
export function swapBytes(bytes: Uint8Array, unit: number): Uint8Array {
  const swapped = new Uint8Array(bytes.byteLength);
  for (let start = 0; start < bytes.byteLength; start += unit) {
    for (let index = 0; index < unit; index++) {
      swapped[start + index] = bytes[start + unit - 1 - index] as number;
    }
  }
  return swapped;
}

/**
 * Copies a column-major array to row-major order.
 * @param width bytes an element
 */
export function toRowMajor(bytes: Uint8Array, shape: readonly number[], width: number): Uint8Array {
  const moved = new Uint8Array(bytes.byteLength);
  let stride = width;
  const axes = shape
    .map((size) => {
      const axis = { size, stride, index: 0 };
      stride *= size;
      return axis;
    })
    .reverse();
  let from = 0;
  for (let to = 0; to < moved.byteLength; to += width) {
    for (let byte = 0; byte < width; byte++) moved[to + byte] = bytes[from + byte] as number;
    for (const axis of axes) {
      from += axis.stride;
      if (++axis.index < axis.size) break;
      from -= axis.stride * axis.size;
      axis.index = 0;
    }
  }
  return moved;
}
