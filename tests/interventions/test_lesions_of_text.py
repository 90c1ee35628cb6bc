"""Lesions of language models whose means are taken stream by stream."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from partwise.graph import unit_map
from partwise.graph.transformer import transformer_map
from partwise.interventions.lesions import TOKENS_AT_ONCE, Lesions
from partwise.train import GPT, GPTConfig

IDS = torch.randint(0, 11, (30, 6), generator=torch.Generator().manual_seed(0))
STRATA = torch.arange(30) % 3
KINDS = ["token", "residual", "head", "neuron"]


def stirred(model):
    draw = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


def small():
    return stirred(GPT(GPTConfig(11, 6, 8, 2, 2)))


def gpt2():
    config = GPT2Config(
        vocab_size=11, n_positions=6, n_embd=8, n_head=2, n_layer=2, bos_token_id=0, eos_token_id=0
    )
    return stirred(GPT2LMHeadModel(config))


def logits_of(model, ids):
    with torch.no_grad():
        out = model(ids)
    return out if isinstance(out, torch.Tensor) else out.logits


def half_of(units, kind):
    """(n,) bool, every other unit of a kind."""
    held = torch.zeros(units.n, dtype=torch.bool)
    held[units.units_of_kind(kind)[::2]] = True
    return held


@pytest.mark.parametrize("make", [small, gpt2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_held_unit_sends_the_mean_of_its_own_stratum(make, kind):
    model = make()
    units = transformer_map(model)
    held = half_of(units, kind)
    with Lesions(model, units, IDS, STRATA).holding(held, STRATA) as lesioned:
        found = logits_of(lesioned, IDS)
    whole = logits_of(model, IDS)
    for k in range(3):
        own = k == STRATA
        with Lesions(model, units, IDS[own]).holding(held) as lesioned:
            wanted = logits_of(lesioned, IDS[own])
        torch.testing.assert_close(found[own], wanted, rtol=0, atol=1e-4)
        assert (wanted - whole[own]).abs().max() > 1e-3


def test_samples_keep_their_strata_over_several_runs():
    model = small()
    units = transformer_map(model)
    lesions, held = Lesions(model, units, IDS, STRATA), half_of(units, "neuron")
    with lesions.holding(held, STRATA) as lesioned:
        whole = logits_of(lesioned, IDS)
    with lesions.holding(held, STRATA) as lesioned:
        parts = torch.cat([logits_of(lesioned, part) for part in IDS.split(7)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


def test_one_stratum_is_as_good_as_none():
    model = small()
    units = transformer_map(model)
    held, one = half_of(units, "head"), torch.zeros(30, dtype=torch.long)
    plain, single = Lesions(model, units, IDS), Lesions(model, units, IDS, one)
    with plain.holding(held) as lesioned:
        wanted = logits_of(lesioned, IDS)
    for given in (None, one):
        with single.holding(held, given) as lesioned:
            torch.testing.assert_close(logits_of(lesioned, IDS), wanted)


def test_means_are_over_all_documents_however_they_are_run():
    model = small()
    units = transformer_map(model)
    many = IDS.repeat(2 * TOKENS_AT_ONCE // IDS.numel(), 1)
    for short, long in zip(
        Lesions(model, units, IDS)._means, Lesions(model, units, many)._means, strict=True
    ):
        torch.testing.assert_close(short, long, rtol=1e-4, atol=1e-4)


def test_holding_nothing_changes_nothing_and_leaves_no_hook():
    model = small()
    units = transformer_map(model)
    before = logits_of(model, IDS)
    lesions = Lesions(model, units, IDS, STRATA)
    with lesions.holding(torch.zeros(units.n, dtype=torch.bool), STRATA) as lesioned:
        assert torch.equal(logits_of(lesioned, IDS), before)
    with lesions.holding(half_of(units, "head"), STRATA):
        pass
    assert torch.equal(logits_of(model, IDS), before)


def test_strata_of_a_table():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    units = unit_map(model)
    x, strata = torch.randn(40, 4), torch.arange(40) // 20
    held = torch.zeros(units.n, dtype=torch.bool)
    held[[0, 5]] = True
    with torch.no_grad(), Lesions(model, units, x, strata).holding(held, strata) as lesioned:
        found = lesioned(x)
    for k in range(2):
        own = x[strata == k]
        with torch.no_grad(), Lesions(model, units, own).holding(held) as lesioned:
            torch.testing.assert_close(found[strata == k], lesioned(own))
