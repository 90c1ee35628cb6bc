"""What is one unit: gates, heads, sums, inputs and outputs, in networks as people write them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from partwise.errors import GraphError, UnreadableModelError
from partwise.graph import register, unit_graph, unit_map, units_of


class Net(nn.Module):
    """A network given by its parts and a function of them."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


def kinds(units):
    return [(group.kind, len(group)) for group in units.groups]


def linear(a, b):
    return nn.Linear(a, b)


def test_branches_that_join_at_the_output_are_outputs():
    wide_and_deep = Net(
        lambda s, x: s.wide(x) + s.deep(torch.relu(s.hidden(x))),
        wide=linear(4, 2),
        deep=linear(5, 2),
        hidden=linear(4, 5),
    )
    assert kinds(unit_map(wide_and_deep)) == [("input", 4), ("hidden", 5), ("output", 2)]


def test_heads_are_outputs_in_the_order_of_the_columns():
    model = Net(
        lambda s, x: torch.cat([s.b(s.h(x).relu()), s.a(s.h(x).relu())], 1),
        a=linear(3, 2),
        b=linear(3, 1),
        h=linear(4, 3),
    )
    units = unit_map(model, torch.randn(2, 4))
    first = units.blocks[1]
    assert first.parameter == "b.weight"
    assert first.rows.tolist() == [units.outputs.start]
    assert len(units.outputs) == 3


def test_an_auxiliary_head_computed_last_takes_no_output_from_the_network():
    model = Net(
        lambda s, x: (s.out(s.h(x).relu()), s.aux(s.h(x).relu()).sum())[0],
        h=linear(4, 3),
        out=linear(3, 2),
        aux=linear(3, 7),
    )
    units = unit_map(model)
    assert units.groups[-1].name == "out"
    assert len(units.outputs) == 2


def test_an_input_that_is_added_to_the_output_is_joined_to_it_by_a_wire():
    model = Net(lambda s, x: x + s.f(x), f=linear(3, 3))
    units = unit_map(model)
    assert kinds(units) == [("input", 3), ("output", 3)]
    assert [len(wire.rows) for wire in units.wires] == [3]
    graph = unit_graph(model)
    expected = model.f.weight.detach().abs() + torch.eye(3)
    assert graph.capacities.sum() == pytest.approx(float(expected.sum()), rel=1e-6)


def test_a_hidden_value_that_is_returned_too_gets_an_output_of_its_own():
    def run(s, x):
        h = torch.relu(s.h(x))
        return {"answer": s.out(h), "features": h}

    units = unit_map(Net(run, h=linear(4, 3), out=linear(3, 2)))
    assert kinds(units) == [("input", 4), ("hidden", 3), ("output", 5)]


def test_a_sum_of_two_values_that_are_read_elsewhere_keeps_both_apart():
    def run(s, x):
        a, b = s.a(x), s.b(x)
        return s.out(torch.cat([torch.relu(a + b), a, b], 1))

    units = unit_map(Net(run, a=linear(3, 2), b=linear(3, 2), out=linear(6, 1)), torch.randn(2, 3))
    assert kinds(units) == [
        ("input", 3),
        ("hidden", 2),
        ("hidden", 2),
        ("hidden", 2),
        ("output", 1),
    ]


@pytest.mark.parametrize(
    "gate",
    [
        lambda s, x: F.glu(s.h(x), 1),
        lambda s, x: s.h(x)[:, :3] * torch.sigmoid(s.h(x)[:, 3:]),
        lambda s, x: torch.mul(
            *(f(p) for f, p in zip((F.silu, abs), s.h(x).chunk(2, 1), strict=False))
        ),
    ],
)
def test_a_gate_and_what_it_gates_are_one_unit(gate):
    model = Net(lambda s, x: s.out(gate(s, x)), h=linear(4, 6), out=linear(3, 2))
    units = unit_map(model, torch.randn(2, 4))
    assert units.n in (4 + 3 + 2, 4 + 9 + 2)  # a layer that is called twice has units twice
    read = units.blocks[-1].columns[0]
    assert len(read.unique()) == 3
    assert not units.rescalable[read].any()


def test_squeeze_and_excite_adds_no_units_to_the_channels():
    def run(s, x):
        h = s.conv(x)
        gate = torch.sigmoid(s.up(torch.relu(s.down(h.mean((2, 3), keepdim=True)))))
        return s.out((h * gate).mean((2, 3)))

    model = Net(
        run, conv=nn.Conv2d(1, 6, 3), down=nn.Conv2d(6, 2, 1), up=nn.Conv2d(2, 6, 1),
        out=linear(6, 3),
    )  # fmt: skip
    assert kinds(unit_map(model)) == [("input", 1), ("hidden", 6), ("hidden", 2), ("output", 3)]


@pytest.mark.parametrize("fused", [True, False])
def test_a_head_is_one_unit_however_attention_is_written(fused):
    torch.manual_seed(0)

    def run(s, x):
        q, k, v = (part.unflatten(2, (2, 3)).transpose(1, 2) for part in s.qkv(x).chunk(3, dim=-1))
        if fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-2, -1) / 3**0.5, -1) @ v
        return s.out(mixed.transpose(1, 2).flatten(2))

    model = Net(run, qkv=linear(4, 18), out=linear(6, 2))
    units = unit_map(model, torch.randn(2, 5, 4))
    assert kinds(units) == [("input", 4), ("hidden", 2), ("output", 2)]
    rows = model.qkv.weight.detach().abs().reshape(3, 2, 3, 4).sum((0, 2))
    assert unit_graph(model, torch.randn(2, 5, 4)).capacities[:2].sum() == pytest.approx(
        float(rows[:, 0].sum()), rel=1e-5
    )


def test_multihead_attention_of_torch_is_read():
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    units = unit_map(model, torch.randn(2, 5, 8))
    heads, stream, neurons = ("hidden", 2), ("hidden", 8), ("hidden", 16)
    assert kinds(units) == [("input", 8), heads, stream, neurons, ("output", 8)]
    assert [len(wire.rows) for wire in units.wires] == [8, 8]  # into the two sums


def test_a_recurrent_layer_is_unrolled_over_the_steps_of_the_example():
    model = Net(lambda s, x: s.out(s.rnn(x)[0][:, -1]), rnn=nn.LSTM(3, 4, batch_first=True),
                out=linear(4, 2))  # fmt: skip
    units = unit_map(model, torch.randn(2, 3, 3))
    assert sum(block.parameter == "rnn.weight_hh_l0" for block in units.blocks) == 2
    assert bool(units.reaches(model).all())


def test_tokens_are_inputs_and_positions_are_not():
    def run(s, ids):
        x = s.tokens(ids) + s.places(torch.arange(ids.shape[1]))
        return s.out(torch.relu(x).mean(1))

    model = Net(run, tokens=nn.Embedding(11, 4), places=nn.Embedding(8, 4), out=linear(4, 2))
    units = unit_map(model, torch.zeros(2, 5, dtype=torch.long))
    assert kinds(units) == [("input", 11), ("hidden", 4), ("output", 2)]


def test_several_inputs_and_named_ones():
    model = Net(lambda s, x, scale=1.0, *, y: s.out(torch.relu(s.a(x) + s.b(y)) * scale),
                a=linear(3, 4), b=linear(2, 4), out=linear(4, 1))  # fmt: skip
    units = unit_map(model, {"x": torch.randn(2, 3), "y": torch.randn(2, 2)})
    assert kinds(units) == [("input", 3), ("input", 2), ("hidden", 4), ("output", 1)]
    assert [group.name for group in units.groups[:2]] == ["input", "input 2"]


def test_pixels_in_a_row_stay_inputs_of_a_conv_net():
    model = Net(lambda s, x: s.out(torch.relu(s.conv(x.view(-1, 1, 4, 4))).flatten(1)),
                conv=nn.Conv2d(1, 3, 3), out=linear(12, 2))  # fmt: skip
    assert kinds(unit_map(model, inputs=16)) == [
        ("input", 16), ("hidden", 1), ("hidden", 3), ("output", 2)
    ]  # fmt: skip


def test_a_branch_on_the_data_is_followed_and_noted():
    model = Net(lambda s, x: s.a(x) if x.sum() > 0 else s.b(x), a=linear(3, 2), b=linear(3, 2))
    units = unit_map(model, torch.ones(2, 3))
    assert [block.parameter for block in units.blocks] == ["a.weight"]
    assert "depends on the data" in units.notes[0]


def computed(kind):
    torch.manual_seed(0)
    first, last = linear(5, 6), linear(6, 2)
    if kind == "pruned":
        prune.l1_unstructured(first, "weight", 0.4)
    elif kind != "plain":
        getattr(parametrizations, kind)(first)
    return nn.Sequential(first, nn.ReLU(), last).eval()


@pytest.mark.parametrize("kind", ["pruned", "weight_norm", "spectral_norm", "orthogonal"])
def test_computed_weights_are_read_as_what_they_stand_for(kind):
    model = computed(kind)
    plain = computed("plain")
    with torch.no_grad():
        plain[0].weight.copy_(model[0].weight)
        plain[0].bias.copy_(model[0].bias)
    a, b = unit_graph(model), unit_graph(plain)
    torch.testing.assert_close(torch.tensor(a.capacities), torch.tensor(b.capacities), rtol=1e-5,
                               atol=1e-7)  # fmt: skip
    with pytest.raises(GraphError, match=r"computed .* make it plain"):
        unit_map(model).blocks[0].weight(model)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_read(kind):
    model = nn.Sequential(linear(4, 5), nn.ReLU(), linear(5, 2)).to(kind)
    values = sum(p.detach().abs().double().sum() for p in (model[0].weight, model[2].weight))
    graph = unit_graph(model, torch.randn(2, 4), balanced=False)
    assert graph.capacities.sum() == pytest.approx(float(values), rel=1e-6)


def test_weights_ready_for_quantisation_are_read_as_the_values_they_round_to():
    class Rounded(nn.Linear):
        def forward(self, x):
            weight = torch.fake_quantize_per_tensor_affine(self.weight, 0.1, 0, -127, 127)
            return F.linear(x, weight, self.bias)

    model = nn.Sequential(Rounded(3, 4), nn.ReLU(), linear(4, 1))
    rounded = (model[0].weight.detach() / 0.1).round() * 0.1
    graph = unit_graph(model, balanced=False)
    assert graph.capacities.sum() == pytest.approx(
        float((rounded.abs().sum() + model[2].weight.abs().sum()).detach()), rel=1e-5
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_wrappers_are_seen_through():
    model = nn.Sequential(linear(3, 4), nn.ReLU(), linear(4, 2))
    compiled = torch.compile(model)
    for wrapped in (nn.DataParallel(model), compiled):
        assert unit_graph(wrapped).m == unit_graph(model).m


def test_a_known_transformer_comes_in_by_the_same_door():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    assert units_of(model).groups[0].kind == "token"
    assert unit_graph(model).n == units_of(model).n


class Foreign(nn.Linear):
    """A layer whose inside torch cannot see."""

    def forward(self, x):
        return torch.from_numpy(x.detach().numpy() @ self.weight.detach().numpy().T)


def test_a_layer_of_ones_own_is_read_by_its_equivalent():
    model = nn.Sequential(Foreign(3, 4), nn.ReLU(), linear(4, 2))
    with pytest.raises(UnreadableModelError, match="no Linear"):
        unit_map(copy.deepcopy(model[:1]))
    register(Foreign, lambda layer, x: F.linear(x, layer.weight))
    assert unit_graph(model, torch.randn(2, 3)).m == 12 + 8
    assert "forward" not in vars(model[0])


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (nn.Sequential(nn.LazyLinear(3)), None, "lazy"),
        (nn.Linear(3, 2, device="meta"), None, "meta device"),
        (Net(lambda s, x: s.a(x).sort(1)[0], a=linear(3, 4)), torch.ones(2, 3), "'sort'"),
        (nn.Linear(3, 2), torch.ones(2, 4), "does not run"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(model, example, message):
    with pytest.raises(UnreadableModelError, match=message) as caught:
        unit_map(model, example)
    assert "\n" not in str(caught.value)


def test_a_weight_that_mixes_positions_is_refused():
    mixer = Net(lambda s, x: s.out((x + s.mix(s.into(x).mT).mT).mean(1)),
                into=linear(4, 4), mix=linear(5, 5), out=linear(4, 2))  # fmt: skip
    with pytest.raises(UnreadableModelError, match=r"mixes positions, .* in 'mix'"):
        unit_map(mixer, torch.randn(2, 5, 4))


def test_reading_leaves_the_model_as_it_was():
    model = nn.Sequential(linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), linear(4, 2)).train()
    before = copy.deepcopy(model.state_dict())
    unit_map(model)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
