import pytest
import torch
from safetensors.torch import load_file

from partwise.errors import DataError, RecipeError
from partwise.tasks import Text
from partwise.tasks.streams import known_streams
from partwise.train import RunDirectory, Trainer, recipe_from, resume, train, train_from_scratch
from partwise.train.recipe_files import changed
from partwise.train.reference import Reference

START = 4
SCHEDULE = f"start={START} ramp=4 refresh_every=4 mask_after=2 probes=150"
SIZES = "context=8 width=16 heads=4 layers=1 steps=16 batch=8 log_every=4 checkpoint_every=4"
TEXTS = {"data": {"texts": ["any"]}}
TINY = recipe_from(TEXTS, settings=f"{SIZES} {SCHEDULE} budget=0.05".split())
PLAIN = recipe_from(TEXTS, settings=f"{SIZES} strength=0 mask_share=0".split())


@pytest.fixture(scope="module")
def text():
    return Text(known_streams(("letters", "digits"), "it was the best of times. " * 100), 8)


@pytest.fixture
def texts(tmp_path, text):
    paths, corpus = [], text.corpus
    for stream in corpus.streams:
        paths.append(tmp_path / f"{stream.name}.txt")
        paths[-1].write_text("".join(corpus.vocabulary[i] for i in stream.ids[:2500]))
    return paths


def trained(text, reference, recipe=TINY):
    trainer = Trainer.new(recipe, text, reference=reference)
    train(trainer)
    return trainer


def test_pressure_falls_beyond_the_budget_and_not_within(text):
    """11 measurements, one at every step from 5 to 15: each takes a factor of 0.7."""
    beyond = trained(text, Reference((0,), (0.01,)))
    assert beyond.penalty.state.pressure == pytest.approx(0.7**11)
    assert beyond.penalty.controller.weight == pytest.approx(3.0 * 0.7**11)
    within = trained(text, Reference((0,), (100.0,)))
    assert within.penalty.state.pressure == 1
    without = trained(text, None, changed(TINY, ["budget=0"]))
    for a, b in zip(within.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert beyond.metrics(0.0)["held_letters"] < within.metrics(0.0)["held_letters"]


def test_masked_steps_grow_rarer_and_pressure_comes_back(text):
    penalty = trained(text, Reference((0,), (100.0,))).penalty
    assert penalty.modules > 1

    def masked():
        count = 0
        for penalty.state.step in range(100, 4100):
            count += penalty._masks_this_step()
        return count

    often = masked()
    for _ in range(4):
        penalty.controller.adapt(2.0, 1.0)
    assert penalty.state.pressure == pytest.approx(0.7**4)
    assert masked() == pytest.approx(0.7**4 * often, rel=0.15)
    penalty.controller.adapt(1.0, 1.0)
    assert penalty.state.pressure == pytest.approx(0.7**4 * 1.1)


def test_without_a_reference_the_plain_phase_gives_it(text):
    plain, losses = Trainer.new(PLAIN, text), []
    for _ in range(START + 1):  # measured at every step up to the start
        row = plain.metrics(0.0)
        losses.append((row["held_letters"] + row["held_digits"]) / 2)
        plain.advance()
    assert trained(text, None).budget.lowest == pytest.approx(min(losses))


def test_a_twins_run_is_the_reference_and_a_resumed_run_knows_it(tmp_path, texts, interrupted_at):
    twin, out = tmp_path / "twin", tmp_path / "run"
    train_from_scratch(twin, texts, PLAIN)
    recipe = changed(TINY, [f"reference={twin}", "budget=1e-6"])
    train_from_scratch(out, texts, recipe)
    reference = RunDirectory(out).trainer().budget.reference
    rows = RunDirectory(twin).metrics()
    losses = [(row["held_letters"] + row["held_digits"]) / 2 for row in rows]
    assert reference == Reference((4, 8, 12, 16), tuple(losses))
    assert reference.at(3) == float("inf")
    assert reference.at(99) == losses[-1]
    assert RunDirectory(out).metrics()[-1]["pressure"] < 1
    with interrupted_at(10):
        train_from_scratch(tmp_path / "cut", texts, recipe)
    resume(tmp_path / "cut")
    whole, cut = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("run", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_references_that_are_none_are_refused(tmp_path, texts):
    twin = tmp_path / "twin"
    train_from_scratch(twin, texts, changed(PLAIN, ["steps=2", "log_every=2"]))
    cases = {
        "nonsense": (RecipeError, "reference = nonsense, wanted nats per token or the directory"),
        str(twin): (DataError, "read other texts, tokens or contexts"),
    }
    for name, (error, words) in cases.items():
        recipe = changed(TINY, [f"reference={name}", "context=6"])
        with pytest.raises(error, match=words):
            train_from_scratch(tmp_path / "run", texts, recipe)
        assert not (tmp_path / "run").exists()
    (twin / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="has logged no held-out loss"):
        train_from_scratch(tmp_path / "run", texts, changed(TINY, [f"reference={twin}"]))
    with pytest.raises(RecipeError, match=r"penalty\.budget = -1"):
        changed(PLAIN, ["budget=-1"])
    with pytest.raises(RecipeError, match=r"reference = 1\.2 without a budget"):
        changed(PLAIN, ["reference=1.2"])
    assert changed(PLAIN, ["budget=0.05", "reference=1.2"]).penalty.reference == "1.2"
