"""The order in which the parts of a network are described, and how many at once.

    parts of large modules ─► modules, small before large ─► interfaces

Modules come in rounds of 1, 1, 2, 4, 8, ...: each sees the names of all rounds before its own, and
no round waits long. What a prompt says does not depend on how many are sent at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partwise.explain.evidence import interface_evidence, module_evidence
from partwise.explain.prompts import Neighbour
from partwise.explain.subject import Subject
from partwise.explain.values import Description, Evidence, Failed
from partwise.modules import Hierarchy, Partition

MOST_PARTS = 4
LARGE = 256
"""Modules of more units are described from their parts up."""
OnStep = Callable[[int, int], None]
Write = Callable[[Evidence, Sequence[Neighbour]], Description | Failed]
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Work:
    """What is to be described.

    Attributes:
        modules: evidence of each.
        interfaces: evidence of each.
        parts: module -> evidence of its parts, each in a partition of its own numbers.
    """

    modules: tuple[Evidence, ...]
    interfaces: tuple[Evidence, ...] = ()
    parts: dict[int, tuple[Evidence, ...]] = field(default_factory=dict)

    @property
    def subjects(self) -> tuple[Evidence, ...]:
        """Modules, then interfaces."""
        return self.modules + self.interfaces

    @property
    def steps(self) -> int:
        """How many descriptions it takes."""
        return len(self.subjects) + sum(map(len, self.parts.values()))


def parts_of(hierarchy: Hierarchy, large: int = LARGE) -> NDArray[np.int64]:
    """(n,) finer labels, which split each module of more than `large` units.

    A module's parts are those of the finest level of its nest that has at most `MOST_PARTS` there.
    """
    parts = np.asarray(hierarchy.labels).copy()
    for module in np.flatnonzero(np.bincount(hierarchy.labels) > large):
        own = hierarchy.labels == module
        for level in range(hierarchy.modules + 1, hierarchy.finest + 1):
            finer, numbers = np.unique(hierarchy.labels_at(level)[own], return_inverse=True)
            if len(finer) > MOST_PARTS:
                break
            parts[own] = np.where(numbers == 0, module, parts.max() + numbers)
    return parts


def work_on(
    subject: Subject, parts: ArrayLike | None = None, on_step: OnStep = lambda done, total: None
) -> Work:
    """The evidence of every module and interface, and of the parts of modules.

    Args:
        subject: the network.
        parts: (n,) finer labels; every module whose units have several is described from its
            parts up.
        on_step: told after each how many are done, of twice as many: the rest is for writing.
    """
    finer, members = _finer(subject, parts)
    total = subject.modules + len(subject.interfaces) + sum(map(len, members.values()))
    step = _Counter(on_step, 2 * total)
    modules = tuple(step(module_evidence(subject, k)) for k in range(subject.modules))
    interfaces = tuple(step(interface_evidence(subject, pair)) for pair in subject.interfaces)
    split = {
        module: tuple(step(module_evidence(finer, part)) for part in own)
        for module, own in members.items()
    }
    return Work(modules, interfaces, split)


def described_in_rounds(
    work: Work, write: Write, concurrency: int = 1, on_step: OnStep = lambda done, total: None
) -> list[tuple[Evidence, Description | Failed]]:
    """What is said of every module and interface, in this order.

    Args:
        work: what to describe.
        write: describes one, beside neighbours; called from as many threads as are allowed.
        concurrency: how many at once.
        on_step: told after each how many are done, counted from `work.steps` on.
    """
    step = _Counter(on_step, 2 * work.steps, done=work.steps)

    def say(task: tuple[Evidence, list[Neighbour]]) -> Description | Failed:
        return step(write(*task))

    inside = [each for own in work.parts.values() for each in own]
    parts = _by_module(work, at_once([(each, []) for each in inside], say, concurrency))
    said: dict[int, Description | Failed] = {}
    for chosen in _rounds([*range(len(work.modules))][::-1]):
        known = _known(work, said)
        tasks = [
            (work.modules[k], [*parts.get(k, []), *_nearest(work.modules[k], known)])
            for k in chosen
        ]
        said.update(zip(chosen, at_once(tasks, say, concurrency), strict=True))
    known = _known(work, said)
    between = [(each, _nearest(each, known)) for each in work.interfaces]
    joined = at_once(between, say, concurrency)
    return [*zip(work.subjects, [*(said[k] for k in sorted(said)), *joined], strict=True)]


def at_once(tasks: Sequence[Given], do: Callable[[Given], Made], concurrency: int) -> list[Made]:
    """What is made of each task, in order, several at once.

    Threads are daemons: an interruption need not wait for servers.
    """
    if concurrency == 1 or len(tasks) < 2:
        return [do(task) for task in tasks]
    waiting, done = SimpleQueue[int](), SimpleQueue[tuple[int, Made | BaseException]]()
    for number in range(len(tasks)):
        waiting.put(number)

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((number, do(tasks[number])))
            except BaseException as error:  # noqa: BLE001, passed on to whoever waits
                done.put((number, error))

    for _ in range(min(concurrency, len(tasks))):
        threading.Thread(target=work, daemon=True).start()
    made: dict[int, Made] = {}
    try:
        while len(made) < len(tasks):
            number, result = done.get()
            if isinstance(result, BaseException):
                raise result
            made[number] = result
    finally:
        with suppress(Empty):
            while True:
                waiting.get_nowait()
    return [made[number] for number in range(len(tasks))]


class _Counter:
    """Counts what is done, from several threads."""

    def __init__(self, tell: OnStep, total: int, done: int = 0) -> None:
        self._tell, self._total, self._done = tell, total, done
        self._alone = threading.Lock()

    def __call__(self, made: Made) -> Made:
        with self._alone:
            self._done += 1
            self._tell(self._done, self._total)
        return made


def _finer(subject: Subject, parts: ArrayLike | None) -> tuple[Subject, dict[int, list[int]]]:
    """The network in its parts, and the numbers of the parts of each module that has several."""
    if parts is None:
        return subject, {}
    labels, members, count = subject.labels.copy(), dict[int, list[int]](), subject.modules
    for module in range(subject.modules):
        own = subject.labels == module
        finer, numbers = np.unique(np.asarray(parts)[own], return_inverse=True)
        if len(finer) > 1:
            members[module] = [module, *range(count, count + len(finer) - 1)]
            labels[own] = np.array(members[module])[numbers]
            count += len(finer) - 1
    finer_subject = Subject(
        subject.model,
        subject.units,
        subject.graph,
        Partition.of(labels),
        subject.data,
        subject.samples,
        subject.seed,
    )
    return finer_subject, members


def _rounds(order: Sequence[int]) -> Iterator[Sequence[int]]:
    """Pieces of 1, 1, 2, 4, 8, ... of an order."""
    start = 0
    while start < len(order):
        size = max(1, start)
        yield order[start : start + size]
        start += size


def _by_module(work: Work, said: Sequence[Description | Failed]) -> dict[int, list[Neighbour]]:
    """Module -> what was said of its parts."""
    words, found = iter(said), dict[int, list[Neighbour]]()
    for module, own in work.parts.items():
        told = [next(words) for _ in own]
        found[module] = [
            Neighbour(each, f"part {k} of module {module}", is_part=True)
            for k, each in enumerate(told)
            if isinstance(each, Description)
        ]
    return found


def _known(work: Work, said: dict[int, Description | Failed]) -> list[Neighbour]:
    return [
        Neighbour(words, work.modules[k].subject)
        for k, words in sorted(said.items())
        if isinstance(words, Description)
    ]


def _nearest(evidence: Evidence, known: list[Neighbour]) -> list[Neighbour]:
    """The modules that an interface joins, or that a module shares most with, first."""
    near = {f"module {module}": 1e9 for module in evidence.modules}
    for each in (*evidence.reads, *evidence.feeds):
        near[each.name] = near.get(each.name, 0.0) + each.share
    return sorted(known, key=lambda each: -near.get(each.subject, 0.0))
