import tomllib

import pytest
import torch

from partwise.errors import RecipeError, TrainingError
from partwise.tasks import Text
from partwise.tasks.streams import known_streams
from partwise.train import GPT, GPTConfig, Trainer, recipe_from, recipe_toml, train
from partwise.train.recipe_files import changed

ENGLISH = "it was the best of times, it was the worst of times. " * 100
SCHEDULE = "start=5 ramp=5 refresh_every=5 mask_after=5 mask_share=0.5 probes=200"
SIZES = "context=8 width=16 heads=4 layers=1 steps=30 batch=8 log_every=15"
TINY = recipe_from({"data": {"texts": ["any"]}}, settings=f"{SCHEDULE} {SIZES}".split())


@pytest.fixture(scope="module")
def text():
    return Text(known_streams(("letters", "digits"), ENGLISH), 8)


def small(settings=""):
    return changed(TINY, settings.split())


def test_logits_do_not_see_the_future():
    model = GPT(GPTConfig(7, 6, 8, 2, 2))
    ids = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 6, 6, 6]])
    out = model(ids)
    torch.testing.assert_close(out[0, :3], out[1, :3])
    assert not torch.allclose(out[0, 3:], out[1, 3:])


def test_the_same_seed_gives_the_same_network_and_training_learns(text):
    rows = []
    trainer = Trainer.new(TINY, text)
    before = trainer.metrics(0.0)
    train(trainer, rows.append)
    again = train(Trainer.new(TINY, text))
    for a, b in zip(trainer.model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [row["step"] for row in rows] == [15, 30]
    assert rows[-1]["held_letters"] < before["held_letters"]
    assert rows[-1]["modules"] >= 2


def test_with_the_penalty_off_it_is_plain_training(text):
    off = recipe_from(
        {"data": {"texts": ["any"]}}, settings=f"{SIZES} steps=6 penalty.kind=none".split()
    )
    trainer = Trainer.new(off, text)
    train(trainer)
    on = small("steps=6 start=6")
    same = Trainer.new(on, text)
    train(same)
    for a, b in zip(trainer.model.parameters(), same.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_batch_in_parts_gives_the_same_network(text):
    # From a later start, since the penalty's scales see one part.
    whole, parts = (Trainer.new(small(f"start=8 accumulate={n}"), text) for n in (1, 3))
    for trainer in (whole, parts):
        for _ in range(8):
            trainer.advance()
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    losses = [sum(part.item() for part in trainer.losses()) for trainer in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    tokens = len(text.vocabulary)
    assert torch.equal(whole.penalty.labels[:tokens], parts.penalty.labels[:tokens])
    assert parts.penalty.modules == 2


def test_mixed_precision_learns_in_float32_weights(text):
    trainer = Trainer.new(small("precision=bfloat16"), text)
    losses = [trainer.advance() for _ in range(20)]
    assert losses[4] < losses[0]
    exact = Trainer.new(TINY, text).advance()
    assert losses[0] != exact
    assert losses[0] == pytest.approx(exact, rel=1e-2)
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_a_nan_loss_stops_at_its_step(text):
    trainer = Trainer.new(TINY, text)
    trainer.advance()
    with torch.no_grad():
        trainer.model.norm.weight[0] = float("nan")
    weights = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(TrainingError, match="nan at step 1; lower the learning rate"):
        trainer.advance()
    for a, b in zip(weights[:3], trainer.model.parameters(), strict=False):
        assert torch.equal(a, b)


def test_recipes_refuse_what_they_do_not_know():
    recipe = small("steps=7 lr=1e-2 mask_share=0.25")
    assert (recipe.training.steps, recipe.training.lr) == (7, 0.01)
    assert recipe.penalty.schedule.mask_share == 0.25
    assert recipe.model.width == TINY.model.width
    assert recipe_from(tomllib.loads(recipe_toml(recipe))) == recipe
    bad = {
        "step=7": "cannot set 'step=7'.*steps",
        "steps": "write name=value",
        "kind=none": "write model.kind or penalty.kind",
        "steps=few": "training.steps = 'few': Input should be a valid integer",
        "steps=0": "training.steps = 0: .* greater than or equal to 1",
        "width=17": "cannot be shared by 4 heads",
        "mask_share=2": "wanted 0 to 1",
        "watch_every=0": "watch_every = 0, wanted at least 1",
        "lag=-1": "lag = -1, wanted at least 0",
        "probes=few": "penalty: probes = 'few': Input should be a valid integer",
        "lr=nan": "training.lr = nan",
        "accumulate=40": "wanted at most batch, 8",
        "precision=int8": "'float32' or 'bfloat16'",
        "shares=1": "cannot set",
        "penalty.kind=budget": "unknown key 'penalty",
    }
    for setting, words in bad.items():
        with pytest.raises(RecipeError, match=words):
            small(setting)
