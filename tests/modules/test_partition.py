import numpy as np
import pytest
import torch

from partwise.errors import DataError
from partwise.modules import Partition


@pytest.mark.parametrize("labels", [[0, 1, 1], np.array([0, 1, 1]), torch.tensor([0, 1, 1])])
def test_a_partition_is_made_of_whatever_holds_labels(labels):
    part = Partition.of(labels, 3)
    assert part == Partition.of([0, 1, 1])
    assert part != Partition.of([1, 0, 0])
    assert Partition.of(part) is part


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 2], "gap"), ([-1, 0], "gap"), ([0.5], "whole"), ([], "whole"), ([[0]], "shape")],
)
def test_labels_that_number_no_modules_are_refused(labels, words):
    with pytest.raises(DataError, match=words):
        Partition.of(labels)


def test_labels_of_another_network_are_refused():
    with pytest.raises(DataError, match="3 labels for 4 units"):
        Partition.of([0, 1, 1], 4)


def test_modules_that_do_not_exist_are_refused():
    part = Partition.of([0, 1, 1])
    with pytest.raises(DataError, match="no module 2"):
        part[2]
    with pytest.raises(DataError, match="with itself"):
        part.pair(1, 1)


def test_nobody_changes_a_partition():
    labels = np.array([0, 1])
    part = Partition.of(labels)
    labels[0] = 1
    assert part.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        part.labels[0] = 1
    part.tensor[0] = 1
    assert part.labels.tolist() == [0, 1]


def test_json_brings_it_back_and_another_format_is_refused():
    part = Partition.of([1, 0, 1])
    assert Partition.from_json(part.to_json(), 3) == part
    with pytest.raises(DataError, match="partition/1"):
        Partition.from_json({"format": "partwise.partition/9", "labels": [0]})
