from itertools import pairwise

import numpy as np
import pytest
import torch

from partwise.errors import DataError, DataWarning, RecipeError
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
    low, high = torch.as_tensor(task.input_ranges).T
    assert (low - 1e-6 <= x).all()
    assert (x <= high + 1e-6).all()
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
        assert np.isclose(x, row, atol=1e-6).all(1).any()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.ones(3), "at least 5"),
        (np.ones((9, 2)), np.ones(8), "9 rows and y 8"),
        (np.full((9, 2), np.nan), np.ones(9), "NaN"),
        (np.ones((9, 2)), np.full(9, 0.5), "not whole"),
        (np.ones(9), np.ones(9), "give .rows, inputs."),
        ([["a"], ["b"]] * 5, np.ones(10), "no number"),
        (np.zeros((0, 3)), [], "holds nothing"),
        (np.zeros((9, 0)), np.ones(9), "holds nothing"),
    ],
)
def test_bad_arrays_are_refused(x, y, message):
    with pytest.raises(DataError, match=message):
        task_from_arrays("mine", x, y)


@pytest.mark.parametrize("name", TASKS)
def test_held_out_rows_are_distinct_and_keep_their_splits(name):
    task = task_named(name)
    rows = {split: task.rows(split, 300, 0) for split in ("train", "claims", "final")}
    seen = {}
    for split, (x, y, sources) in rows.items():
        assert len(x) == len(y) == len(sources) <= 300
        assert x.shape[1] == len(task.inputs)
        assert len(np.unique(sources, axis=0)) == len(sources)
        seen[split] = {row.tobytes() for row in x.numpy()}
    assert not seen["train"] & seen["claims"]
    assert not seen["claims"] & seen["final"]
    again = task.rows("claims", 300, 0)
    assert torch.equal(again.x, rows["claims"].x)


def test_pairs_of_digits_say_which_images_they_share():
    rows = task_named("digits-pair").rows("claims", 1000, 0)
    assert rows.sources.shape == (1000, 2)
    assert rows.independent == 200
    counts = np.bincount(rows.sources[:, 0])[1200:]
    assert (counts == 5).all()


def test_sabotage_leaves_held_out_rows_clean():
    clean, dirty = task_named("digits-pair"), task_named("digits-pair-sabotaged")
    assert torch.equal(dirty.rows("claims", 50, 0).x, clean.rows("claims", 50, 0).x)
    assert not torch.equal(dirty.rows("train", 50, 0).x, clean.rows("train", 50, 0).x)


def sorted_classes(rows=150):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 3)), np.arange(rows) * 3 // rows


def test_sorted_labels_are_spread_over_all_splits_and_no_row_is_used_twice():
    x, y = sorted_classes()
    task = task_from_arrays("sorted", x, y)
    rows = [task.rows(split, 1000, 0) for split in ("train", "claims", "final")]
    assert [len(each.x) for each in rows] == [90, 30, 30]
    for each in rows:
        share = np.bincount(each.y[:, 0].numpy().astype(int)) / len(each.y)
        assert share == pytest.approx(np.full(3, 1 / 3), abs=0.05)
    sources = np.concatenate([each.sources[:, 0] for each in rows])
    assert sorted(sources.tolist()) == list(range(150))


def test_rows_of_a_group_stay_together_and_count_once():
    x, y = sorted_classes()
    patient = np.arange(150) // 3
    task = task_from_arrays("visits", x, y, groups=patient)
    held = {split: task.rows(split, 1000, 0) for split in ("train", "claims", "final")}
    groups = [set(each.sources[:, 0].tolist()) for each in held.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert sum(map(len, groups)) == 50
    assert held["claims"].independent == len(held["claims"].x) // 3


def test_groups_may_be_of_any_kind():
    x, y = sorted_classes()
    task = task_from_arrays("mixed", x, y, groups=[None, 1, "a", 2.5, "b", 3] * 25)
    assert sum(task.rows(s, 200, 0).independent for s in ("train", "claims", "final")) == 6


def test_own_splits_are_kept():
    x, y = sorted_classes()
    splits = np.array(["train", "claims", "final"])[np.arange(150) % 3]
    task = task_from_arrays("own", x, y, splits=splits)
    assert set(task.rows("claims", 99, 0).sources[:, 0] % 3) == {1}


@pytest.mark.parametrize(
    ("labels", "kind", "outputs", "numbers"),
    [
        (list("abc"), "classes", ("answer a", "answer b", "answer c"), [0, 1, 2]),
        ([1, 2, 3], "classes", ("answer 1", "answer 2", "answer 3"), [0, 1, 2]),
        ([0, 2, 2], "classes", ("answer 0", "answer 1", "answer 2"), [0, 2, 2]),
        ([-1, 1, 1], "binary", ("answer",), [0, 1, 1]),
        ([False, True, True], "binary", ("answer",), [0, 1, 1]),
        (["no", "yes", "no"], "binary", ("answer",), [0, 1, 0]),
        ([0.5, -1.5, 2.0], "value", ("answer",), [0.5, -1.5, 2.0]),
    ],
)
def test_labels_come_as_people_have_them(labels, kind, outputs, numbers):
    x = np.random.default_rng(0).normal(size=(30, 2))
    task = task_from_arrays("mine", x, labels * 10, kind, heads=["answer"])
    assert task.outputs == outputs
    rows = task.rows("train", 30, 0)
    want = np.array(numbers * 10)[rows.sources[:, 0]]
    assert rows.y[:, 0].numpy() == pytest.approx(want)


def test_one_hot_labels_are_one_question_of_so_many_classes():
    x, y = sorted_classes()
    task = task_from_arrays("hot", x, np.eye(3)[y])
    assert [(head.start, head.stop) for head in task.heads] == [(0, 3)]


def test_frames_keep_their_names_and_several_heads_their_kinds():
    pandas = pytest.importorskip("pandas")
    x, y = sorted_classes()
    frame = pandas.DataFrame(x, columns=["age", "dose", "time"])
    answers = pandas.DataFrame({"kind": np.array(list("abc"))[y], "amount": x[:, 0]})
    task = task_from_arrays("frame", frame, answers, ["classes", "value"])
    assert task.inputs == ("age", "dose", "time")
    assert [(head.name, head.kind) for head in task.heads] == [
        ("kind", "classes"),
        ("amount", "value"),
    ]


def test_pictures_are_laid_out_and_each_input_has_a_range_of_its_own():
    rng = np.random.default_rng(0)
    pictures = rng.random((50, 4, 6)) * np.linspace(1, 2, 24).reshape(4, 6)
    task = task_from_arrays("pictures", pictures, np.arange(50) % 2)
    assert task.picture == (4, 6)
    assert task.inputs[7] == "pixel 1,1"
    assert task.input_ranges[:, 1] == pytest.approx(pictures.reshape(50, -1).max(0))
    colour = task_from_arrays("colour", rng.random((50, 3, 4, 6)), np.arange(50) % 2)
    assert colour.inputs[24] == "channel 1 pixel 0,0"
    assert colour.picture is None


SPLITS = ["train", "claims", "final"] * 50


def test_rows_put_together_from_parts_have_a_source_for_each():
    x, y = sorted_classes()
    parts = np.stack([np.arange(150) % 30, np.arange(150) % 6], 1)
    task = task_from_arrays("pairs", x, y, groups=parts, splits=SPLITS)
    rows = task.rows("claims", 100, 0)
    assert rows.sources.shape == (50, 2)
    assert not set(rows.sources[:, 0]) & set(rows.sources[:, 1])
    assert rows.independent < 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "labels"}, "no kind 'labels'"),
        ({"inputs": ["a"]}, "1 input names for 3"),
        ({"heads": ["a", "b"]}, "1 columns"),
        ({"picture": (2, 2)}, "does not fit 3 inputs"),
        ({"splits": ["train"] * 150}, "leave a split empty"),
        ({"splits": ["dev"] * 150}, "no split 'dev'"),
        ({"groups": [1, 2]}, "2 groups for 150 rows"),
        ({"splits": "train"}, "give one for each row"),
        ({"groups": [7] * 150}, "leave a split empty"),
        ({"groups": np.zeros((150, 2))}, "need splits"),
        ({"groups": np.zeros((150, 2)), "splits": SPLITS}, "in several splits"),
        ({"ranges": [(0, 1)]}, "ranges is"),
        ({"classes": [0, 1]}, "2, which is not among"),
        ({"kind": "binary"}, "wants two"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(settings, message):
    x, y = sorted_classes()
    with pytest.raises(DataError, match=message) as caught:
        task_from_arrays("mine", x, y, **settings)
    assert "\n" not in str(caught.value)


def test_a_class_that_a_split_lacks_is_said():
    x, y = sorted_classes()
    y[0] = 3
    with pytest.warns(DataWarning, match="no row where 'question 0' is 3"):
        task_from_arrays("rare", x, y)
