"""A network small enough to check by hand: AND of two inputs beside OR of two others."""

import itertools

import numpy as np
import pytest
import torch
from coded_letters import coded_text, trained
from torch import nn

from partwise.explain import ProgramWriter, subject_of
from partwise.explain.explain import explain_subject
from partwise.tasks import task_from_arrays

LABELS = np.array([0, 0, 1, 1, 0, 1, 0, 1])  # inputs, hidden, outputs


def and_or_network() -> nn.Sequential:
    """x0 and x1 through hidden unit 4, x2 or x3 through hidden unit 5."""
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]))
        model[0].bias.copy_(torch.tensor([-1.0, 0]))
        model[2].weight.copy_(torch.tensor([[12.0, 0], [0, 12.0]]))
        model[2].bias.copy_(torch.tensor([-6.0, -6.0]))
    return model


def and_or_task():
    """All sixteen inputs, many times over in random order."""
    rows = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    x = rows[np.random.default_rng(0).integers(16, size=2000)]
    y = np.c_[x[:, 0] * x[:, 1], np.maximum(x[:, 2], x[:, 3])]
    return task_from_arrays("and-or", x, y, "binary", heads=["both", "either"])


@pytest.fixture
def subject():
    return subject_of(and_or_network(), LABELS, and_or_task())


@pytest.fixture(scope="session")
def coded():
    """A trained GPT whose modules are known by construction; see `coded_letters`."""
    text = coded_text()
    model, labels = trained(text)
    return subject_of(model, labels, text, samples=6144)


@pytest.fixture(scope="session")
def described(coded):
    """What the built-in writer says of it, with the verdicts."""
    return explain_subject(coded, ProgramWriter())
