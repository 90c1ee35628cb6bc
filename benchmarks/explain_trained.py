"""Small transformers trained on tasks of the zoo, decompiled like the compiled ones.

Nobody planted what is inside them, so there are no true roles. What can be scored: whether the
network learned its task, whether its task is named, and whether steps that were read from its
weights answer as it does on held-out sequences. Trained with the share penalty.
"""

from __future__ import annotations

from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.explain_planted import agreement_of, task_of, told_by
from benchmarks.records import Record, Row
from partwise.graph import units_of
from partwise.loss import SharePenalty
from partwise.zoo.compiler import Compiled, compiled
from partwise.zoo.data import SequenceText, sequence_text
from partwise.zoo.decompile import Undecompilable, decompile
from partwise.zoo.language import Program
from partwise.zoo.library import PROGRAMS
from partwise.zoo.transformer import SequenceTransformer, TransformerConfig

TASKS = ("copy 1 back", "running maximum", "histogram", "first of its kind", "sort ascending")
STEPS, BATCH = 1500, 128
SEEN, HELD_OUT = 1000, 1000


def trained_places(is_quick: bool) -> list[tuple[str, str]]:
    """A row for each task."""
    return [("share penalty", task) for task in (TASKS[:1] if is_quick else TASKS)]


def trained_row(place: tuple[str, str]) -> Row:
    """Trains a network on a task and says what of it can be told."""
    _, task = place
    return row_of(next(each for each in PROGRAMS if each.name == task), STEPS)


def trained_summary(rows: list[Row]) -> Row:
    """Shares of the tasks."""
    return {
        "networks": len(rows),
        "task_frac": mean(row["is_task_right"] for row in rows),
        "functional_frac": mean(row["agreement"] == 1 for row in rows),
    }


def trained_table(record: Record) -> str:
    """A row for each network, as a Markdown table."""
    lines = [
        "| task | sequences right | task named | modules | steps agree | why not |",
        "|" + " --- |" * 6,
    ]
    lines += [
        f"| {row['family']} | {row['sequences_right']:.1%} "
        f"| {'yes' if row['is_task_right'] else 'no'} | {row['modules']} "
        f"| {row['agreement']:.0%} | {row['reason']} |"
        for row in record.rows
    ]
    return "\n".join(lines)


TABLES = {"trained-table": trained_table}


def row_of(program: Program, steps: int) -> Row:
    """Trains a network and says what of it can be told."""
    plan = compiled(program)
    text = sequence_text(program, plan.vocabulary)
    model, labels = trained(program, text, steps)
    net = Compiled(model, plan.vocabulary, plan.truth)
    seen, new = text.batches("train", SEEN, 0), text.batches("final", HELD_OUT, 0)
    right = [(told_by(net, ids) == text.right_answers(ids)[:, 1:].numpy()).all(1) for ids in new]
    agreement, reason = 0.0, ""
    try:
        reading = decompile(model, units_of(model), labels, seen)
    except Undecompilable as error:
        reason = str(error)
    else:
        agreement = agreement_of(net, reading, new)
    return {
        "sequences_right": float(np.concatenate(right).mean()),
        "is_task_right": task_of(net, seen) == program.name,
        "modules": int(labels.max()) + 1,
        "agreement": agreement,
        "reason": reason,
    }


def trained(
    program: Program, text: SequenceText, steps: int
) -> tuple[SequenceTransformer, np.ndarray]:
    """A network after training, and the modules that the penalty held apart."""
    config = TransformerConfig(
        vocabulary=len(text.corpus.vocabulary),
        context=1 + program.longest,
        width=64,
        heads=4,
        head_width=16,
        neurons=(128, 128),
        causal=program.is_causal,
    )
    model = SequenceTransformer(config, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    data = [(ids, text.right_answers(ids)) for ids in text.batches("train", 20_000, 1)]
    probe = data[-1][0][:64]
    penalty = SharePenalty(model, units_of(model), lambda _: probe)
    rng = np.random.default_rng(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100, 2 * (1 - step / steps))
        ids, answers = _batch(data, rng)
        run = penalty.step(optimizer)
        loss = F.cross_entropy(run(ids)[:, 1:].flatten(0, 1), answers[:, 1:].flatten())
        optimizer.zero_grad()
        (loss + penalty()).backward()
        optimizer.step()
    return model.eval(), np.array(penalty.partition)


def _batch(data: list[tuple[Tensor, Tensor]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    ids, answers = data[int(rng.integers(len(data)))]
    rows = rng.integers(0, len(ids), BATCH)
    return ids[rows], answers[rows]
