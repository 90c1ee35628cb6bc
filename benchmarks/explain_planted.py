"""Decompiles transformers that were compiled from programs, and compares with the programs.

A network is scored by what came out of `zoo.decompile`, which saw its weights, a partition and
training sequences without answers:

- roles: of each head and group of neurons, against the role that the program's author gave it;
- interfaces: which component reads which, of all that are true or claimed;
- task: the first entry of the catalogue that answers as the network does, against the program's;
- functional: the steps answer as the network on every position of every held-out sequence;
- exact: functional, with every role and every interface right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.records import Record, Row
from partwise.graph import UnitMap, units_of
from partwise.modules import search_modules
from partwise.modules.agreement import adjusted_rand
from partwise.zoo.catalogue import catalogue
from partwise.zoo.compiler import Compiled, compiled
from partwise.zoo.data import sequence_text
from partwise.zoo.decompile.components import Component
from partwise.zoo.decompile.reading import Reading, Undecompilable, decompile
from partwise.zoo.decompile.roles import roles_of
from partwise.zoo.decompile.tasks import as_texts, name_task
from partwise.zoo.disguise import disguised, noisy
from partwise.zoo.language import Program
from partwise.zoo.library import PROGRAMS
from partwise.zoo.made_up import made_up
from partwise.zoo.together import programs_of_units, together
from partwise.zoo.truth import Truth

SEEN, HELD_OUT = 400, 1000
"""Sequences that the decompiler sees, and that it is tested on."""
MORE_STEPS, MORE_RATE = 300, 1e-4
"""Of further training."""
MADE_UP_COUNT, PAIRS = 20, 10
"""Programs without a task, and pairs of programs in one network."""
MAIN, ALL, MADE_UP, TOGETHER = "disguised, true modules", "all", "made up", "together"
CATALOGUE = catalogue()
Labels = NDArray[np.int64]


class Setting(NamedTuple):
    """A network to decompile, and by which modules.

    Attributes:
        net: the network; gets a compiled one and its program.
        labels: its modules; gets the network, its units and a generator.
    """

    net: Callable[[Compiled, Program], Compiled]
    labels: Callable[[Compiled, UnitMap, np.random.Generator], Labels]


def true_modules(net: Compiled, units: UnitMap, rng: np.random.Generator) -> Labels:
    return np.array(net.truth.partition)


def found_modules(net: Compiled, units: UnitMap, rng: np.random.Generator) -> Labels:
    """Those that the weights show, without the test against shuffled networks."""
    return search_modules(units.graph(net.model), likelihood=True).labels


def one_module(net: Compiled, units: UnitMap, rng: np.random.Generator) -> Labels:
    return np.zeros(units.n, np.int64)


def random_modules(net: Compiled, units: UnitMap, rng: np.random.Generator) -> Labels:
    """The true modules with units of each layer shuffled."""
    labels = true_modules(net, units, rng)
    for group in units.groups:
        labels[group.start : group.stop] = rng.permutation(labels[group.start : group.stop])
    return labels


def as_compiled(net: Compiled, program: Program) -> Compiled:
    return net


def in_disguise(net: Compiled, program: Program) -> Compiled:
    return disguised(net, seed=0)


def with_noise(share: float) -> Callable[[Compiled, Program], Compiled]:
    return lambda net, program: noisy(disguised(net, seed=0), share, seed=0)


def trained_on(net: Compiled, program: Program) -> Compiled:
    """The network in disguise after further training on its task, by which every weight moves."""
    net = disguised(net, seed=0)
    text = sequence_text(program, net.vocabulary)
    batches = [(ids, text.right_answers(ids)) for ids in text.batches("train", 2000, 0)]
    optimizer = torch.optim.AdamW(net.model.parameters(), lr=MORE_RATE, weight_decay=0.01)
    draw = torch.Generator().manual_seed(0)
    for step in range(MORE_STEPS):
        ids, answers = batches[step % len(batches)]
        rows = torch.randperm(len(ids), generator=draw)[:64]
        logits = net.model(ids[rows])[:, 1:]
        loss = cross_entropy(logits.flatten(0, 1), answers[rows, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


SETTINGS = {
    "true modules": Setting(as_compiled, true_modules),
    MAIN: Setting(in_disguise, true_modules),
    "found modules": Setting(as_compiled, found_modules),
    "one module": Setting(as_compiled, one_module),
    "random modules": Setting(as_compiled, random_modules),
    "noise of 0.1%": Setting(with_noise(0.001), true_modules),
    "noise of 0.3%": Setting(with_noise(0.003), true_modules),
    "noise of 1%": Setting(with_noise(0.01), true_modules),
    "trained on": Setting(trained_on, true_modules),
}


@dataclass(frozen=True)
class Score:
    """What was right about one network."""

    roles: int
    roles_right: int
    interfaces: int
    interfaces_right: int
    is_task_right: bool
    is_named: bool
    is_able: bool
    agreement: float
    entries: int
    rand: float
    reason: str = ""

    @property
    def is_functional(self) -> bool:
        """Whether all held-out answers are the network's."""
        return self.agreement == 1

    @property
    def is_exact(self) -> bool:
        """Whether besides every role and every interface is right."""
        right = (self.roles_right, self.interfaces_right) == (self.roles, self.interfaces)
        return self.is_functional and right


def score(program: Program, net: Compiled, labels: Labels, seed: int = 0) -> Score:
    """Decompiles a network and compares it with its program."""
    text = sequence_text(program, net.vocabulary)
    seen, new = text.batches("train", SEEN, seed), text.batches("final", HELD_OUT, seed)
    name = task_of(net, seen)
    truth = net.truth
    found = match_none(truth)
    agreement, entries, reason = 0.0, 0, ""
    try:
        reading = decompile(net.model, units_of(net.model), labels, seen)
    except Undecompilable as error:
        reason = str(error)
    else:
        found = compare(truth, reading, roles_of(reading.decompiled, net.vocabulary))
        agreement = agreement_of(net, reading, new)
        entries = reading.decompiled.entries
    return Score(
        *found,
        name == program.name,
        name is not None,
        is_able(net, text, new),
        agreement,
        entries,
        adjusted_rand(labels, np.array(truth.partition)),
        reason,
    )


def task_of(net: Compiled, sequences: Iterable[Tensor]) -> str | None:
    """The name of what a network does, by its answers to sequences."""
    answers = [
        pair
        for ids in sequences
        for pair in as_texts(net.vocabulary, ids.numpy(), told_by(net, ids))
    ]
    name = name_task(CATALOGUE, answers)
    return None if name is None else name.name


@torch.no_grad()
def told_by(net: Compiled, ids: Tensor) -> NDArray[np.int64]:
    """(b, t) the network's answers to (b, 1 + t) ids."""
    return net.model(ids)[:, 1:].argmax(2).numpy()


def is_able(net: Compiled, text: SequenceText, sequences: Iterable[Tensor]) -> bool:
    """Whether the network answers every sequence as its program does."""
    return all(
        (told_by(net, ids) == text.right_answers(ids)[:, 1:].numpy()).all() for ids in sequences
    )


def agreement_of(net: Compiled, reading: Reading, sequences: Iterable[Tensor]) -> float:
    """The share of sequences on which steps and network agree at every position."""
    same = [
        (reading.decompiled.answers(ids.numpy()) == told_by(net, ids)).all(1) for ids in sequences
    ]
    return float(np.concatenate(same).mean())


Found = tuple[int, int, int, int]
"""Roles, those that are right, interfaces true or claimed, those that are both."""


def match_none(truth: Truth) -> Found:
    parts = [part for part in truth.components if part.kind != "embedding"]
    return len(parts), 0, sum(len(part.reads) for part in parts), 0


def compare(truth: Truth, reading: Reading, roles: list[str]) -> Found:
    """What is right of the roles and interfaces of the true components."""
    place = [best_match(part.units, part.role, reading.components) for part in truth.components]
    parts = [i for i, part in enumerate(truth.components) if part.kind != "embedding"]
    right = sum(roles[place[i]] == truth.components[i].role for i in parts)
    true = {(place[j], place[i]) for i in parts for j in truth.components[i].reads}
    matched = {place[i] for i in range(len(truth.components))}
    claimed = {
        (source, i)
        for i in {place[i] for i in parts}
        for source in reading.decompiled.steps[i].reads
        if source in matched
    }
    lost = sum(len(truth.components[i].reads) for i in parts) - len(true)
    return len(parts), right, len(true | claimed) + lost, len(true & claimed)


def best_match(units: tuple[int, ...], role: str, found: Iterable[Component]) -> int:
    """The component that shares most units with a true one; an embedding is its own match."""
    if role in ("tokens", "positions"):
        return 0 if role == "tokens" else 1
    own = set(units)
    shares = [len(own & set(each.units)) / len(own | set(each.units)) for each in found]
    return int(np.argmax(shares))


Place = tuple[str, str]
"""A setting and a family."""


def planted_places(is_quick: bool) -> list[Place]:
    """What there is a row for: the main setting by family, the others for all families together."""
    families = list(dict.fromkeys(program.family for program in PROGRAMS))
    main = [(MAIN, family) for family in families]
    if is_quick:
        return [*main[:2], (MAIN, MADE_UP)]
    others = [(setting, ALL) for setting in SETTINGS if setting != MAIN]
    pairs = [(setting, TOGETHER) for setting in PAIRED]
    return [*main, *others, (MAIN, MADE_UP), *pairs]


def planted_row(place: Place) -> Row:
    """The row of a setting and a family."""
    setting, family = place
    if family == TOGETHER:
        found = [(f"{a.name} + {b.name}", paired((a, b), setting)) for a, b in pairs_of_programs()]
        return summed(found)
    if family == MADE_UP:
        return made_up_row()
    own = [program for program in PROGRAMS if family in (ALL, program.family)]
    return summed([(program.name, scored(program, setting)) for program in own])


def scored(program: Program, setting: str) -> Score:
    """The score of one program in one setting."""
    net = SETTINGS[setting].net(compiled(program), program)
    rng = np.random.default_rng(0)
    return score(program, net, SETTINGS[setting].labels(net, units_of(net.model), rng))


def made_up_row(count: int = MADE_UP_COUNT) -> Row:
    """Programs without a task, whose roles have no names: a `table` may be anything."""
    programs = [made_up(seed) for seed in range(count)]
    found = [(program.name, scored(program, MAIN)) for program in programs]
    row = summed(found)
    kept = ("networks", "functional", "interfaces", "interfaces_right", "not_functional", "reasons")
    named = sum(each.is_named for _, each in found)
    return {**{key: row[key] for key in kept}, "named_as_a_task": named}


def pairs_of_programs(count: int = PAIRS) -> list[tuple[Program, Program]]:
    """Random pairs over the same tokens, none twice, both of several operations."""
    pairs = [
        (a, b)
        for a, b in combinations(PROGRAMS, 2)
        if (a.texts, a.is_causal) == (b.texts, b.is_causal)
        and min(len(a.operations), len(b.operations)) > 3
    ]
    chosen = np.random.default_rng(0).permutation(len(pairs))[:count]
    return [pairs[i] for i in chosen]


def paired(pair: tuple[Program, Program], setting: str) -> Score:
    """The score of two programs in one network, whose true modules are the programs."""
    program = together(pair)
    net = compiled(program)
    true = programs_of_units(pair, net)
    rng = np.random.default_rng(0)
    how = PAIRED[setting]
    labels = true if how is None else how(net, units_of(net.model), rng)
    rand = adjusted_rand(labels[true > 0], true[true > 0])
    return replace(score(program, net, labels), rand=rand)


PAIRED = {
    "two programs, by program": None,
    "two programs, found modules": found_modules,
    "two programs, one module": one_module,
}


def summed(scores: list[tuple[str, Score]]) -> Row:
    """Counts of a family."""
    found = [each for _, each in scores]
    return {
        "networks": len(found),
        "able": sum(each.is_able for each in found),
        "able_functional": sum(each.is_able and each.is_functional for each in found),
        "functional": sum(each.is_functional for each in found),
        "exact": sum(each.is_exact for each in found),
        "tasks_right": sum(each.is_task_right for each in found),
        "roles": sum(each.roles for each in found),
        "roles_right": sum(each.roles_right for each in found),
        "interfaces": sum(each.interfaces for each in found),
        "interfaces_right": sum(each.interfaces_right for each in found),
        "rand": mean(each.rand for each in found),
        "not_functional": [n for n, each in scores if each.is_able and not each.is_functional],
        "reasons": sorted({each.reason for each in found if each.reason})[:3],
    }


def planted_summary(rows: list[Row]) -> Row:
    """Shares over all families, of the disguised networks with their true modules."""
    own = [row for row in rows if row["setting"] == MAIN and row["family"] != MADE_UP]
    families = {
        row["family"]: {key: row[key] / row["networks"] for key in ("functional", "exact")}
        for row in own
    }
    totals = {key: sum(row[key] for row in own) for key in _COUNTED}
    return {
        "networks": totals["networks"],
        "functional_frac": totals["functional"] / totals["networks"],
        "exact_frac": totals["exact"] / totals["networks"],
        "task_frac": totals["tasks_right"] / totals["networks"],
        "role_frac": totals["roles_right"] / totals["roles"],
        "interface_frac": totals["interfaces_right"] / totals["interfaces"],
        "families": families,
    }


_COUNTED = (
    "networks",
    "able",
    "able_functional",
    "functional",
    "exact",
    "tasks_right",
    "roles",
    "roles_right",
    "interfaces",
    "interfaces_right",
)


def settings_table(record: Record) -> str:
    """All families together, by setting, as a Markdown table."""
    lines = [
        "| network, modules | networks | able | roles | interfaces | tasks | functional | exact "
        "| functional of able | Rand |",
        "|" + " --- |" * 10,
    ]
    for setting in dict.fromkeys(row["setting"] for row in record.rows):
        own = [row for row in record.rows if row["setting"] == setting and row["family"] != MADE_UP]
        if own:
            total = {key: sum(row[key] for row in own) for key in _COUNTED}
            rand = sum(row["rand"] * row["networks"] for row in own) / total["networks"]
            able = f"{total['able_functional']} of {total['able']}"
            networks, cells = _cells(total).split(" | ", 1)
            told = f"{networks} | {total['able']} | {cells} | {able} | {rand:.2f}"
            lines.append(f"| {setting} | {told} |")
    return "\n".join(lines)


def families_table(record: Record) -> str:
    """The disguised networks by family, as a Markdown table."""
    lines = [
        "| family | networks | roles | interfaces | tasks | functional | exact |",
        "|" + " --- |" * 7,
    ]
    for row in record.rows:
        if row["setting"] != MAIN:
            continue
        if row["family"] != MADE_UP:
            lines.append(f"| {row['family']} | {_cells(row)} |")
        else:
            lines.append(
                f"| {row['family']} | {row['networks']} | | "
                f"{row['interfaces_right']} of {row['interfaces']} | "
                f"{row['named_as_a_task']} named | {row['functional']} | |"
            )
    return "\n".join(lines)


def _cells(row: Row) -> str:
    pairs = ("roles", "interfaces")
    shares = [f"{row[f'{key}_right']} of {row[key]}" for key in pairs]
    plain = [str(row[key]) for key in ("tasks_right", "functional", "exact")]
    return " | ".join([str(row["networks"]), *shares, *plain])


TABLES = {"settings-table": settings_table, "families-table": families_table}
