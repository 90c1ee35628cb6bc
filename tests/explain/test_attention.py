"""Where heads look: as the models say themselves, and at places known by hand."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from partwise.errors import ProgramError
from partwise.explain import subject_of
from partwise.explain.attention import attended, pattern_mask, place_of, place_words
from partwise.graph.attention import DOCUMENTS_AT_ONCE, attention
from partwise.graph.transformer import transformer_map
from partwise.tasks import Text
from partwise.tasks.streams import character_corpus
from partwise.tasks.text import TextRows
from partwise.train import GPT, GPTConfig

IDS = torch.randint(0, 11, (DOCUMENTS_AT_ONCE + 3, 8), generator=torch.Generator().manual_seed(0))
ENDS = {"bos_token_id": 0, "eos_token_id": 0}


def stirred(model):
    """With weights large enough for heads to look at something."""
    draw = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.4 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


def gpt2():
    config = GPT2Config(vocab_size=11, n_positions=8, n_embd=16, n_head=4, n_layer=2, **ENDS)
    return stirred(GPT2LMHeadModel(config))


def llama():
    """Two pairs of query heads with keys of their own."""
    config = LlamaConfig(
        vocab_size=11,
        max_position_embeddings=8,
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        **ENDS,
    )
    return stirred(LlamaForCausalLM(config))


def small():
    return stirred(GPT(GPTConfig(11, 8, 16, 4, 2)))


@pytest.mark.parametrize("make", [gpt2, llama, small])
def test_rows_sum_to_one_and_nothing_looks_ahead(make):
    model = make()
    for layer in attention(model, transformer_map(model), IDS):
        torch.testing.assert_close(layer.sum(3), torch.ones(layer.shape[:3]))
        assert (layer >= 0).all()
        assert layer.triu(1).abs().max() == 0
        assert layer[:, :, -1].max() > 0.3  # more than an even look at eight tokens


@pytest.mark.parametrize(("make", "heads"), [(gpt2, 4), (llama, 2)])
def test_it_is_what_models_of_transformers_say(make, heads):
    model = make()
    before = model.config._attn_implementation
    found = attention(model, transformer_map(model), IDS)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    with torch.no_grad():
        seen = model(IDS, output_attentions=True).attentions
    assert len(found) == len(seen) == 2
    for ours, theirs in zip(found, seen, strict=True):
        shared = theirs.reshape(len(IDS), heads, 4 // heads, 8, 8).mean(2)
        torch.testing.assert_close(ours, shared)


def test_it_is_what_our_heads_mix():
    model, read = small(), []
    values = {}
    for k, block in enumerate(model.blocks):
        block.value.register_forward_hook(lambda _, __, out, k=k: values.update({k: out}))
        block.mix.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        model(IDS)
    mixed = list(read)
    spoken = [values[k].unflatten(2, (4, -1)).transpose(1, 2) for k in range(2)]
    for layer, value, out in zip(
        attention(model, transformer_map(model), IDS), spoken, mixed, strict=True
    ):
        torch.testing.assert_close((layer @ value).transpose(1, 2).flatten(2), out)


DOCUMENTS = ("abcab", "aabba")


@pytest.fixture(scope="module")
def by_hand():
    """A subject whose documents of the claims split are `DOCUMENTS`."""
    text = Text(character_corpus({"s": "abc " * 200}), 5)
    model = stirred(GPT(GPTConfig(4, 5, 8, 2, 1)))
    labels = np.arange(transformer_map(model).n) % 2
    subject = subject_of(model, labels, text, samples=200)
    ids = torch.tensor([[text.vocabulary.index(c) for c in each] for each in DOCUMENTS])
    document = np.repeat(np.arange(2), 5)
    rows = TextRows(ids, torch.zeros(10, 1), document[:, None], np.zeros(10, np.int64))
    subject.once(("rows", "claims"), lambda: rows)
    return subject


def places(subject, pattern):
    """Per document: from each token, the tokens that fit."""
    mask = pattern_mask(subject, "claims", pattern)
    assert mask.shape == (2, 5, 5)
    assert mask.dtype == torch.bool
    return [[np.flatnonzero(row).tolist() for row in document.numpy()] for document in mask]


@pytest.mark.parametrize(
    ("pattern", "first", "second"),
    [
        ("previous token", [[], [0], [1], [2], [3]], [[], [0], [1], [2], [3]]),
        ("current token", [[0], [1], [2], [3], [4]], [[0], [1], [2], [3], [4]]),
        ("first token", [[], [0], [0], [0], [0]], [[], [0], [0], [0], [0]]),
        ("same token", [[], [], [], [0], [1]], [[], [0], [], [2], [0, 1]]),
        ("induction", [[], [], [], [1], [2]], [[], [1], [], [3], [1, 2]]),
        ("back 3", [[], [], [], [0], [1]], [[], [], [], [0], [1]]),
        ("back 5", [[], [], [], [], []], [[], [], [], [], []]),
        ("back 9" + 30 * "9", [[], [], [], [], []], [[], [], [], [], []]),
        (
            "token == 'a'",
            [[0], [0], [0], [0, 3], [0, 3]],
            [[0], [0, 1], [0, 1], [0, 1], [0, 1, 4]],
        ),
        ("prev == 'a'", [[], [1], [1], [1], [1, 4]], [[], [1], [1, 2], [1, 2], [1, 2]]),
    ],
)
def test_patterns_on_documents_by_hand(by_hand, pattern, first, second):
    assert places(by_hand, pattern) == [first, second]


def test_other_patterns_are_refused(by_hand):
    for pattern in ("next", "the noun", "back -1", "token == 1"):
        with pytest.raises(ProgramError):
            pattern_mask(by_hand, "claims", pattern)


def test_what_a_head_gives_to_places(by_hand):
    heads = by_hand.units.units_of_kind("head").tolist()
    assert [place_of(by_hand, unit) for unit in heads] == [(0, 0), (0, 1)]
    mask = pattern_mask(by_hand, "claims", "same token")
    seen = attention(by_hand.model, by_hand.units, by_hand.rows("claims").x)[0]
    for number, unit in enumerate(heads):
        share, even, possible = attended(by_hand, "claims", unit, mask)
        assert share[3].item() == pytest.approx(seen[0, number, 3, 0].item())
        assert share[9].item() == pytest.approx(seen[1, number, 4, :2].sum().item())
        assert even.tolist() == pytest.approx([0, 0, 0, 1 / 4, 1 / 5, 0, 1 / 2, 0, 1 / 4, 2 / 5])
        assert possible.tolist() == [bool(each) for each in even]


def test_a_place_that_is_all_there_is_tells_nothing(by_hand):
    unit = by_hand.units.units_of_kind("head").tolist()[0]
    _, _, possible = attended(by_hand, "claims", unit, pattern_mask(by_hand, "claims", "back 0"))
    assert possible.tolist() == [False, True, True, True, True] * 2


def test_places_in_words():
    assert place_words("induction") == "what came after earlier occurrences of the current token"
    assert place_words("back 3") == "the token 3 back"
    assert place_words("token in PUNCTUATION") == "punctuation"
    assert place_words("token == 'a'") == "tokens where token == 'a'"
