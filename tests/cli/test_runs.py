"""`partwise runs`: lists and comparisons."""

import json
import shutil

import pytest
from test_cli import RECIPE, partwise

FEW = ("--set", "steps=4", "--set", "penalty.start=2", "--set", "log_every=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs, one of them cut."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "recipe.toml").write_text(RECIPE)
    for name, more in {"a": (), "b/deep": ("--seed", "1", "--set", "strength=0.5")}.items():
        done = partwise("train", folder / "recipe.toml", *FEW, *more, "--out", folder / name, "-q")
        assert (done.returncode, done.stderr) == (0, "")
    assert partwise("cut", folder / "a").returncode == 0
    return folder


def test_runs_are_listed(made):
    done = partwise("runs", made)
    assert done.returncode == 0, done.stderr
    (first,) = (line for line in done.stdout.splitlines() if "│a " in line)
    cells = [cell.strip() for cell in first.split("│")[1:-1]]
    assert cells[:5] == ["a", "two-playgrounds", "mlp", "cut_tree", "4/4"]
    assert cells[-1] == "cut"
    assert "b/deep" in done.stdout
    narrow = partwise("runs", made, COLUMNS="80").stdout
    assert all(word in narrow for word in ("interface", "done", "cut", "4/4"))
    assert "…" not in narrow


def test_a_list_is_read_by_programs(made):
    rows = json.loads(partwise("runs", made, "--json").stdout)["runs"]
    assert [row["run"] for row in rows] == [str(made / "a"), str(made / "b" / "deep")]
    assert rows[0].keys() >= {"kind", "steps", "of", "loss", "modules", "interface", "stages"}
    assert (rows[0]["stages"], rows[1]["stages"]) == (["cut"], [])
    last = json.loads((made / "a" / "metrics.jsonl").read_text().splitlines()[-1])
    assert rows[0]["loss"] == last["claims_ce"]


def test_a_run_lists_itself_and_a_damaged_one_says_so(made, tmp_path):
    assert "│a " in partwise("runs", made / "a", COLUMNS="80").stdout
    shutil.copytree(made / "a", tmp_path / "worn")
    (tmp_path / "worn" / "recipe.toml").write_text("seed = 'x'\n")
    shutil.copytree(made / "a", tmp_path / "fresh")
    (tmp_path / "fresh" / "metrics.jsonl").write_text("")
    done = partwise("runs", tmp_path)
    assert done.returncode == 0
    assert "damaged" in done.stdout
    assert "0/4" in done.stdout


def test_runs_are_compared(made):
    done = partwise("runs", made / "a", made / "b" / "deep")
    assert done.returncode == 0, done.stderr
    rows = {
        cells[0]: cells[1:]
        for line in done.stdout.splitlines()
        if len(cells := [cell.strip() for cell in line.split("│")[1:-1]]) == 3
    }
    assert rows["seed"] == ["0", "1"]
    assert rows["penalty.strength"] == ["0.1", "0.5"]
    assert rows["stages"] == ["cut", ""]
    assert "data.task" not in rows
    told = json.loads(partwise("runs", made / "a", made / "b" / "deep", "--json").stdout)
    assert told["recipe_differences"] == {"seed": [0, 1], "penalty.strength": [0.1, 0.5]}


def test_runs_on_rows_are_evaluated(made):
    given = ("eval", made / "a", "--baseline", made / "b" / "deep")
    done = partwise(*given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a beside" in " ".join(done.stdout.split())
    assert "│ accuracy" in done.stdout
    found = json.loads(partwise(*given, "--json").stdout)
    assert found["loss"]["low"] <= found["loss"]["mean"] <= found["loss"]["high"]
    assert found["run_losses"].keys() == found["baseline_losses"].keys()
    other = partwise("eval", made / "b" / "deep", "--baseline", made / "a", "--json")
    other = json.loads(other.stdout)
    assert other["run_losses"] == found["baseline_losses"] != found["run_losses"]
    assert other["loss"]["mean"] == -found["loss"]["mean"]
    same = json.loads(partwise("eval", made / "a", "--baseline", made / "a", "--json").stdout)
    assert same["loss"]["mean"] == 0
    wrong = {("--task", "x", *given[2:]): "leave out --task", (): "--baseline RUN"}
    for more, way_out in wrong.items():
        done = partwise("eval", made / "a", *more)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert way_out in done.stderr
