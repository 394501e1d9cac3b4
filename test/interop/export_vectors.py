"""Writes the test vectors of the installed onnx package into a folder, laid out as the ONNX project lays them out.

    python export_vectors.py OUT

    OUT/node/NAME         every case of onnx.backend.test.case.node
    OUT/node-first/NAME   the same, the first input made an initializer
    OUT/node-rest/NAME    the same, every input but the first made an initializer
    OUT/node-odd/NAME     the same, every input made an initializer that cannot be fed from JavaScript (int4, float8, …)
    OUT/node-function/NAME  as node-rest, the operator and its weights inside of a function
    OUT/node-if/NAME        as node-rest, the operator and its weights inside of both branches of an If
    OUT/node-sparse/NAME    as node-rest, the weights sparse
    OUT/light/NAME        the light models: well-known architectures whose weights are all filled with one number
    OUT/light-filled/NAME some of them with weights drawn at random
    OUT/converted/NAME    cases of pytorch-converted and pytorch-operator, brought to an opset that engines still have

Each NAME holds model.onnx and test_data_set_0/{input,output}_N.pb. The cases of a single operator take everything as
an input, so they have no weights: the other node-* make some of what they take. Models of an IR version or
opset that is newer than what ONNX Runtime knows are stamped with the newest that it does know: most operators only
came to take more types. Whether that was right the expected outputs say.
"""

import pathlib
import shutil
import sys
import warnings

import numpy as np
import onnx
import onnx.backend.test
import onnx.version_converter
from onnx import TensorProto, helper, numpy_helper

DATA = pathlib.Path(onnx.backend.test.__file__).parent / "data"
FILLED = ["densenet121", "shufflenet", "squeezenet"]
# Their fully connected layers are 250 to 550 MB of one number, which every engine computes when it loads them.
HUGE = ["bvlc_alexnet", "vgg19", "zfnet512"]
# What onnxruntime-node feeds and fetches.
FED = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
# Of onnxruntime-node 1.30.
NEWEST_IR = 13
NEWEST_OPSET = 26
# ONNX Runtime has no kernels for some operators of opset 6.
OPSET = 11


def main(out: pathlib.Path) -> None:
    warnings.simplefilter("ignore")
    # Some cases draw their inputs without a seed of their own.
    np.random.seed(0)
    from onnx.backend.test.case.node import collect_testcases

    shutil.rmtree(out, ignore_errors=True)
    for case in collect_testcases():
        stamp(case.model)
        sets = [[encode(case.model.graph, *each) for each in pair] for pair in labelled(case)]
        write(out / "node" / case.name, case.model, sets)
        if len(case.data_sets) == 1 and all(map(is_fed, case.model.graph.output)):
            variants(out, case, sets)
    for path in sorted((DATA / "light").glob("light_*.onnx")):
        if path.stem.removeprefix("light_") not in HUGE:
            light(out, path)
    for kind in ("pytorch-converted", "pytorch-operator"):
        for path in sorted((DATA / kind).glob("*/model.onnx")):
            convert(out / "converted", path.parent)


def variants(out: pathlib.Path, case, sets) -> None:
    inputs = case.model.graph.input
    if not all(value.type.HasField("tensor_type") for value in inputs):
        return
    indices = range(len(inputs))
    odd = [index for index in indices if not is_fed(inputs[index])]
    if odd:
        write(out / "node-odd" / case.name, *bind(case.model, sets, odd))
    if len(inputs) < 2:
        return
    for variant, bound in (("node-first", indices[:1]), ("node-rest", indices[1:])):
        if all(index in bound for index in odd):
            write(out / variant / case.name, *bind(case.model, sets, bound))
    if odd and odd[0] == 0 or "_expanded" in case.name:
        return
    rest, protos = bind(case.model, sets, indices[1:])
    write(out / "node-function" / case.name, in_function(rest), protos)
    write(out / "node-if" / case.name, in_if(rest), [[*protos[0], ("input", 1, TRUE)]])
    if sparse := with_sparse(rest):
        write(out / "node-sparse" / case.name, sparse, protos)


def is_fed(value) -> bool:
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in FED


def stamp(model) -> None:
    model.ir_version = min(model.ir_version, NEWEST_IR)
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = min(opset.version, NEWEST_OPSET)


def labelled(case):
    graph = case.model.graph
    for inputs, outputs in case.data_sets:
        yield [("input", index, value) for index, value in enumerate(inputs)] + [
            ("output", index, value) for index, value in enumerate(outputs)
        ]


def encode(graph, kind, index, value):
    info = (graph.input if kind == "input" else graph.output)[index]
    if info.type.HasField("map_type"):
        proto = numpy_helper.from_dict(value, info.name)
    elif info.type.HasField("sequence_type"):
        proto = numpy_helper.from_list(value, info.name)
    elif info.type.HasField("optional_type"):
        proto = numpy_helper.from_optional(value, info.name)
    elif isinstance(value, TensorProto):
        proto = value
    else:
        proto = numpy_helper.from_array(value, info.name)
    return kind, index, proto


def write(folder: pathlib.Path, model, sets) -> None:
    for number, protos in enumerate(sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir(parents=True)
        for kind, index, proto in protos:
            (data / f"{kind}_{index}.pb").write_bytes(proto.SerializeToString())
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def bind(model, sets, indices):
    """Makes initializers of some inputs."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    # Before IR version 4 initializers had to be inputs as well.
    bound.ir_version = max(bound.ir_version, 4)
    left = [info for index, info in enumerate(model.graph.input) if index not in indices]
    del bound.graph.input[:]
    bound.graph.input.extend(left)
    protos = []
    for kind, index, proto in sets[0]:
        if kind == "input" and index in indices:
            initializer = bound.graph.initializer.add()
            initializer.CopyFrom(proto)
            initializer.name = model.graph.input[index].name
        elif kind == "input":
            protos.append((kind, index - sum(each < index for each in indices), proto))
        else:
            protos.append((kind, index, proto))
    return bound, [protos]


def in_function(model):
    """Puts the main graph's nodes and initializers into a function."""
    graph = model.graph
    nodes = [helper.make_node("Constant", [], [each.name], value=each) for each in graph.initializer] + list(graph.node)
    domains = {opset.domain for opset in model.opset_import}
    # Constant and If belong to ONNX's own operators, whatever the case is of.
    opsets = list(model.opset_import) + ([] if "" in domains else [helper.make_operatorsetid("", NEWEST_OPSET)])
    inputs = [each.name for each in graph.input]
    outputs = [each.name for each in graph.output]
    function = helper.make_function("local", "Wrapped", inputs, outputs, nodes, opsets)
    call = helper.make_node("Wrapped", inputs, outputs, domain="local")
    return helper.make_model(
        helper.make_graph([call], graph.name, graph.input, graph.output),
        functions=[function],
        opset_imports=[*opsets, helper.make_operatorsetid("local", 1)],
        ir_version=max(model.ir_version, 8),
    )


def in_if(model):
    """Puts the main graph's nodes and initializers into the branches of an If."""
    graph = model.graph
    branches = {}
    for name in ("then_branch", "else_branch"):
        branch = onnx.GraphProto()
        branch.CopyFrom(graph)
        branch.name = name
        del branch.input[:]
        branches[name] = branch
    outputs = [f"{each.name}.if" for each in graph.output]
    node = helper.make_node("If", ["if.condition"], outputs, **branches)
    wrapped = onnx.ModelProto()
    wrapped.CopyFrom(model)
    del wrapped.graph.node[:], wrapped.graph.initializer[:]
    wrapped.graph.node.append(node)
    wrapped.graph.input.append(helper.make_tensor_value_info("if.condition", TensorProto.BOOL, []))
    for value, name in zip(wrapped.graph.output, outputs, strict=True):
        value.name = name
    if not any(opset.domain == "" for opset in wrapped.opset_import):
        wrapped.opset_import.append(helper.make_operatorsetid("", NEWEST_OPSET))
    return wrapped


TRUE = numpy_helper.from_array(np.array(True), "if.condition")


def with_sparse(model):
    """Makes the float initializers sparse, where there are any: engines take no others."""
    sparse = onnx.ModelProto()
    sparse.CopyFrom(model)
    del sparse.graph.initializer[:]
    sparse.ir_version = max(sparse.ir_version, 6)
    for each in model.graph.initializer:
        if each.data_type != TensorProto.FLOAT or not each.dims or 0 in each.dims:
            sparse.graph.initializer.append(each)
            continue
        flat = numpy_helper.to_array(each).reshape(-1)
        (indices,) = np.nonzero(flat)
        values = numpy_helper.from_array(flat[indices], each.name)
        where = numpy_helper.from_array(indices.astype(np.int64), f"{each.name}.indices")
        sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, list(each.dims)))
    return sparse if sparse.graph.sparse_initializer else None


def light(out: pathlib.Path, path: pathlib.Path) -> None:
    model = onnx.load(path)
    name = path.stem.removeprefix("light_")
    known = {each.name for each in model.graph.initializer}
    inputs = []
    for info in (each for each in model.graph.input if each.name not in known):
        shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
        # As onnx.backend.test.runner makes it: the expected outputs belong to this.
        value = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
        inputs.append(("input", len(inputs), numpy_helper.from_array(value, info.name)))
    expected = onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb"))
    write(out / "light" / name, model, [[*inputs, ("output", 0, expected)]])
    if name in FILLED:
        write(out / "light-filled" / name, fill(model), [inputs])


def fill(model):
    """Draws the weights of a light model, which are the outputs of ConstantOfShape nodes."""
    random = np.random.default_rng(0)
    shapes = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    filled.ir_version = max(filled.ir_version, 4)
    del filled.graph.node[:]
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            filled.graph.node.append(node)
            continue
        shape = shapes[node.input[0]].tolist()
        if len(shape) > 1:
            value = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif node.output[0] in variances:
            value = random.uniform(0.5, 1.5, shape)
        else:
            value = random.standard_normal(shape) * 0.2 + 0.5
        filled.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), node.output[0]))
    return filled


def convert(out: pathlib.Path, folder: pathlib.Path) -> None:
    model = onnx.load(folder / "model.onnx")
    if max(opset.version for opset in model.opset_import) >= 7:
        return
    try:
        converted = onnx.version_converter.convert_version(model, OPSET)
    except Exception:  # noqa: BLE001: its own errors have no common class
        return
    shutil.copytree(folder, out / folder.name)
    (out / folder.name / "model.onnx").write_bytes(converted.SerializeToString())


main(pathlib.Path(sys.argv[1]))
