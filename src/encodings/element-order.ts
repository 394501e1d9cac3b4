/** Elements as a file has them. */
export interface ElementOrder {
  /** Bytes of an element: 1, 2, 4, 8 or 16. */
  readonly width: number;
  readonly shape: readonly number[];
  /** For each dimension, elements from one index to the next; 0 where one element stands for all. */
  readonly strides: readonly number[];
  /** Elements before the first, from the start of the source. */
  readonly offset: number;
  /** Bytes to reverse as one, such as a part of a complex element; 1 if the bytes are little-endian. */
  readonly swap: number;
  /** The bytes of each element, little-endian, whose highest bit is the other: signs of floats; none if left out. */
  readonly flip?: readonly number[] | undefined;
}
