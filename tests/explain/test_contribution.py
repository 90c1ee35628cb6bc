"""What modules write, against logits worked out directly with the norm's scale held."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from partwise.errors import UnreadableModelError
from partwise.explain import subject_of
from partwise.explain.contribution import promoted, promotion, random_promotions
from partwise.graph.transformer import transformer_map
from partwise.tasks import Text
from partwise.tasks.streams import character_corpus
from partwise.train import GPT, GPTConfig

LETTERS = "abcdefghij"


def stirred(model):
    draw = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


def small(layers):
    return stirred(GPT(GPTConfig(10, 6, 8, 2, layers)))


def gpt2(layers):
    config = GPT2Config(
        vocab_size=10,
        n_positions=6,
        n_embd=8,
        n_head=2,
        n_layer=layers,
        bos_token_id=0,
        eos_token_id=0,
    )
    return stirred(GPT2LMHeadModel(config))


def subject(model):
    rng = np.random.default_rng(0)
    texts = {name: "".join(rng.choice(list(own), 2000)) for name, own in
             (("low", LETTERS[:6]), ("high", LETTERS[4:]))}  # fmt: skip
    labels = np.arange(transformer_map(model).n) % 2
    return subject_of(model, labels, Text(character_corpus(texts), 6), samples=120)


def writers(subject, labels=(0, 1)):
    """(n,) bool, the heads and neurons of some modules."""
    return torch.from_numpy(subject.units.hidden & np.isin(subject.labels, labels))


def frozen(norm, after):
    """The last normalisation as a function of the stream, its scale held at what it is."""
    center = isinstance(norm, nn.LayerNorm)
    mean = after.mean(1, keepdim=True) if center else 0
    scale = (after - mean).square().mean(1, keepdim=True).sqrt()

    def normed(x):
        x = x - x.mean(1, keepdim=True) if center else x
        return x / scale * norm.weight + (norm.bias if center else 0)

    return normed


@torch.no_grad()
def direct(subject, blocks, norm, outputs, biases):
    """(tokens,) the next token's logit, against all tokens', less what it is when what the blocks
    write is held at its mean over the stream.
    """
    seen, rows = {}, subject.text_rows("claims")
    handles = [
        blocks[0].register_forward_pre_hook(lambda _, inputs: seen.update(before=inputs[0])),
        norm.register_forward_pre_hook(lambda _, inputs: seen.update(after=inputs[0])),
    ]
    subject.model(rows.x)
    for handle in handles:
        handle.remove()
    after = seen["after"].flatten(0, 1)
    written = after - seen["before"].flatten(0, 1) - sum(biases)
    streams = torch.from_numpy(rows.streams)
    means = torch.stack([written[streams == k].mean(0) for k in range(2)])
    normed = frozen(norm, after)
    torch.testing.assert_close(normed(after), norm(after), rtol=1e-3, atol=1e-4)
    change = outputs(normed(after)) - outputs(normed(after - written + means[streams]))
    change = change - change.mean(1, keepdim=True)
    return change[torch.arange(len(change)), rows.y[:, 0].long()]


def directly(subject):
    """`direct` for our GPT and for GPT-2."""
    model = subject.model
    if isinstance(model, GPT):
        biases = [block.down.bias for block in model.blocks]
        return direct(subject, model.blocks, model.norm, model.outputs, biases)
    body = model.transformer
    biases = [bias for b in body.h for bias in (b.attn.c_proj.bias, b.mlp.c_proj.bias)]
    return direct(subject, body.h, body.ln_f, model.lm_head, biases)


@pytest.mark.parametrize("make", [small, gpt2])
@pytest.mark.parametrize("layers", [1, 2])
def test_all_writes_sum_to_the_change_of_logits(make, layers):
    found = subject(make(layers))
    wanted = directly(found)
    assert wanted.std() > 0.1
    rise = promotion(found, "claims", writers(found))
    torch.testing.assert_close(rise, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [small, gpt2])
def test_modules_share_what_is_written(make):
    found = subject(make(2))
    shares = [promotion(found, "claims", writers(found, [k])) for k in (0, 1)]
    torch.testing.assert_close(sum(shares), promotion(found, "claims", writers(found)))
    assert min(share.std() for share in shares) > 0.05
    nobody = torch.zeros(found.units.n, dtype=torch.bool)
    assert promotion(found, "claims", nobody).abs().max() == 0


def test_a_tokens_rise_is_the_mean_where_it_comes_next():
    found = subject(small(1))
    rise = promotion(found, "claims", writers(found, [0]))
    per_token = promoted(found, "claims", writers(found, [0]))
    target = found.text_rows("claims").y[:, 0].long()
    for token in range(len(LETTERS)):
        assert per_token[token].item() == pytest.approx(
            rise[target == token].mean().item(), abs=1e-5
        )


def test_random_units_promote_something_too_and_the_same_each_time():
    found, again = subject(small(1)), subject(small(1))
    among = np.ones(len(found.text_rows("claims").y), bool)
    level = random_promotions(found, "claims", 0, among)
    assert level == random_promotions(again, "claims", 0, among)
    assert np.isfinite(level)


def test_a_network_without_a_last_normalisation_is_refused():
    found = subject(small(1))
    last = replace(found.units.blocks[-1], gains=())
    units = replace(found.units, blocks=(*found.units.blocks[:-1], last))
    with pytest.raises(UnreadableModelError, match="no normalisation that is known"):
        promotion(replace(found, units=units), "claims", writers(found))
