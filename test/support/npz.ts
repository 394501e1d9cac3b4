import { unzipSync } from "fflate";

/** The arrays of an `.npz` of float32, by their names: what NumPy wrote, read without our own reader. */
export function npzFloats(bytes: Uint8Array): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(unzipSync(bytes)).map(([name, file]) => {
      const view = new DataView(file.buffer, file.byteOffset);
      const header = 10 + view.getUint16(8, true);
      return [name.replace(/\.npy$/, ""), new Float32Array(file.slice(header).buffer)];
    }),
  );
}
