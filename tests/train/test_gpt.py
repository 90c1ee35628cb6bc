import json
from dataclasses import asdict, replace

import pytest
import torch

from partwise.errors import RecipeError, TrainingError
from partwise.loss.share_schedule import ShareSchedule
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig
from partwise.train.gpt_loop import GPTTrainer, train_gpt
from partwise.train.gpt_recipe import GPTRecipe, recipe_from_json, recipe_from_settings

ENGLISH = "it was the best of times, it was the worst of times. " * 100
SCHEDULE = ShareSchedule(start=5, ramp=5, refresh_every=5, mask_after=5, mask_share=0.5, probes=200)
TINY = GPTRecipe(context=8, width=16, heads=4, layers=1, steps=30, batch=8, shares=SCHEDULE)


@pytest.fixture(scope="module")
def corpus():
    return known_streams(("letters", "digits"), ENGLISH)


def test_logits_do_not_see_the_future():
    model = GPT(GPTConfig(7, 6, 8, 2, 2))
    ids = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 6, 6, 6]])
    out = model(ids)
    torch.testing.assert_close(out[0, :3], out[1, :3])
    assert not torch.allclose(out[0, 3:], out[1, 3:])


def test_the_same_seed_gives_the_same_network_and_training_learns(corpus):
    rows = []
    trainer = GPTTrainer.new(TINY, corpus)
    before = trainer.metrics(0.0)
    train_gpt(trainer, rows.append, log_every=15)
    again = train_gpt(GPTTrainer.new(TINY, corpus))
    for a, b in zip(trainer.model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [row["step"] for row in rows] == [15, 30]
    assert rows[-1]["held_letters"] < before["held_letters"]
    assert rows[-1]["modules"] >= 2


def test_with_the_penalty_off_it_is_plain_training(corpus):
    off = replace(TINY, shares=ShareSchedule(strength=0.0, mask_share=0.0), steps=6)
    trainer = GPTTrainer.new(off, corpus)
    train_gpt(trainer)
    on = replace(TINY, steps=6, shares=replace(SCHEDULE, start=6))
    same = GPTTrainer.new(on, corpus)
    train_gpt(same)
    for a, b in zip(trainer.model.parameters(), same.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_batch_in_parts_gives_the_same_network(corpus):
    later = replace(TINY, shares=replace(SCHEDULE, start=8))  # the penalty's scales see one part
    whole, parts = (GPTTrainer.new(replace(later, accumulate=n), corpus) for n in (1, 3))
    for trainer in (whole, parts):
        for _ in range(8):
            trainer.advance()
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    losses = [sum(part.item() for part in trainer.losses()) for trainer in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    tokens = len(corpus.vocabulary)
    assert torch.equal(whole.penalty.labels[:tokens], parts.penalty.labels[:tokens])
    assert parts.penalty.modules == 2


def test_mixed_precision_learns_in_float32_weights(corpus):
    trainer = GPTTrainer.new(replace(TINY, precision="bfloat16"), corpus)
    losses = [trainer.advance() for _ in range(20)]
    assert losses[4] < losses[0]
    exact = GPTTrainer.new(TINY, corpus).advance()
    assert losses[0] != exact
    assert losses[0] == pytest.approx(exact, rel=1e-2)
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_a_nan_loss_stops_at_its_step(corpus):
    trainer = GPTTrainer.new(TINY, corpus)
    trainer.advance()
    with torch.no_grad():
        trainer.model.norm.weight[0] = float("nan")
    weights = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(TrainingError, match="nan at step 1; lower the learning rate"):
        trainer.advance()
    for a, b in zip(weights[:3], trainer.model.parameters(), strict=False):
        assert torch.equal(a, b)


def test_recipes_refuse_what_they_do_not_know():
    recipe = recipe_from_settings(["steps=7", "lr=1e-2", "mask_share=0.25"], TINY)
    assert (recipe.steps, recipe.lr, recipe.shares.mask_share) == (7, 0.01, 0.25)
    assert recipe.width == TINY.width
    assert recipe_from_json(json.loads(json.dumps(asdict(recipe)))) == recipe
    bad = {
        "step=7": "cannot set 'step=7'.*steps",
        "steps": "write name=value",
        "steps=few": "steps = few, wanted a whole number",
        "steps=0": "steps = 0, wanted at least 1",
        "width=17": "cannot be shared by 4 heads",
        "mask_share=2": "wanted 0 to 1",
        "watch_every=0": "watch_every = 0, wanted at least 1",
        "lag=-1": "lag = -1, wanted at least 0",
        "lr=nan": "lr = nan",
        "accumulate=40": "wanted at most batch, 8",
        "precision=int8": "wanted float32 or bfloat16",
        "shares=1": "cannot set",
    }
    for setting, words in bad.items():
        with pytest.raises(RecipeError, match=words):
            recipe_from_settings([setting], TINY)
    with pytest.raises(RecipeError, match="train anew"):
        recipe_from_json({"steps": 3})
