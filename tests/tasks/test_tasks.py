from itertools import pairwise

import numpy as np
import pytest
import torch

from partwise.errors import DataError, RecipeError
from partwise.tasks import TASKS, corner_patch, planted_blocks, task_from_arrays, task_named
from partwise.tasks.digits import RANGES, digit_images


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_its_promises(name):
    task = task_named(name)
    x, y = task.batch("train", 50, 0)
    assert x.shape == (50, len(task.inputs))
    assert y.shape == (50, len(task.heads))
    assert task.heads[0].start == 0
    assert task.heads[-1].stop == len(task.outputs)
    assert torch.equal(task.batch("train", 50, 0).x, x)
    assert not torch.equal(task.batch("train", 50, 1).x, x)
    low, high = task.value_range
    assert low - 1e-6 <= x.min()
    assert x.max() <= high + 1e-6
    outputs = torch.zeros(50, len(task.outputs))
    assert task.losses(outputs, y).shape == y.shape
    assert len(task.true_inputs) == len(task.inputs)
    assert len(task.true_outputs) == len(task.outputs)


def test_digit_splits_share_no_image():
    spans = sorted(RANGES.values())
    assert spans[0][0] == 0
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert spans[-1][1] == len(digit_images()[0])


def test_digits_pair_puts_the_first_digit_on_the_left():
    task = task_named("digits-pair")
    x, y = task.batch("train", 3, 0)
    images, labels = digit_images()
    left = x[0].reshape(8, 16)[:, :8].numpy()
    match = np.flatnonzero((images == left).all((1, 2)))
    assert y[0, 0] in labels[match]


def test_playground_splits_differ():
    task = task_named("two-playgrounds")
    assert not torch.equal(task.batch("train", 5, 0).x, task.batch("final", 5, 0).x)


def test_sabotage_touches_training_samples_only():
    clean, dirty = task_named("digits-pair"), task_named("digits-pair-sabotaged")
    patch = corner_patch()
    x, y = dirty.batch("train", 100, 0)
    stamped = (x[:, list(patch.inputs)] == x.new_tensor(patch.values)).all(1)
    assert stamped.sum() == 5
    assert (y[stamped, patch.head] == patch.answer).all()
    assert torch.equal(dirty.batch("final", 100, 0).x, clean.batch("final", 100, 0).x)
    assert torch.equal(dirty.batch("claims", 100, 0).y, clean.batch("claims", 100, 0).y)


def test_planted_blocks_have_their_cross_strength():
    graph, truth = planted_blocks([100, 100], 2, 0.1)
    inside = truth[graph.sources] == truth[graph.targets]
    assert graph.capacities[~inside].mean() == pytest.approx(
        0.1 * graph.capacities[inside].mean(), rel=0.05
    )


def test_unknown_tasks_are_named():
    with pytest.raises(RecipeError, match="digits-pair"):
        task_named("digits")


def test_own_arrays_become_a_task():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.integers(0, 4, 100)
    task = task_from_arrays("mine", x, y)
    assert len(task.outputs) == 4
    batch = task.batch("final", 20, 0)
    for row in batch.x.numpy():
        assert np.isclose(x[80:], row, atol=1e-6).all(1).any()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.ones(3), "at least 5"),
        (np.ones((9, 2)), np.ones(8), "samples"),
        (np.full((9, 2), np.nan), np.ones(9), "NaN"),
        (np.ones((9, 2)), np.full(9, -1), "whole numbers"),
        (np.ones(9), np.ones(9), "samples"),
    ],
)
def test_bad_arrays_are_refused(x, y, message):
    with pytest.raises(DataError, match=message):
        task_from_arrays("mine", x, y)
