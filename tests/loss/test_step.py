"""What `step`, a state and a rewind mean, the same for every penalty."""

import numpy as np
import pytest
import torch
from torch import nn

from partwise.errors import CheckpointError
from partwise.loss import BudgetedPenalty, CutTreePenalty, SharePenalty, ShareSchedule
from partwise.loss.way_back import WayBack
from partwise.modules import Partition
from partwise.train.gpt import GPT, GPTConfig

HALVES = np.r_[np.arange(4) // 2, np.arange(8) // 4, [0, 1]]


def tokens(step, count=64):
    return torch.randint(0, 10, (count, 8), generator=torch.Generator().manual_seed(step))


def batch(step):
    return torch.randn(16, 4, generator=torch.Generator().manual_seed(step))


def held_out(run):
    return run(batch(10**6)).square().mean()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def cut_tree():
    return CutTreePenalty(
        network(), start=3, ramp=1, refresh_every=2, mask_after=0, mask_share=0.5,
        find=lambda graph: HALVES,
    )  # fmt: skip


def budgeted():
    return BudgetedPenalty(network(), held_out, steps=40, find=lambda graph: HALVES, reference=9.0)


def shares():
    model = GPT(GPTConfig(10, 8, 16, 4, 1))
    schedule = ShareSchedule(start=2, ramp=2, refresh_every=3, mask_after=1, mask_share=0.5)
    return SharePenalty(model, tokens, schedule)


PENALTIES = {"cut tree": (cut_tree, batch), "budget": (budgeted, batch), "shares": (shares, tokens)}


@pytest.fixture(params=PENALTIES)
def made(request):
    make, sample = PENALTIES[request.param]
    return make, sample


def weights_of(penalty):
    return torch.cat([p.detach().flatten() for p in penalty.model.parameters()])


def trained(penalty, sample, steps, by_step, first=0, optimizer=None):
    optimizer = optimizer or torch.optim.Adam(penalty.model.parameters(), 1e-2)
    for i in range(first, first + steps):
        run = penalty.step(optimizer) if by_step else penalty.run
        loss = run(sample(i)).square().mean()
        before = weights_of(penalty)
        loss = loss + penalty()
        assert torch.equal(weights_of(penalty), before)  # a loss term changes no weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return optimizer


def test_a_run_begins_the_step_as_step_does(made):
    make, sample = made
    torch.manual_seed(0)
    a = make()
    torch.manual_seed(0)
    b = make()
    trained(a, sample, 12, by_step=True)
    trained(b, sample, 12, by_step=False)
    assert torch.equal(weights_of(a), weights_of(b))
    assert a.partition == b.partition


def test_a_step_is_decided_once_however_often_the_network_runs(made, monkeypatch):
    make, sample = made
    penalty, begun = make(), []
    begin = type(penalty)._begin
    monkeypatch.setattr(
        type(penalty), "_begin", lambda self, optimizer: (begun.append(1), begin(self, optimizer))
    )
    for _ in range(2):
        run = penalty.step()
        run(sample(0))
        penalty.run(sample(1))
        penalty.step()
        penalty()
    assert len(begun) == 2


def test_the_partition_is_read_only_and_can_be_set(made):
    penalty = made[0]()
    halves = Partition.of(np.arange(penalty.units.n) % 2)
    penalty.set_labels(halves)
    assert penalty.partition == halves
    assert penalty.modules == 2
    penalty.labels[:] = 0
    assert penalty.labels.tolist() == halves.labels.tolist()
    with pytest.raises(AttributeError):
        penalty.partition = halves


def test_states_name_their_fields_and_their_version(made):
    make, sample = made
    penalty = make()
    trained(penalty, sample, 7, by_step=True)
    state = penalty.state_dict()
    assert int(state["format"]) == 3
    assert {"labels", "reads"} <= set(state)
    other = make()
    other.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    again = other.state_dict()
    assert set(again) == set(state)
    for name, tensor in state.items():
        assert torch.equal(again[name], tensor), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("format"), "format 1, this version of Partwise reads 3; go on"),
        (lambda state: state.update(format=torch.tensor(2)), "format 2, this version"),
        (lambda state: state.pop("reads"), "'reads' is missing or unknown; go on with the recipe"),
        (lambda state: state.update(more=torch.ones(1)), "'more' is missing or unknown"),
        (lambda state: state.update(labels=torch.zeros(3)), "has 3 units, the model"),
    ],
)
def test_states_of_others_are_refused_in_one_line(made, change, message):
    penalty = made[0]()
    state = penalty.state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=message) as refused:
        penalty.load_state_dict(state)
    assert "\n" not in str(refused.value)


def test_a_state_of_another_kind_of_penalty_is_refused():
    with pytest.raises(CheckpointError, match="not of a CutTreePenalty"):
        cut_tree().load_state_dict(budgeted().state_dict())


def test_what_goes_back_takes_the_optimisers_moments_along():
    """From there on the weights are those of a training that was never anywhere else."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

    def advance(first, steps):
        for i in range(first, first + steps):
            optimizer.zero_grad()
            model(batch(i)).square().mean().backward()
            optimizer.step()

    advance(0, 5)
    way_back, saved = WayBack(), WayBack()
    way_back.keep(model, optimizer)
    advance(5, 5)
    straight = [p.detach().clone() for p in model.parameters()]
    advance(10, 5)
    saved.load_state_dict(way_back.state_dict())
    saved.take(model, optimizer)
    advance(5, 5)
    for a, b in zip(model.parameters(), straight, strict=True):
        assert torch.equal(a, b)


def test_moments_that_were_not_known_are_forgotten():
    model = network()
    way_back, again = WayBack(), WayBack()
    way_back.keep(model, None)
    again.load_state_dict(way_back.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model(batch(0)).sum().backward()
    optimizer.step()
    way_back.take(model, None)
    assert len(optimizer.state) == 4
    assert not way_back.parameters  # it leads back once
    again.take(model, optimizer)
    assert len(optimizer.state) == 0


def test_a_network_that_gives_up_goes_on_as_if_nothing_had_pressed():
    """The first step under pressure is 10; at 30, the release, no modules are found."""

    def fresh():
        return BudgetedPenalty(network(), held_out, steps=40, min_separation=2.0)

    penalty, plain = fresh(), fresh()
    optimizer = trained(penalty, batch, 30, by_step=True)
    trained(penalty, lambda i: batch(i - 20), 5, by_step=True, first=30, optimizer=optimizer)
    trained(plain, batch, 10, by_step=True)
    assert penalty.modules == 1
    assert not penalty.way_back.parameters
    reference = network()
    optimizer = torch.optim.Adam(reference.parameters(), 1e-2)
    for i in range(15):
        optimizer.zero_grad()
        reference(batch(i)).square().mean().backward()
        optimizer.step()
    for a, b in zip(penalty.model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(a, b)
