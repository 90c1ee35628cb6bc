"""ONNX graphs and exported programs: the numbers of an independent evaluation, or a refusal."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from partwise.cli import main
from partwise.errors import CheckpointError, MissingExtraError, PartwiseError, UnreadableModelError
from partwise.graph import unit_map
from partwise.stages import open_network
from partwise.train.exported import load_exported

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from partwise.train.onnx_network import OnnxNetwork, load_onnx  # noqa: E402

takes_example = pytest.mark.skipif(
    "example" not in inspect.signature(unit_map).parameters,
    reason="unit_map takes no example inputs yet",
)
RNG = np.random.default_rng(0)


def arr(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def model_of(nodes, inputs, held=None, outputs="y", opset=18):
    """A model: nodes, name -> shape of inputs, name -> array of initialisers."""
    made = [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in inputs.items()]
    out = [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs.split()]
    initial = [numpy_helper.from_array(v, k) for k, v in (held or {}).items()]
    graph = helper.make_graph(nodes, "g", made, out, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def read(model, tmp_path):
    onnx.save(model, tmp_path / "m.onnx")
    return load_onnx(tmp_path / "m.onnx")


def same(model, tmp_path, tolerance=1e-5):
    """The network, after its outputs were compared with the reference on two batches."""
    network, example = read(model, tmp_path)
    inputs = example if isinstance(example, tuple) else (example,)
    for _ in range(2):
        with torch.no_grad():
            got = network(*inputs)
        fed = {k: x.numpy() for k, x in zip(network.input_names, inputs, strict=True)}
        want = ReferenceEvaluator(model).run(None, fed)
        for a, b in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
            assert a.shape == b.shape
            assert np.allclose(a.numpy(), b, atol=tolerance), abs(a.numpy() - b).max()
        inputs = tuple(torch.randn(x.shape) for x in inputs)
    return network


def dense(opset=18):
    nodes = [
        node("Gemm", "x fc1.weight fc1.bias", "h", transB=1),
        node("Relu", "h", "r"),
        node("MatMul", "r onnx::W_2", "m"),
        node("Add", "m /out/bias", "y"),
    ]
    held = {
        "fc1.weight": arr(6, 4),
        "fc1.bias": arr(6),
        "onnx::W_2": arr(6, 3),
        "/out/bias": arr(3),
    }
    return model_of(nodes, {"x": ["batch", 4]}, held, opset=opset)


def residual_conv():
    nodes = [
        node("Conv", "x c1 b1", "h1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "h1 g s m v", "n1", epsilon=1e-3),
        node("Relu", "n1", "r1"),
        node("Conv", "r1 c2", "h2", auto_pad="SAME_UPPER", group=2),
        node("Add", "h2 r1", "sum"),
        node("MaxPool", "sum", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "p", "shape", end=1),
        node("Concat", "shape rest", "flat", axis=0),
        node("Reshape", "p flat", "f"),
        node("Gemm", "f w b", "y", alpha=0.5, beta=2.0),
    ]
    held = {
        "c1": arr(4, 3, 3, 3), "b1": arr(4), "g": arr(4), "s": arr(4), "m": arr(4),
        "v": abs(arr(4)), "c2": arr(4, 2, 2, 2), "rest": ints(-1), "w": arr(64, 5), "b": arr(5),
    }  # fmt: skip
    return model_of(nodes, {"x": ["n", 3, 8, 8]}, held)


def test_a_dense_network_and_its_names(tmp_path):
    network = same(dense(), tmp_path)
    assert set(dict(network.named_parameters())) == {
        "fc1.weight", "fc1.bias", "onnx__W_2", "out.bias",
    }  # fmt: skip
    assert load_onnx(tmp_path / "m.onnx")[1].shape == (2, 4)


def test_a_residual_conv_net_at_any_batch(tmp_path):
    network = same(residual_conv(), tmp_path)
    assert {name for name, _ in network.named_buffers()} == {"m", "v"}
    assert network(torch.zeros(5, 3, 8, 8)).shape == (5, 5)


def one(kind, shape=(2, 4), opset=18, held=None, rest="", outputs="y", **attributes):
    nodes = [node(kind, f"x {rest}", outputs, **attributes)]
    return model_of(nodes, {"x": list(shape)}, held, outputs, opset)


SINGLE = {
    "softmax": lambda: one("Softmax", (2, 3, 4), axis=1),
    "log softmax": lambda: one("LogSoftmax"),
    "clip of old": lambda: one("Clip", opset=6, min=-0.3, max=0.4),
    "clip": lambda: one("Clip", held={"lo": np.float32(0), "hi": np.float32(6)}, rest="lo hi"),
    "clip below": lambda: one("Clip", held={"lo": np.float32(-0.1)}, rest="lo"),
    "gelu": lambda: one("Gelu", opset=20, approximate="tanh"),
    "hard swish": lambda: one("HardSwish"),
    "hard sigmoid": lambda: one("HardSigmoid", alpha=0.3),
    "elu": lambda: one("Elu", alpha=0.7),
    "selu": lambda: one("Selu", alpha=1.5, gamma=1.1),
    "leaky": lambda: one("LeakyRelu", alpha=0.2),
    "prelu": lambda: one("PRelu", (2, 3, 4, 4), held={"s": arr(3, 1, 1)}, rest="s"),
    "erf": lambda: one("Erf"),
    "pow": lambda: one("Pow", held={"p": np.float32(2)}, rest="p"),
    "sub": lambda: one("Sub", held={"p": arr(4)}, rest="p"),
    "div": lambda: one("Div", held={"p": arr(2, 1)}, rest="p"),
    "flatten": lambda: one("Flatten", (2, 3, 4, 5), axis=2),
    "flatten from behind": lambda: one("Flatten", (2, 3, 4, 5), axis=-1),
    "transpose": lambda: one("Transpose", (2, 3, 4), perm=[0, 2, 1]),
    "transpose all": lambda: one("Transpose", (2, 3, 4)),
    "split": lambda: one("Split", (2, 6), rest="s", held={"s": ints(2, 4)}, outputs="y z", axis=1),
    "split evenly": lambda: one("Split", (2, 7), outputs="y z", axis=1, num_outputs=2),
    "split of old": lambda: one("Split", (2, 6), 11, outputs="y z", axis=1, split=[1, 5]),
    "slice": lambda: one("Slice", (2, 9), rest="a b c d", held={
        "a": ints(-8, 0), "b": ints(2**60, 1), "c": ints(1, 0), "d": ints(3, 1)}),
    "slice back": lambda: one("Slice", (2, 9), rest="a b c d", held={
        "a": ints(-1), "b": ints(-(2**60)), "c": ints(1), "d": ints(-2)}),
    "slice of old": lambda: one("Slice", (2, 9), 9, starts=[1], ends=[-1], axes=[1]),
    "gather": lambda: one("Gather", (2, 5), rest="i", held={"i": ints(3, -1, 0)}, axis=1),
    "gather one": lambda: one("Gather", (2, 5, 3), rest="i", held={"i": np.array(-2)}, axis=1),
    "gather table": lambda: one("Gather", (2, 5), rest="i", held={"i": ints(1, 0).reshape(1, 2)}),
    "squeeze": lambda: one("Squeeze", (2, 1, 3, 1), rest="i", held={"i": ints(1, -1)}),
    "unsqueeze": lambda: one("Unsqueeze", (2, 3), rest="i", held={"i": ints(-1, 0)}),
    "unsqueeze of old": lambda: one("Unsqueeze", (2, 3), 11, axes=[1, 3]),
    "pad": lambda: one("Pad", (2, 3, 4), rest="p v", held={
        "p": ints(0, 1, 2, 0, 0, 1), "v": np.float32(0.5)}),
    "pad the first axis": lambda: one("Pad", (2, 3), rest="p", held={"p": ints(1, 0, 0, 2)}),
    "pad by reflection": lambda: one("Pad", (2, 3, 5, 5), rest="p", mode="reflect", held={
        "p": ints(0, 0, 1, 2, 0, 0, 2, 1)}),
    "pad of old": lambda: one("Pad", (2, 3), 10, pads=[0, 1, 0, 2], value=1.5),
    "expand": lambda: one("Expand", (2, 1, 4), rest="s", held={"s": ints(3, 1)}),
    "tile": lambda: one("Tile", (2, 3), rest="s", held={"s": ints(1, 2)}),
    "reshape": lambda: one("Reshape", (2, 6), rest="s", held={"s": ints(0, 2, -1)}),
    "mean": lambda: one("ReduceMean", (2, 3, 4), rest="a", held={"a": ints(1)}, keepdims=0),
    "mean of all": lambda: one("ReduceMean", (2, 3, 4)),
    "mean of old": lambda: one("ReduceMean", (2, 3, 4), 13, axes=[-1]),
    "sum": lambda: one("ReduceSum", (2, 3, 4), rest="a", held={"a": ints(1, 2)}),
    "sum of nothing": lambda: one("ReduceSum", (2, 3), noop_with_empty_axes=1),
    "max": lambda: one("ReduceMax", (2, 3, 4), 13, axes=[1], keepdims=0),
    "norm": lambda: one("ReduceL2", (2, 3, 4), 13, axes=[1]),
    "product": lambda: one("ReduceProd", (2, 3, 4), 13, axes=[1, 2], keepdims=0),
    "layer norm": lambda: one("LayerNormalization", (2, 3, 4), rest="w b", held={
        "w": arr(4), "b": arr(4)}, epsilon=1e-2),
    "layer norm of two": lambda: one("LayerNormalization", (2, 3, 4), rest="w", held={
        "w": arr(3, 4)}, axis=1),
    "instance norm": lambda: one("InstanceNormalization", (2, 3, 4, 4), rest="w b", held={
        "w": arr(3), "b": arr(3)}),
    "group norm": lambda: one("GroupNormalization", (2, 4, 3, 3), 21, rest="w b", held={
        "w": arr(4), "b": arr(4)}, num_groups=2),
    "conv of sequences": lambda: one("Conv", (2, 3, 9), rest="w b", held={
        "w": arr(4, 3, 3), "b": arr(4)}, strides=[2], dilations=[2], pads=[1, 2]),
    "conv, SAME_LOWER": lambda: one("Conv", (1, 2, 7, 8), rest="w", held={"w": arr(4, 2, 2, 3)},
        strides=[2, 2], auto_pad="SAME_LOWER"),
    "transposed conv": lambda: one("ConvTranspose", (2, 4, 5, 5), rest="w b", held={
        "w": arr(4, 3, 3, 3), "b": arr(3)}, strides=[2, 2], pads=[1, 1, 1, 1],
        output_padding=[1, 1]),
    "max pool, uneven": lambda: one("MaxPool", (2, 3, 7, 7), kernel_shape=[3, 3],
        strides=[2, 2], pads=[0, 0, 1, 1]),
    "mean pool": lambda: one("AveragePool", (2, 3, 6, 6), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "mean pool with pads": lambda: one("AveragePool", (2, 3, 6, 6), kernel_shape=[3, 3],
        pads=[1, 1, 1, 1], count_include_pad=1),
    "mean pool, uneven": lambda: one("AveragePool", (2, 3, 6, 6), kernel_shape=[3, 3],
        pads=[0, 1, 1, 1]),
    "global mean": lambda: one("GlobalAveragePool", (2, 3, 4, 5)),
    "global max": lambda: one("GlobalMaxPool", (2, 3, 4, 5)),
    "depth to space": lambda: one("DepthToSpace", (2, 8, 3, 3), blocksize=2),
    "depth to space, CRD": lambda: one("DepthToSpace", (2, 8, 3, 3), blocksize=2, mode="CRD"),
    "space to depth": lambda: one("SpaceToDepth", (2, 2, 4, 6), blocksize=2),
    "dropout": lambda: one("Dropout"),
    "einsum": lambda: one("Einsum", rest="w", held={"w": arr(5, 4)}, equation="bi,oi->bo"),
    "gemm of both transposed": lambda: one("Gemm", (4, 2), rest="w c", held={
        "w": arr(5, 4), "c": arr(2, 1)}, transA=1, transB=1),
    "softplus": lambda: one("Softplus"),
    "softsign": lambda: one("Softsign"),
    "celu": lambda: one("Celu", alpha=2.0),
    "mish": lambda: one("Mish"),
    "several sums": lambda: one("Sum", rest="a b", held={"a": arr(4), "b": arr(2, 4)}),
    "mean of several": lambda: one("Mean", rest="a b", held={"a": arr(4), "b": arr(2, 4)}),
    "minimum": lambda: one("Min", rest="a", held={"a": arr(4)}),
}  # fmt: skip


@pytest.mark.parametrize("what", SINGLE)
def test_each_operation_is_onnx_s(what, tmp_path):
    same(SINGLE[what](), tmp_path)


def test_softmax_of_old_flattens(tmp_path):
    """ONNX's reference takes the newer meaning for older files too; so by hand."""
    network, x = read(one("Softmax", (2, 3, 4), 11, axis=1), tmp_path)
    powers = np.exp(x.numpy())
    assert np.allclose(network(x), powers / powers.sum((1, 2), keepdims=True), atol=1e-6)


def test_known_values_choices_and_several_outputs(tmp_path):
    nodes = [
        node("Constant", "", "half", value_float=0.5),
        node("Constant", "", "mask", value=numpy_helper.from_array(np.array([True, False, True]))),
        node("Sqrt", "half", "root"),
        node("Mul", "x root", "scaled"),
        node("Neg", "scaled", "minus"),
        node("Where", "mask scaled minus", "y"),
        node("Shape", "x", "s"),
        node("ConstantOfShape", "s", "zeros"),
        node("Add", "x zeros", "z"),
        node("Greater", "x half", "big"),
        node("Cast", "big", "v", to=TensorProto.FLOAT),
        node("Min", "x other", "w"),
    ]
    model = model_of(nodes, {"x": ["b", 3], "other": ["b", 3]}, outputs="y z v w")
    network = same(model, tmp_path)
    assert len(network(torch.zeros(2, 3), torch.zeros(2, 3))) == 4


def test_initialisers_that_are_inputs_too_are_weights(tmp_path):
    model = dense(opset=9)
    model.graph.input.append(helper.make_tensor_value_info("fc1.bias", TensorProto.FLOAT, [6]))
    assert read(model, tmp_path)[0].input_names == ("x",)


def test_names_that_a_module_has_already(tmp_path):
    names = ["training", "forward", "a.weight", "a", "a/weight"]
    nodes, last = [], "x"
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Mul", [last, name], [f"v{i}"]))
        last = f"v{i}"
    model = model_of(nodes, {"x": [2, 3]}, {name: arr(3) for name in names}, last)
    network = same(model, tmp_path)
    assert len(list(network.parameters())) == 5


def test_symbolic_axes_are_tried(tmp_path):
    held = {"w": arr(2, 1, 12, 12)}
    model = model_of([node("Conv", "x w", "y")], {"x": ["b", 1, "h", "w_"]}, held)
    assert read(model, tmp_path)[1].shape == (2, 1, 32, 32)
    model = model_of([node("Reshape", "x s", "y")], {"x": ["b", "h"]}, {"s": ints(7, 11, 13)})
    with pytest.raises(CheckpointError, match=r"does not run .* symbolic axes h were tried"):
        read(model, tmp_path)


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        ([node("NonZero", "x", "y")], "ONNX's NonZero cannot be read; readable are Abs, Add"),
        ([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], "com.microsoft::Gelu"),
        ([node("Reshape", "x x", "y")], "computes from its inputs|intact"),
        (
            [node("BatchNormalization", "x w w w w", "y a b", training_mode=1)],
            "training mode",
        ),
    ],
)
def test_what_is_not_read_is_named(nodes, named, tmp_path):
    model = model_of(nodes, {"x": ["b", 4]}, {"w": arr(4)})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(PartwiseError, match=named) as refused:
        read(model, tmp_path)
    assert "\n" not in str(refused.value)


def test_files_that_are_cut_off_end_in_one_line(tmp_path, monkeypatch, capsys):
    onnx.save(dense(), tmp_path / "whole.onnx")
    torch.export.save(torch.export.export(small(), (torch.ones(3, 4),)), tmp_path / "whole.pt2")
    for suffix, steps in (("onnx", 12), ("pt2", 3)):
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        for at in range(1, len(content), len(content) // steps):
            (tmp_path / f"cut.{suffix}").write_bytes(content[:at])
            monkeypatch.setattr("sys.argv", ["partwise", "cut", str(tmp_path / f"cut.{suffix}")])
            with pytest.raises(SystemExit) as stopped:
                main()
            assert stopped.value.code == 2
            assert capsys.readouterr().err.strip().splitlines()[-1].startswith("partwise: ")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    onnx.save(dense(), tmp_path / "m.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"partwise\[onnx\]"):
        load_onnx(tmp_path / "m.onnx")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.mix, self.out = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x + nn.functional.gelu(self.mix(x)), 4)
        return self.out(x.view(x.shape[0], -1))


@pytest.mark.filterwarnings("ignore")
def test_what_pytorch_exports_is_read(tmp_path):
    pytest.importorskip("onnxscript")
    model, x = Net().eval(), torch.randn(3, 1, 8, 8)
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(model, (x,), tmp_path / "m.onnx", dynamic_shapes=batch, verbose=False)
    network, example = load_onnx(tmp_path / "m.onnx")
    assert example.shape == (2, 1, 8, 8)
    assert torch.allclose(network(x), model(x), atol=1e-5)
    assert "out.weight" in dict(network.named_parameters())


def test_the_network_exports_without_detours(tmp_path):
    network, example = read(residual_conv(), tmp_path)
    assert isinstance(network, OnnxNetwork)
    graph = torch.export.export(network, (example,)).graph
    kinds = {str(n.target).split(".")[1] for n in graph.nodes if n.op == "call_function"}
    assert not kinds & {"to", "lift_fresh_copy", "_assert_tensor_metadata"}


@takes_example
@pytest.mark.parametrize("make", [dense, residual_conv])
def test_onnx_graphs_are_taken_apart(make, tmp_path):
    onnx.save(make(), tmp_path / "m.onnx")
    network = open_network(tmp_path / "m.onnx")
    assert network.origin.startswith("ONNX graph, read with inputs 2x")
    graph = network.units.graph(network.model)
    assert graph.n == {dense: 4 + 6 + 3, residual_conv: 3 + 4 + 5}[make]


def small():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).eval()


def test_exported_programs_keep_weights_and_example(tmp_path):
    model, x = small(), torch.randn(3, 4)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "m.pt2")
    read_model, example = load_exported(tmp_path / "m.pt2")
    assert torch.equal(example, x)
    assert torch.equal(read_model.eval()(x), model(x))


@takes_example
def test_exported_programs_are_taken_apart(tmp_path):
    model = small()
    torch.export.save(torch.export.export(model, (torch.randn(3, 4),)), tmp_path / "m.pt2")
    network = open_network(tmp_path / "m.pt2")
    assert network.origin == "Exported program, read with inputs 3x4"
    read_graph = network.units.graph(network.model)
    graph = unit_map(model).graph(model)
    assert (read_graph.n, read_graph.m) == (graph.n, graph.m) == (12, 36)
    assert np.allclose(np.sort(read_graph.capacities), np.sort(graph.capacities))


def test_weights_that_look_like_pickles_are_weights(tmp_path):
    """A pickle begins with the byte 80; so does the number 128 * 2**-149."""
    model = small()
    with torch.no_grad():
        model[0].weight.view(torch.int32).fill_(0x80)
    torch.export.save(torch.export.export(model, (torch.ones(3, 4),)), tmp_path / "m.pt2")
    assert torch.equal(
        load_exported(tmp_path / "m.pt2")[0](torch.ones(3, 4)), model(torch.ones(3, 4))
    )


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_exported_programs_that_are_refused(tmp_path):
    import zipfile

    path = tmp_path / "m.pt2"
    for layer in (nn.Dropout(), nn.BatchNorm1d(4)):
        program = torch.export.export(nn.Sequential(layer, nn.Linear(4, 2)), (torch.ones(3, 4),))
        torch.export.save(program, path)
        with pytest.raises(CheckpointError, match="training mode"):
            load_exported(path)
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as made:
        for name in source.namelist():
            bad = "sample_inputs" in name
            made.writestr(name, (tmp_path / "evil.pt").read_bytes() if bad else source.read(name))
    with pytest.raises(CheckpointError, match="could run any code"):
        load_exported(tmp_path / "evil.pt2")


def test_an_unread_operation_is_refused_by_the_command(tmp_path, monkeypatch, capsys):
    onnx.save(model_of([node("NonZero", "x", "y")], {"x": [2, 4]}), tmp_path / "m.onnx")
    with pytest.raises(UnreadableModelError, match="NonZero"):
        load_onnx(tmp_path / "m.onnx")
    monkeypatch.setattr("sys.argv", ["partwise", "cut", str(tmp_path / "m.onnx")])
    with pytest.raises(SystemExit):
        main()
    assert "NonZero cannot be read" in capsys.readouterr().err
