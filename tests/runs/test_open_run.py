import json

import pytest
import torch

from partwise.errors import CheckpointError, DataError
from partwise.files import read_tensors, tensor_bytes, write_bytes
from partwise.loss import ShareSchedule
from partwise.modules import Partition
from partwise.runs import is_run, open_run
from partwise.stages import train_run
from partwise.tasks import Task, Text
from partwise.train import RunDirectory, Trainer, recipe_from
from partwise.train.gpt_recipe import GPTRecipe
from partwise.train.gpt_run import train_from_scratch

TINY = {
    "task": "two-playgrounds",
    "model": {"hidden": [8, 8]},
    "training": {"steps": 4, "batch": 16},
}
SHARES = ShareSchedule(start=2, ramp=2, refresh_every=3, mask_after=2, probes=200)
GPT = GPTRecipe(context=8, width=16, heads=4, layers=1, steps=6, batch=8, shares=SHARES)


@pytest.fixture
def table(tmp_path):
    run = RunDirectory.create(tmp_path / "table", recipe_from(TINY))
    train_run(run, Trainer.new(recipe_from(TINY)))
    return run.path


@pytest.fixture
def text(tmp_path):
    letters, digits = tmp_path / "letters.txt", tmp_path / "digits.txt"
    letters.write_text("it was the best of times, it was the worst of times. " * 100)
    digits.write_text("12+30=42;7+8=15;" * 300)
    train_from_scratch(tmp_path / "gpt", [letters, digits], GPT)
    return tmp_path / "gpt"


def test_a_run_on_a_table_opens(table):
    run = open_run(table)
    assert is_run(table)
    assert run.kind == "table"
    assert run.title == "two-playgrounds, seed 0"
    assert isinstance(run.data, Task)
    assert run.partition is None
    assert not run.model.training
    assert [row["step"] for row in run.metrics()] == [4]
    assert run.facts()["torch"] == torch.__version__


def test_a_run_on_text_opens_the_same_way(text):
    run = open_run(text)
    assert run.kind == "text"
    assert run.title == "letters, digits, seed 0"
    assert isinstance(run.data, Text)
    assert run.data.streams == ("letters", "digits")
    assert run.model(torch.zeros(1, 8, dtype=torch.long)).shape[2] == run.data.heads[0].stop
    assert isinstance(run.partition, Partition)
    assert len(run.partition) == run.units.n
    assert run.metrics()[-1]["step"] == 6


def test_text_that_is_gone_is_missed_only_where_it_is_read(text):
    (text.parent / "letters.txt").unlink()
    run = open_run(text)
    with pytest.raises(DataError, match=r"letters\.txt"):
        _ = run.data


def test_a_directory_without_a_run_is_named(tmp_path):
    assert not is_run(tmp_path)
    with pytest.raises(CheckpointError, match="train it first"):
        open_run(tmp_path)


def test_a_partition_of_another_network_is_refused(text):
    tensors = read_tensors(text / "state.safetensors")
    tensors["penalty/labels"] = torch.tensor([0, 1])
    write_bytes(text / "state.safetensors", tensor_bytes(tensors))
    with pytest.raises(CheckpointError, match="another network"):
        open_run(text)


def test_what_made_a_run_is_told_as_far_as_it_is_known(table):
    manifest = json.loads((table / "manifest.json").read_text())
    del manifest["commit"]
    (table / "manifest.json").write_text(json.dumps(manifest))
    assert "commit" not in open_run(table).facts()
