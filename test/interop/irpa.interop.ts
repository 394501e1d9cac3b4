import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodeIrpaHeader, type IrpaSpec, irpaTensorMetadata } from "../../src/formats/irpa/write.ts";
import { DTYPE_BITS, type DType } from "../../src/tensor/dtype.ts";
import { counting } from "../support/bytes.ts";
import { python } from "../support/python.ts";
import { temporaryFolder } from "../support/temporary.ts";

const NUMPY: readonly DType[] = [
  ...(["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"] as const),
  ...(["float16", "float32", "float64", "complex64"] as const),
];

test("IREE's own reader takes an archive that encodeIrpaHeader() wrote", async () => {
  const shape = [2, 3];
  const tensors = NUMPY.map((dtype, nth) => {
    const bytes = counting((6 * DTYPE_BITS[dtype]) / 8, nth);
    return { name: `größe.${dtype}`, dtype, bytes };
  });
  const specs: IrpaSpec[] = tensors.map(({ name, dtype, bytes }) => ({
    kind: "data",
    name,
    metadata: irpaTensorMetadata(dtype, shape),
    length: bytes.length,
  }));
  const splat: IrpaSpec = {
    kind: "splat",
    name: "ones",
    pattern: Uint8Array.of(0, 0, 0x80, 0x3f),
    length: 64,
  };
  const { bytes, offsets, size } = encodeIrpaHeader([splat, ...specs]);
  const file = new Uint8Array(size);
  file.set(bytes);
  for (const [nth, tensor] of tensors.entries()) file.set(tensor.bytes, offsets[nth + 1]);
  const path = join(await temporaryFolder(), "x.irpa");
  await writeFile(path, file);
  expect(await python("irpa", path)).toEqual({
    tensors: Object.fromEntries(
      tensors.map(({ name, dtype, bytes: data }) => {
        const sha256 = createHash("sha256").update(data).digest("hex");
        return [name, { dtype, shape, sha256 }];
      }),
    ),
    splats: { ones: { pattern: "0000803f", length: 64 } },
  });
});
