import json
import os
import sys
import warnings
from types import SimpleNamespace

import pytest

from partwise.errors import MissingExtraError, RecipeError, TrainingError
from partwise.train import recipe_from, resume, train_from_scratch
from partwise.train.recipe_files import changed
from partwise.train.tracking import tracking

SETTINGS = [
    "context=8",
    "width=8",
    "heads=2",
    "layers=1",
    "steps=6",
    "batch=4",
    "penalty.kind=none",
]
TINY = recipe_from({"data": {"texts": ["any"]}}, settings=SETTINGS)


def tracked(kind, every=500):
    return changed(TINY, [f"track={kind}", f"log_every={every}", f"checkpoint_every={every}"])


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("it was the best of times. " * 100)
    return path


class FakeWandb:
    """Records what wandb would be told."""

    class Error(Exception):
        pass

    def __init__(self, error=None):
        self.begun, self.rows, self.finished, self.error = [], [], 0, error

    def init(self, **named):
        if self.error:
            raise self.Error(self.error)
        self.begun.append(named)
        return SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, values, step):
        self.rows.append((step, values))

    def finish(self):
        self.finished += 1


def known(row):
    """A row without what is null: trackers take numbers."""
    return {name: value for name, value in row.items() if value is not None}


def jsonl(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_has_what_the_jsonl_has(tmp_path, text, interrupted_at):
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what tensorboard imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    out, recipe = tmp_path / "run", tracked("tensorboard", 2)
    with interrupted_at(5):
        train_from_scratch(out, [text], recipe)
    resume(out)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    rows = jsonl(out)
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert set(events.Tags()["scalars"]) == known(rows[0]).keys() - {"step"}
    for name in ("loss", "held_a", "modules"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]


def test_wandb_gets_every_row_once_and_is_finished(tmp_path, text, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    out = tmp_path / "run"
    train_from_scratch(out, [text], tracked("wandb", 3))
    rows = jsonl(out)
    assert [(step, {"step": step, **values}) for step, values in fake.rows] == [
        (row["step"], known(row)) for row in rows
    ]
    assert fake.finished == 1
    resume(out)
    first, second = fake.begun
    assert first["id"] == second["id"]
    train_from_scratch(tmp_path / "other", [text], tracked("wandb"))
    assert fake.begun[2]["id"] != first["id"]
    assert first["resume"] == "allow"
    assert first["config"]["training"]["steps"] == 6


def test_wandb_itself_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setitem(os.environ, "WANDB_MODE", "offline")
    with tracking("wandb", tmp_path, 0, {"steps": 1}) as track:
        track({"step": 1, "loss": 0.5})
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


def test_what_is_missing_is_named_before_anything_is_written(tmp_path, text, monkeypatch):
    for kind in ("tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, kind, None)
        with pytest.raises(MissingExtraError, match=f"pip install {kind}"):
            train_from_scratch(tmp_path / kind, [text], tracked(kind))
        assert not (tmp_path / kind).exists()
    with pytest.raises(RecipeError, match="'paper': Input should be 'none', 'tensorboard' or"):
        tracked("paper")


def test_a_tracker_that_cannot_begin_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb("api_key not configured"))
    with (
        pytest.raises(TrainingError, match=r"not configured\); log in with 'wandb login'"),
        tracking("wandb", tmp_path),
    ):
        pass
