"""A new user's first wrong moves: one line that says the way out, and exit code 2."""

import warnings

import pytest
import torch
from safetensors.torch import save_file
from test_cli import partwise

from partwise.cli import EXIT_CODES
from partwise.train.network import mlp

MOVES = {
    "a typo in a command": (("trian",), "there is no command 'trian'; did you mean 'train'?"),
    "no such command": (("fly",), "there is no command 'fly'; choose demo, init, train"),
    "a typo in an option": (("demo", "--sed", "1"), "--seed); see partwise demo --help"),
    "nothing to cut": (("cut",), "missing argument 'RUN_OR_MODEL'; see partwise cut --help"),
    "a wrong value": (("demo", "--seed", "-1"), "see partwise demo --help"),
    "a table for a network": (("cut", "rows.csv"), "no network; name the network first"),
    "a recipe for a network": (("audit", "mine.toml"), "partwise train makes one by it"),
    "a file that is none": (("cut", "net.safetensor"), "did you mean net.safetensors?"),
    "a run that is none": (("report", "gone"), "no such file or directory; partwise runs lists"),
    "no data": (("explain", "net.safetensors", "--out", "o"), "give --data, or a run's directory"),
    "no such recipe": (("train", "my.toml"), "no recipe at my.toml; did you mean mine.toml?"),
    "a typo in a recipe": (("train", "digits-pair-plan"), "did you mean digits-pair-plain?"),
    "nothing to go on with": (("train", "--resume", "rum"), "rum is no run; did you mean run?"),
    "nothing to evaluate": (("eval", "taken"), "taken is no run; partwise runs lists runs, partwi"),
    "no directory": (("runs", "takem"), "there is no directory takem; did you mean taken?"),
    "an option for a command": (("version",), "did you mean '--version'?"),
    "no recipe": (("train",), "partwise init writes, or one of the built-in recipes: digits-"),
    "no text": (("train", "--model", "gpt"), "name at least one UTF-8 file with --text"),
    "a taken output": (("train", "mine.toml", "--out", "taken"), "choose another output"),
    "a taken run": (("train", "mine.toml", "--out", "run"), "partwise train --resume run"),
    "a taken demo": (("demo", "--out", "taken"), "choose another output or remove it first"),
    "a taken recipe": (("init", "mine.toml"), "choose another name or remove it first"),
    "a taken file": (("cut", "net.safetensors", "--out", "m.json"), "choose another output"),
    "an unknown layer": (("cut", "net.safetensors", "--layers", "0,9"), "unknown ['9']"),
    "a typo in --set": (("train", "mine.toml", "--set", "stesp=1"), "with one of accumulate,"),
    "a column that is none": (
        ("init", "new.toml", "--data", "rows.csv", "--target", "z"),
        "rows.csv has no column 'z'; its columns are a, b, above",
    ),
    "a target left out": (("init", "new.toml", "--data", "rows.csv"), "say with --target"),
    "no such rows": (("init", "new.toml", "--data", "gone.csv"), "there is no file gone.csv"),
    "no runs": (("runs", "taken"), "there is no run under taken; partwise train makes one"),
    "no baseline": (("runs", "taken", "run"), "taken is no run"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, rows in the order of their labels, a recipe, and directories that are taken."""
    folder = tmp_path_factory.mktemp("moves")
    save_file(mlp([2, 3, 2]).state_dict(), folder / "net.safetensors")
    x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)).tolist()
    rows = sorted(f"{int(a > b)},{a},{b}" for a, b in x)
    lines = ["above,a,b", *rows]
    (folder / "rows.csv").write_text("\n".join(f"{b},{c},{a}" for a, b, c in map(split, lines)))
    (folder / "mine.toml").write_text("[data]\nfile = 'rows.csv'\ntargets = ['above']\n")
    (folder / "m.json").write_text("{}")
    for name, file in {"taken": "x", "run": "recipe.toml"}.items():
        (folder / name).mkdir()
        (folder / name / file).write_text("")
    return folder


def split(line):
    return line.split(",")


@pytest.mark.parametrize("move", MOVES)
def test_a_wrong_move_ends_in_one_line(move, folder, monkeypatch):
    monkeypatch.chdir(folder)
    arguments, way_out = MOVES[move]
    done = partwise(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("partwise: ")
    assert way_out in line
    assert done.stdout in ("", "2 layers 0 -> 2, ReLU between them (assumed; --activation names "
                               "another)\n")  # fmt: skip
    assert not (folder / "o").exists()
    assert not (folder / "new.toml").exists()


def test_sorted_labels_are_shuffled(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    few = ("--set", "steps=3", "--set", "hidden=[4]", "--out", tmp_path / "run")
    done = partwise("train", "mine.toml", *few)
    assert done.returncode == 0, done.stderr


def test_labels_that_a_split_lacks_are_told(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = [f"0.{k},0.{k * 7 % 60},{'rare' if k == 0 else 'common'}" for k in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,above", *rows]))
    few = ("--set", "steps=3", "--set", "hidden=[4]", "--out", tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = partwise("train", folder / "mine.toml", *few, "--quiet")
    assert done.returncode == 0
    assert any(
        line.startswith("partwise: ") and "rare" in line for line in done.stderr.splitlines()
    )


def test_help_says_the_exit_codes():
    said = " ".join(partwise("--help").stdout.split())
    assert " ".join(EXIT_CODES.split()) in said
    assert partwise().stdout == partwise("-h").stdout == partwise("--help").stdout


def test_a_place_that_cannot_be_used_is_one_line(monkeypatch, tmp_path):
    def refused(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("partwise.cli.runs.found_runs", refused)
    done = partwise("runs", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"partwise: no permission to use {tmp_path}; choose another place\n"
