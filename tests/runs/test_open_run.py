import hashlib
import json

import pytest
import torch

from partwise.errors import CheckpointError, DataError
from partwise.files import read_tensors, tensor_bytes, write_bytes
from partwise.modules import Partition
from partwise.runs import is_run, open_run
from partwise.tasks import Task, Text
from partwise.train import RunDirectory, recipe_from, start_run, train_from_scratch

TINY = {
    "data": {"task": "two-playgrounds"},
    "model": {"hidden": [8, 8]},
    "training": {"steps": 4, "batch": 16},
}
SHARES = "start=2 ramp=2 refresh_every=3 mask_after=2 probes=200"
SIZES = "context=8 width=16 heads=4 layers=1 steps=6 batch=8"
GPT = recipe_from({"data": {"texts": ["any"]}}, settings=f"{SHARES} {SIZES}".split())


@pytest.fixture
def table(tmp_path):
    start_run(tmp_path / "table", recipe_from(TINY))
    return tmp_path / "table"


@pytest.fixture
def text(tmp_path):
    letters, digits = tmp_path / "letters.txt", tmp_path / "digits.txt"
    letters.write_text("it was the best of times, it was the worst of times. " * 100)
    digits.write_text("12+30=42;7+8=15;" * 300)
    train_from_scratch(tmp_path / "gpt", [letters, digits], GPT)
    return tmp_path / "gpt"


def rewritten(run, change):
    """A run whose checkpoint is another, as its manifest knows."""
    content = tensor_bytes(change(read_tensors(run / "checkpoint.safetensors")))
    write_bytes(run / "checkpoint.safetensors", content)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["checkpoint_sha256"] = [hashlib.sha256(content).hexdigest()]
    (run / "manifest.json").write_text(json.dumps(manifest))


def test_a_run_on_a_table_opens(table):
    run = open_run(table)
    assert is_run(table)
    assert run.kind == "table"
    assert run.title == "two-playgrounds, seed 0"
    assert isinstance(run.data, Task)
    assert run.partition is None
    assert not run.model.training
    assert (run.steps, [row["step"] for row in run.metrics()]) == (4, [4])
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
    assert run.facts()["seed"] == "0"


def test_a_sabotaged_task_is_read_clean(tmp_path):
    recipe = recipe_from({}, settings=["task=digits-pair-sabotaged", "steps=1", "hidden=[4]"])
    start_run(tmp_path / "run", recipe)
    assert open_run(tmp_path / "run").data.name == "digits-pair"


def test_text_that_is_gone_is_missed_only_where_it_is_read(text):
    (text.parent / "letters.txt").unlink()
    run = open_run(text)
    with pytest.raises(DataError, match=r"letters\.txt"):
        _ = run.data


def test_a_directory_without_a_run_is_named(tmp_path):
    assert not is_run(tmp_path)
    with pytest.raises(CheckpointError, match="train it first"):
        open_run(tmp_path)


def test_a_changed_checkpoint_is_refused(text):
    file = text / "checkpoint.safetensors"
    tensors = read_tensors(file)
    tensors["model/norm.weight"][0] += 1
    write_bytes(file, tensor_bytes(tensors))
    with pytest.raises(CheckpointError, match="not the file this run wrote"):
        open_run(text)


def test_a_partition_of_another_network_is_refused(text):
    rewritten(text, lambda tensors: tensors | {"penalty/labels": torch.tensor([0, 1])})
    with pytest.raises(CheckpointError, match="another network"):
        open_run(text)


def test_what_made_a_run_is_told_as_far_as_it_is_known(table):
    manifest = json.loads((table / "manifest.json").read_text())
    del manifest["commit"]
    (table / "manifest.json").write_text(json.dumps(manifest))
    assert "commit" not in open_run(table).facts()


def test_a_run_of_a_format_that_is_not_known_is_refused_by_its_name(table):
    manifest = json.loads((table / "manifest.json").read_text())
    assert manifest["format"] == "partwise.run/2"
    (table / "manifest.json").write_text(json.dumps(manifest | {"format": "partwise.run/9"}))
    with pytest.raises(CheckpointError, match=r"format partwise\.run/9, .* reads partwise\.run/2"):
        open_run(table)


def test_a_run_opens_whose_penalty_has_another_format(text):
    rewritten(text, lambda tensors: tensors | {"penalty/format": torch.tensor(1)})
    assert open_run(text).partition is not None
    with pytest.raises(CheckpointError, match="format 1"):
        RunDirectory(text).trainer()


def test_a_table_of_the_first_format_opens_and_is_not_resumed(table):
    (table / "recipe.toml").write_text(
        'task = "two-playgrounds"\nseed = 0\nl1 = 0.0\n[model]\nhidden = [8, 8]\n'
        "[training]\nsteps = 4\nbatch = 16\n[cut_tree]\nstrength = 0.0\nbudget = 0.0\n"
    )
    manifest = json.loads((table / "manifest.json").read_text())
    del manifest["format"]
    (table / "manifest.json").write_text(json.dumps(manifest))
    assert open_run(table).title == "two-playgrounds, seed 0"
    with pytest.raises(CheckpointError, match="begun by an earlier version"):
        RunDirectory(table).trainer()


def test_a_language_model_of_the_first_format_opens(text):
    shares = {"start": 2, "ramp": 2, "refresh_every": 3, "probes": 200, "seed": 0}
    recipe = {
        "context": 8, "width": 16, "heads": 4, "layers": 1, "steps": 6, "batch": 8, "lr": 3e-3,
        "accumulate": 1, "precision": "float32", "warmup_frac": 0.1, "weight_decay": 0.01,
        "clip": 1.0, "l1": 0.0, "seed": 0, "budget": 0.0, "reference": "", "track": "none",
        "shares": shares,
    }  # fmt: skip
    sha256 = json.loads((text / "manifest.json").read_text())["data_sha256"]
    texts = [{"source": source, "sha256": digest} for source, digest in sha256.items()]
    old = {
        "texts": texts, "recipe": recipe, "bpe": None, "model": None, "checkpoint_every": 500,
        "id": "00", "reference": None,
    }  # fmt: skip
    (text / "gpt.json").write_text(json.dumps(old))
    (text / "recipe.toml").unlink()
    (text / "manifest.json").unlink()
    (text / "checkpoint.safetensors").rename(text / "state.safetensors")
    run = open_run(text)
    assert run.data.streams == ("letters", "digits")
    assert run.partition is not None
    assert run.recipe.penalty.schedule.start == 2
    with pytest.raises(CheckpointError, match="begun by an earlier version"):
        RunDirectory(text).trainer()
