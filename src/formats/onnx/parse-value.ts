import { eachField, type Field, type Frame, frameOf, malformed } from "../../encodings/protobuf/fields.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import type { OnnxValue } from "./graph.ts";
import { MAX_RANK, readInt, readString, readUint } from "./parse-tensor.ts";
import {
  DATA_TYPES,
  DimFields,
  ShapeFields,
  TensorTypeFields,
  TypeFields,
  ValueInfoFields,
} from "./schema.ts";

/** Parses a `ValueInfoProto`; types other than dense tensors have neither dtype nor shape. */
export function parseValue(view: SparseBytes, field: Field, parent: Frame): OnnxValue {
  let name = "";
  let dtype: OnnxValue["dtype"];
  let shape: (number | string | undefined)[] | undefined;
  const enter = (from: Field, outer: Frame, visit: (inner: Field, frame: Frame) => void): void => {
    const frame = frameOf(from, outer, view);
    eachField(view, frame.start, frame.end, (inner) => visit(inner, frame));
  };
  enter(field, parent, (part, valueFrame) => {
    if (part.number === ValueInfoFields.name) name = readString(view, part);
    if (part.number !== ValueInfoFields.type) return;
    enter(part, valueFrame, (type, typeFrame) => {
      if (type.number !== TypeFields.tensor) return;
      enter(type, typeFrame, (inner, tensorFrame) => {
        if (inner.number === TensorTypeFields.elemType) dtype = DATA_TYPES[readUint(view, inner)];
        if (inner.number !== TensorTypeFields.shape) return;
        const dims: (number | string | undefined)[] = [];
        enter(inner, tensorFrame, (dim, shapeFrame) => {
          if (dim.number !== ShapeFields.dim) return;
          let value: number | string | undefined;
          enter(dim, shapeFrame, (choice) => {
            if (choice.number === DimFields.value) value = readInt(view, choice);
            else if (choice.number === DimFields.param) value = readString(view, choice) || undefined;
          });
          if (dims.push(value) > MAX_RANK) {
            throw malformed(view, dim.start, `a value has over ${MAX_RANK} dimensions`);
          }
        });
        shape = dims;
      });
    });
  });
  return { name, dtype, shape, field };
}
