"""Capability of a language model beside its baseline: held-out loss and the harness's tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import nn

from partwise.errors import DataError, MissingExtraError
from partwise.files import write_text
from partwise.graph.activity import logits_of
from partwise.tasks.streams import Corpus, read_text

Z95 = 1.959963984540054


@dataclass(frozen=True)
class PairedDifference:
    """Mean of (model - baseline) over the same samples.

    Attributes:
        mean: the difference.
        low, high: its 95% interval, from the spread of the differences.
        samples: how many were compared.
        unit: what it is measured in.
    """

    mean: float
    low: float
    high: float
    samples: int
    unit: str

    @classmethod
    def of(cls, model: ArrayLike, baseline: ArrayLike, unit: str) -> PairedDifference:
        """The difference of two lists of scores of the same samples.

        Raises:
            DataError: if they differ in length, or there are fewer than two samples.
        """
        a, b = np.asarray(model, np.float64), np.asarray(baseline, np.float64)
        if a.shape != b.shape or a.size < 2:
            raise DataError(
                f"a paired difference needs the same two or more samples, got {a.size} and {b.size}"
            )
        difference = a - b
        half = Z95 * difference.std(ddof=1) / np.sqrt(a.size)
        mean = float(difference.mean())
        return cls(mean, mean - float(half), mean + float(half), a.size, unit)

    def sentence(self) -> str:
        """What the samples can and cannot exclude, in words.

        >>> PairedDifference(0.04, 0.01, 0.07, 100, "nats per token").sentence()
        'higher by 0.040 nats per token (0.010 to 0.070, 100 samples): more than none'
        """
        way = "higher" if self.mean >= 0 else "lower"
        sign = 1 if self.mean >= 0 else -1
        low, high = sorted((sign * self.low, sign * self.high))
        found = f"{way} by {abs(self.mean):.3f} {self.unit} ({low:.3f} to {high:.3f}, "
        found += f"{self.samples} samples): "
        if self.low <= 0 <= self.high:
            widest = max(abs(self.low), abs(self.high))
            return found + f"perhaps none, and at most {widest:.3f}"
        return found + "more than none"


@torch.no_grad()
def sequence_losses(
    model: nn.Module, corpus: Corpus, context: int, count: int = 256, batch: int = 64
) -> NDArray[np.float64]:
    """(count,) mean next-token loss of held-out sequences, the same ones for every model."""
    ids = corpus.batch("final", count, context + 1, (0,))
    losses = []
    for part in ids.split(batch):
        logits = logits_of(model(part[:, :-1]))
        each = F.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
        losses.append(each.mean(1).double())
    return torch.cat(losses).numpy()


TASK = """\
task: {task}_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
test_split: test
{items}metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
WSC273 = """\
output_type: multiple_choice
doc_to_text: gold
doc_to_target: continuation
doc_to_choice: context_options
"""
LAMBADA = """\
output_type: loglikelihood
doc_to_text: "{{context}}"
doc_to_target: "{{continuation}}"
target_delimiter: " "
"""
WINOGRANDE = """\
output_type: multiple_choice
doc_to_text: "{{answer | int - 1}}"
doc_to_target: "{{sentence.split('_')[1].strip()}}"
doc_to_choice: "{{[sentence.split('_')[0] + option1, sentence.split('_')[0] + option2]}}"
"""
BLIMP = """\
output_type: multiple_choice
doc_to_text: ""
target_delimiter: ""
doc_to_target: 0
doc_to_choice: "{{[sentence_good, sentence_bad]}}"
"""
LOCAL_TASKS = {
    "wsc273": WSC273,
    "lambada_openai": LAMBADA,
    "winogrande": WINOGRANDE,
    "blimp": BLIMP,
}


def local_task(folder: Path, path: Path) -> str:
    """Writes a harness task that reads a local file; gives its name.

    Args:
        folder: where the YAML file goes.
        path: `wsc273.jsonl`, `lambada_openai.jsonl`, `winogrande.jsonl` or `blimp.jsonl`, with the
            fields that the data sets of these names have.

    Raises:
        DataError: if there is no such file, or its name is another.
    """
    if path.stem not in LOCAL_TASKS:
        wanted = ", ".join(f"{name}.jsonl" for name in LOCAL_TASKS)
        raise DataError(f"no task is known for {path}; known files are {wanted}")
    read_text(path)
    text = TASK.format(
        task=path.stem, path=json.dumps(str(path.resolve())), items=LOCAL_TASKS[path.stem]
    )
    write_text(folder / f"{path.stem}_local.yaml", text)
    return f"{path.stem}_local"


def harness_scores(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    folder: Path | None = None,
    limit: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Task -> accuracy of every item, by EleutherAI's lm-evaluation-harness.

    Args:
        model: a transformers causal language model, or a model of the harness's own interface.
        tokenizer: its tokenizer; None for a model of the harness's interface.
        tasks: names of the harness, or of `local_task`.
        folder: where the YAML files of local tasks are.
        limit: items per task; all when left out.

    Raises:
        MissingExtraError: if lm-eval is not installed.
        DataError: if a task is unknown, or its data cannot be read or fetched.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError(
            "language tasks need lm-eval; pip install 'partwise[hf,eval]'"
        ) from error
    scored = model
    if tokenizer is not None:
        scored = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8)
    try:
        result = simple_evaluate(
            model=scored,
            tasks=list(tasks),
            task_manager=TaskManager(include_path=None if folder is None else str(folder)),
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
        )
    except (KeyError, OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot score {', '.join(tasks)} ({first}); without network pass files such as "
            + ", ".join(f"{name}.jsonl" for name in LOCAL_TASKS)
        ) from error
    return {
        task: np.array([item["acc"] for item in sorted(items, key=lambda each: each["doc_id"])])
        for task, items in result["samples"].items()
    }
