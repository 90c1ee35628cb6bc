import math

import numpy as np
import pytest
import torch
from torch import nn

from partwise.errors import GraphError
from partwise.graph.activity import (
    CAPACITIES,
    attribution_graph,
    capacity_graph,
    co_usage_graph,
    share_graph,
    unit_usage,
)
from partwise.graph.transformer import transformer_map
from partwise.graph.unit_graph import UnitGroup
from partwise.graph.unit_map import UnitMap, WeightBlock
from partwise.train.gpt import GPT, GPTConfig

LOG3 = math.log(3)


class Bigrams(nn.Module):
    """Two tokens that talk through one channel."""

    def __init__(self):
        super().__init__()
        self.tokens, self.outputs = nn.Embedding(2, 1), nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.tokens.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            self.outputs.weight.copy_(torch.tensor([[LOG3], [0.0]]))

    def forward(self, ids):
        return self.outputs(self.tokens(ids))

    def units(self):
        tokens, channel = torch.arange(2), torch.tensor([2])
        groups = UnitGroup("tokens", "token", 0, 2), UnitGroup("residual", "residual", 2, 3)
        blocks = (
            WeightBlock("tokens.weight", tokens, channel[None], transposed=True),
            WeightBlock("outputs.weight", tokens, channel[None]),
        )
        return UnitMap(3, groups, blocks, torch.zeros(3, dtype=torch.bool))


def capacities(graph):
    return {
        (int(u), int(v)): c
        for u, v, c in zip(graph.sources, graph.targets, graph.capacities, strict=True)
    }


def test_attribution_by_hand():
    """Two tokens at 1 and -1 of the channel, output weights ln 3 and 0, the text 0 0 1 1.

    After token 0 the probabilities are (3/4, 1/4), after token 1 (1/4, 3/4). The loss's gradient
    by the logits is p - target: (-1/4, 1/4), (3/4, -3/4), then (1/4, -1/4).

    outputs: |w_j| sum|a g_j|: ln 3 * (1/4 + 3/4 + 1/4) into token 0, nothing into token 1; scaled
    to its 2 rows, 2 and 0.
    table: the channel's gradient is ln 3 times the first logit's; token 0 has ln 3 (1/4 + 3/4),
    token 1 ln 3 / 4; scaled to its one row, 0.8 and 0.2.
    """
    model = Bigrams()
    text = torch.tensor([[0, 0, 1, 1]])
    found = capacities(attribution_graph(model, model.units(), text))
    assert found == pytest.approx({(0, 2): 2.8, (1, 2): 0.2})
    assert all(p.grad is None for p in model.parameters())
    frozen = model.requires_grad_(False)
    assert capacities(attribution_graph(frozen, model.units(), text)) == pytest.approx(found)


def test_attribution_is_the_weight_times_its_gradient_for_one_token():
    """With one predicted token the mean is over one term: |w| times the weight's gradient."""
    model = GPT(GPTConfig(5, 2, 8, 2, 1))
    units, text = transformer_map(model), torch.tensor([[3, 1]])
    nn.functional.cross_entropy(model(text)[:, 0], text[:, 1]).backward()
    expected = np.zeros((units.n, units.n))
    for block in units.blocks:
        weight = model.get_parameter(block.parameter)
        term = (weight * weight.grad).detach().abs().double()
        term = term.T if block.transposed else term
        at = np.ix_(block.receivers, block.senders)
        np.add.at(expected, at, (term * len(term) / term.sum().clamp_min(1e-30)).numpy())
    graph = attribution_graph(model, units, text)
    found = np.zeros((units.n, units.n))
    found[graph.sources, graph.targets] = graph.capacities
    np.testing.assert_allclose(found + found.T, expected + expected.T, rtol=1e-4, atol=1e-9)


def test_matrices_of_any_scale_count_by_their_rows(monkeypatch):
    model = GPT(GPTConfig(7, 8, 8, 2, 2))
    units, text = transformer_map(model), torch.randint(0, 7, (6, 8))
    rows = sum(len(block.receivers) for block in units.blocks)
    graph = attribution_graph(model, units, text)
    assert graph.capacities.sum() == pytest.approx(rows, rel=1e-6)
    monkeypatch.setattr("partwise.graph.activity.TOKENS_AT_ONCE", 16)
    parts = attribution_graph(model, units, text)
    np.testing.assert_allclose(parts.capacities, graph.capacities, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("vocabulary", ["each", "one"])
def test_usage_in_parts_is_usage_at_once(vocabulary, monkeypatch):
    model = GPT(GPTConfig(7, 8, 8, 2, 1))
    units, text = transformer_map(model, vocabulary), torch.randint(0, 7, (6, 8))
    whole = unit_usage(model, units, text)
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr("partwise.graph.activity.LOGITS_AT_ONCE", 2 * 8 * 8)
    parts = unit_usage(model, units, text)
    assert seen == [2, 2, 2]
    np.testing.assert_allclose(parts.units, whole.units, rtol=1e-5)
    np.testing.assert_allclose(parts.nats, whole.nats, rtol=1e-5)


def test_capacities_are_chosen_by_name():
    model = GPT(GPTConfig(7, 8, 8, 2, 1))
    units, text = transformer_map(model), torch.randint(0, 7, (40, 8))
    found = {kind: capacity_graph(model, units, kind, text) for kind in CAPACITIES}
    assert capacities(found["weight"]) == capacities(share_graph(model, units, None))
    assert capacities(found["attribution"]) == capacities(attribution_graph(model, units, text))
    usage = unit_usage(model, units, text).units
    assert capacities(found["co-usage"]) == capacities(co_usage_graph(usage))
    assert found["share"].capacities.sum() == pytest.approx(found["weight"].capacities.sum())
    assert capacities(found["share"]) != capacities(found["weight"])
    with pytest.raises(GraphError, match="no graph of 'share' without sequences"):
        capacity_graph(model, units, "share")
    with pytest.raises(GraphError, match="no graph of 'flow' with sequences; capacities are weig"):
        capacity_graph(model, units, "flow", text)
