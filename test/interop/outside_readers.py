"""What Python's onnx, onnxruntime, numpy, pickle, safetensors, gguf and IREE make of files: each command prints JSON.

    cache LIST                tensors of an MLC cache, read by json and numpy as TVM reads them
    checkpoint FILE           tensors of a PyTorch checkpoint, read by zipfile and pickle without PyTorch
    gguf FILE...              tensors and metadata of GGUF files together, read by gguf
    irpa FILE                 parameters of an IREE archive, read by iree.runtime
    initializers MODEL        every initializer of a model, read by onnx.load
    run MODEL INPUTS.npz      outputs of onnxruntime, set as tare's engine is
    save MODEL OUT one|many   writes the model again, every tensor in one file of external data, or in one each
    tensors FILE              what numpy or safetensors reads, and whether zipfile finds every checksum right
"""

import collections
import hashlib
import io
import json
import math
import pathlib
import pickle
import re
import sys
import zipfile

import numpy as np


def main(command: str, *arguments: str):
    commands = {
        "cache": cache,
        "checkpoint": checkpoint,
        "gguf": gguf,
        "initializers": initializers,
        "irpa": irpa,
        "run": run,
        "save": save,
        "tensors": tensors,
    }
    return commands[command](*arguments)


def cache(path: str):
    arrays = {}
    listed = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    for shard in listed["records"]:
        data = (pathlib.Path(path).parent / shard["dataPath"]).read_bytes()
        assert (shard["format"], shard["nbytes"]) == ("raw-shard", len(data))
        assert shard["md5sum"] == hashlib.md5(data).hexdigest()
        for record in shard["records"]:
            assert record["format"] == "raw"
            part = data[record["byteOffset"] :][: record["nbytes"]]
            arrays[record["name"]] = np.frombuffer(part, record["dtype"]).reshape(record["shape"])
    assert listed["metadata"]["ParamSize"] == len(arrays)
    assert listed["metadata"]["ParamBytes"] == sum(array.nbytes for array in arrays.values())
    return described(arrays)


def checkpoint(path: str):
    """What PyTorch's own pickles call, called by what stands in for it here."""
    storages = {
        **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
        **{"BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16"},
        **{"CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": None},
        **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
    }
    numbers = re.compile(r"(?:float|bfloat|int|uint|complex)(\d+)")

    def rebuild(storage, offset, size, stride, requires_grad, hooks, dtype=None):
        declared, data = storage
        name = declared or dtype
        width = 1 if name == "bool" else int(numbers.match(name)[1]) // 8
        expected, step = [], 1
        for dimension in reversed(size):
            expected.insert(0, step)
            step *= max(1, dimension)
        assert (offset, list(stride), requires_grad, hooks) == (0, expected, False, {})
        assert len(data) == width * math.prod(size), name
        return {"dtype": name, "shape": list(size), "sha256": hashlib.sha256(data).hexdigest()}

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (folder,) = {name.split("/")[0] for name in archive.namelist()}
        assert archive.read(f"{folder}/version") == b"3\n" and archive.read(f"{folder}/byteorder") == b"little"

        class Unpickler(pickle.Unpickler):
            def find_class(self, module, name):
                if (module, name) == ("collections", "OrderedDict"):
                    return collections.OrderedDict
                if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3"):
                    return rebuild
                if (module, name) == ("torch.storage", "UntypedStorage") or module == "torch" and name in storages:
                    return (storages[name],)
                assert module == "torch" and numbers.match(name), (module, name)
                return name

            def persistent_load(self, persistent):
                kind, (dtype,), key, location, count = persistent
                data = archive.read(f"{folder}/data/{key}")
                width = (1 if dtype == "bool" else int(numbers.match(dtype)[1]) // 8) if dtype else 1
                assert (kind, location, count * width) == ("storage", "cpu", len(data))
                return dtype, data

        return Unpickler(io.BytesIO(archive.read(f"{folder}/data.pkl"))).load()


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
