"""Text as data: documents, and what programs may ask of a token's surroundings."""

import numpy as np
import pytest
import torch

from partwise.errors import DataError
from partwise.tasks import Text
from partwise.tasks.streams import SPLITS, character_corpus
from partwise.tasks.text import VARIABLES, TextRows
from partwise.tasks.words import Words, is_of_class, readable
from partwise.train.text import bpe_corpus

CONTEXT = 7
LENGTH = 1000


def counting() -> Text:
    """Two streams in which every token occurs once, so that a token tells its place."""
    first, second = (
        "".join(chr(start + k) for k in range(LENGTH)) for start in (0x4E00, 0x4E00 + LENGTH)
    )
    return Text(character_corpus({"first": first, "second": second}), CONTEXT)


def tokens_of(rows: TextRows) -> torch.Tensor:
    """(documents, context + 1) with the last token to be predicted."""
    return torch.cat([rows.x, rows.y.long().reshape(rows.x.shape)[:, -1:]], 1)


def test_documents_do_not_overlap_and_their_answers_come_next():
    rows = counting().rows("train", 10**6, 0)
    ids = tokens_of(rows)
    assert len(ids.unique()) == ids.numel()
    assert (rows.y.reshape(rows.x.shape) == rows.x + 1).all()
    assert (ids[:, 1:] == ids[:, :-1] + 1).all()
    assert rows.independent == len(rows.x) == 2 * (850 // (CONTEXT + 1))


@pytest.mark.parametrize("seed", [0, 1])
def test_documents_stay_within_their_split(seed):
    for split, (low, high) in SPLITS.items():
        place = tokens_of(counting().rows(split, 200, seed)) % LENGTH
        assert place.min() >= int(low * LENGTH)
        assert place.max() < int(high * LENGTH)


def test_a_seed_gives_the_same_documents_as_many_of_each_stream():
    text = counting()
    rows, again, other = (text.rows("train", 140, seed) for seed in (0, 0, 1))
    assert torch.equal(rows.x, again.x)
    assert not torch.equal(rows.x, other.x)
    assert rows.x.shape == (140 // CONTEXT, CONTEXT)
    assert np.bincount(rows.streams).tolist() == [70, 70]
    assert np.bincount(rows.sources[:, 0]).tolist() == [CONTEXT] * len(rows.x)
    assert ((rows.x >= LENGTH).flatten().numpy() == (rows.streams == 1)).all()


def test_too_short_a_text_is_refused_in_one_line():
    text = Text(character_corpus({"long": "ab" * 500, "tiny": "ab" * 50}), CONTEXT)
    assert len(text.rows("train", 100, 0).x) > 0
    with pytest.raises(DataError, match="'tiny' has 5 tokens in split 'claims'") as found:
        text.rows("claims", 100, 0)
    assert "\n" not in str(found.value)


def test_a_network_of_another_vocabulary_is_refused():
    text = Text(character_corpus({"a": "ab" * 500}), CONTEXT, name="mine")
    text.refuse_other_tokens(2)
    with pytest.raises(DataError, match="knows 3 tokens, mine is written in 2"):
        text.refuse_other_tokens(3)


def rows_of(text: Text, *documents: str) -> TextRows:
    """Rows of documents of `context + 1` characters, each a stream of its own."""
    ids = torch.tensor([[text.vocabulary.index(c) for c in each] for each in documents])
    document = np.repeat(np.arange(len(documents)), text.context)
    return TextRows(ids[:, :-1], ids[:, 1:].reshape(-1, 1).float(), document[:, None], document)


def shown(words: Words) -> str:
    """A character per sample; a dot where there is none."""
    return "".join("." if k < 0 else words.vocabulary[k] for k in words.ids.tolist())


def test_variables_of_documents_written_out():
    text = Text(character_corpus({"left": "abcd" * 9, "right": "abcd" * 9}), 5)
    variables = text.variables(rows_of(text, "abcabd", "aaaabc"))
    assert variables.keys() == VARIABLES.keys()
    expected = {
        "token": "abcab" + "aaaab",
        "prev": ".abca" + ".aaaa",
        "prev2": "..abc" + "..aaa",
        "prev3": "...ab" + "...aa",
        "next": "bcabd" + "aaabc",
        "induced": "...bc" + ".aaa.",
    }
    assert {name: shown(variables[name]) for name in expected} == expected
    assert variables["position"].tolist() == [0, 1, 2, 3, 4] * 2
    stream = variables["stream"]
    assert [stream.vocabulary[k] for k in stream.ids] == ["left"] * 5 + ["right"] * 5


def test_losses_and_answers_are_those_of_the_logits():
    text = Text(character_corpus({"a": "abcd" * 200}), 5)
    rows = text.rows("train", 100, 0)

    def run(ids):  # sure that the alphabet goes on
        return 20 * torch.nn.functional.one_hot((ids + 1) % 4, 4).float()

    assert text.losses_of(run, rows).shape == rows.y.shape
    assert text.losses_of(run, rows).max() < 1e-6
    assert torch.equal(text.answers_of(run, rows), rows.y[:, 0])


def test_byte_level_names_are_read():
    text = "Ein café, zwei cafés: naïve Ćma — ok\n" * 20
    corpus, tokenizer = bpe_corpus({"a": text}, 300)
    words = readable(corpus.vocabulary)
    assert len(set(words)) == len(words)
    assert "".join(words[k] for k in tokenizer.encode("zwei cafés: ok\n").ids) == "zwei cafés: ok\n"
    assert " zwei" in words


def test_sentencepiece_names_are_read():
    assert readable(["\u2581the", "\u2581", "<0x0A>", "<0x41>", "<s>", "a\u2581b"]) == (
        " the", " ", "\n", "A", "<s>", "a b"
    )  # fmt: skip


def test_letters_of_other_languages_stay_as_they_are():
    polish = tuple("ąčęğńżéÃ")
    assert readable(polish) == polish
    assert readable(("ząb", "Ġa")) != ("ząb", "Ġa")  # a name with a byte-level blank tells


def test_tokens_that_would_read_alike_are_told_apart():
    names = ["\u2581a", "\u0120a", " a", "<0x41>", "A", "<0xC3>", "\u00c3"]
    words = readable(names)
    assert len(set(words)) == len(words)
    assert words[2] == " a"
    assert words[4] == "A"
    assert words[6] == "\u00c3"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("the", {"LETTERS"}),
        (" the", {"LETTERS"}),
        ("12", {"DIGITS"}),
        (" +=", {"PUNCTUATION"}),
        (" ", {"BLANKS"}),
        ("  \n", {"BLANKS"}),
        ("a1", set()),
        ("  a", set()),
        ("é", set()),
        ("", set()),
    ],
)
def test_classes_of_tokens(text, classes):
    every = ("LETTERS", "DIGITS", "PUNCTUATION", "BLANKS")
    assert {name for name in every if is_of_class(text, name)} == classes


def test_texts_are_found_in_another_vocabulary():
    words = Words(torch.tensor([0, 1, -1, 2]), ("a", "b", "c"))
    assert words.over(("c", "a")).tolist() == [1, -1, -1, 0]
    assert words.among(lambda text: text > "a").tolist() == [0, 1, 0, 1]
