import json

import numpy as np
import pytest
import torch
from torch import nn

from partwise.errors import DataError, RecipeError
from partwise.runs import open_run
from partwise.tasks import Text, task_from_arrays
from partwise.tasks.streams import known_streams
from partwise.train import RunDirectory, Trainer, built_in_recipe, recipe_from, start_run, train

SHORT = ["steps=3", "batch=8"]


def rows(count=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 4))
    return x, (x[:, 0] > 0).astype(int)


def own_task():
    return task_from_arrays("own", *rows())


def own_text():
    return Text(known_streams(("letters", "digits"), "it was the best of times. " * 100), 8)


def own_model(task):
    return nn.Sequential(nn.Linear(len(task.inputs), 6), nn.Tanh(), nn.Linear(6, 2))


def wrong_model(task):
    return nn.Linear(len(task.inputs), 5)


@pytest.fixture
def table(tmp_path):
    x, y = rows()
    names = np.array(["no", "yes"])[y]
    lines = [
        f"{','.join(f'{v:.6f}' for v in row)},{name}" for row, name in zip(x, names, strict=True)
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["a,b,c,d,answer", *lines]) + "\n")
    return path


def test_a_csv_is_a_task(table, tmp_path):
    recipe = recipe_from(
        {"data": {"file": str(table), "targets": ["answer"]}, "model": {"hidden": [6]}},
        settings=SHORT,
    )
    start_run(tmp_path / "run", recipe)
    run = open_run(tmp_path / "run")
    assert run.data.inputs == ("a", "b", "c", "d")
    assert run.data.outputs == ("answer no", "answer yes")
    table.write_text(table.read_text().replace("yes", "no", 3))
    with pytest.raises(DataError, match="has changed since the run began"):
        RunDirectory(tmp_path / "run").resume()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "set data.targets to those that are to be predicted"),
        ({"targets": ["z"]}, "z is none"),
        ({"targets": ["a"], "target_kind": "value"}, "column answer of .* holds no numbers"),
    ],
)
def test_columns_that_do_not_fit_are_named(table, data, words):
    with pytest.raises(DataError, match=words):
        Trainer.new(recipe_from({"data": {"file": str(table), **data}}))


def test_arrays_are_a_task(tmp_path):
    x, y = rows()
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    trainer = Trainer.new(recipe_from({"data": {"file": str(tmp_path / "rows.npz")}}))
    assert len(trainer.data.inputs) == 4
    np.savez(tmp_path / "rows.npz", x=x)
    with pytest.raises(DataError, match="wanted an array y as well"):
        Trainer.new(trainer.recipe)


def test_parquet_is_a_task(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x, y = rows()
    columns = {"a": x[:, 0], "b": x[:, 1], "answer": y}
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    data = {"file": str(tmp_path / "rows.parquet"), "targets": ["answer"]}
    assert Trainer.new(recipe_from({"data": data})).data.inputs == ("a", "b")


def test_factories_give_data_and_networks(tmp_path):
    recipe = recipe_from(
        {
            "data": {"factory": f"{__name__}:own_task"},
            "model": {"kind": "factory", "factory": f"{__name__}:own_model"},
        },
        settings=SHORT,
    )
    start_run(tmp_path / "run", recipe)
    assert open_run(tmp_path / "run").units.n == 12
    text = {"data": {"factory": f"{__name__}:own_text"}, "model": {"kind": "gpt", "context": 8}}
    assert Trainer.new(recipe_from(text)).advance() > 0


@pytest.mark.parametrize("name", ["nowhere:make", "json:nothing"])
def test_factories_that_are_none_are_named(name):
    with pytest.raises(RecipeError, match=f"factory = {name} cannot be found"):
        Trainer.new(recipe_from({"data": {"factory": name}}))


def test_a_network_with_other_outputs_is_refused():
    own = {"data": {"factory": f"{__name__}:own_task"}}
    model = {"kind": "factory", "factory": f"{__name__}:wrong_model"}
    with pytest.raises(RecipeError, match=r"gives \(2, 5\) for two rows, own wants \(2, 2\)"):
        Trainer.new(recipe_from({**own, "model": model}))


def test_data_of_the_other_kind_are_refused():
    with pytest.raises(RecipeError, match=r"gave a Text, .* reads a Task; set model\.kind"):
        Trainer.new(recipe_from({"data": {"factory": f"{__name__}:own_text"}}))


def test_convolutions_read_rows_and_resume(tmp_path):
    recipe = built_in_recipe("digits-channels-conv", ["steps=6", "checkpoint_every=3"])
    whole = train(Trainer.new(recipe))
    run = RunDirectory.create(tmp_path / "run", recipe)
    first = Trainer.new(recipe)
    for _ in range(3):
        first.advance()
    run.save(first)
    again = train(run.resume())
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["format"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["task=digits-channels"], "set model.shape"),
        (["shape=[3, 8, 8]"], r"model.shape = \[3, 8, 8\] does not fit 128 inputs"),
        (["pool=9"], "nothing is left of a picture of 8x16"),
    ],
)
def test_pictures_that_do_not_fit_are_named(settings, words):
    with pytest.raises(RecipeError, match=words):
        Trainer.new(recipe_from({"model": {"kind": "conv"}}, settings=settings))
