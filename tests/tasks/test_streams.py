import re

import numpy as np
import pytest

from partwise.errors import DataError
from partwise.tasks.streams import (
    DIGITS,
    character_corpus,
    known_streams,
    letters_of,
    read_text,
    sums,
    word_problems,
)

ENGLISH = "It was the best of times, it was the worst of times. " * 40


def test_sums_and_problems_are_right():
    rng = np.random.default_rng(0)
    for a, b, c in re.findall(r"(\d+)\+(\d+)=(\d+);", sums(50, rng)):
        assert int(a) + int(b) == int(c)
    problems = re.findall(r"has (\d+) (\w+), finds (\d+)\. now (\d+) (\w+)", word_problems(50, rng))
    assert len(problems) == 50
    assert all(int(a) + int(b) == int(c) and x == y for a, x, b, c, y in problems)


def test_truth_tells_digits_from_letters():
    corpus = known_streams(("letters", "digits"), ENGLISH)
    for text, truth in zip(corpus.vocabulary, corpus.truth, strict=True):
        assert truth == (1 if text in DIGITS else 0)


def test_tokens_of_word_problems_belong_to_an_alphabet():
    corpus = known_streams(("letters", "digits", "problems"), ENGLISH)
    assert set(corpus.truth.tolist()) == {0, 1}
    shared = character_corpus({"a": "xy", "b": "yz"})
    assert shared.truth.tolist() == [0, -1, 1]


def test_batches_are_balanced_repeatable_and_splits_apart():
    corpus = known_streams(("letters", "digits"), ENGLISH)
    batch = corpus.batch("train", 6, 10, (0, 1))
    assert batch.shape == (6, 10)
    assert (batch == corpus.batch("train", 6, 10, (0, 1))).all()
    is_digit = corpus.truth[batch.numpy()] == 1
    assert is_digit.all(1).tolist() == [False] * 3 + [True] * 3
    counting = character_corpus({"a": "".join(chr(200 + i) for i in range(1000))}).streams[0]
    seen = {
        split: set(counting.sequences(split, 200, 10, np.random.default_rng(0)).flatten().tolist())
        for split in ("train", "claims", "final")
    }
    assert not seen["train"] & seen["claims"]
    assert not seen["train"] & seen["final"]
    assert not seen["claims"] & seen["final"]


def test_bad_text_is_named(tmp_path):
    with pytest.raises(DataError, match="no stream 'chess'; there are letters, digits, problems"):
        known_streams(("chess",), ENGLISH)
    with pytest.raises(DataError, match="no letters"):
        known_streams(("letters",), "123")
    short = character_corpus({"tiny": "abc"}).streams[0]
    with pytest.raises(DataError, match="'tiny' has 2 tokens in split 'train', fewer than the 9"):
        short.sequences("train", 1, 9, np.random.default_rng(0))
    assert letters_of("A-b") == "a b"
    for name, content, complaint in [
        ("empty.txt", b" \n", "holds no text"),
        ("binary.bin", b"\x7fELF\0\0", "binary"),
        ("latin.txt", "caf\xe9 au lait".encode("latin-1"), r"not UTF-8 \(byte 3\)"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=complaint):
            read_text(path)
    with pytest.raises(DataError, match="No such file"):
        read_text(tmp_path / "missing.txt")
