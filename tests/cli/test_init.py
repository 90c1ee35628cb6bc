"""`partwise init`: recipes that train as they are."""

import tomllib

import pytest
from test_cli import partwise

from partwise.train import read_recipe

LETTERS = "it was the best of times, it was the worst of times. " * 40
GIVEN = {
    "task": (),
    "classes": ("--data", "rows.csv", "--target", "above"),
    "value": ("--data", "rows.csv", "--target", "sum"),
    "text": ("--text", "a.txt", "--text", "b.txt"),
}
FEW = {
    "text": ("steps=2", "width=8", "heads=2", "layers=1", "context=8", "batch=4"),
    "table": ("steps=40", "hidden=[4]", "batch=8"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(k / 60, k * 7 % 60 / 60) for k in range(60)]
    lines = ["a,b,above,sum", *(f"{a},{b},{int(a > b)},{a + b}" for a, b in rows)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(LETTERS)
    return tmp_path


@pytest.mark.parametrize("kind", GIVEN)
def test_a_recipe_trains_as_it_is_written(kind, here):
    done = partwise("init", "mine.toml", *GIVEN[kind])
    assert (done.returncode, done.stderr) == (0, "")
    text = (here / "mine.toml").read_text()
    assert "# how much more" in text or "# how hard" in text
    few = [word for each in FEW["text" if kind == "text" else "table"] for word in ("--set", each)]
    if kind == "value":
        few = [each for each in few if each != "batch=8"][: len(few) - 2]
    done = partwise("train", "mine.toml", *few, "--out", "run", "-q")
    assert done.returncode == 0, done.stderr
    assert f"run: {few[1].removeprefix('steps=')} steps" in done.stdout


def test_notes_name_settings_that_there_are(here):
    for kind, given in GIVEN.items():
        file = here / f"{kind}.toml"
        partwise("init", file, *given)
        lines = [line for line in file.read_text().splitlines() if " = " in line]
        names = {line.removeprefix("# ").partition(" = ")[0] for line in lines}
        names -= {"task", "file", "targets", "target_kind", "factory", "texts", "kind", "seed"}
        assert {"steps", "lr", "batch"} <= names
        recipe = read_recipe(file, [f"{name}={value_of(lines, name)}" for name in names
                                    if name not in ("reference", "bpe")])  # fmt: skip
        assert recipe.penalty.kind == ("share" if kind == "text" else "budget")


def value_of(lines, name):
    (line,) = (each for each in lines if each.removeprefix("# ").startswith(f"{name} = "))
    return tomllib.loads(line.removeprefix("# "))[name]


def test_numbers_are_predicted_and_classes_told(here):
    for target, kind in {"above": "classes", "sum": "value"}.items():
        partwise("init", f"{target}.toml", "--data", "rows.csv", "--target", target)
        assert read_recipe(here / f"{target}.toml").data.target_kind == kind
