"""Two runs on rows of numbers, side by side on the same held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from partwise.capability.held_out import HELD_OUT_SEED
from partwise.capability.idle_interface import CausalInterface, causal_interface
from partwise.capability.language_eval import PairedDifference
from partwise.errors import DataError
from partwise.files import write_json
from partwise.graph.activity import in_single_precision
from partwise.runs import Comparison, OpenRun, is_run, open_run
from partwise.runs.evaluation import TaskScore
from partwise.tasks import Task
from partwise.train.run_files import read_run_recipe

ROWS = 4000
"""Held-out rows at most."""
RIGHT = "accuracy"


def is_table(path: Path) -> bool:
    """Whether a directory is a run on rows of numbers."""
    return is_run(path) and not read_run_recipe(path).is_text


def compare_tables(
    path: Path, baseline: str | None, tasks: Sequence[str] = (), interface: bool = False
) -> Comparison:
    """A run beside its baseline; also written to the run's `capability.json`.

    Args:
        path: a run's directory.
        baseline: another's, of the same task.
        tasks: none, for tasks are a language model's.
        interface: whether to measure what joins the run's modules.

    Raises:
        DataError: if there is no baseline, it has another task, or tasks are given.
    """
    if tasks:
        raise DataError(f"{path} is no language model's run; leave out --task")
    if baseline is None:
        raise DataError("give a run to compare with: --baseline RUN")
    runs = ours, theirs = open_run(path), open_run(Path(baseline))
    task, other = (_task(each) for each in runs)
    if (task.name, task.inputs, task.outputs) != (other.name, other.inputs, other.outputs):
        raise DataError(f"{path} and {baseline} learnt other tasks; nothing compares")
    (our_losses, our_right), (their_losses, their_right) = (_scores(each, task) for each in runs)
    units = {head.unit for head in task.heads}
    right = PairedDifference.of(our_right, their_right, "of 1")
    found = Comparison(
        str(path),
        str(baseline),
        _by_head(task, our_losses),
        _by_head(task, their_losses),
        PairedDifference.of(our_losses.mean(1), their_losses.mean(1), " and ".join(sorted(units))),
        _trained_on(ours),
        _trained_on(theirs),
        {RIGHT: TaskScore(float(our_right.mean()), float(their_right.mean()), right)},
        _interface(ours, task) if interface else None,
    )
    write_json(path / "capability.json", asdict(found))
    return found


def _task(run: OpenRun) -> Task:
    if not isinstance(run.data, Task):
        raise DataError(f"{run.path} is a language model's run; nothing compares")
    return run.data


@torch.no_grad()
def _scores(run: OpenRun, task: Task) -> tuple[Tensor, Tensor]:
    """(b, heads) losses, and (b,) share of the answers that are right."""
    x, y, _ = task.rows("final", ROWS, HELD_OUT_SEED)
    outputs = in_single_precision(run.model)(x)
    return task.losses(outputs, y), task.correct(outputs, y).mean(1)


def _by_head(task: Task, losses: Tensor) -> dict[str, float]:
    names = [head.name for head in task.heads]
    return dict(zip(names, losses.mean(0).tolist(), strict=True))


def _trained_on(run: OpenRun) -> int:
    return run.steps * run.recipe.training.batch


def _interface(run: OpenRun, task: Task) -> CausalInterface | None:
    """Of the partition that the training held apart."""
    if run.partition is None:
        return None
    return causal_interface(run.model, run.units, run.partition.tensor, task)
