"""What convolutions show: modules that match the questions, and claims that hold, seed by seed.

    python -m benchmarks.conv_words --seeds 0 1 2 3 4

Trains `digits-channels-conv` (or another built-in recipe), cuts and explains it with the built-in
writer. Prints a JSON line for each seed. `--runs` names a directory that keeps the networks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from partwise.audit import audit
from partwise.explain import count_verdicts, explain
from partwise.runs import Network, open_network
from partwise.stages import cut_network
from partwise.train import RunDirectory, Trainer, built_in_recipe, train_run

RECIPE = "digits-channels-conv"


def network_of(recipe: str, seed: int, runs: Path) -> Network:
    """The network of a seed: trained, unless its run is there already."""
    path = runs / f"s{seed}"
    if not (path / "checkpoint.safetensors").exists():
        chosen = built_in_recipe(recipe, [f"seed={seed}"])
        train_run(RunDirectory.create(path, chosen), Trainer.new(chosen))
    return open_network(path)


def row_of(network: Network, seed: int, audits: bool) -> dict[str, object]:
    """Modules, outputs of each, claims by outcome, and how long it took."""
    started = time.process_time()
    graph, found = cut_network(network)
    outputs = found.labels[graph.n - len(network.task.outputs) :]
    whole = [np.unique(outputs[head.start : head.stop]) for head in network.task.heads]
    explained = explain(network.model, found.partition, network.data)
    row: dict[str, object] = {
        "seed": seed,
        "modules": found.partition.modules,
        "questions_apart": all(len(each) == 1 for each in whole)
        and len(set(outputs)) == len(whole),
        **count_verdicts(explained),
        "explain_cpu_s": round(time.process_time() - started, 1),
    }
    if audits:
        started = time.process_time()
        row["audit"] = audit(network.model, found.partition, network.data).outcome
        row["audit_cpu_s"] = round(time.process_time() - started, 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--audit", action="store_true", help="audit them too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            network = network_of(args.recipe, seed, args.runs or Path(scratch))
            print(json.dumps(row_of(network, seed, args.audit)), flush=True)


if __name__ == "__main__":
    main()
