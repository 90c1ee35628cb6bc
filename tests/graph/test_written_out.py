from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils._pytree import tree_flatten

from partwise.errors import UnreadableModelError
from partwise.graph import unit_map
from partwise.graph.written_out import written_out

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding)


class Net(nn.Module):
    """A network given by its parts and a function of them."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x, scale=None, *, y):
        a, b = self.a(x), self.b(y)
        return {"sum": self.c(torch.relu(a + b)), "parts": (a, [b])}


def weight(*shape):
    return nn.Parameter(torch.randn(*shape))


def sequential(change=None):
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    if change is not None:
        change(first)
    return nn.Sequential(first, nn.ReLU(), last)


def images():
    model = Net(
        lambda m, x: m.head(
            F.relu(m.norm_2(m.second(F.relu(m.norm(m.first(x))))) + m.first(x)).mean((2, 3))
        ),
        first=nn.Conv2d(2, 4, 3, padding=1),
        norm=nn.BatchNorm2d(4),
        second=nn.Conv2d(4, 4, 3, padding="same", groups=2),
        norm_2=nn.BatchNorm2d(4),
        head=nn.Linear(4, 3),
    )
    for norm in (model.norm, model.norm_2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
    return model


def attention():
    def block(m, x):
        h = m.norm(x)
        return m.head(x + m.attention(h, h, h, need_weights=False)[0])

    return Net(
        block,
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
        norm=nn.LayerNorm(8),
        head=nn.Linear(8, 3),
    )


# name -> model, number of weight uses that flow, inputs of one sample.
CASES = {
    "a layer called twice": (
        lambda: Net(lambda m, x: m.a(torch.relu(m.a(x))), a=nn.Linear(4, 4)), 2, (4,)),
    "a layer called by functional code": (
        lambda: Net(lambda m, x: F.linear(torch.relu(m.a(x)), m.a.weight), a=nn.Linear(4, 4)),
        2, (4,)),
    "a tied autoencoder": (
        lambda: Net(
            lambda m, x: F.linear(torch.relu(m.a(x)), m.a.weight.t(), m.b),
            a=nn.Linear(5, 3), b=weight(5)),
        2, (5,)),
    "a matrix": (
        lambda: Net(lambda m, x: torch.relu(x @ m.w) @ m.v, w=weight(4, 6), v=weight(6, 2)),
        2, (4,)),
    "a matrix on the left": (
        lambda: Net(
            lambda m, x: (m.v @ torch.relu(m.w @ x.t())).t(), w=weight(6, 4), v=weight(2, 6)),
        2, (4,)),
    "a batched matrix on the left": (
        lambda: Net(
            lambda m, x: torch.bmm(m.w.expand(x.shape[0], 6, 4), x[:, :, None])[:, :, 0] @ m.v,
            w=weight(6, 4), v=weight(6, 2)),
        2, (4,)),
    "a batched matrix": (
        lambda: Net(
            lambda m, x: torch.bmm(x, m.w.expand(x.shape[0], -1, -1)).sum(1), w=weight(4, 6)),
        1, (3, 4)),
    "einsum": (
        lambda: Net(lambda m, x: torch.einsum("bti,oi->bto", x, m.w), w=weight(6, 4)), 1, (3, 4)),
    "a vector": (
        lambda: Net(lambda m, x: torch.relu(m.a(x)) @ m.w, a=nn.Linear(4, 6), w=weight(6)),
        2, (4,)),
    "a product of two weights": (
        lambda: Net(lambda m, x: F.linear(x, m.w @ m.v), w=weight(6, 2), v=weight(2, 4)), 1, (4,)),
    "pruned": (lambda: sequential(lambda a: prune.l1_unstructured(a, "weight", 0.5)), 2, (4,)),
    "weight norm": (lambda: sequential(parametrizations.weight_norm), 2, (4,)),
    "spectral norm": (lambda: sequential(parametrizations.spectral_norm), 2, (4,)),
    "images": (images, 4, (2, 6, 6)),
    "transposed convolution": (
        lambda: nn.Sequential(
            nn.ConvTranspose1d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.ReLU(), nn.Conv1d(4, 2, 3, dilation=2, bias=False)),
        2, (2, 5)),
    "attention": (attention, 3, (3, 8)),
    "a recurrent network": (
        lambda: Net(
            lambda m, x: m.head(m.gru(x.transpose(0, 1))[0][-1]),
            gru=nn.GRU(4, 5), head=nn.Linear(5, 2)),
        1 + 2 + 1, (3, 4)),
    "long short-term memory": (
        lambda: Net(
            lambda m, x: m.head(m.lstm(x)[0][:, -1]),
            lstm=nn.LSTM(4, 5, batch_first=True), head=nn.Linear(5, 2)),
        1 + 2 + 1, (3, 4)),
    "a gain": (
        lambda: Net(
            lambda m, x: m.b(torch.relu(m.a(x)) * F.softplus(m.gain)),
            a=nn.Linear(4, 6), b=nn.Linear(6, 2), gain=weight(6)),
        2, (4,)),
}  # fmt: skip


def case(name):
    torch.manual_seed(0)
    make, uses, shape = CASES[name]
    model = make()
    model(torch.randn(2, *shape))  # what is computed at a run is there
    return model.eval(), uses, torch.randn(4, *shape), torch.randn(7, *shape)


def assert_same_outputs(model, copy, *args, **kwargs):
    with torch.no_grad():
        expected, structure = tree_flatten(model(*args, **kwargs))
        found, own = tree_flatten(copy(*args, **kwargs))
    assert own == structure
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


def assert_same_graph(model, copy, example):
    expected, found = unit_map(model, example), unit_map(copy, example)
    assert found.n == expected.n
    assert Counter(g.kind for g in found.groups) == Counter(g.kind for g in expected.groups)
    assert [len(g) for g in found.groups] == [len(g) for g in expected.groups]
    one, other = expected.graph(model), found.graph(copy)
    np.testing.assert_array_equal(other.sources, one.sources)
    np.testing.assert_array_equal(other.targets, one.targets)
    np.testing.assert_allclose(other.capacities, one.capacities, rtol=1e-5)


def calls(copy, *args, **kwargs):
    """How often each layer of a copy runs in one run, in the order of first runs."""
    count = Counter()
    layers = {name: each for name, each in copy.named_modules() if isinstance(each, LAYERS)}
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: count.update([name]))
        for name, layer in layers.items()
    ]
    copy(*args, **kwargs)
    for hook in hooks:
        hook.remove()
    assert set(count) == set(layers)
    return count


@pytest.mark.parametrize("name", CASES)
def test_the_copy_computes_the_same_and_has_the_same_graph(name):
    model, uses, example, fresh = case(name)
    copy = written_out(model, example)
    assert_same_outputs(model, copy, fresh)
    assert_same_outputs(model, copy, fresh[:1])
    assert_same_graph(model, copy, example)
    assert calls(copy, fresh) == {f"use_{place}": 1 for place in range(uses)}
    assert list(calls(copy, fresh)) == [f"use_{place}" for place in range(uses)]


def test_factors_of_a_sum_go_into_the_layer():
    torch.manual_seed(0)
    parts = {"w": weight(4, 6), "v": weight(6, 2), "b": weight(2)}
    model = Net(lambda m, x: torch.addmm(m.b, torch.relu(x @ m.w), m.v, beta=0.5, alpha=2), **parts)
    plain = Net(lambda m, x: 0.5 * m.b + torch.relu(x @ m.w) @ (2 * m.v), **parts)
    copy = written_out(model, torch.randn(4, 4))
    assert_same_outputs(model, copy, torch.randn(7, 4))
    assert_same_graph(plain, copy, torch.randn(4, 4))
    torch.testing.assert_close(copy.use_1.weight, 2 * parts["v"].t())
    torch.testing.assert_close(copy.use_1.bias, 0.5 * parts["b"])


def test_what_depends_on_inputs_is_added_outside_the_layer():
    torch.manual_seed(0)
    parts = {"w": weight(4, 6), "v": weight(4, 6)}
    model = Net(lambda m, x: torch.addmm(torch.relu(x @ m.w), x, m.v, beta=0.5), **parts)
    plain = Net(lambda m, x: 0.5 * torch.relu(x @ m.w) + x @ m.v, **parts)
    copy = written_out(model, torch.randn(4, 4))
    assert_same_outputs(model, copy, torch.randn(7, 4))
    assert_same_graph(plain, copy, torch.randn(4, 4))


def test_two_inputs_and_a_dictionary_of_outputs():
    torch.manual_seed(0)
    model = TwoInputs()
    example = {"y": torch.randn(4, 3), "x": torch.randn(4, 4)}
    copy = written_out(model, example)
    assert_same_outputs(model, copy, x=torch.randn(7, 4), y=torch.randn(7, 3))
    assert_same_graph(model, copy, example)
    both = Net(lambda m, x, y: m.c(torch.relu(m.a(x) + m.b(y))), a=model.a, b=model.b, c=model.c)
    example = (torch.randn(4, 4), torch.randn(4, 3))
    copy = written_out(both, example)
    assert_same_outputs(both, copy, torch.randn(7, 4), torch.randn(7, 3))
    assert_same_graph(both, copy, example)
    assert list(calls(copy, *example)) == ["use_0", "use_1", "use_2"]


def test_tables_of_vectors_are_layers():
    torch.manual_seed(0)
    model = Net(
        lambda m, x: F.linear(m.table(x) + m.places(torch.arange(3)), m.table.weight),
        table=nn.Embedding(9, 4),
        places=nn.Embedding(5, 4),
    )
    example, fresh = torch.randint(9, (4, 3)), torch.randint(9, (7, 3))
    copy = written_out(model, example)
    assert_same_outputs(model, copy, fresh)
    assert_same_graph(model, copy, example)
    assert isinstance(copy.use_0, nn.Embedding)
    assert list(calls(copy, fresh)) == ["use_0", "use_1"]  # positions depend on no input


def test_masking_one_use_leaves_the_others():
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 4), torch.randn(7, 4)
    model = Net(lambda m, x: m.a(torch.relu(m.a(x))), a=layer)
    copy = written_out(model, torch.randn(4, 4))
    with torch.no_grad():
        copy.use_1.weight.zero_()
        torch.testing.assert_close(copy(x), layer.bias.expand(7, 4))
        assert (layer.weight != 0).all()
        assert (copy.use_0.weight == layer.weight).all()


def test_layers_in_sequences_read_samples_first():
    model, _, example, fresh = case("attention")
    seen = []
    copy = written_out(model, example)
    copy.use_0.register_forward_hook(lambda _, inputs, out: seen.extend([inputs[0], out]))
    copy(fresh)
    assert [each.shape for each in seen] == [(7, 3, 8), (7, 3, 24)]


def test_a_matrix_for_each_sample_or_head_stays_an_operation():
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.a(torch.einsum("bhi,hio->bho", x, m.w).flatten(1)),
        w=weight(3, 4, 2),
        a=nn.Linear(6, 2),
    )
    example, fresh = torch.randn(4, 3, 4), torch.randn(7, 3, 4)
    copy = written_out(model, example)
    assert_same_outputs(model, copy, fresh)
    assert_same_graph(model, copy, example)
    assert list(calls(copy, fresh)) == ["use_0"]


def test_one_sample_is_example_enough():
    model, uses, example, fresh = case("images")
    copy = written_out(model, example[:1])
    assert_same_outputs(model, copy, fresh)
    assert len(calls(copy, fresh)) == uses


def test_the_model_stays_as_it_was():
    for name in ("pruned", "weight norm", "a recurrent network"):
        model, _, example, fresh = case(name)
        model.train()
        before = [dict(each.__dict__) for each in model.modules()]
        values = {key: value.clone() for key, value in model.state_dict().items()}
        expected = model(fresh)
        state = torch.get_rng_state()
        copy = written_out(model, example)
        assert torch.equal(torch.get_rng_state(), state)
        assert [list(each.__dict__) for each in model.modules()] == [list(b) for b in before]
        assert model.training
        assert not copy.training
        assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
        torch.testing.assert_close(model(fresh), expected)
        stored = {each.data_ptr() for each in (*model.parameters(), *model.buffers())}
        own = [each.data_ptr() for each in (*copy.parameters(), *copy.buffers())]
        assert not stored & set(own)
        assert len(own) == len(set(own))


def branching(m, x):
    return m.a(x) if x.sum() > 0 else x


REFUSED = {
    "a constant number of samples": (
        lambda m, x: m.a(x) * torch.ones(len(x), 1), "4 samples only.*shape"),
    "a branch on data": (branching, "torch.export fails"),
    "foreign code": (lambda m, x: torch.from_numpy(m.a(x).detach().numpy()), "torch.export fails"),
    "a branch on the number": (
        lambda m, x: m.a(x) if x.shape[0] < 6 else -m.a(x), "computes something else"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_out_is_refused_in_a_line(name):
    function, why = REFUSED[name]
    with pytest.raises(UnreadableModelError, match=f"^Net cannot be written out.*{why}") as caught:
        written_out(Net(function, a=nn.Linear(3, 3)), torch.ones(4, 3))
    assert "\n" not in str(caught.value)
