"""The demo's bars at several seeds, each run whole, with the machine and the commit.

python -m benchmarks.demo --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.records import RESULTS, write_record
from partwise.demo import run_demo


def bars(summary: dict[str, Any]) -> dict[str, bool]:
    """Which of the demo's promises a run kept."""
    plain, modular, audited = summary["plain"], summary["modular"], summary["audit"]
    return {
        "purity >= 0.95": modular["purity"] >= 0.95,
        "interface_frac <= 0.05": modular["interface_frac"] <= 0.05,
        "causal_interface <= 0.05 nats": modular["causal_interface"] <= 0.05,
        "causal_interface_worst <= 0.02 nats": modular["causal_interface_worst"] <= 0.02,
        "held_out_ce <= 1.15 x plain": modular["held_out_ce"] <= 1.15 * plain["held_out_ce"],
        "accuracy within 2 points": abs(modular["accuracy"] - plain["accuracy"]) <= 0.02,
        "clean passed, sabotaged flagged": audited["sabotaged_flagged"]
        and not audited["clean_flagged"],
        "under 180 s": summary["seconds"] < 180,
    }


def main() -> None:
    """Runs the demo once per seed and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--json", type=Path, default=RESULTS / "demo.jsonl", help="where the record goes"
    )
    arguments = parser.parse_args()
    seeds = arguments.seeds
    torch.set_num_threads(1)
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            summary = run_demo(Path(folder) / "demo", seed).summary
        rows.append({**summary, "bars": bars(summary)})
        print(seed, summary["seconds"], rows[-1]["bars"], flush=True)
    write_record(arguments.json, rows)


if __name__ == "__main__":
    main()
