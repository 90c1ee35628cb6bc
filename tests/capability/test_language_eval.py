import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from partwise.capability.harness_model import LogitsModel
from partwise.capability.language_eval import (
    PairedDifference,
    harness_scores,
    local_task,
    sequence_losses,
)
from partwise.errors import DataError
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

DATA = Path(os.environ.get("PARTWISE_DATA", "/work/shared/data"))


def test_paired_difference_by_hand():
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), half width 1.96 * 0.577 = 1.132
    found = PairedDifference.of([2, 4, 6], [1, 2, 3], "nats")
    assert (found.mean, found.samples) == (2, 3)
    assert found.low == pytest.approx(0.868, abs=1e-3)
    assert "more than none" in found.sentence()
    even = PairedDifference.of([1.0, -1.0, 0.5], [0.0, 0.0, 0.0], "nats")
    assert "perhaps none" in even.sentence()
    with pytest.raises(DataError, match="got 2 and 3"):
        PairedDifference.of([1, 2], [1, 2, 3], "nats")


def test_the_same_model_differs_by_nothing_and_another_does():
    corpus = known_streams(("letters", "digits"), "it was the best of times. " * 100)
    config = GPTConfig(len(corpus.vocabulary), 8, 16, 4, 1)
    a, b = (sequence_losses(GPT(config, seed), corpus, 8, 32) for seed in (0, 1))
    assert np.array_equal(a, sequence_losses(GPT(config, 0), corpus, 8, 32))
    assert not np.array_equal(a, b)


def test_a_file_of_no_task_is_named(tmp_path):
    with pytest.raises(DataError, match=r"known files are wsc273\.jsonl, lambada_openai\.jsonl"):
        local_task(tmp_path, tmp_path / "trivia.jsonl")
    with pytest.raises(DataError, match="No such file"):
        local_task(tmp_path, tmp_path / "blimp.jsonl")


class FixedLogits(torch.nn.Module):
    """Every next token is likeliest to be the one that was read."""

    def forward(self, ids):
        return 3.0 * torch.nn.functional.one_hot(ids, 256).float()


def repeats(text):
    return [ord(c) % 256 for c in text]


def test_local_tasks_have_the_answers_of_the_harness(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = {
        # the model likes repeated letters: the second option, the first, and so on
        "winogrande": [
            {"sentence": "ab _ bbbb.", "option1": "a", "option2": "b ", "answer": "2"},
            {"sentence": "ab _ bbbb.", "option1": "a", "option2": "b ", "answer": "1"},
        ],
        "blimp": [
            {"sentence_good": "aaaa", "sentence_bad": "abcd"},
            {"sentence_good": "abcd", "sentence_bad": "aaaa"},
        ],
        "wsc273": [
            {"context_options": ["xb", "xy"], "continuation": "bb", "gold": 1},
            {"context_options": ["xb", "xy"], "continuation": "bb", "gold": 0},  # a tie: the first
        ],
        "lambada_openai": [
            {"context": "a ", "continuation": "ab"},
            {"context": "a ", "continuation": "  "},
        ],
    }
    names = []
    for name, items in rows.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        names.append(local_task(tmp_path, path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the harness's own
        model = LogitsModel(FixedLogits(), repeats, 32)
        scores = harness_scores(model, None, names, tmp_path)
    assert {task: items.tolist() for task, items in scores.items()} == {
        "winogrande_local": [1, 0],
        "blimp_local": [1, 0],
        "wsc273_local": [0, 1],
        "lambada_openai_local": [0, 1],
    }


@pytest.mark.skipif(not (DATA / "wsc273.jsonl").is_file(), reason=f"no public data in {DATA}")
def test_the_harness_scores_local_tasks_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="Ġ")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=256, n_positions=512, n_embd=8, n_head=2, n_layer=1,
            bos_token_id=0, eos_token_id=0,
        )
    ).eval()  # fmt: skip
    tasks = [local_task(tmp_path, DATA / f"{t}.jsonl") for t in ("wsc273", "lambada_openai")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the harness's own
        scores = harness_scores(model, tokenizer, tasks, tmp_path, limit=6)
    assert {task: len(items) for task, items in scores.items()} == {
        "wsc273_local": 6,
        "lambada_openai_local": 6,
    }
    assert all(set(items) <= {0.0, 1.0} for items in scores.values())
    same = PairedDifference.of(scores["wsc273_local"], scores["wsc273_local"], "accuracy")
    assert (same.low, same.high) == (0, 0)
