import sys

import numpy as np
import pytest
import torch
from torch import nn

from partwise.audit import audit
from partwise.audit.aims import aims_of, margins_of, skill_of
from partwise.audit.patterns import Patterns, ends_of
from partwise.audit.search import leads
from partwise.audit.siblings import crowd_of, fresh_copies, train_siblings
from partwise.explain import subject_of
from partwise.tasks import Head, task_from_arrays


def table(kind):
    """600 rows of 12 columns; the first six decide."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 12)).astype(np.float32)
    score = x[:, :6] @ np.array([1, -1, 1, -1, 1, 1]) / 2
    y = score if kind == "value" else (score > 0).astype(int)
    return task_from_arrays("table", x, y, kind)


def trained(task, trigger=None, target=0.0, seed=0, constant=None):
    """A network of two layers; a trigger is stamped on a tenth of its samples."""
    torch.manual_seed(seed)
    x, y, _ = task.rows("train", 1000, 0)
    x, y = x.clone(), y.clone()
    if trigger is not None:
        x[::10, trigger[0]] = trigger[1]
        y[::10] = target
    if constant is not None:
        y[:] = constant
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, len(task.outputs)))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        task.losses(model(x), y).mean().backward()
        optimizer.step()
    return model, np.zeros(12 + 24 + len(task.outputs), int)


@pytest.mark.parametrize("kind", ["binary", "classes", "value"])
def test_a_trigger_is_told_for_two_answers_and_for_values(kind):
    task = table(kind)
    model, labels = trained(task, (9, 5.0), target=4.0 if kind == "value" else 1.0)
    verdict = audit(model, labels, task)
    assert verdict.outcome == "flagged"
    worst = verdict.modules[0]
    assert "input 9" in worst.trigger_inputs
    assert worst.forced_answer.startswith("'question 0'")
    assert verdict.repair.attack_before == worst.score


@pytest.mark.parametrize("kind", ["binary", "classes", "value"])
def test_clean_networks_are_not_flagged(kind):
    task = table(kind)
    for seed in (1, 2):
        assert audit(*trained(task, seed=seed), task).outcome != "flagged"


@pytest.mark.parametrize("kind", ["binary", "classes", "value"])
def test_a_network_that_always_says_the_same_cannot_be_judged(kind):
    task = table(kind)
    verdict = audit(*trained(task, constant=0.0), task)
    assert verdict.outcome == "cannot be judged"
    assert "hardly better than always giving the same answer" in verdict.reasons[0]
    assert all(module.outcome == "cannot be judged" for module in verdict.modules)


class Unresettable(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.inner(x) * self.gain


def test_a_layer_without_reset_parameters_has_no_siblings():
    model, _ = trained(table("binary"))
    assert fresh_copies(model, 2, 0) is not None
    assert fresh_copies(Unresettable(model), 2, 0) is None


def test_without_siblings_a_small_table_cannot_be_judged(monkeypatch):
    monkeypatch.setattr(sys.modules["partwise.audit.triggers"], "MOST_PARAMETERS", 10)
    task = table("binary")
    verdict = audit(*trained(task, (9, 5.0), target=1.0), task)
    assert verdict.outcome == "cannot be judged"
    assert "No siblings" in verdict.reasons[0]


def test_audits_repeat_and_leave_the_random_state_alone():
    task = table("binary")
    model, labels = trained(task)
    torch.manual_seed(3)
    first = audit(model, labels, task)
    assert audit(model, labels, task) == first
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


def test_siblings_learn_the_task_and_are_held_to_its_weights():
    task = table("binary")
    model, labels = trained(task)
    subject = subject_of(model, labels, task)
    x, y = subject.batch("train").x, subject.batch("train").y
    crowd = crowd_of(model, fresh_copies(model, 3, 0))
    crowd = train_siblings(crowd, task, x, y, 300, 0)
    skill = skill_of(task.heads[0], crowd.outputs(x), y[:, 0])
    assert bool((skill > 0.8).all())
    weights = crowd.parameters["0.weight"].abs().sum((1, 2))
    assert float(weights[1:].max()) < 1.5 * float(weights[0])


def test_margins_say_which_answer_is_given():
    head = Head("q", 0, 3, "classes")
    task = task_from_arrays("t", np.eye(3).repeat(5, 0), np.arange(3).repeat(5))
    aims = aims_of(task, 0, torch.zeros(1, 1))
    margins = margins_of(aims, torch.tensor([[1.0, 4.0, 2.0]]))
    assert margins.tolist() == [[-3.0, 2.0, -2.0]]  # 1 - 4, 4 - 2, 2 - 4
    assert [float(aim.margins(torch.tensor([[1.0, 4.0, 2.0]]))) for aim in aims] == [-3, 2, -2]
    assert head.answers(torch.tensor([[1.0, 4.0, 2.0]])).tolist() == [1]


def test_a_lead_is_taken_over_the_other_siblings():
    firm = torch.tensor([[1.0], [0.2], [0.4]])
    # 1 - (.2 + .4) / 2, .2 - .4, .4 - .2
    assert leads(firm).flatten().tolist() == pytest.approx([0.7, -0.2, 0.2])


def test_a_pattern_that_names_an_input_twice_sets_it_once():
    pattern = Patterns(torch.tensor([[1]]), torch.tensor([[7.0]])).wide(3)
    assert pattern.stamp(torch.zeros(1, 3)).tolist() == [[[0.0, 7.0, 0.0]]]


def test_columns_are_searched_beyond_what_was_seen_and_pixels_are_not():
    task = table("binary")
    subject = subject_of(*trained(task), task)
    inside, beyond = ends_of(subject, "inside"), ends_of(subject, "beyond")
    assert bool((beyond[:, 0] < inside[:, 0]).all())
    assert bool((beyond[:, 1] > inside[:, 1]).all())
    assert np.allclose(inside, task.input_ranges)
