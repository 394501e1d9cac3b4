import { encodeDataHead } from "../../formats/executorch/write-data.ts";
import { SCALAR_TYPES } from "../../formats/executorch/schema.ts";
import { TENSOR_TYPES } from "../../formats/gguf/schema.ts";
import { encodeGgufHeader } from "../../formats/gguf/write.ts";
import { encodeIrpaHeader, irpaTensorMetadata } from "../../formats/irpa/write.ts";
import { npyHead } from "../../formats/npy/write.ts";
import { encodeSafetensorsHeader } from "../../formats/safetensors/write.ts";
import { typeOfDType } from "../../formats/tvm-params/schema.ts";
import { encodeTvmParams } from "../../formats/tvm-params/write.ts";
import { FormatError } from "../../errors.ts";
import type { DType } from "../../tensor/dtype.ts";
import { layOutCheckpoint, layOutNpz } from "./archives.ts";
import type { FileLayout, Piece, WeightSpec } from "./layout.ts";

/** Numbers of ExecuTorch for quantized values and for bits, which are read as the integers that they are stored as. */
const QUANTIZED: ReadonlySet<number> = new Set([12, 13, 14, 22]);

/**
 * Lays weights out as one file of a container.
 * @param path the file's, for containers that say their own name
 */
type LayOut = (weights: readonly WeightSpec[], path: string) => FileLayout;

/** Containers of weights alone that can be written, by the file's ending. */
export const WEIGHT_LAYOUTS: Readonly<Record<string, LayOut>> = {
  ".safetensors": (weights) => {
    const { bytes, tensors, size } = encodeSafetensorsHeader(weights);
    const pieces = tensors.map(({ spec, offset }) => ({ offset, weight: spec }));
    return { pieces: [{ offset: 0, bytes }, ...pieces], size };
  },
  ".gguf": (weights) => {
    const tensors = weights.map((weight) => {
      return { name: weight.name, type: numberOf(TENSOR_TYPES, weight, "GGUF"), shape: weight.shape };
    });
    const { bytes, offsets, size } = encodeGgufHeader({ metadata: [], tensors });
    return { pieces: [{ offset: 0, bytes }, ...placed(weights, offsets)], size };
  },
  ".irpa": (weights) => {
    const { bytes, offsets, size } = encodeIrpaHeader(
      weights.map(({ name, dtype, shape, length }) => {
        return { kind: "data", name, metadata: irpaTensorMetadata(dtype, shape), length };
      }),
    );
    return { pieces: [{ offset: 0, bytes }, ...placed(weights, offsets as number[])], size };
  },
  ".params": (weights) => {
    const { places, empty, size } = encodeTvmParams(
      weights.map((weight) => {
        const type = typeOfDType(weight.dtype);
        if (!type) throw refusal(weight, "TVM parameters");
        return { name: weight.name, type, shape: weight.shape };
      }),
    );
    if (places.length === 0) return { pieces: [{ offset: 0, bytes: empty }], size };
    const pieces = places.flatMap(({ header, offset }, index): Piece[] => [
      { offset: offset - header.byteLength, bytes: header },
      { offset, weight: weights[index] as WeightSpec },
    ]);
    return { pieces, size };
  },
  ".ptd": (weights) => {
    const plain = [...SCALAR_TYPES].filter(([number]) => !QUANTIZED.has(number));
    const types = new Map(plain.map(([number, { dtype }]) => [number, dtype]));
    const { bytes, segments, size } = encodeDataHead({
      segments: weights.map(({ length }) => ({ length })),
      named: weights.map((weight, segment) => {
        const { name: key, shape: sizes } = weight;
        const layout = {
          type: numberOf(types, weight, "PTD"),
          sizes,
          dimOrder: sizes.map((_, index) => index),
        };
        return { key, segment, layout };
      }),
    });
    const offsets = segments.map(({ offset }) => offset);
    return { pieces: [{ offset: 0, bytes }, ...placed(weights, offsets)], size };
  },
  ".pt": layOutCheckpoint,
  ".pth": layOutCheckpoint,
  ".npz": layOutNpz,
  ".npy": (weights) => {
    const [weight, ...others] = weights;
    if (!weight || others.length > 0) {
      throw new FormatError(
        "unsupported",
        `Cannot write ${weights.length} weights as .npy: it holds one array`,
        {
          tensor: others[0]?.name,
          hint: "write a .npz file",
        },
      );
    }
    const bytes = npyHead(weight.name, weight.dtype, weight.shape);
    const offset = bytes.byteLength;
    return {
      pieces: [
        { offset: 0, bytes },
        { offset, weight },
      ],
      size: offset + weight.length,
    };
  },
};

function placed(weights: readonly WeightSpec[], offsets: readonly number[]): Piece[] {
  return weights.map((weight, index) => ({ offset: offsets[index] as number, weight }));
}

/** The number that a container has for a weight's dtype. */
function numberOf(
  types: ReadonlyMap<number, DType | undefined>,
  weight: WeightSpec,
  container: string,
): number {
  for (const [number, dtype] of types) if (dtype === weight.dtype) return number;
  throw refusal(weight, container);
}

function refusal({ name, dtype }: WeightSpec, container: string): FormatError {
  return new FormatError("unsupported", `Cannot write weight "${name}" as ${container}: it has no ${dtype}`, {
    tensor: name,
    hint: "choose another container; docs/formats.md says what each can hold",
  });
}
