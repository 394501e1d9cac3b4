import type { Format } from "../format.ts";

/** Models of ONNX. */
export const onnx: Format = {
  id: "onnx",
  label: "ONNX",
  extensions: [".onnx"],
  looseTensors: "constants",
  // A protobuf message has no signature. Writers start with the version of the representation, and go on with another
  // field of the model.
  resembles: ({ bytes: [tag, version, next = 0] }) => {
    const isVersion = tag === 0x08 && version !== undefined && version > 0 && version < 64;
    return isVersion && next >> 3 >= 2 && [0, 2].includes(next & 7);
  },
  read: async (...model) => (await import("./read.ts")).readOnnx(...model),
};
