"""A hundred training steps with all that the share penalty does, beside a hundred plain ones.

By the clock, on any device: inputs watched, steps masked and silenced, the penalty's gradient, and
one refresh, whose tree is built beside the steps that follow it. `gpt_overhead` has the parts.

    python -m benchmarks.gpt_hundred_steps --device cuda --tokens 32768 --rounds 5 \
        --json benchmarks/results/gpt_hundred_steps.jsonl
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.gpt_overhead import add_row, arguments
from partwise.capability.language import token_loss
from partwise.loss import SharePenalty, ShareSchedule

SEQUENCE = 512
NEVER_ENDING = 10**9


class Training:
    """Steps of a network of GPT-2's shape on random tokens of two sources; bf16 on a GPU.

    Args:
        config: the network's shape.
        tokens: per step.
        device: where it trains.
        schedule: of the penalty; none for plain training.
    """

    def __init__(
        self, config: GPT2Config, tokens: int, device: str, schedule: ShareSchedule | None
    ):
        torch.manual_seed(0)
        self.model = GPT2LMHeadModel(config).to(device)
        self.device = torch.device(device)
        self.batch = two_sources(tokens // SEQUENCE, config.vocab_size).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.penalty: SharePenalty | None = None
        if schedule is not None:
            count = schedule.probes * schedule.piece // SEQUENCE
            probe = two_sources(count, config.vocab_size).to(device)
            self.penalty = SharePenalty(self.model, lambda step: probe, schedule)

    def step(self) -> None:
        """Forward, backward, clipping and AdamW."""
        self.optimizer.zero_grad(set_to_none=True)
        run: Callable[..., Any] = self.model if self.penalty is None else self.penalty.run
        mixed = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            loss = token_loss(run(self.batch).logits[:, :-1], self.batch[:, 1:])
        (loss if self.penalty is None else loss + self.penalty()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def seconds(self, steps: int) -> float:
        """What so many steps take, until the device has done them."""
        self._wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def two_sources(count: int, vocabulary: int) -> torch.Tensor:
    """(count, SEQUENCE) random tokens, half of the sequences from one half of the vocabulary."""
    half, shape = vocabulary // 2, (max(2, count) // 2, SEQUENCE)
    return torch.cat([torch.randint(0, half, shape), torch.randint(half, vocabulary, shape)])


def measured(
    config: GPT2Config, tokens: int, device: str, schedule: ShareSchedule, rounds: int
) -> dict[str, Any]:
    """Seconds of stretches of `refresh_every` steps, plain and penalised in turns, and shares."""
    plain, ours = (Training(config, tokens, device, s) for s in (None, schedule))
    assert ours.penalty is not None
    steps = schedule.refresh_every
    for training in (plain, ours):  # unmeasured: kernels are loaded, and a partition is found
        training.seconds(schedule.lag + 1)
    ours.penalty.state.step = steps
    pairs = [(plain.seconds(steps), ours.seconds(steps)) for _ in range(rounds)]
    return {
        "parameters": sum(p.numel() for p in ours.model.parameters()),
        "modules": ours.penalty.modules,
        "plain_s": [a for a, _ in pairs],
        "ours_s": [b for _, b in pairs],
        "overhead_frac": median(b / a for a, b in pairs) - 1,
    }


def main() -> None:
    """Measures and adds a row to the record."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--vocabulary", type=int, default=50_257)
    parser.add_argument("--steps", type=int, default=100, help="steps between refreshes")
    parser.add_argument("--lag", type=int, default=50, help="steps while a tree is built")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = GPT2Config(
        vocab_size=args.vocabulary, n_layer=args.layers, n_embd=args.width, n_head=args.heads
    )
    schedule = ShareSchedule(
        start=0, ramp=1, mask_after=0, freeze_after=NEVER_ENDING, refresh_every=args.steps,
        lag=args.lag, probes=args.probes, press_every=args.press_every,
    )  # fmt: skip
    row = measured(config, args.tokens, args.device, schedule, args.rounds)
    add_row(args.json, row, args)


if __name__ == "__main__":
    main()
