import numpy as np
import pytest
import torch

from partwise.capability.language import graph_pull, without_module
from partwise.errors import CheckpointError
from partwise.graph.activity import InputScales, share_graph
from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import inside_modules
from partwise.loss import SharePenalty, ShareSchedule
from partwise.loss.co_usage import by_quota, shared_out
from partwise.loss.contributions import Contributions
from partwise.loss.in_force import InForce
from partwise.modules import Partition, newman_q
from partwise.modules.scores import interface_frac
from partwise.train.gpt import GPT, GPTConfig

VOCABULARY = 10


@pytest.fixture
def model():
    return GPT(GPTConfig(VOCABULARY, 8, 16, 4, 1))


def two_alphabets(step, count=1600):
    rng = torch.Generator().manual_seed(step)
    low = torch.randint(0, 5, (count // 2, 8), generator=rng)
    return torch.cat([low, torch.randint(5, 10, (count // 2, 8), generator=rng)])


def penalty_of(model, **fields):
    schedule = ShareSchedule(start=2, ramp=2, refresh_every=3)
    return SharePenalty(model, two_alphabets, schedule, **fields)


def shares_of(model, labels, scales=None):
    """Contributions between the modules of these labels; of the weights alone without scales."""
    capacity = Contributions(InForce(model, transformer_map(model)))
    capacity.in_force.put(Partition.of(labels))
    capacity.scales = capacity.scales if scales is None else scales
    return capacity


def share_masses(model, units, labels, scales):
    return shares_of(model, labels, scales).masses()


def random_labels(units, k=3):
    return torch.randint(0, k, (units.n,), generator=torch.Generator().manual_seed(0))


def test_masses_agree_with_the_share_graph(model):
    units = transformer_map(model)
    scales = InputScales(model, units)
    with scales.watching(), torch.no_grad():
        model(two_alphabets(0))
    labels = random_labels(units)
    graph = share_graph(model, units, scales)
    masses = share_masses(model, units, labels, scales).detach().double()
    expected = interface_frac(graph, labels.numpy())
    assert 1 - masses.trace() / masses.sum() == pytest.approx(expected, rel=1e-4)
    symmetric = (masses + masses.T) / (2 * masses.sum())
    q = symmetric.trace() - (symmetric.sum(1) ** 2).sum()
    assert float(q) == pytest.approx(newman_q(graph, labels.numpy()), abs=1e-5)


def test_pull_agrees_with_the_share_graph(model):
    units = transformer_map(model)
    labels = random_labels(units).numpy() - 1  # some belong to none
    expected = graph_pull(share_graph(model, units, None), labels, 2)
    np.testing.assert_allclose(
        shares_of(model, random_labels(units)).pull(labels, 2), expected, rtol=1e-5
    )


def test_a_tree_over_few_tokens_places_the_others(model):
    few = penalty_of(model, tree_units=6)
    few.refresh()
    whole = penalty_of(model)
    whole.refresh()
    assert (few.labels[:VOCABULARY] == whole.labels[:VOCABULARY]).all()
    assert few.modules == 2


def test_as_many_modules_as_wanted_where_the_tree_has_them(model):
    wanted = penalty_of(model, modules=1)
    wanted.refresh()
    assert wanted.modules == 1


def test_shares_do_not_see_the_size_of_a_units_input(model):
    units = transformer_map(model)
    labels = random_labels(units)
    before = share_masses(model, units, labels, None).detach()
    with torch.no_grad():
        for layer in (model.blocks[0].query, model.blocks[0].key, model.blocks[0].value):
            layer.weight[:4] *= 7  # all that enters head 0
        model.blocks[0].up.weight[3] *= 0.1  # and neuron 3
    torch.testing.assert_close(share_masses(model, units, labels, None).detach(), before)


def test_every_row_of_every_matrix_counts_one(model):
    units = transformer_map(model)
    masses = share_masses(model, units, random_labels(units), None).detach()
    rows = sum(len(block.receivers) for block in units.blocks)
    assert float(masses.sum()) == pytest.approx(rows, rel=1e-5)
    graph = share_graph(model, units, None)
    assert graph.capacities.sum() == pytest.approx(rows, rel=1e-5)
    with torch.no_grad():
        model.tokens.weight *= 1e-3  # small embeddings are no smaller part of the whole
    torch.testing.assert_close(
        share_masses(model, units, random_labels(units), None).detach(), masses
    )


def test_masks_cut_exactly_the_interface(model):
    units = transformer_map(model)
    labels = random_labels(units, 2)
    with torch.no_grad():
        for name, mask in inside_modules(model, units, labels).items():
            model.get_parameter(name).mul_(mask)
    assert interface_frac(share_graph(model, units, None), labels.numpy()) == pytest.approx(0)


def test_a_refresh_finds_the_two_alphabets_in_an_untrained_network(model):
    penalty = penalty_of(model)
    penalty.refresh()
    labels = penalty.labels.numpy()
    assert penalty.modules == 2
    assert len(set(labels[:5])) == len(set(labels[5:10])) == 1
    assert labels[0] != labels[9]
    residual = labels[VOCABULARY : VOCABULARY + 16]
    assert 0 < residual.sum() < 16


def test_schedule_and_resume(model):
    penalty = penalty_of(model, mask_share=1.0, mask_after=1, strength=2.0)
    ids = two_alphabets(9, 8)
    weights = []
    for _ in range(4):
        weights.append(penalty.controller.weight)
        out = penalty.run(ids)
        last = penalty()
    assert weights == [0, 0, 0, 1.0]
    assert last > 0
    assert not torch.equal(out, model(ids))  # masked from start + 1 on
    other = penalty_of(model, mask_share=1.0, mask_after=1, strength=2.0)
    other.load_state_dict({k: v.clone() for k, v in penalty.state_dict().items()})
    assert torch.equal(other.run(ids), penalty.run(ids))
    assert torch.equal(other(), penalty())
    with pytest.raises(CheckpointError, match="state has 3 units"):
        other.load_state_dict({**penalty.state_dict(), "labels": torch.zeros(3)})


def test_a_tree_built_beside_the_next_steps_is_in_force_after_the_lag(model):
    at_once = penalty_of(model)
    at_once.state.step = 1
    at_once.refresh()
    penalty = penalty_of(model, lag=2, start=1, refresh_every=4, freeze_after=2)
    modules, ids = [], two_alphabets(9, 8)
    for step in range(8):
        penalty.run(ids)
        modules.append(penalty.modules)
        if step == 2:  # a run that is resumed while the tree is being built goes on alike
            other = penalty_of(model, lag=2, start=1, refresh_every=4, freeze_after=2)
            other.load_state_dict({k: v.clone() for k, v in penalty.state_dict().items()})
            other()
            other.run(ids)
        penalty()
    assert modules == [1, 1, 1, 2, 2, 2, 2, 2]
    assert (penalty.labels == other.labels).all()
    assert (penalty.labels == at_once.labels)[:VOCABULARY].all()
    assert not any(name.startswith("refresh") for name in penalty.state_dict())


def test_a_lag_is_shorter_than_the_time_to_the_next_tree(model):
    penalty = penalty_of(model, lag=50, start=0, refresh_every=3)
    for _ in range(3):
        penalty.run(two_alphabets(9, 8))
        penalty()
    assert penalty.modules == 2


def test_silenced_steps_run_each_sequence_without_the_modules_it_has_no_tokens_of(model):
    penalty = penalty_of(model, mask_share=0.0, silence_share=1.0, mask_after=1)
    labels = random_labels(penalty.units, 2)
    labels[:5], labels[5:10] = 0, 1
    penalty.set_labels(labels)
    penalty.state.step = 3
    ids = two_alphabets(1, 8)
    mixed = torch.cat([ids[:1, :4], ids[-1:, :4]], 1)
    with torch.no_grad():
        own = [model_without(model, penalty, 1, ids[:4]), model_without(model, penalty, 0, ids[4:])]
        torch.testing.assert_close(penalty.run(ids), torch.cat(own))
        torch.testing.assert_close(penalty.run(mixed), model(mixed))


def model_without(model, penalty, module, ids):
    weights = without_module(model, penalty.units, penalty.labels, module)
    del weights["tokens.weight"]
    return torch.func.functional_call(model, weights, (ids,))


def test_a_penalty_in_every_third_step_counts_thrice(model):
    dense, sparse = (
        penalty_of(model, press_every=n, start=0, ramp=1, mask_share=0, freeze_after=-1)
        for n in (1, 3)
    )
    for penalty in (dense, sparse):
        penalty.set_labels(random_labels(penalty.units))
        penalty()  # the ramp's first step
    every, third = ([penalty().item() for _ in range(6)] for penalty in (dense, sparse))
    assert third == pytest.approx([0, 0, 3 * every[2], 0, 0, 3 * every[5]])
    assert min(every) > 0


def test_switched_off_it_leaves_the_model_alone(model):
    penalty = penalty_of(model, strength=0.0, mask_share=0.0)
    for _ in range(5):
        assert torch.equal(penalty.run(two_alphabets(0)), model(two_alphabets(0)))
        assert penalty() == 0
    assert penalty.modules == 1


def test_quotas():
    assert shared_out(np.array([1.0, 1.0, 1e-9]), 5).tolist() == [2, 2, 1]
    assert shared_out(np.array([0.6, 0.4]), 7).sum() == 7
    pull = np.random.default_rng(0).random((20, 3))
    assert np.bincount(by_quota(pull, np.array([12, 5, 3]))).tolist() == [12, 5, 3]
