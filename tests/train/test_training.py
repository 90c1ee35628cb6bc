import hashlib
import json
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from partwise.errors import CheckpointError, DataError, OutputError, RecipeError, TrainingError
from partwise.files import read_tensors, write_json, write_tensors, write_text
from partwise.graph import UnitGraph
from partwise.modules import find_modules
from partwise.stages import cut_run, open_network, read_modules, write_modules
from partwise.train import (
    RunDirectory,
    Trainer,
    built_in_recipe,
    built_in_recipes,
    load_mlp,
    mlp,
    read_recipe,
    recipe_from,
    recipe_toml,
    train,
    train_run,
)
from partwise.train.network import load_weights

TINY = {
    "data": {"task": "two-playgrounds"},
    "model": {"hidden": [8, 8]},
    "training": {"steps": 60, "batch": 16, "checkpoint_every": 20, "log_every": 10},
    "penalty": {
        "l1": 0.01,
        "strength": 0.1,
        "start": 10,
        "ramp": 10,
        "refresh_every": 10,
        "mask_after": 5,
        "min_gain": 0.0,
    },
}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_recipes_survive_a_round_trip(tmp_path):
    recipe = recipe_from(TINY)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe))
    assert read_recipe(path) == recipe


def test_built_in_recipes_are_valid():
    assert "digits-pair-modular" in built_in_recipes()
    for name in built_in_recipes():
        assert Trainer.new(built_in_recipe(name)).step == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"taks": "digits-pair"}, "unknown key 'taks'; known are data"),
        ({"penalty": {"strenght": 1}}, "unknown key 'penalty.strenght'; known are kind"),
        ({"cut_tree": {"strenght": 1}}, "unknown key 'penalty.strenght'; known are .*strength"),
        ({"penalty": {"strength": -1}}, "penalty: strength = -1.0, wanted at least 0"),
        ({"penalty": {"budget": 0.1, "press_every": 0}}, "press_every = 0, wanted at least 1"),
        ({"penalty": {"kind": "share"}}, "does not fit; set cut_tree or budget"),
        ({"penalty": {"strength": 1, "kind": "none"}}, "unknown key 'penalty.strength'"),
        ({"model": {"width": 8}}, "unknown key 'model.width'; known are kind, hidden"),
        ({"model": {"kind": "conv", "kernel": 2}}, "model.kernel = 2: wanted an odd number"),
        ({"model": {"kind": "rnn"}}, "'mlp', 'conv', 'gpt', 'pretrained', 'factory'"),
        ({"model": {"kind": "gpt"}}, "reads texts; set data.texts"),
        ({"data": {"texts": ["a"]}, "model": {"kind": "mlp"}}, "cannot read texts"),
        ({"data": {}}, "gives nothing; wanted one of task, texts, file, factory"),
        ({"data": {"task": "retina", "file": "a"}}, "gives task and file; wanted one of"),
        ({"data": {"factory": "os.system"}}, "data.factory = 'os.system'"),
        ({"data": {"task": "digits"}}, "data.task = 'digits': no task 'digits'"),
        ({"training": {"steps": 0}}, "training.steps = 0"),
        ({"training": {"lr": "fast"}}, "training.lr = 'fast'"),
        ({"model": {"hidden": [0]}}, "model.hidden.0 = 0: .* greater than or equal to 1"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_wrong_recipes_are_named(fields, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(fields)


def test_damaged_recipe_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match="no recipe"):
        read_recipe(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("task = ")
    with pytest.raises(RecipeError, match="TOML"):
        read_recipe(tmp_path / "bad.toml")
    with pytest.raises(RecipeError, match="built-in"):
        built_in_recipe("nothing")


def test_training_repeats_bit_for_bit(one_thread):
    a, b = (train(Trainer.new(recipe_from(TINY))).state_dict() for _ in range(2))
    assert same(a, b)


def test_resuming_ends_with_the_same_bits(tmp_path, one_thread):
    whole = RunDirectory.create(tmp_path / "whole", recipe_from(TINY))
    train_run(whole, Trainer.new(recipe_from(TINY)))
    cut = RunDirectory.create(tmp_path / "cut", recipe_from(TINY))

    class Stop(Exception):
        pass

    def stop(metrics):
        if metrics["step"] == 50:
            raise Stop

    with pytest.raises(Stop):
        train_run(cut, Trainer.new(recipe_from(TINY)), stop)
    trainer = cut.resume()
    assert trainer.step == 40
    assert [row["step"] for row in cut.metrics()] == [10, 20, 30, 40]
    train_run(cut, trainer)
    assert same(load_file(whole.checkpoint), load_file(cut.checkpoint))
    assert cut.metrics() == whole.metrics()


def test_a_run_within_a_budget_resumes_with_the_same_bits(tmp_path, one_thread):
    fields = {**TINY, "penalty": {"budget": 0.05}}
    whole = Trainer.new(recipe_from(fields))
    cut = RunDirectory.create(tmp_path / "cut", recipe_from(fields))
    first = Trainer.new(recipe_from(fields))
    for _ in range(35):
        first.advance()
    cut.save(first)
    assert same(train(cut.resume()).state_dict(), train(whole).state_dict())


def test_a_budget_decides_alone():
    with pytest.raises(RecipeError, match="adapts; leave l1 0"):
        recipe_from({**TINY, "penalty": {"budget": 0.05, "l1": 0.1}})
    with pytest.raises(RecipeError, match="l1 and strength adapt; leave them 0"):
        recipe_from({"cut_tree": {"budget": 0.05, "strength": 1.0}})


def test_a_killed_run_resumes_with_the_same_bits(tmp_path, one_thread, killed_at):
    fields = {**TINY, "training": {**TINY["training"], "steps": 120}}
    recipe = recipe_from(fields)
    (tmp_path / "recipe.toml").write_text(recipe_toml(recipe))
    killed = RunDirectory(tmp_path / "killed")
    killed_at(50, "train", tmp_path / "recipe.toml", "--out", killed.path)
    trainer = killed.resume()
    assert trainer.step == 40
    train_run(killed, trainer)
    whole = RunDirectory.create(tmp_path / "whole", recipe)
    train_run(whole, Trainer.new(recipe))
    assert same(load_file(whole.checkpoint), load_file(killed.checkpoint))


def test_a_finished_run_resumes_to_itself(tmp_path, one_thread):
    run = RunDirectory.create(tmp_path / "run", recipe_from(TINY))
    train_run(run, Trainer.new(recipe_from(TINY)))
    before = run.checkpoint.read_bytes()
    train_run(run, run.resume())
    assert run.checkpoint.read_bytes() == before


def test_a_loss_that_is_nan_stops_the_run():
    trainer = Trainer.new(recipe_from(TINY))
    with torch.no_grad():
        trainer.model[0].weight[0, 0] = math.nan
    with pytest.raises(TrainingError, match="step 0"):
        trainer.advance()


def test_learning_rate_falls_to_zero_at_the_end():
    trainer = Trainer.new(recipe_from({"training": {"steps": 100, "decay_frac": 0.5, "lr": 1.0}}))
    rates = []
    for step in (0, 50, 75, 100):
        trainer.step = step
        rates.append(trainer.learning_rate)
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.0])


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(tmp_path / "run", recipe_from(TINY))
    run.save(Trainer.new(recipe_from(TINY)))
    return run


def test_a_tampered_checkpoint_is_refused(run):
    tensors = load_file(run.checkpoint)
    tensors["model/0.weight"][0, 0] += 1
    save_file(tensors, run.checkpoint)
    with pytest.raises(CheckpointError, match="not the file"):
        run.trainer()


def test_a_truncated_checkpoint_is_refused(run):
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        run.trainer()


def test_a_run_without_checkpoint_is_named(tmp_path):
    run = RunDirectory.create(tmp_path / "run", recipe_from(TINY))
    with pytest.raises(CheckpointError, match="train it first"):
        open_network(run.path)


def test_an_existing_output_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "keep").write_text("me")
    with pytest.raises(OutputError, match="exists already"):
        RunDirectory.create(tmp_path / "run", recipe_from(TINY))
    assert os.listdir(tmp_path / "run") == ["keep"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("2.bias"), None),  # a layer without bias is fine
        (lambda t: t.update({"x.weight": torch.ones(2, 2, 2)}), "no MLP"),
        (lambda t: t.update({"x": torch.ones(2)}), "no MLP"),
        (lambda t: t.update({"2.weight": torch.ones(4, 9)}), "layer 0 writes 5"),
        (lambda t: t["0.weight"].fill_(math.nan), "NaN"),
        (lambda t: t.update({"0.bias": torch.ones(3)}), "shape"),
        (lambda t: t.clear(), "no weights"),
    ],
)
def test_foreign_checkpoints_fit_or_say_why(tmp_path, change, message):
    tensors = {k: t.clone() for k, t in mlp([3, 5, 4]).state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    if message is None:
        assert open_network(tmp_path / "model.safetensors").units.n == 12
        return
    with pytest.raises(CheckpointError, match=message):
        load_mlp(tmp_path / "model.safetensors")


def test_layers_are_read_in_the_order_of_their_numbers(tmp_path):
    widths = [2, 3, 4, 5, 6, 7, 8]
    tensors = {f"net.{k}": t for k, t in mlp(widths).state_dict().items()}
    save_file(tensors, tmp_path / "m.safetensors")
    model = load_mlp(tmp_path / "m.safetensors")
    assert [layer.out_features for layer in model[::2]] == widths[1:]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_pickle_is_refused_and_not_loaded(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": Evil()}, name)
    with pytest.raises(CheckpointError, match="pickle"):
        read_tensors(Path(name))
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.bias"), r"missing \['0.bias'\]"),
        (lambda t: t.update(extra=torch.ones(1)), r"not expected \['extra'\]"),
        (lambda t: t.update({"0.bias": torch.ones(9)}), r"0.bias has shape \(9,\)"),
        (lambda t: t["2.weight"].fill_(math.inf), "infinite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    tensors = {k: t.clone() for k, t in mlp([3, 5, 4]).state_dict().items()}
    change(tensors)
    with pytest.raises(CheckpointError, match=message):
        load_weights(mlp([3, 5, 4]), tensors, "file")


def test_a_run_checkpoint_without_its_parts_is_named(run):
    write_tensors(run.checkpoint, {"model/0.weight": torch.ones(2, 2)})
    digest = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
    manifest = json.loads((run.path / "manifest.json").read_text())
    write_json(run.path / "manifest.json", manifest | {"checkpoint_sha256": [digest]})
    with pytest.raises(CheckpointError, match="no checkpoint of a run by this version"):
        run.trainer()


def test_a_full_disk_while_logging_is_named(run, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match="No space left"):
        run.log({"step": 1})


def test_garbage_is_no_checkpoint(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"nonsense" * 10)
    with pytest.raises(CheckpointError, match="intact"):
        read_tensors(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_tensors(tmp_path / "none.safetensors")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_text(path, "new")
    with pytest.raises(OutputError, match="No space left"):
        write_tensors(path, {"a": torch.ones(2)})
    assert os.listdir(tmp_path) == ["file.txt"]
    assert path.read_bytes() == b"old"


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_json(tmp_path / "file" / "x.json", {})
    with pytest.raises(OutputError, match="cannot write"):
        RunDirectory.create(tmp_path / "file" / "run", recipe_from(TINY))


def test_modules_that_a_training_held_apart_can_be_taken(tmp_path):
    run = RunDirectory.create(tmp_path / "run", recipe_from(TINY))
    trainer = Trainer.new(recipe_from(TINY))
    run.save(trainer)
    assert open_network(run.path).in_force is None
    with pytest.raises(DataError, match="no modules apart"):
        cut_run(open_network(run.path), in_force=True)
    held = torch.arange(trainer.units.n) % 2
    trainer.penalty.set_labels(held)
    run.save(trainer)
    _, found = cut_run(open_network(run.path), in_force=True)
    assert found.modules == 2
    assert not found.significance.is_significant
    labels = read_modules(run.path / "modules.json", trainer.units.n).labels
    assert ((labels == labels[0]) == (held == 0).numpy()).all()


def test_a_damaged_modules_file_is_named(tmp_path):
    path = tmp_path / "modules.json"
    with pytest.raises(DataError, match="missing"):
        read_modules(path, 3)
    path.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_modules(path, 3)
    path.write_text(json.dumps({"labels": []}))
    with pytest.raises(DataError, match="partwise cut"):
        read_modules(path, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": [0, 0, 2, 0]},
        {"labels": [-1, 0, 0, 0]},
        {"tree": {"parent": [1, 0, 0, 0], "value": [1, 1, 1, 1], "order": [0, 1, 2, 3]}},
        {"tree": {"parent": [-1, 9, 0, 0], "value": [1, 1, 1, 1], "order": [0, 1, 2, 3]}},
        {"tree": {"parent": [-1, 0, 0, 0], "value": [1, 1, 1, 1], "order": [0, 1, 1, 3]}},
    ],
)
def test_a_tampered_modules_file_is_refused(tmp_path, change):
    graph = UnitGraph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 1.0, 1.0])
    path = tmp_path / "modules.json"
    write_modules(path, graph, find_modules(graph))
    assert read_modules(path, 4).labels.tolist() == [0, 0, 0, 0]
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="damaged"):
        read_modules(path, 4)
    write_modules(path, graph, find_modules(graph))
    with pytest.raises(DataError, match="units"):
        read_modules(path, 5)
