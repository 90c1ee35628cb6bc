import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from partwise.capability.language import token_loss
from partwise.loss import ShareSchedule
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig
from partwise.train.hf import AcceleratedPenalty

CONTEXT, BATCH, STEPS = 8, 8, 10
SCHEDULE = ShareSchedule(
    start=2, ramp=3, refresh_every=3, mask_after=2, probes=150, mask_share=0.5, watch_every=100
)


@pytest.fixture
def corpus():
    return known_streams(("letters", "digits"), "it was the best of times. " * 100)


class Loop:
    """A loop as a user of Accelerate writes it."""

    def __init__(self, corpus, parts=1, precision="no"):
        AcceleratorState._reset_state(True)
        GradientState._reset_state()
        self.accelerator = Accelerator(
            cpu=True, mixed_precision=precision, gradient_accumulation_steps=parts
        )
        model = GPT(GPTConfig(len(corpus.vocabulary), CONTEXT, 16, 4, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.corpus, self.parts, self.step = corpus, parts, 0
        self.penalty = AcceleratedPenalty(
            self.accelerator,
            self.model,
            lambda step: corpus.batch("claims", 150, CONTEXT, (step,)),
            SCHEDULE,
        )

    def train(self, steps):
        return [self.advance() for _ in range(steps)]

    def advance(self):
        half = self.corpus.batch("train", BATCH // 2, CONTEXT + 1, (self.step,))
        ids = half.repeat(2, 1)  # two equal parts: the input scales come from the first
        total = 0.0
        for part in ids.tensor_split(self.parts):
            with self.accelerator.accumulate(self.model):
                logits = self.penalty.run(part[:, :-1])
                loss = token_loss(logits, part[:, 1:]) + self.penalty()
                self.accelerator.backward(loss)
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += loss.item() / self.parts
        self.step += 1
        return total

    def weights(self):
        return [p.detach().clone() for p in self.penalty.penalty.model.parameters()]


def assert_close(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_a_batch_in_parts_is_one_step_of_the_penalty(corpus):
    whole = Loop(corpus)
    losses = whole.train(STEPS)
    parts = Loop(corpus, parts=2)
    assert parts.train(STEPS) == pytest.approx(losses, rel=1e-3)
    assert parts.penalty.penalty.steps_done == STEPS
    assert parts.penalty.penalty.modules == 2
    assert_close(parts.weights(), whole.weights(), rtol=1e-3, atol=1e-4)


def test_accelerates_checkpoint_holds_the_penalty(corpus, tmp_path):
    whole = Loop(corpus)
    whole.train(STEPS)
    first = Loop(corpus)
    first.train(6)
    first.accelerator.save_state(str(tmp_path))
    second = Loop(corpus)
    second.accelerator.load_state(str(tmp_path))
    second.step = 6
    assert torch.equal(second.penalty.penalty.labels, first.penalty.penalty.labels)
    second.train(STEPS - 6)
    assert_close(second.weights(), whole.weights(), rtol=0, atol=0)


def test_mixed_precision_keeps_float32_weights(corpus):
    exact = Loop(corpus).train(STEPS)
    mixed = Loop(corpus, precision="bf16")
    losses = mixed.train(STEPS)
    assert losses[0] != exact[0]
    assert losses[0] == pytest.approx(exact[0], rel=1e-2)
    assert losses[-1] == pytest.approx(exact[-1], rel=0.1)
    assert mixed.penalty.penalty.modules == 2
    assert all(weight.dtype == torch.float32 for weight in mixed.weights())
