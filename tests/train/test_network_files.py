"""State dicts that people have: the network that was saved, or one line that says why not."""

import re
import zipfile
from collections import OrderedDict
from itertools import pairwise, permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from partwise.cli import main
from partwise.errors import CheckpointError, DataError
from partwise.stages import open_network
from partwise.train.layer_order import order_of_layers
from partwise.train.network import ACTIVATIONS, chain_from_tensors, load_chain, load_mlp
from partwise.train.weight_files import kind_of, read_state


def net(**layers):
    """A state dict of linear layers: name -> (reads, writes), dots written as __."""
    tensors = {}
    for name, (reads, writes) in layers.items():
        layer = nn.Linear(reads, writes)
        tensors |= {f"{name.replace('__', '.')}.{k}": t for k, t in layer.state_dict().items()}
    return tensors


def order(**layers):
    return chain_from_tensors(net(**layers), "m").order.layers


def test_numbers_in_names_are_an_order():
    same = {f"fc{i}": (5, 5) for i in (10, 2, 1, 9)}
    assert order(**same) == ("fc1", "fc2", "fc9", "fc10")
    assert order(net__10=(3, 3), net__2=(3, 3)) == ("net.2", "net.10")
    blocks = {"b__1__x": (3, 3), "b__0__y": (3, 3)}
    assert order(**blocks) == ("b.0.y", "b.1.x")


def test_shapes_tell_an_order_that_names_do_not():
    chain = chain_from_tensors(net(hidden=(5, 6), output=(6, 2), input=(4, 5)), "m")
    assert chain.order.layers == ("input", "hidden", "output")
    assert chain.words == (
        "3 layers input -> hidden -> output (the one order that fits their shapes), "
        "ReLU between them (assumed; --activation names another)"
    )
    assert order(head=(5, 2), trunk__0=(5, 5), trunk__2=(5, 5)) == ("trunk.0", "trunk.2", "head")


@pytest.mark.parametrize(
    "layers",
    [
        {"fc_in": (5, 5), "fc_hidden": (5, 5), "fc_out": (5, 5)},
        {"encoder__0": (8, 6), "encoder__2": (6, 2), "decoder__0": (2, 6), "decoder__2": (6, 8)},
        {"trunk": (5, 5), "head": (5, 5)},
        {f"layer_{c}": (3, 3) for c in "abcdefghijklmnop"},
    ],
)
def test_an_order_that_nothing_tells_is_asked_for(layers):
    with pytest.raises(CheckpointError, match="--layers") as refused:
        order(**layers)
    for name in layers:
        assert name.replace("__", ".") in str(refused.value)


def test_a_given_order_is_taken_and_checked(tmp_path):
    tensors = net(decoder=(5, 5), encoder=(5, 5))
    save_file(tensors, tmp_path / "m.safetensors")
    model = load_mlp(tmp_path / "m.safetensors", ["encoder", "decoder"])
    assert torch.equal(model[0].weight, tensors["encoder.weight"])
    wrong = [["encoder"], ["encoder", "decoder", "x"], ["encoder", "encoder", "decoder"]]
    for layers, named in zip(wrong, ["missing", "unknown", "twice"], strict=True):
        with pytest.raises(CheckpointError, match=f"{named} .'"):
            load_mlp(tmp_path / "m.safetensors", layers)
    with pytest.raises(CheckpointError, match="layer b writes 6 units, but layer a reads 4"):
        chain_from_tensors(net(a=(4, 5), b=(5, 6)), "m", ["b", "a"])


def test_branches_are_no_chain():
    with pytest.raises(CheckpointError, match="no order of its layers is one chain"):
        order(actor=(4, 2), critic=(4, 1), trunk=(8, 4))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_order_is_found_if_and_only_if_one_alone_fits(data):
    """Against all permutations, on a few layers of few widths."""
    names = data.draw(st.sampled_from([["a", "b", "c"], ["a0", "a1", "b", "c"], ["x", "y1", "y2"]]))
    width = st.integers(1, 3)
    widths = {name: (data.draw(width), data.draw(width)) for name in names}
    fit = [
        p
        for p in permutations(names)
        if all(widths[a][1] == widths[b][0] for a, b in pairwise(p))
        and all(p.index(a) < p.index(b) for a, b in [("a0", "a1"), ("y1", "y2")] if a in names)
    ]
    if len(fit) == 1:
        assert order_of_layers(widths, "m").layers == fit[0]
    else:
        with pytest.raises(CheckpointError):
            order_of_layers(widths, "m")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_keep_their_values(dtype, tmp_path):
    tensors = {k: t.to(dtype) for k, t in net(fc1=(3, 4), fc2=(4, 2)).items()}
    tensors["fc1.weight"][0, 0] = 1 / 3
    save_file(tensors, tmp_path / "m.safetensors")
    weight = load_mlp(tmp_path / "m.safetensors")[0].weight
    assert torch.equal(weight.double(), tensors["fc1.weight"].double())
    assert open_network(tmp_path / "m.safetensors").units.n == 9


def test_integers_are_no_weights():
    tensors = {"0.weight": torch.ones(2, 3, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"0.weight holds int8"):
        chain_from_tensors(tensors, "m")


class WithNorms(nn.Module):
    def __init__(self, widths):
        super().__init__()
        for i, (a, b) in enumerate(pairwise(widths), 1):
            self.add_module(f"fc{i}", nn.Linear(a, b))
            if i < len(widths) - 1:
                self.add_module(f"bn{i}", nn.BatchNorm1d(b))


def shaken(module):
    """With statistics and gains that are not the usual 0 and 1."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return module.eval()


def test_batch_norms_are_read_where_names_place_them():
    given = shaken(
        nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.BatchNorm1d(6),
            nn.ReLU(), nn.Linear(6, 2),
        )
    )  # fmt: skip
    chain = chain_from_tensors(given.state_dict(), "m")
    x = torch.randn(5, 4)
    assert torch.allclose(chain.model.eval()(x), given(x), atol=1e-6)
    assert "BatchNorm after 0, 3" in chain.words
    named = shaken(WithNorms([4, 6, 6, 2]))
    read = chain_from_tensors(named.state_dict(), "m").model.eval()
    h = torch.relu(named.bn2(named.fc2(torch.relu(named.bn1(named.fc1(x))))))
    assert torch.allclose(read(x), named.fc3(h), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), "Norm 0"),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2)), "Norm 2"),
        (WithNorms([4, 4, 4, 2]), "before or after"),
        (nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)), "normalisations"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2)), "convolutions"),
        (nn.LSTM(4, 4), "recurrent"),
        (nn.MultiheadAttention(4, 2), "attention"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "parametrised"),
    ],
)
def test_what_no_chain_holds_is_named(model, named):
    with pytest.raises(CheckpointError, match=named) as refused:
        chain_from_tensors(model.state_dict(), "m")
    assert "\n" not in str(refused.value)
    assert "onnx" in str(refused.value)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_built_and_said(activation):
    chain = chain_from_tensors(net(fc1=(3, 4), fc2=(4, 2)), "m", activation=activation)
    kinds = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "gelu": nn.GELU,
             "silu": nn.SiLU, "sigmoid": nn.Sigmoid, "identity": nn.Identity}  # fmt: skip
    assert type(chain.model[1]) is kinds[activation]
    assert chain.words == f"2 layers fc1 -> fc2, {ACTIVATIONS[activation][0]} between them"


def test_the_activation_decides_what_is_rescalable(tmp_path):
    save_file(net(fc1=(3, 4), fc2=(4, 2)), tmp_path / "m.safetensors")
    assert open_network(tmp_path / "m.safetensors").units.rescalable.any()
    tanh = open_network(tmp_path / "m.safetensors", activation="tanh")
    assert not tanh.units.rescalable.any()
    with pytest.raises(DataError, match="choose relu, tanh"):
        load_mlp(tmp_path / "m.safetensors", activation="swoosh")


@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_of_torch_save_are_read(tmp_path, legacy):
    tensors = net(fc1=(3, 4), fc2=(4, 2))
    for name, content in {"a.pt": tensors, "b.bin": {"model": tensors, "epoch": 3}}.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not legacy)
        assert read_state(tmp_path / name).keys() == tensors.keys()
        assert load_chain(tmp_path / name).order.layers == ("fc1", "fc2")


def test_options_that_a_file_has_no_use_for_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/archive_format", "pt2")
    (tmp_path / "m.onnx").write_bytes(b"whatever")
    for path in (tmp_path, tmp_path / "m.pt2", tmp_path / "m.onnx"):
        with pytest.raises(DataError, match="leave out --layers"):
            open_network(path, layers=["a"])
        with pytest.raises(DataError, match="leave out --activation"):
            open_network(path, activation="tanh")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def broken_files(tmp_path):
    """Files that people may give -> what the one line must name."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    torch.save(model.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    named = {}
    for name in ("m.safetensors", "m.pt", "old.pt"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(content[: len(content) // 2])
        named[f"cut_{name}"] = "intact|cut off"
    for name in ("e.safetensors", "e.pt", "e.pt2", "e.onnx"):
        (tmp_path / name).write_bytes(b"")
        named[name] = "is empty"
    saved = {
        "list.pt": ([1, 2], "holds a list"),
        "tensor.pt": (torch.ones(2), "one tensor"),
        "whole.pt": (model, "Sequential"),
        "evil.pth": ({"0.weight": Evil()}, "pickle of objects"),
        "two.pt": ({"a": model.state_dict(), "b": model.state_dict()}, "several"),
        "order.pt": (OrderedDict(), "no weights"),
        "gap.pt": (net(fc1=(0, 4)), "is empty"),
    }
    for name, (content, words) in saved.items():
        torch.save(content, tmp_path / name)
        named[name] = words
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.txt", "hi")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("m/constants.pkl", "")
    (tmp_path / "dir").mkdir()
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "config.json").write_text("{}")
    (tmp_path / "k.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "x.txt").write_text("hello")
    return named | {
        "a.zip": "zip archive", "script.pt": "TorchScript", "dir": "no checkpoint",
        "gpt": "cannot load", "k.h5": "HDF5", "x.txt": "intact", "gone": "no checkpoint",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*zero-element")
def test_broken_files_end_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, words in broken_files(tmp_path).items():
        monkeypatch.setattr("sys.argv", ["partwise", "cut", name])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr().err.strip().splitlines()
        assert stopped.value.code == 2, (name, said)
        assert said[-1].startswith("partwise: "), (name, said)
        assert re.search(words, said[-1]), (name, said)
    assert not Path("pwned").exists()


def test_kinds_are_told_by_content(tmp_path):
    torch.save({}, tmp_path / "a.weights")
    assert kind_of(tmp_path / "a.weights") == "torch"
    save_file(net(a=(2, 2)), tmp_path / "b")
    assert kind_of(tmp_path / "b") == "safetensors"
    with pytest.raises(CheckpointError, match="is a directory"):
        kind_of(tmp_path)
