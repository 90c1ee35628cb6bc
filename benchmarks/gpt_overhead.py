"""What the share penalty adds to a training step of GPT-2 small, measured side by side.

python -m benchmarks.gpt_overhead --json benchmarks/results/gpt_overhead.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from partwise.capability.language import token_loss
from partwise.files import write_json
from partwise.graph.activity import InputScales
from partwise.graph.transformer import transformer_map
from partwise.loss.masses import newman_q_of_masses
from partwise.loss.shares import interface_masks, share_masses


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of `work`, after one unmeasured call."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--modules", type=int, default=4)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=args.layers))
    units = transformer_map(model)
    labels = torch.randint(0, args.modules, (units.n,))
    scales = InputScales(model, units)
    masks = interface_masks(model, units, labels)
    ids = torch.randint(0, 50257, (args.tokens // 512, 512))

    def step() -> None:
        token_loss(model(ids).logits[:, :-1], ids[:, 1:]).backward()

    def penalty() -> None:
        (1 - newman_q_of_masses(share_masses(model, units, labels, scales))).backward()

    def masking() -> None:
        masked = [model.get_parameter(name) * mask for name, mask in masks.items()]
        torch.autograd.backward(masked, [torch.ones_like(each) for each in masked])

    row = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": args.tokens,
        "threads": args.threads,
        "step_s": timed(step, args.repeats),
        "penalty_s": timed(penalty, args.repeats),
        "masking_s": timed(masking, args.repeats),
    }
    row["penalty_frac"] = row["penalty_s"] / row["step_s"]
    row["masking_frac"] = row["masking_s"] / row["step_s"]
    print(row)
    write_json(args.json, row)


if __name__ == "__main__":
    main()
