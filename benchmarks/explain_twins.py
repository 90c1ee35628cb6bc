"""What a short description explains: modular networks beside twins at the same held-out loss.

Of every module, how much of the variance of its held-out lesion effects 1, 4, 16 and 64 yes-or-no
questions explain (see `partwise.explain.questions`). Twins have as many parts:

* modular: within a budget (tables), or by the usual recipe for text.
* plain: no penalty, stopped as soon as its held-out loss is as low; best split of its weights.
* plain to its end: the same network after all steps.
* l1: all steps under the sparsity pressure that brings it to that loss, of four that are tried.
* blocks: within the budget, held to blocks that were told which outputs belong together.

Controls: random parts of equal size in every layer (of the modular network), and descriptions
grown on shuffled effects, which must explain nothing. `benchmarks.explain` runs it:

    python -m benchmarks.explain --parts modular_vs_plain \
        --json benchmarks/results/explain_twins.jsonl --page docs/design/short-descriptions.md
"""

from __future__ import annotations

import math
import pydoc_data.topics
from collections.abc import Iterator, Sequence
from statistics import mean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpt_words import best_split
from benchmarks.peers import true_blocks
from benchmarks.records import Record, Row
from partwise.explain.explain import subject_of
from partwise.explain.questions import told_in_questions
from partwise.loss import BudgetedPenalty, BudgetSchedule
from partwise.modules import search_modules
from partwise.tasks import Task, Text
from partwise.tasks.streams import known_streams
from partwise.train import Recipe, Trainer, recipe_from, train
from partwise.train.objective import held_out_probe

FIRST_SEED, SEEDS, TEXT_SEEDS = 9000, 10, 2
TABLES = ("digits-pair", "two-playgrounds", "formulas-independence")
TEXTS = ("letters,digits",)
BUDGET = 0.05
QUESTIONS = (1, 4, 16, 64)
DECAY = 0.3
"""Weight decay of networks on tables: all of the built-in recipes have it."""
L1_GUESSES = 4
EVERY = 50
"""Steps between looks at the held-out loss of a network that is stopped early."""
KINDS = ("modular", "plain", "plain to its end", "l1", "blocks")
Labels = NDArray[np.int64]


def recipe_of(task: str, seed: int, *settings: str) -> Recipe:
    """A plain recipe, changed."""
    if task in TEXTS:
        return recipe_from(
            {"data": {"texts": task.split(",")}, "seed": seed}, settings=[*_plain_text(settings)]
        )
    return recipe_from(
        {}, settings=[f"task={task}", f"seed={seed}", f"weight_decay={DECAY}", *settings]
    )


def _plain_text(settings: Sequence[str]) -> Sequence[str]:
    plain = ("strength=0", "mask_share=0", "silence_share=0")
    return () if "modular" in settings else (*plain, *settings)


def trainer_of(recipe: Recipe) -> Trainer:
    """A trainer at its first step."""
    if not recipe.is_text:
        return Trainer.new(recipe)
    english = "\n".join(pydoc_data.topics.topics.values())
    corpus = known_streams(recipe.data.texts, english)
    return Trainer.new(recipe, Text(corpus, recipe.context))


def loss_of(trainer: Trainer) -> float:
    """The held-out loss; of text, the mean over its streams."""
    found = trainer.objective.held_out(trainer.model)
    losses = [value for name, value in found.items() if name != "claims_accuracy"]
    return mean(losses)


def trained_modular(task: str, seed: int) -> tuple[Trainer, Labels]:
    """The modular twin and its modules."""
    own = "modular" if task in TEXTS else f"budget={BUDGET}"
    trainer = trainer_of(recipe_of(task, seed, own))
    train(trainer)
    return trainer, trainer.penalty.labels.numpy()


def trained_plain(task: str, seed: int, loss: float) -> Iterator[tuple[str, Trainer]]:
    """The plain twin, when its loss is as low, and at its end."""
    trainer = trainer_of(recipe_of(task, seed))
    reached = False
    while trainer.step < trainer.recipe.training.steps:
        trainer.advance()
        if not reached and trainer.step % EVERY == 0 and loss_of(trainer) <= loss:
            reached = True
            yield "plain", trainer
    yield "plain to its end" if reached else "plain", trainer


def trained_l1(task: str, seed: int, loss: float) -> Trainer:
    """The sparse twin whose loss comes nearest, of those along a bisection of strengths."""
    low, high = math.log(1e-2), math.log(1e2)
    best: tuple[float, Trainer] | None = None
    for _ in range(L1_GUESSES):
        strength = (low + high) / 2
        trainer = trainer_of(recipe_of(task, seed, f"l1={math.exp(strength)}"))
        train(trainer)
        found = loss_of(trainer)
        if best is None or abs(found - loss) < best[0]:
            best = abs(found - loss), trainer
        low, high = (strength, high) if found < loss else (low, strength)
    assert best is not None
    return best[1]


def trained_blocks(task: str, seed: int) -> tuple[Trainer, Labels]:
    """The twin that is held to the true blocks, within the same budget."""
    trainer = trainer_of(recipe_of(task, seed, f"budget={BUDGET}"))
    data, schedule = trainer.data, trainer.recipe.schedule()
    assert isinstance(data, Task)
    assert isinstance(schedule, BudgetSchedule)
    true = (torch.as_tensor(each) for each in (data.true_inputs, data.true_outputs))
    labels = true_blocks(trainer.units, *true).numpy()
    trainer.penalty = BudgetedPenalty(
        trainer.model, held_out_probe(data), schedule, units=trainer.units, find=lambda _: labels
    )
    train(trainer)
    return trainer, labels


def split_of(trainer: Trainer, parts: int) -> Labels:
    """The best split of a network's weights into so many parts, or as near as there is."""
    if isinstance(trainer.data, Text):
        return best_split(trainer, parts)
    found = search_modules(trainer.units.graph(trainer.model))
    return found.labels_at(min(parts, found.finest))


def shuffled_parts(trainer: Trainer, labels: Labels, seed: int) -> Labels:
    """Random parts of equal size in every layer."""
    rng, shuffled = np.random.default_rng((seed, 2)), labels.copy()
    for group in trainer.units.groups:
        place = slice(group.start, group.stop)
        shuffled[place] = rng.permutation(labels[place])
    return shuffled


def explained(trainer: Trainer, labels: Labels, shuffled: int | None = None) -> list[float]:
    """Mean over modules of what 1, 4, 16 and 64 questions explain."""
    own = trainer.units if isinstance(trainer.data, Text) else None
    subject = subject_of(trainer.model.eval(), labels, trainer.data, own)
    found = [told_in_questions(subject, m, QUESTIONS, shuffled) for m in range(subject.modules)]
    trainer.model.train()
    return [mean(each[k].explained for each in found) for k in range(len(QUESTIONS))]


def row_of(kind: str, trainer: Trainer, labels: Labels) -> Row:
    """The figures of one network and partition."""
    return {
        "kind": kind,
        "loss": loss_of(trainer),
        "steps": trainer.step,
        "modules": int(labels.max()) + 1,
        "explained": explained(trainer, labels),
    }


def rows_of(task: str, seed: int) -> Iterator[Row]:
    """All twins of one seed."""
    trainer, labels = trained_modular(task, seed)
    modular = row_of("modular", trainer, labels)
    random = explained(trainer, shuffled_parts(trainer, labels, seed))
    nonsense = explained(trainer, labels, shuffled=seed)
    yield modular | {"random_parts": random, "shuffled_effects": nonsense}
    parts, loss = max(2, int(modular["modules"])), float(modular["loss"])
    for kind, twin in trained_plain(task, seed, loss):
        yield row_of(kind, twin, split_of(twin, parts))
    sparse = trained_l1(task, seed, loss)
    yield row_of("l1", sparse, split_of(sparse, parts))
    if task not in TEXTS:
        yield row_of("blocks", *trained_blocks(task, seed))


def twins_places(is_quick: bool) -> list[tuple[str, str]]:
    """A row for each seed and task."""
    if is_quick:
        return [(f"seed {FIRST_SEED - 1}", TABLES[0])]
    seeds = range(FIRST_SEED, FIRST_SEED + SEEDS)
    tables = [(f"seed {seed}", task) for seed in seeds for task in TABLES]
    return tables + [(f"seed {seed}", task) for seed in [*seeds][:TEXT_SEEDS] for task in TEXTS]


def twins_row(place: tuple[str, str]) -> Row:
    """All twins of one seed, by kind."""
    setting, task = place
    torch.set_num_threads(1)
    return {row.pop("kind"): row for row in rows_of(task, int(setting.removeprefix("seed ")))}


def twins_summary(rows: list[Row]) -> list[Row]:
    """What one question explains of modular networks beyond plain ones, by task."""
    return differences(Record({}, rows), "plain", 1)


def differences(record: Record, kind: str, questions: int) -> list[Row]:
    """Modular minus a twin, paired over seeds: mean and 95% interval (Student's t) of each task."""
    from scipy.stats import t

    k, found = QUESTIONS.index(questions), []
    for task in dict.fromkeys(row["family"] for row in record.rows):
        ours, theirs = (_by_seed(record, task, each) for each in ("modular", kind))
        gaps = [
            ours[seed]["explained"][k] - theirs[seed]["explained"][k]
            for seed in ours.keys() & theirs.keys()
        ]
        if len(gaps) < 2:
            continue
        wide = float(t.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / math.sqrt(len(gaps))
        middle = mean(gaps)
        found.append({
            "task": task, "seeds": len(gaps), "difference": middle,
            "low": middle - wide, "high": middle + wide,
        })  # fmt: skip
    return found


def _by_seed(record: Record, task: str, kind: str) -> dict[str, Row]:
    own = (row for row in record.rows if row["family"] == task)
    return {row["setting"]: row[kind] for row in own if kind in row}


def _asked(questions: int) -> str:
    return "1 question" if questions == 1 else f"{questions} questions"


def means_table(record: Record) -> str:
    """Means over seeds, as a Markdown table."""
    head = "| task | network | seeds | held-out loss | parts | "
    lines = [head + " | ".join(map(_asked, QUESTIONS)) + " |", "|---" * 9 + "|"]
    for task in dict.fromkeys(row["family"] for row in record.rows):
        for kind in KINDS:
            rows = list(_by_seed(record, task, kind).values())
            if rows:
                lines.append(_line(task, kind, rows, "explained"))
        ours = list(_by_seed(record, task, "modular").values())
        lines.append(_line(task, "modular, random parts", ours, "random_parts"))
        lines.append(_line(task, "modular, shuffled effects", ours, "shuffled_effects"))
    return "\n".join(lines)


def _line(task: str, name: str, rows: Sequence[Row], field: str) -> str:
    shares = (f"{mean(row[field][k] for row in rows):z.2f}" for k in range(len(QUESTIONS)))
    loss, parts = (mean(row[name] for row in rows) for name in ("loss", "modules"))
    return f"| {task} | {name} | {len(rows)} | {loss:.4g} | {parts:.1f} | {' | '.join(shares)} |"


def differences_table(record: Record) -> str:
    """Paired differences with their intervals, as a Markdown table."""
    lines = ["| task | modular minus | " + " | ".join(map(_asked, QUESTIONS)) + " |"]
    lines.append("|---" * 6 + "|")
    for kind in KINDS[1:]:
        by_length = [differences(record, kind, k) for k in QUESTIONS]
        for each in zip(*by_length, strict=True):
            cells = (f"{d['difference']:z.2f} ({d['low']:z.2f} to {d['high']:z.2f})" for d in each)
            lines.append(f"| {each[0]['task']} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES_OF = {"means-table": means_table, "differences-table": differences_table}
