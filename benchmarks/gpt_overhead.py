"""What the share penalty adds to a training step of GPT-2 small, measured side by side.

One step of plain training (forward, backward, clipping, AdamW) beside the parts that the penalty
adds: its loss and gradient, the masking of weights, and a refresh shared out over 100 steps.

    python -m benchmarks.gpt_overhead --json benchmarks/results/gpt_overhead.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from partwise.capability.language import token_loss
from partwise.files import write_json
from partwise.graph.transformer import transformer_map
from partwise.loss.masses import newman_q_of_masses
from partwise.loss.shares import SharePenalty, ShareSchedule, share_masses


def seconds_of(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of processor time of each work, taken in turns after one unmeasured round.

    Of processor time, since a machine that others use as well makes any wall clock wrong.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for i in range(repeats + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if i:
                taken[name].append(time.process_time() - start)
    return taken


def works_of(
    model: nn.Module, penalty: SharePenalty, ids: torch.Tensor
) -> dict[str, Callable[[], object]]:
    """The plain step and what the penalty adds to it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        token_loss(model(ids).logits[:, :-1], ids[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def pressure() -> None:  # gradients are there already, as after the backward pass of a step
        masses = share_masses(model, penalty.units, penalty.labels, penalty.scales)
        (1 - newman_q_of_masses(masses)).backward()

    def masking() -> None:
        masked = list(penalty.masked().values())
        torch.autograd.backward(masked, [torch.ones_like(each) for each in masked])

    return {"step": step, "penalty": pressure, "masking": masking}


def measured(
    layers: int, tokens: int, modules: int, probes: int, press_every: int, repeats: int
) -> dict[str, Any]:
    """Medians and what they add up to, as shares of a plain step.

    The overhead is the penalty's in the steps that have one, the masking in the steps that are
    masked, and a hundredth of a refresh.
    """
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers))
    units = transformer_map(model)
    texts = torch.randint(0, 50257, (probes * 32 // 512, 512))
    texts[: len(texts) // 2] %= 25_000  # two sources, so that a refresh has modules to find
    texts[len(texts) // 2 :] %= 1_000
    schedule = ShareSchedule(probes=probes, press_every=press_every)
    penalty = SharePenalty(model, units, lambda step: texts, schedule)
    with penalty.scales.watching(), torch.no_grad():
        model(texts[:1])
    start = time.process_time()
    penalty.refresh()
    refresh_s = time.process_time() - start
    found = penalty.modules
    penalty.set_labels(torch.randint(0, modules, (units.n,)))
    ids = torch.randint(0, 50257, (tokens // 512, 512))
    taken = seconds_of(works_of(model, penalty, ids), repeats)
    row: dict[str, Any] = {f"{name}_s": median(each) for name, each in taken.items()}
    row |= {"refresh_s": refresh_s, "refresh_modules": found, "raw_s": taken}
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["penalty_frac"] = row["penalty_s"] / row["step_s"]
    row["masking_frac"] = row["masking_s"] / row["step_s"]
    row["refresh_frac"] = refresh_s / 100 / row["step_s"]
    row["overhead_frac"] = (
        row["penalty_frac"] / schedule.press_every
        + row["masking_frac"] * schedule.mask_share
        + row["refresh_frac"]
    )
    return row


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--modules", type=int, default=4)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--probes", type=int, default=256, help="pieces of 32 tokens a refresh")
    parser.add_argument("--press-every", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = (args.layers, args.tokens, args.modules, args.probes, args.press_every)
    row = measured(*settings, args.repeats)
    row |= {"tokens": args.tokens, "threads": args.threads, "probes": args.probes}
    row["press_every"] = args.press_every
    print({name: value for name, value in row.items() if name != "raw_s"})
    write_json(args.json, row)


if __name__ == "__main__":
    main()
