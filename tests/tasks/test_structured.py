import numpy as np
import pytest
import torch

from partwise.tasks import task_named
from partwise.tasks.boolean import boolean_tree_levels


def bits(task, *rows):
    """Answers of a bit task to the given patterns, whichever split they are in."""
    batches = [task.batch(split, 40000, 0) for split in ("train", "claims", "final")]
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    found = []
    for row in rows:
        match = (x == torch.tensor([2.0 * int(c) - 1 for c in row])).all(1)
        found.append(y[match][0].int().tolist())
    return found


def test_shared_digits_add_the_parity_of_the_sum():
    x, y = task_named("digits-shared").batch("train", 200, 0)
    assert torch.equal(y[:, 2], (y[:, 0] + y[:, 1]) % 2)
    assert torch.equal(x, task_named("digits-pair").batch("train", 200, 0).x)


def test_channels_hold_one_digit_each():
    x, _ = task_named("digits-channels").batch("train", 5, 0)
    side_by_side, _ = task_named("digits-pair").batch("train", 5, 0)
    channels = x.reshape(5, 2, 8, 8)
    assert torch.equal(torch.cat([channels[:, 0], channels[:, 1]], 2).flatten(1), side_by_side)


def test_random_labels_are_fixed_to_their_pictures():
    task = task_named("digits-random")
    x, y = task.batch("train", 2000, 0)
    same = (x[:, None, :40] == x[None, :50, :40]).all(2)
    for column in range(50):
        rows = torch.where(same[:, column] & (x == x[column]).all(1))[0]
        assert (y[rows] == y[column]).all()


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("formulas-independence", lambda x: (x[:, 0] + x[:, 2]) ** 3, 0),
        ("formulas-independence", lambda x: x[:, 1] ** 2 + torch.sin(torch.pi * x[:, 3]), 1),
        ("formulas-sharing", lambda x: (x**2).sum(1), 2),
        ("formulas-composition",
         lambda x: ((x[:, 0] - x[:, 1]) ** 2 + (x[:, 2] - x[:, 3]) ** 2).sqrt(), 0),
    ],
)  # fmt: skip
def test_formulas(name, x, y):
    batch = task_named(name).batch("final", 100, 0)
    torch.testing.assert_close(batch.y[:, y], x(batch.x), rtol=1e-4, atol=1e-5)


def test_retina_by_hand():
    # left: three bright; right: none. OR says yes, AND says no
    yes, no = bits(task_named("retina"), "111000001", "111000000")
    assert (yes, no) == ([1], [0])


def test_boolean_tree_by_hand():
    # leaf (a & b) ^ c: 110 -> 1, 001 -> 1, 111 -> 0, 000 -> 0; halves 1 ^ 1 = 0 and 0 ^ 0 = 0
    assert bits(task_named("boolean-tree"), "110001111000") == [[1, 1, 0, 0, 0, 0]]


def test_boolean_tree_has_nested_truth():
    coarse, fine = boolean_tree_levels()
    for part in range(4):
        assert len(set(coarse[fine == part])) == 1


def test_parities_by_hand():
    assert bits(task_named("sparse-parity"), "100110111000") == [[1, 0, 1, 0]]


def test_modular_addition_by_hand():
    x, y = task_named("modular-addition").batch("train", 50, 0)
    a, b = x[:, :59].argmax(1), x[:, 59:].argmax(1)
    assert torch.equal(y[:, 0].long(), (a + b) % 59)


@pytest.mark.parametrize("name", ["retina", "boolean-tree", "sparse-parity", "modular-addition"])
def test_no_pattern_is_in_two_splits(name):
    task = task_named(name)
    seen = [
        {row.tobytes() for row in task.batch(split, 3000, 0).x.numpy()}
        for split in ("train", "claims", "final")
    ]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert np.all([len(s) > 1 for s in seen])
