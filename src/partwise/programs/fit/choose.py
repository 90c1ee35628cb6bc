"""The choice among programs: held-out fidelity against description length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.errors import ProgramError
from partwise.programs.fit.forms import FORMS, Form
from partwise.programs.fit.table import Table, Target
from partwise.programs.language import Program, parse_program
from partwise.programs.price import class_bits, program_bits, value_bits

LEAST_GAIN = 0.3
"""Of the way from the commonest answer to always agreeing, or the share of variance explained."""
LEAST_SAMPLES = 16
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """A program that was found, measured on the samples that it was chosen on.

    Attributes:
        program: the program.
        form: what form it has.
        agrees: (choice,) 1 where it gives the answer.
        choice: the samples that it was chosen on, and not fitted to.
        guess: share of the commonest answer among these.
        gain: share of the way from there to always agreeing; of values, of variance explained.
        bits: length of the program.
        saved: bits that it saves beyond its own length.
    """

    program: Program
    form: str
    agrees: Array
    choice: slice
    guess: float
    gain: float
    bits: float
    saved: float

    @property
    def fidelity(self) -> float:
        """Share of the samples that it was chosen on where it gives the answer."""
        return float(self.agrees.mean())


def find_program(
    table: Table, target: Target, *, price: float = 1.0, forms: Iterable[str] | None = None
) -> Found | None:
    """The shortest program that gives the target, or None: no short program was found.

    The first half of the samples is fitted to, the second half chooses: bits of the program plus
    bits that correct its answers, against those that correct the commonest answer, or the mean.

    Args:
        table: what a program may read.
        target: what it should give.
        price: what a program's bit costs.
        forms: names of the forms to try; all of them if None.

    Returns:
        None unless bits are saved and `LEAST_GAIN` is gained.
    """
    half = table.rows // 2
    if half < LEAST_SAMPLES or len(np.unique(target.values)) < 2:
        return None
    fitted, chosen = slice(0, half), slice(half, table.rows)
    bench = _Bench(table.part(chosen), target.part(chosen), target.part(fitted), price)
    chosen_forms = list(FORMS.values()) if forms is None else [FORMS[name] for name in forms]
    best: _Candidate | None = None
    for last in (False, True):
        if best is None or not best.agrees.all():
            trying = [form for form in chosen_forms if form.is_last_resort == last]
            found = _candidates(trying, table.part(fitted), target.part(fitted), bench)
            best = min([*found, *([best] if best else [])], key=_total, default=None)
    if best is None or best.total >= bench.constant_bits or best.gain < LEAST_GAIN:
        return None
    return Found(
        best.program,
        best.form,
        best.agrees,
        chosen,
        bench.guess,
        best.gain,
        best.bits,
        bench.constant_bits - best.total,
    )


@dataclass(frozen=True, eq=False)
class _Candidate:
    program: Program
    form: str
    agrees: Array
    gain: float
    bits: float
    total: float


def _total(candidate: _Candidate) -> float:
    return candidate.total


def _candidates(
    forms: Iterable[Form], table: Table, target: Target, bench: _Bench
) -> Iterator[_Candidate]:
    for form in forms:
        for text in dict.fromkeys(form.propose(table, target)):
            candidate = bench.tried(text, form.name)
            if candidate is not None:
                yield candidate


class _Bench:
    """Samples that candidates are measured on.

    Args:
        table, target: those that choose.
        fitted: those that were fitted to; the commonest answer, and the mean, are theirs.
        price: what a program's bit costs.
    """

    def __init__(self, table: Table, target: Target, fitted: Target, price: float):
        self.table, self.target, self.price = table, target, price
        self.classes = 0 if target.is_value else len({*target.classes, *fitted.classes})
        self.spread = float(np.r_[target.values, fitted.values].std())
        if target.is_value:
            constant, middle = float(fitted.values.mean()), float(np.median(fitted.values))
        else:
            constant = middle = float(np.bincount(fitted.values.astype(int)).argmax())
        always = np.full(len(target.values), constant)
        self.guess = float(target.agrees(np.full(len(always), middle), self.spread).mean())
        self.constant_bits = self._data_bits(always)
        self._variance = float(np.mean(np.square(target.values - constant)))

    def tried(self, text: str, form: str) -> _Candidate | None:
        """A candidate with what it costs; None for one that cannot be run."""
        try:
            program = parse_program(text)
            given = self.target.given(program, self.table)
        except ProgramError:
            return None
        bits = self.price * program_bits(program, len(self.table.values))
        data = self._data_bits(given)
        if not math.isfinite(data):
            return None
        agrees = self.target.agrees(given, self.spread)
        total = bits + data + math.log2(len(FORMS))
        return _Candidate(program, form, agrees, self._gain(given, agrees), bits, total)

    def _data_bits(self, given: Array) -> float:
        target = self.target
        if target.is_value:
            return value_bits(given - target.values, self.spread)
        wrong = len(given) - int(target.agrees(given).sum())
        return class_bits(wrong, len(given), self.classes)

    def _gain(self, given: Array, agrees: Array) -> float:
        if self.target.is_value:
            left = float(np.mean(np.square(given - self.target.values)))
            return 1 - left / max(self._variance, 1e-300)
        return (float(agrees.mean()) - self.guess) / max(1 - self.guess, 1e-9)
