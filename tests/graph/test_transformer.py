import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from partwise.errors import UnreadableModelError
from partwise.graph.activity import (
    InputScales,
    co_usage_graph,
    share_graph,
    subgraph,
    unit_usage,
)
from partwise.graph.transformer import fold_gains, is_transformer, transformer_map
from partwise.train.gpt import GPT, GPTConfig

VOCABULARY, WIDTH, HEADS, LAYERS = 11, 12, 4, 2


def small():
    return GPT(GPTConfig(VOCABULARY, 8, WIDTH, HEADS, LAYERS))


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=8,
            n_embd=WIDTH,
            n_head=HEADS,
            n_layer=LAYERS,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def neox():
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=8,
            hidden_size=WIDTH,
            num_attention_heads=HEADS,
            num_hidden_layers=LAYERS,
            intermediate_size=20,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def llama():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=8,
            hidden_size=16,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=LAYERS,
            intermediate_size=20,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


MAKERS = {"small": small, "gpt2": gpt2, "neox": neox, "llama": llama}


@pytest.fixture(params=MAKERS)
def model(request):
    torch.manual_seed(0)
    made = MAKERS[request.param]().eval()
    with torch.no_grad():
        for parameter in made.parameters():  # gains and biases away from 1 and 0
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def logits(model, ids):
    out = model(ids)
    return (out if isinstance(out, torch.Tensor) else out.logits).detach()


def ids(count=5, length=8):
    return torch.randint(0, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))


def kinds(units):
    return [(group.kind, len(group)) for group in units.groups]


def test_units_of_each_architecture():
    block = [("head", HEADS), ("neuron", 4 * WIDTH)]
    ends = ("token", VOCABULARY), ("residual", WIDTH)
    for made in (small, gpt2):  # untied and tied: a token is one unit where read and predicted
        assert kinds(transformer_map(made())) == [*ends, *block * 2]
    assert kinds(transformer_map(neox()))[2:4] == [("head", HEADS), ("neuron", 20)]
    # Query heads that share keys and values are one unit: 2 units for 4 query heads.
    assert kinds(transformer_map(llama()))[2:4] == [("head", 2), ("neuron", 20)]


def test_every_matrix_of_the_residual_stream_is_in_the_graph(model):
    units = transformer_map(model)
    seen = {block.parameter for block in units.blocks}
    matrices = {name for name, p in model.named_parameters() if p.dim() == 2}
    left_out = {name for name in matrices - seen if "wpe" not in name and "positions" not in name}
    assert not left_out
    for block, magnitude in zip(units.blocks, units.magnitudes(model), strict=True):
        assert magnitude.shape == (len(block.rows), block.columns.shape[1])


def test_folding_gains_keeps_logits_and_capacities(model):
    units = transformer_map(model)
    folded = copy.deepcopy(model)
    fold_gains(folded, units)
    torch.testing.assert_close(logits(folded, ids()), logits(model, ids()), rtol=1e-4, atol=1e-5)
    changed = [
        gain
        for block in units.blocks
        for gain in block.gains
        if not torch.equal(gain.source.value(folded), gain.source.value(model))
    ]
    assert changed
    for a, b in zip(units.magnitudes(folded), units.magnitudes(model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_silencing_a_heads_channels_is_silencing_its_unit(model):
    """The rows and columns a head's unit owns are those that its attention pattern touches."""
    units = transformer_map(model)
    head = next(g for g in units.groups if g.kind == "head").start
    silenced = copy.deepcopy(model)
    reads = [b for b in units.blocks if (b.receivers == head).any()]
    writes = [b for b in units.blocks if (b.senders == head).any()]
    with torch.no_grad():
        for block in writes:
            keep = (block.senders != head).float()
            weight = silenced.get_parameter(block.parameter)
            weight.mul_(keep[:, None] if block.transposed else keep)
    expected = logits(silenced, ids())
    with torch.no_grad():  # with its output gone, its queries, keys and values must not matter
        for block in reads:
            other = (block.receivers == head).float() * 3
            weight = silenced.get_parameter(block.parameter)
            weight.add_(other if block.transposed else other[:, None])
    torch.testing.assert_close(logits(silenced, ids()), expected)
    assert not torch.allclose(expected, logits(model, ids()))


def test_shares_of_every_row_sum_to_one(model):
    units = transformer_map(model)
    scales = InputScales(model, units)
    with scales.watching(), torch.no_grad():
        model(ids())
    graph = share_graph(model, units, scales)
    rows = sum(len(block.receivers) for block in units.blocks)
    assert graph.capacities.sum() == pytest.approx(rows, rel=1e-3)


def test_vocabulary_can_be_one_unit_or_left_out():
    one, none = transformer_map(gpt2(), "one"), transformer_map(gpt2(), "none")
    assert one.groups[0].name == f"tokens ({VOCABULARY} as one unit)"
    assert len(one.groups[0]) == 1
    assert one.graph(gpt2()).n == one.n
    assert kinds(none)[0] == ("residual", WIDTH)
    assert not any("wte" in block.parameter for block in none.blocks)


def test_strangers_are_named():
    assert not is_transformer(nn.Linear(2, 2))
    with pytest.raises(UnreadableModelError, match=r"architecture Linear; readable are GPT, GPT2"):
        transformer_map(nn.Linear(2, 2))
    broken = gpt2()
    broken.transformer.h[1].mlp.c_fc = nn.Identity()
    with pytest.raises(UnreadableModelError, match=r"h\.1\.mlp\.c_fc is a Identity"):
        transformer_map(broken)
    other = small()
    other.outputs = nn.Linear(WIDTH, VOCABULARY - 1)
    with pytest.raises(UnreadableModelError, match="not one output for each of 11 tokens"):
        transformer_map(other)


def test_usage_counts_tokens_and_follows_planted_groups():
    model = small()
    units = transformer_map(model)
    low, high = torch.randint(0, 5, (64, 8)), torch.randint(5, 11, (64, 8))
    usage = unit_usage(model, units, torch.cat([low, high])).units
    np.testing.assert_allclose(usage[:VOCABULARY].sum(0), 1, rtol=1e-5)
    assert not usage[VOCABULARY : VOCABULARY + WIDTH].any()  # residual channels
    graph = co_usage_graph(usage[:VOCABULARY])
    assert all((u < 5) == (v < 5) for u, v in zip(graph.sources, graph.targets, strict=True))


def test_subgraph_keeps_the_edges_between_its_units():
    units = transformer_map(small())
    graph = share_graph(small(), units, None)
    part = subgraph(graph, np.arange(VOCABULARY, units.n))
    keep = graph.sources >= VOCABULARY
    assert part.m == keep.sum()
    np.testing.assert_allclose(part.capacities, graph.capacities[keep])
