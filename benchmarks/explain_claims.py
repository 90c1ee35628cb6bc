"""What is said of trained networks: how much of it holds, and of what else it would hold.

Each row is a network that was trained apart. The built-in writer describes its modules, every
claim is tested, and all modules are replaced by their programs at once. Controls, of which next to
nothing may hold: the same claims about the next module, about random modules of equal size in
every layer, and about the untrained network.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.explain_twins import BUDGET, trainer_of
from benchmarks.gpt_words import PARTS as TEXT_SETTINGS
from benchmarks.gpt_words import at_random, counts, described, swapped, tested_elsewhere
from benchmarks.records import Record, Row
from partwise.explain.composition import compose
from partwise.explain.explain import subject_of
from partwise.explain.questions import told_in_questions
from partwise.explain.subject import Subject
from partwise.tasks import Task, task_from_arrays
from partwise.train import Trainer, recipe_from, train

FIRST_SEED = 8100
REAL = "tumour and cultivar"
TABLES = ("digits-pair", "two-playgrounds", "boolean-tree", "formulas-composition", REAL)
TEXTS = ("letters,digits", "letters,digits,problems")
SEEDS = {"table": 3, "text": 1}
CONTROLS = ("swapped", "random", "untrained")


def claims_places(is_quick: bool) -> list[tuple[str, str]]:
    """A row for each seed and task."""
    if is_quick:
        return [(f"seed {FIRST_SEED - 1}", task) for task in TABLES[:2]]
    return [
        (f"seed {FIRST_SEED + k}", task)
        for tasks, count in ((TABLES, SEEDS["table"]), (TEXTS, SEEDS["text"]))
        for k in range(count)
        for task in tasks
    ]


def claims_row(place: tuple[str, str]) -> Row:
    """Trains a network, describes it, and tests what was said, there and elsewhere."""
    setting, task = place
    torch.set_num_threads(1)
    seed = int(setting.removeprefix("seed "))
    trainer = trainer_for(task, seed)
    untrained = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    train(trainer)
    labels = trainer.penalty.labels.numpy()
    subject = _subject(trainer, labels)
    said = described(subject)
    controls = {"swapped": swapped(subject, said), "random": at_random(subject, said, seed)}
    row = {
        "modules": subject.modules,
        "claims": counts(said),
        "explained": [told_in_questions(subject, m)[0].explained for m in range(subject.modules)],
        **_recovered(subject),
    }
    trainer.model.load_state_dict(untrained)
    same = {module: module for module in range(subject.modules)}
    other = _subject(trainer, labels)
    controls["untrained"] = tested_elsewhere(other, other, said, same)
    return row | {"controls": {name: counts(tested) for name, tested in controls.items()}}


def trainer_for(task: str, seed: int) -> Trainer:
    """A trainer of a task, apart within the budget, or by the usual recipe for text."""
    if task in TEXTS:
        fields = {"data": {"texts": task.split(",")}, "seed": seed}
        return trainer_of(recipe_from(fields, settings=[*TEXT_SETTINGS[task]]))
    settings = [f"seed={seed}", f"budget={BUDGET}", "weight_decay=0.3"]
    if task == REAL:
        own = recipe_from({}, settings=[*settings, "hidden=[32,32]", "steps=3000"])
        return Trainer.new(own, two_tables())
    return trainer_of(recipe_from({}, settings=[f"task={task}", *settings]))


def two_tables(pairs: int = 2000) -> Task:
    """Two real tables in one: a tumour and a wine in every row, each in one split only."""
    from sklearn.datasets import load_breast_cancer, load_wine

    tables, rng = (load_breast_cancer(), load_wine()), np.random.default_rng(0)
    order = [rng.permutation(len(table.target)) for table in tables]
    parts, splits = [], list[str]()
    for split, low, high in (("train", 0.0, 0.6), ("claims", 0.6, 0.8), ("final", 0.8, 1.0)):
        count = round((high - low) * pairs)
        own = [each[int(low * len(each)) : int(high * len(each))] for each in order]
        parts.append(np.stack([rng.choice(each, count) for each in own], 1))
        splits += [split] * count
    drawn = np.concatenate(parts)
    scaled = [(table.data - table.data.mean(0)) / table.data.std(0) for table in tables]
    x = np.hstack([values[drawn[:, k]] for k, values in enumerate(scaled)])
    y = {
        name: table.target_names[table.target[drawn[:, k]]]
        for k, (name, table) in enumerate(zip(("tumour", "cultivar"), tables, strict=True))
    }
    return task_from_arrays(REAL, x, y, groups=drawn, splits=splits)


def claims_summary(rows: list[Row]) -> Row:
    """Shares of all claims, of those in controls, and each task's figures."""
    return {
        "claims": {f"{k}_frac": v for k, v in _shares([row["claims"] for row in rows]).items()},
        "controls": {
            "supported_frac": _held(rows, CONTROLS),
            **{control: _held(rows, [control]) for control in CONTROLS},
        },
        "trained": [_task(task, rows) for task in dict.fromkeys(row["family"] for row in rows)],
    }


def claims_table(record: Record) -> str:
    """A row for each task, over its seeds, as a Markdown table."""
    head = "| task | networks | modules | supported | refuted | undecided | swapped | random "
    lines = [head + "| untrained | one question explains | loss recovered | program's parts |"]
    lines.append("|" + " --- |" * 12)
    for task in dict.fromkeys(row["family"] for row in record.rows):
        own = [row for row in record.rows if row["family"] == task]
        claims = _shares([row["claims"] for row in own])
        held = [_held(own, [control]) for control in CONTROLS]
        cells = [f"{claims[k]:.0%}" for k in ("supported", "refuted", "undecided")]
        cells += [f"{share:.0%}" for share in held]
        cells.append(f"{mean(each for row in own for each in row['explained']):.0%}")
        found = _task(task, own)
        known = found["loss_recovered"] is not None
        cells += [f"{found['loss_recovered']:.0%}" if known else "", f"{found['program_size']:.0f}"]
        modules = mean(row["modules"] for row in own)
        lines.append(f"| {task} | {len(own)} | {modules:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _task(task: str, rows: Sequence[Row]) -> Row:
    own = [row for row in rows if row["family"] == task]
    recovered = [row["loss_recovered"] for row in own if row["loss_recovered"] is not None]
    return {
        "task": task,
        "supported_frac": _shares([row["claims"] for row in own])["supported"],
        "loss_recovered": mean(recovered) if recovered else None,
        "program_size": mean(row["program_size"] for row in own),
    }


def _held(rows: Sequence[Row], controls: Sequence[str]) -> float:
    """Share of claims that hold in controls; one module has no other to move its claims to."""
    found = [row["controls"][c] for row in rows for c in controls if row["modules"] > 1]
    return _shares(found)["supported"]


def _shares(rows: Sequence[Row]) -> dict[str, float]:
    totals = {k: sum(row[k] for row in rows) for k in ("supported", "refuted", "undecided")}
    whole = max(sum(totals.values()), 1)
    return {k: total / whole for k, total in totals.items()}


def _subject(trainer: Trainer, labels: NDArray[np.int64]) -> Subject:
    units = None if isinstance(trainer.data, Task) else trainer.units
    return subject_of(trainer.model.eval(), labels, trainer.data, units)


def _recovered(subject: Subject) -> Row:
    """What programs recover in place of all modules; of text, nothing is composed."""
    if subject.of_text:
        return {"loss_recovered": None, "program_size": 0}
    composed = compose(subject)
    return {"loss_recovered": composed.recovered, "program_size": composed.size}


TABLES_OF = {"claims-table": claims_table}
