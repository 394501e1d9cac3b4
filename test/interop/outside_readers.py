"""What Python's onnx, onnxruntime, numpy, safetensors, gguf and IREE make of files: each command prints JSON.

    gguf FILE...              tensors and metadata of GGUF files together, read by gguf
    irpa FILE                 parameters of an IREE archive, read by iree.runtime
    initializers MODEL        every initializer of a model, read by onnx.load
    run MODEL INPUTS.npz      outputs of onnxruntime, set as tare's engine is
    save MODEL OUT one|many   writes the model again, every tensor in one file of external data, or in one each
    tensors FILE              what numpy or safetensors reads, and whether zipfile finds every checksum right
"""

import hashlib
import json
import pathlib
import sys
import zipfile

import numpy as np


def main(command: str, *arguments: str):
    commands = {
        "gguf": gguf,
        "initializers": initializers,
        "irpa": irpa,
        "run": run,
        "save": save,
        "tensors": tensors,
    }
    return commands[command](*arguments)


def gguf(*paths: str):
    from gguf import GGUFReader

    tensors, metadata = {}, {}
    for path in paths:
        reader = GGUFReader(path)
        for tensor in reader.tensors:
            assert tensor.name not in tensors, tensor.name
            tensors[tensor.name] = {
                "type": tensor.tensor_type.name,
                "shape": tensor.shape.tolist(),
                "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
            }
        for key, field in reader.fields.items():
            if not key.startswith(("GGUF.", "split.")) and key != "general.alignment":
                metadata[key] = str(field.contents())
    return {"tensors": tensors, "metadata": metadata}


def initializers(path: str):
    import onnx

    try:
        model = onnx.load(path)
    except onnx.checker.ValidationError as error:
        return {"refused": str(error)}
    return described({each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer})


def irpa(path: str):
    import iree.runtime as rt

    index = rt.ParameterIndex()
    index.load(path)
    entries = dict(index.items())
    data = {name: entry for name, entry in entries.items() if entry.is_file}
    splats = {
        name: {"pattern": entry.splat_pattern.hex(), "length": entry.length}
        for name, entry in entries.items()
        if entry.is_splat
    }
    arrays = {name: rt.parameter_index_entry_as_numpy_ndarray(entry) for name, entry in data.items()}
    return {"tensors": described(arrays), "splats": splats}


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
    if path.endswith(".npy"):
        return described({"": np.load(path)})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
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
