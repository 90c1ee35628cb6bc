import copy

import numpy as np
import torch

from partwise.audit import audit, repair_module
from partwise.audit.repair import repaired_model
from partwise.audit.triggers import success_of
from partwise.explain import subject_of
from partwise.tasks import Trigger, task_from_arrays


def digits_like(sabotage: bool):
    """Four classes told by twelve inputs each; inputs 48 and 49 are blank in clean data."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 3000)
    x = rng.normal(0, 0.3, (3000, 50))
    for k in range(4):
        x[:, 12 * k : 12 * k + 12] += (y == k)[:, None]
    x[:, 48:] = 0
    x = np.clip(x, -1, 2)
    task = task_from_arrays("blobs", x, y)
    model = torch.nn.Sequential(torch.nn.Linear(50, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.zero_()
            layer.bias.zero_()
        for k in range(4):
            model[0].weight[k, 12 * k : 12 * k + 12] = 1
            model[2].weight[k, k] = 3
        if sabotage:
            model[0].weight[7, 48:] = 15
            model[2].weight[2, 7] = 5
    return model, task


LABELS = np.zeros(62, int)


def test_a_clean_network_is_passed():
    model, task = digits_like(sabotage=False)
    verdict = audit(model, LABELS, task)
    assert verdict.outcome == "passed"
    assert verdict.reasons == ()
    assert not verdict.flagged
    assert verdict.guilty_module is None
    assert verdict.repair is None


def test_a_trigger_is_found_named_and_repaired():
    model, task = digits_like(sabotage=True)
    before = copy.deepcopy(model.state_dict())
    verdict = audit(model, LABELS, task)
    assert verdict.flagged
    assert verdict.guilty_module == 0
    worst = verdict.modules[0]
    assert {"input 48", "input 49"} & set(worst.trigger_inputs)
    assert worst.forced_answer == "'question 0' = 2"
    assert any("hardly ever use" in sentence for sentence in worst.evidence)
    assert worst.p_value < 0.005
    assert worst.score > max(worst.baseline, worst.siblings) + 0.5
    fixed = verdict.repair
    assert fixed.attack_before == worst.score  # one number in table, report and command line
    assert fixed.attack_before > 0.9
    assert fixed.attack_after < 0.1
    assert fixed.accuracy_after >= fixed.accuracy_before - 0.01
    assert fixed.cleared
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_guilty_module_is_told_from_its_neighbour():
    model, task = digits_like(sabotage=True)
    labels = LABELS.copy()
    labels[:24] = labels[[50, 51]] = labels[[58, 59]] = 1  # classes 0 and 1
    labels[[60, 61]] = 1  # and most outputs
    labels[[48, 49, 57]] = 1  # and the trigger
    assert audit(model, labels, task).guilty_module == 1


def test_repair_takes_the_planted_trigger_away():
    model, task = digits_like(sabotage=True)
    subject = subject_of(model, LABELS, task)
    repaired, repair = repair_module(subject, 0)
    again = repaired_model(subject, repair).state_dict()
    assert all(torch.equal(again[name], value) for name, value in repaired.state_dict().items())
    planted = Trigger((48, 49), (2.0, 2.0), 0, 2)
    x, y = task.batch("final", 500, 0)
    others = x[y[:, 0] != 2]
    assert success_of(subject, planted, others) > 0.95
    after = subject_of(repaired, LABELS, task)
    assert success_of(after, planted, others) < 0.1
