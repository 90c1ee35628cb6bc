import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import scale
from torch import nn

from partwise.errors import CheckpointError, RecipeError
from partwise.interventions.masks import inside_modules
from partwise.loss import BudgetedPenalty, BudgetSchedule, CutTreePenalty, budget, budget_control
from partwise.loss.budget_control import Budget, BudgetState, Why
from partwise.loss.finder import Found, GraphFinder, stands_still
from partwise.loss.press import Pressure
from partwise.modules import Partition

HALVES = np.r_[np.arange(4) // 2, np.arange(8) // 4, np.arange(8) // 4, [0, 1]]
CROSSED = np.r_[[0, 1, 0, 1], HALVES[4:]]
"""Each answer needs an input of the other module."""


def batch(seed, size=64):
    """|a + b| and |c + d|: two answers, each from two inputs of its own."""
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
    return x, torch.stack([x[:, :2].sum(1), x[:, 2:].sum(1)], 1).abs()


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def held_out(run):
    x, y = batch(10**6, 512)
    return (run(x) - y).square().mean(0).sum()


def found(labels):
    return lambda graph: np.asarray(labels)


def trained(penalty, steps, first=0, optimizer=None):
    model = penalty.model
    optimizer = torch.optim.Adam(model.parameters(), 5e-3) if optimizer is None else optimizer
    for step in range(first, first + steps):
        x, y = batch(step)
        loss = (penalty.run(x) - y).square().mean(0).sum() + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return optimizer


def test_plain_phase_adds_nothing_and_finds_the_reference():
    penalty = BudgetedPenalty(network(), held_out, steps=400)
    for step in range(100):
        x, _ = batch(step)
        assert torch.equal(penalty.run(x), penalty.model(x))
        assert penalty().item() == 0
    assert penalty.state.chance == pytest.approx(held_out(penalty.model).item())
    assert penalty.state.reference <= penalty.state.chance


@pytest.mark.parametrize(
    ("losses", "reference"),
    [
        ([1.0, 0.8, 0.5, 0.4], 0.4),
        ([1.0, 0.4, 0.41, 0.42, 0.4, 0.41], 0.4),  # within the budget of the lowest
        ([1.0, 0.4, 0.4, 0.4, 0.4, 3.0], 0.4),  # no single loss moves it
        ([1.0, 0.4, *[0.5] * 20], 0.5),  # it overfits: its lowest loss is not where it ends
        ([1.0, 0.4, *[0.5] * 20, 0.3], 0.3),
    ],
)
def test_the_reference_is_where_the_plain_network_ends(losses, reference):
    limits = Budget(BudgetSchedule(), BudgetState(chance=1.0))
    for loss in losses:
        limits.state.loss = loss
        limits.follow_plain()
    assert limits.state.reference == pytest.approx(reference, abs=1e-3)


def test_normalised_layers_with_dropout_that_overfit_come_apart():
    """Two tables side by side, their rows paired at random, with an answer each."""
    rng = np.random.default_rng(0)
    tables = [load_breast_cancer(), load_wine()]
    split = [rng.permutation(len(table.data)) for table in tables]
    x, y = [], []
    for part, size in ((slice(0, 130), 4000), (slice(130, None), 1000)):
        rows = [rng.choice(some[part], size) for some in split]
        columns = [scale(t.data)[row] for t, row in zip(tables, rows, strict=True)]
        x.append(torch.tensor(np.hstack(columns), dtype=torch.float32))
        y.append([torch.tensor(t.target[row]) for t, row in zip(tables, rows, strict=True)])

    def loss_of(output, answers):
        cross_entropy = nn.functional.cross_entropy
        return cross_entropy(output[:, :2], answers[0]) + cross_entropy(output[:, 2:], answers[1])

    torch.manual_seed(0)
    hidden = [
        [nn.Linear(read, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2)] for read in (43, 64)
    ]
    model = nn.Sequential(*hidden[0], *hidden[1], nn.Linear(64, 5))
    penalty = BudgetedPenalty(model, lambda run: loss_of(run(x[1]), y[1]), steps=2000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.3)
    for _ in range(2000):
        some = torch.randint(0, 4000, (128,))
        loss = loss_of(penalty.run(x[0][some]), [each[some] for each in y[0]]) + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    penalty.finish()
    assert penalty.modules == 2, penalty.why_one
    assert penalty.why_one == ""
    labels = penalty.labels.numpy()
    assert (labels[:30] == labels[-5]).mean() > 0.9
    assert (labels[30:43] == labels[-1]).mean() > 0.9
    assert labels[-5] != labels[-1]


@pytest.mark.parametrize(
    ("changes", "loss", "why", "words"),
    [
        ({}, lambda run: 1.0, Why.NOTHING_LEARNT, "untrained one's 1"),
        ({"min_separation": 2.0}, held_out, Why.NOTHING_SHOWN, "min_separation = 2"),
        ({"find": lambda _: CROSSED}, held_out, Why.MASKING_COSTS, "budget = 0.05 is less"),
        (
            {"find": lambda _: HALVES, "reference": -1.0},
            held_out,
            Why.RELEASE_COSTS,
            "plain twin's",
        ),
    ],
)
def test_it_says_why_no_modules_are_held_apart(changes, loss, why, words, caplog):
    penalty = BudgetedPenalty(network(), loss, steps=1200, **changes)
    assert penalty.why_one == ""
    trained(penalty, 1100)
    assert penalty.modules == 1
    assert penalty.state.given_up == why
    assert words in penalty.why_one
    said = [record.message for record in caplog.records if record.name == "partwise"]
    assert said == [f"No modules are held apart: {penalty.why_one}"]
    again = BudgetedPenalty(network(), loss, steps=1200, **changes)
    again.load_state_dict(penalty.state_dict())
    assert again.why_one == penalty.why_one


def test_what_goes_back_to_the_plain_phase_has_its_running_means():
    layers = list(network())
    model = nn.Sequential(layers[0], nn.BatchNorm1d(8), *layers[1:])
    penalty = BudgetedPenalty(model, held_out, steps=400, min_separation=2.0)
    optimizer = trained(penalty, 100)
    trained(penalty, 200, first=100, optimizer=optimizer)
    resumed = BudgetedPenalty(model, held_out, steps=400, min_separation=2.0)
    resumed.load_state_dict(penalty.state_dict())
    kept = dict(resumed.way_back.buffers)
    assert set(kept) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert not torch.equal(model[1].running_mean, kept["1.running_mean"])
    resumed()
    for name, value in model.named_buffers():
        assert torch.equal(value, kept[name]), name


def test_a_known_reference_is_taken():
    penalty = BudgetedPenalty(network(), held_out, steps=400, reference=0.25)
    penalty()
    assert penalty.state.reference == 0.25


def test_right_modules_are_kept_and_end_idle():
    penalty = BudgetedPenalty(network(), held_out, steps=1200)
    trained(penalty, 1200)
    inputs, outputs = penalty.labels[:4].tolist(), penalty.labels[-2:].tolist()
    assert penalty.modules == 2
    assert inputs == [outputs[0], outputs[0], outputs[1], outputs[1]]
    assert penalty.interface_frac() < 0.02
    whole = held_out(penalty.model).item()
    assert whole < 0.1 * penalty.state.chance
    assert held_out(penalty.in_force.run).item() == pytest.approx(whole, abs=0.02)


def test_modules_that_cannot_be_masked_are_refused_for_good():
    penalty = BudgetedPenalty(network(), held_out, steps=1200, find=found(CROSSED))
    trained(penalty, 1200)
    assert penalty.modules == 1
    assert penalty.state.given_up == Why.MASKING_COSTS
    assert penalty().item() == 0


def test_modules_that_cost_more_than_the_budget_in_the_end_are_given_up():
    kept, given_up = (
        BudgetedPenalty(network(), held_out, steps=1200, find=found(HALVES), reference=reference)
        for reference in (1.0, -1.0)
    )
    for penalty in (kept, given_up):
        trained(penalty, 900 + 4 * 30)
        assert penalty.modules == 2
        trained(penalty, 1, first=1020)
    assert kept.modules == 2
    assert given_up.modules == 1
    assert given_up.state.given_up == Why.RELEASE_COSTS


def test_what_is_cut_at_the_release_carries_its_mean_and_nothing_else():
    penalty = BudgetedPenalty(network(), held_out, steps=1200, find=found(HALVES))
    trained(penalty, 900)
    name = penalty.units.blocks[0].parameter
    shape = penalty.model.get_parameter(name).shape
    penalty._remove({name: (torch.arange(shape[1]) == 1).expand(shape)})
    with torch.no_grad():
        x, _ = batch(0)
        y = x.clone()
        y[:, 1] += 1
        torch.testing.assert_close(penalty.run(x), penalty.run(y))


def test_a_network_without_modules_goes_back_to_the_plain_phase():
    penalty = BudgetedPenalty(network(), held_out, steps=400, min_separation=2.0)
    optimizer = trained(penalty, 100)
    plain = [parameter.detach().clone() for parameter in penalty.model.parameters()]
    trained(penalty, 200, first=100, optimizer=optimizer)
    penalty()
    for before, after in zip(plain, penalty.model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_nothing_is_taken_apart_before_anything_is_learnt():
    penalty = BudgetedPenalty(network(), lambda run: 1.0, steps=100, find=found(HALVES))
    trained(penalty, 100)
    assert penalty.modules == 1


def test_pressure_backs_off_when_the_loss_leaves_the_allowance():
    losses = iter([1.0, *[0.5] * 11, *[0.6] * 5, *[2.0] * 5])
    penalty = BudgetedPenalty(network(), lambda run: next(losses), steps=40, min_separation=2.0)
    seen = []
    for _ in range(21):
        penalty()
        seen.append(penalty.state.pressure)
    assert seen[15] == pytest.approx(1.1**5)  # five probes within twice the reference of 0.5
    assert seen[20] == pytest.approx(1.1**5 * 0.7**5)


@pytest.mark.parametrize(("flat_for", "first"), [(0, 100), (3, 130), (99, 200)])
def test_the_pressure_waits_for_outputs_that_are_not_learnt(flat_for, first, monkeypatch):
    spreads = iter([0.05] * flat_for + [1.0] * 99)
    monkeypatch.setattr(budget_control, "CHANCE_FLOOR", 0.0)
    penalty = BudgetedPenalty(network(), held_out, steps=400, min_separation=2.0)
    monkeypatch.setattr(budget, "least_spread", lambda *_: next(spreads))
    trained(penalty, 300)
    assert penalty.state.press_from == first
    assert penalty.way_back.parameters
    penalty.state.step = first - 2
    assert penalty().item() == 0
    penalty.state.step = first + 2
    assert penalty().item() > 0


def test_the_release_presses_on_nothing():
    penalty = BudgetedPenalty(network(), held_out, steps=1200, find=found(HALVES), reference=1.0)
    trained(penalty, 890)
    assert penalty().item() > 0  # at an even step
    trained(penalty, 20, first=891)
    assert penalty.controller.releasing
    assert [penalty().item() for _ in range(4)] == [0, 0, 0, 0]


def test_after_the_release_the_model_itself_has_no_interface():
    penalty = BudgetedPenalty(network(), held_out, steps=1200, find=found(HALVES), reference=1.0)
    optimizer = trained(penalty, 950)
    x, y = batch(0)
    outputs = [penalty.run(part) for part in x.split(32)]  # several passes before one backward
    kept = inside_modules(penalty.model, penalty.units, penalty.labels)
    for name, keep in kept.items():
        assert (penalty.model.get_parameter(name)[~keep] == 0).all()
    torch.testing.assert_close(torch.cat(outputs), penalty.in_force.run(x))
    ((torch.cat(outputs) - y).square().mean() + penalty()).backward()
    optimizer.step()
    torch.testing.assert_close(penalty.in_force.run(x), penalty.run(x))


def test_tolerance_of_tiny_losses_is_a_share_of_chance():
    penalty = BudgetedPenalty(network(), held_out, budget=0.1)
    penalty.state.chance = 2.0
    assert penalty.controller.tolerance(0.5) == pytest.approx(0.05)
    assert penalty.controller.tolerance(1e-6) == pytest.approx(0.1 * 0.05 * 2.0)


@pytest.mark.parametrize("cut", [150, 700, 960])
def test_resuming_goes_on_bit_for_bit(cut):
    """From the plain phase, with modules in force, and after their interface went."""

    def fresh():
        schedule = BudgetSchedule(steps=1200, reference=1.0)
        return BudgetedPenalty(network(), held_out, schedule, find=found(HALVES))

    whole, first, second = fresh(), fresh(), fresh()
    trained(whole, 1200)
    optimizer = trained(first, cut)
    assert first.modules == (1 if cut == 150 else 2)
    second.model.load_state_dict(first.model.state_dict())
    again = torch.optim.Adam(second.model.parameters(), 5e-3)
    again.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    trained(second, 1200 - cut, first=cut, optimizer=again)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert second.state == whole.state
    with pytest.raises(CheckpointError, match="units"):
        second.load_state_dict({**first.state_dict(), "labels": torch.zeros(3, dtype=torch.long)})


@pytest.mark.parametrize(
    ("whole", "two_ago", "modules"), [(0.115, 0.025, 2), (0.07, 0.025, 1), (0.07, 0.05, 2)]
)
def test_splits_are_not_blamed_for_what_the_pressure_does(whole, two_ago, modules):
    """The network without interfaces is beyond the budget at 0.108, which masking may not cause.

    If it does, a last trial goes on only as long as what is beyond falls fast.
    """
    controller = Budget(
        BudgetSchedule(steps=400),
        BudgetState(250, made=200, before=0.07, loss=whole, chance=1.0, reference=0.04),
    )
    controller.state.excess_before = two_ago
    assert controller.refuses(masked_loss=0.108) == (modules == 1)
    assert (controller.state.pressure < 1.0) == (whole == 0.115)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_is_left_at_the_end_is_the_network_that_was_trained(device):
    penalty = BudgetedPenalty(
        network().to(device),
        lambda run: held_out(lambda x: run(x.to(device)).cpu()),
        steps=1200,
        find=found(HALVES),
        reference=1.0,
    )
    optimizer = torch.optim.Adam(penalty.model.parameters(), 5e-3)
    for step in range(1200):
        x, y = (each.to(device) for each in batch(step))
        loss = (penalty.run(x) - y).square().mean(0).sum() + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 800:  # before the release there is nothing to remove
            before = penalty.interface_frac()
            penalty.finish()
            assert penalty.interface_frac() == before > 0
    with torch.no_grad():
        for weight in penalty.units.weights(penalty.model):
            weight += 1e-3  # as an optimiser's noise
    as_trained = penalty.in_force.run(x)
    assert penalty.modules == 2
    assert penalty.interface_frac() > 0
    penalty.finish()
    assert penalty.interface_frac() == 0
    torch.testing.assert_close(penalty.model(x), as_trained)


def test_rarer_pressure_is_as_much_stronger():
    def pressures(every):
        penalty = BudgetedPenalty(network(), held_out, steps=400, press_every=every)
        penalty.controller.state = replace(penalty.state, step=250, made=100, chance=1.0)
        penalty.set_labels(Partition.of(HALVES))
        values = []
        for penalty.state.step in range(251, 259):
            values.append(penalty.capacity.pressed(penalty._pressure()).item())
        return values

    always, rarely = pressures(1), pressures(4)
    assert [value > 0 for value in rarely] == [False, True, False, False] * 2
    assert rarely[1] == pytest.approx(4 * always[1])


def test_only_the_interface_feels_the_reward():
    penalty = BudgetedPenalty(network(), held_out)
    penalty.set_labels(Partition.of(HALVES))
    pressure = Pressure(interface=1.0, tables=penalty._shares())
    penalty.capacity.pressed(pressure).backward()
    kept = inside_modules(penalty.model, penalty.units, torch.as_tensor(HALVES))
    for name, keep in kept.items():
        grad = penalty.model.get_parameter(name).grad
        assert (grad[keep] == 0).all()
        assert (grad[~keep] != 0).all()
    assert penalty.capacity.pressed(pressure).item() == pytest.approx(
        penalty.interface_frac(), rel=1e-5
    )


def test_refreshes_become_rarer_while_nothing_moves():
    halves, crossed = Partition.of(HALVES), Partition.of(CROSSED)
    shown = [halves, halves, halves, halves, crossed, crossed]

    class Told(GraphFinder):
        def partition(self, graph):
            return Found(shown.pop(0))

    penalty, steps = CutTreePenalty(network(), start=0, refresh_every=100), []
    finder = Told(penalty.in_force, penalty.capacity, penalty.controller, None)
    while shown:
        steps.append(finder.due)
        penalty.state.step = finder.due
        finder.refresh()
    assert steps == [0, 100, 300, 700, 1500, 1600]


def test_standing_still_is_a_matter_of_capacity_not_of_numbering():
    degrees = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    before = np.array([0, 0, 1, 1, 0])
    assert stands_still(before, np.array([1, 1, 0, 0, 0]), degrees)
    assert not stands_still(before, np.array([1, 0, 0, 0, 0]), degrees)
    assert not stands_still(before, np.array([0, 0, 1, 2, 0]), degrees)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 0}, "steps = 0, wanted at least 1"),
        ({"budget": -0.1}, "budget = -0.1, wanted at least 0"),
    ],
)
def test_schedules_that_cannot_be_kept_are_refused(fields, words):
    with pytest.raises(RecipeError, match=words):
        BudgetedPenalty(network(), held_out, **fields)


@pytest.mark.parametrize("steps", [39, 500, 1500, 2500])
def test_phases_begin_with_a_probe(steps):
    schedule = BudgetSchedule(steps=steps)
    phases = schedule.press_step, schedule.start, schedule.release_step
    assert [step % schedule.probe_every for step in phases] == [0, 0, 0]
    assert phases[2] <= steps


def test_after_the_release_the_partition_stands():
    penalty = BudgetedPenalty(network(), held_out, steps=400, find=found(HALVES), reference=1.0)
    trained(penalty, 320)
    before = penalty.partition
    penalty.finder.find = found(np.roll(HALVES, 1))
    penalty.refresh()
    assert penalty.partition is before


def test_phases_scale_with_the_training():
    schedule = BudgetSchedule(steps=2000)
    assert schedule.probe_every == 50
    phases = schedule.press_step, schedule.start, schedule.release_step
    assert phases == (500, 1000, 1500)
    assert math.isinf(BudgetedPenalty(network(), held_out).state.reference)


def test_every_layer_is_in_its_own_mode_again():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    model.train()
    model[1].eval()  # frozen by its user

    def held_out(run):
        assert not model[0].training
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        BudgetedPenalty(model, held_out).loss_of(model)
    assert [layer.training for layer in model] == [True, False, True, True]
