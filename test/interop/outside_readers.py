"""What Python's onnx, onnxruntime, numpy and safetensors make of files: each command prints JSON.

    initializers MODEL        every initializer of a model, read by onnx.load
    run MODEL INPUTS.npz      outputs of onnxruntime, set as tare's engine is
    save MODEL OUT one|many   writes the model again, every tensor in one file of external data, or in one each
    tensors FILE              what numpy or safetensors reads
"""

import hashlib
import json
import pathlib
import sys

import numpy as np


def main(command: str, *arguments: str):
    return {"initializers": initializers, "run": run, "save": save, "tensors": tensors}[command](*arguments)


def initializers(path: str):
    import onnx

    try:
        model = onnx.load(path)
    except onnx.checker.ValidationError as error:
        return {"refused": str(error)}
    return described({each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer})


def run(path: str, inputs: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return described(dict(zip(names, session.run(names, dict(np.load(inputs))), strict=True)))


def save(path: str, out: str, files: str):
    import onnx

    model = onnx.load(path)
    onnx.save_model(
        model,
        pathlib.Path(out) / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=files == "one",
        size_threshold=0,
        convert_attribute=True,
    )
    return {}


def tensors(path: str):
    if path.endswith(".safetensors"):
        from safetensors.numpy import load_file

        return described(load_file(path))
    return described(dict(np.load(path)))


def described(arrays):
    return {
        name: {
            "dtype": str(array.dtype),
            "shape": list(array.shape),
            "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
        }
        for name, array in arrays.items()
    }


print(json.dumps(main(*sys.argv[1:])))
