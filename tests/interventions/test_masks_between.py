"""Cutting one direction of an interface."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from partwise.graph import unit_map
from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import MaskedRun, between, inside_modules
from partwise.train import GPT, GPTConfig


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    return model, unit_map(model)


def small():
    model = GPT(GPTConfig(11, 6, 8, 2, 2))
    return model, transformer_map(model)


def gpt2():
    config = GPT2Config(
        vocab_size=11, n_positions=6, n_embd=8, n_head=2, n_layer=1, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config).eval()
    return model, transformer_map(model)


def labelled(units, modules=3):
    return torch.randint(0, modules, (units.n,), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("make", [network, small, gpt2])
def test_only_what_the_reader_reads_of_the_writer_goes(make):
    model, units = make()
    labels = labelled(units)
    kept = between(model, units, labels, writer=0, reader=2)
    assert kept.keys() == {block.key for block in units.blocks}
    cut = 0
    for block in units.blocks:
        sends, receives = labels[block.senders], labels[block.receivers]
        keep = kept[block.key].T if block.transposed else kept[block.key]
        goes = (receives[:, None] == 2) & (sends[None] == 0)
        assert torch.equal(keep, ~goes)
        cut += int(goes.sum())
    assert cut > 0


@pytest.mark.parametrize("make", [network, small, gpt2])
def test_both_directions_make_the_interface(make):
    model, units = make()
    labels = labelled(units)
    there, back = (between(model, units, labels, *pair) for pair in ((0, 2), (2, 0)))
    for key, keep in inside_modules(model, units, labels, (0, 2)).items():
        assert torch.equal(keep, there[key] & back[key])
        assert not torch.equal(there[key], back[key])


def test_the_reader_hears_no_more_of_the_writer_who_still_hears_it():
    model, units = network()
    labels = torch.tensor([0, 0, 1, 1, *[0] * 3, *[1] * 3, 0, 1])  # inputs, hidden, outputs
    x = torch.randn(20, 4)
    moved = {k: x.clone() for k in (0, 1)}
    for k, other in moved.items():
        other[:, 2 * k : 2 * k + 2] = torch.randn(20, 2)
    run = MaskedRun(model, between(model, units, labels, writer=0, reader=1))
    with torch.no_grad():
        change = {k: (run(other) - run(x)).abs().max(0).values for k, other in moved.items()}
    assert change[0][1] == 0
    assert change[0][0] > 0.01
    assert (change[1] > 0.01).all()
