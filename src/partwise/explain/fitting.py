"""Fitting a program to a network's answers, on the evidence samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.explain.intervals import EVIDENCE_DRAWS, Resampling
from partwise.explain.subject import Subject
from partwise.programs.fit import Found, Table, Target, find_program


class Fitted(NamedTuple):
    """A program and the share of unseen evidence samples on which it agrees.

    `low` is the lower end of its 95% interval, `safe` that of `rows` rows, `chance` the share of
    the most frequent answer; a value agrees within a tenth of the values' standard deviation.
    """

    text: str
    fidelity: float
    low: float
    safe: float
    chance: float
    form: str = ""


def fit_program(
    subject: Subject, head: int, inputs: NDArray[np.int64], rows: float | None = None
) -> Fitted | None:
    """The short program over `inputs` that best gives the network's answer to `head`.

    Args:
        subject: the network, taken apart.
        head: the question's number.
        inputs: numbers of the inputs that the program may read.
        rows: how many rows the bound `safe` should leave room for.

    Returns:
        None if no short program was found; see `find_program`.
    """
    found = found_program(subject, head, inputs)
    if found is None:
        return None
    sources = subject.batch("train").sources[found.choice]
    low, safe = (
        Resampling(sources, EVIDENCE_DRAWS, rows=as_on).mean(found.agrees, (0.0, 1.0)).interval()[0]
        for as_on in (None, rows)
    )
    return Fitted(found.program.text, found.fidelity, low, safe, found.guess, found.form)


def found_program(
    subject: Subject, head: int, inputs: NDArray[np.int64], price: float = 1.0
) -> Found | None:
    """The program that is found on the evidence samples, the same for the same inputs.

    Args:
        subject, head, inputs: as in `fit_program`.
        price: what a program's bit costs, beside a bit that corrects its answers.
    """

    def find() -> Found | None:
        x = subject.batch("train").x
        table = Table({f"x{k}": x[:, k] for k in inputs})
        return find_program(table, target_of(subject, head), price=price) if len(inputs) else None

    return subject.once(("program", head, tuple(map(int, inputs)), price), find)


def target_of(subject: Subject, head: int) -> Target:
    """What a program should give: the network's answers to a head on the evidence samples."""
    asked = subject.task.heads[head]
    with torch.no_grad():
        outputs = subject.model(subject.batch("train").x)
    answers = asked.answers(outputs).double().numpy()
    if asked.kind == "value":
        return Target(answers, "value")
    logits = outputs[:, asked.start : asked.stop].double().numpy()
    return Target(answers, logits=logits if asked.kind == "classes" else None)
