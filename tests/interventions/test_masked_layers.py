import weakref
from functools import partial

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import MaskedRun, inside_modules, is_inside, layers_keeping
from partwise.train.gpt import GPT, GPTConfig


def small():
    return GPT(GPTConfig(11, 8, 12, 2, 1))


def tied():
    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=12, n_head=2, n_layer=1, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval()


def gradients(model, logits):
    model.zero_grad()
    logits.square().mean().backward()
    return [p.grad.clone() for p in model.parameters()]


def test_a_masked_run_that_fails_leaves_the_model_as_it_was():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    before = list(model.parameters())
    run = MaskedRun(model, {"0.weight": torch.ones(2, 2), "1.weight": torch.ones(3, 3)})
    with pytest.raises(RuntimeError):
        run(torch.ones(1, 2))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))


def test_a_masked_run_hands_all_that_it_is_given_to_the_model():
    model, ids = tied(), torch.arange(8)[None]
    units = transformer_map(model)
    run = MaskedRun(model, inside_modules(model, units, torch.arange(units.n) % 2))
    padded = torch.ones_like(ids).index_fill(1, torch.tensor([0]), 0)
    found = run(input_ids=ids, attention_mask=padded, output_hidden_states=True)
    assert len(found.hidden_states) == 2
    assert torch.equal(found.logits, run(ids, attention_mask=padded).logits)
    assert not torch.equal(found.logits, run(ids).logits)
    assert not torch.equal(found.logits, model(input_ids=ids, attention_mask=padded).logits)


@pytest.mark.parametrize("make", [small, tied])
@pytest.mark.parametrize("again", [False, True])
def test_hooks_mask_as_functional_calls_do(make, again):
    model, ids = make(), torch.arange(8)[None]
    units = transformer_map(model)
    labels = torch.arange(units.n) % 2
    names = list(dict(model.named_parameters()))

    def logits_of(out):
        return out if isinstance(out, torch.Tensor) else out.logits

    expected = logits_of(MaskedRun(model, inside_modules(model, units, labels))(ids))
    with layers_keeping(model, units, partial(is_inside, labels), again):
        found = logits_of(model(ids))
    assert torch.equal(found, expected)
    assert not torch.equal(found, logits_of(model(ids)))  # it is over with the context
    assert list(dict(model.named_parameters())) == names
    for a, b in zip(gradients(model, found), gradients(model, expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("again", [False, True])
def test_masked_weights_can_be_made_again_in_place_of_kept(again):
    model, seen = small(), []
    units = transformer_map(model)
    labels = torch.arange(units.n) % 2
    with layers_keeping(model, units, partial(is_inside, labels), again):
        layer = model.blocks[0].up
        layer.register_forward_pre_hook(lambda layer, _: seen.append(weakref.ref(layer.weight)))
        loss = model(torch.arange(8)[None]).sum()
    assert (seen[0]() is None) == again
    loss.backward()


def test_an_error_on_the_way_leaves_the_weights_in_place():
    model = small()
    units = transformer_map(model)
    weights = dict(model.named_parameters())
    labels = torch.arange(units.n) % 2
    keep = partial(is_inside, labels)
    with pytest.raises(RuntimeError), layers_keeping(model, units, keep, again=True):
        model.blocks[0].up(torch.zeros(2, 5))
    assert all(p is weights[name] for name, p in model.named_parameters())
