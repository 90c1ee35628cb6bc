"""What the share penalty adds to a training step of GPT-2 small, measured side by side.

A plain step (forward, backward, clipping, AdamW), the same with masked weights and with silenced
modules, the penalty's loss and gradient, and a refresh shared out over 100 steps.

    python -m benchmarks.gpt_overhead --json benchmarks/results/gpt_overhead.jsonl
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.records import append_row, told
from partwise.capability.language import token_loss
from partwise.graph.activity import silenced
from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import is_inside, layers_keeping
from partwise.loss import SharePenalty, ShareSchedule
from partwise.loss.press import newman_q_of_masses


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


def peak_gib() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def works_of(penalty: SharePenalty, ids: torch.Tensor) -> dict[str, Callable[[], object]]:
    """A plain step, one that is masked, one that is silenced, and the penalty's own work."""
    model = penalty.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    keep = partial(is_inside, penalty.labels)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        token_loss(model(ids).logits[:, :-1], ids[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def masked() -> None:
        with layers_keeping(model, penalty.units, keep):
            step()

    def idle() -> None:
        with silenced(model, penalty.units, penalty.unused(ids)):
            step()

    def pressure() -> None:  # gradients are there already, as after the backward pass of a step
        (1 - newman_q_of_masses(penalty.capacity.masses())).backward()

    return {"step": step, "masked": masked, "silenced": idle, "penalty": pressure}


def refreshed(penalty: SharePenalty, ids: torch.Tensor) -> dict[str, float]:
    """What finding the partition took, with input scales as a run would have them."""
    with penalty.capacity.scales.watching(), torch.no_grad():
        penalty.model(ids[:1])
    start, wall = time.process_time(), time.perf_counter()
    penalty.refresh()
    return {
        "refresh_s": time.process_time() - start,
        "refresh_wall_s": time.perf_counter() - wall,
        "refresh_modules": penalty.modules,
        "refresh_peak_gib": peak_gib(),
    }


def counted(config: GPT2Config) -> dict[str, Any]:
    """Parameters, units and rows of all weight matrices, of a network that is never made."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    units = transformer_map(model)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "units": units.n,
        "rows": sum(len(block.receivers) for block in units.blocks),
    }


def measured(
    config: GPT2Config, tokens: int, modules: int, schedule: ShareSchedule, repeats: int
) -> dict[str, Any]:
    """Medians and what they add up to, as shares of a plain step.

    The overhead is the penalty's in the steps that have one, what masks and silence add in the
    steps that have them, and a hundredth of a refresh.
    """
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    units = transformer_map(model)
    texts = torch.randint(0, config.vocab_size, (schedule.probes * schedule.piece // 512, 512))
    texts[: len(texts) // 2] %= 25_000  # two sources, so that a refresh has modules to find
    texts[len(texts) // 2 :] %= 1_000
    penalty = SharePenalty(model, lambda step: texts, schedule, units=units)
    row: dict[str, Any] = refreshed(penalty, texts)
    penalty.set_labels(torch.randint(0, modules, (units.n,)))
    ids = torch.randint(0, config.vocab_size, (tokens // 512, 512))
    taken = seconds_of(works_of(penalty, ids), repeats)
    row |= {f"{name}_s": median(each) for name, each in taken.items()}
    for name in ("masked", "silenced"):
        extra = [a - b for a, b in zip(taken[name], taken["step"], strict=True)]
        row[f"{name}_frac"] = median(extra) / row["step_s"]
    row["penalty_frac"] = row["penalty_s"] / row["step_s"]
    row["refresh_frac"] = row["refresh_s"] / 100 / row["step_s"]
    row["overhead_frac"] = (
        row["penalty_frac"] / schedule.press_every
        + row["masked_frac"] * schedule.mask_share
        + row["silenced_frac"] * schedule.silence_share
        + row["refresh_frac"]
    )
    return row | counted(config) | {"peak_gib": peak_gib(), "raw_s": taken}


def arguments(description: str) -> argparse.ArgumentParser:
    """What every measurement on a network of GPT-2's shape can be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--probes", type=int, default=256, help="pieces of 32 tokens a refresh")
    parser.add_argument("--press-every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    return parser


def add_row(path: Path, row: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints a row and adds it to a record, with what it was measured at."""
    measured_at = {name: value for name, value in vars(args).items() if name != "json"}
    print(told(append_row(path, row | measured_at, left_out=("raw_s",))))


def main() -> None:
    """Measures and writes the record."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--modules", type=int, default=4)
    parser.add_argument("--count", action="store_true", help="count only, measure nothing")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = GPT2Config(n_layer=args.layers, n_embd=args.width, n_head=args.heads)
    schedule = ShareSchedule(probes=args.probes, press_every=args.press_every)
    if args.count:
        row = counted(config)
    else:
        row = measured(config, args.tokens, args.modules, schedule, args.repeats)
    add_row(args.json, row, args)


if __name__ == "__main__":
    main()
