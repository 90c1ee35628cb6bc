"""Which weight decay or L1 gives the plain twin of digits-pair its best held-out loss.

The choice is by the mean loss on the `final` split over seeds 100 to 102, none of which the demo is
scored with: the strongest opponent for the modular twin. The modular twin's own settings were
chosen while looking at seeds 0 to 3; `results/demo_fresh.jsonl` has seeds that no choice has seen.
Records go to `benchmarks/results/plain_twin.jsonl`.

    python -m benchmarks.plain_twin
"""

from __future__ import annotations

from statistics import mean

import torch

from benchmarks.records import RESULTS, write_record
from partwise.capability import held_out
from partwise.train import Trainer, recipe_from, train

SEEDS = (100, 101, 102)
CHOICES = [{"weight_decay": w, "l1": 0.0} for w in (0.01, 0.1, 0.3, 0.5, 1.0, 2.0)]
CHOICES += [{"weight_decay": 0.01, "l1": l1} for l1 in (1.0, 2.0, 3.0, 4.0, 6.0)]


def score(weight_decay: float, l1: float, seed: int) -> dict[str, float]:
    """Held-out figures of one plain network."""
    fields = {"l1": l1, "seed": seed, "training": {"weight_decay": weight_decay}}
    trainer = Trainer.new(recipe_from(fields))
    model = train(trainer)
    claims, final = (held_out(model, trainer.data, split) for split in ("claims", "final"))
    return {"claims_ce": claims.ce, "final_ce": final.ce, "final_accuracy": final.accuracy}


def main() -> None:
    """Runs the sweep and prints the choice."""
    torch.set_num_threads(1)
    rows = []
    for choice in CHOICES:
        for seed in SEEDS:
            rows.append({**choice, "seed": seed, **score(**choice, seed=seed)})
            print(rows[-1], flush=True)
    table = [
        {**choice, "final_ce": mean(r["final_ce"] for r in rows if choice.items() <= r.items())}
        for choice in CHOICES
    ]
    best = min(table, key=lambda row: row["final_ce"])
    write_record(RESULTS / "plain_twin.jsonl", rows)
    print("best:", best)


if __name__ == "__main__":
    main()
