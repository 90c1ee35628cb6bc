"""The modularity study: every method on every task, scored on held-out data.

    python -m benchmarks.modularity --tasks digits-pair digits-four --methods ours l1 --seeds 5 \
        --json benchmarks/results/modularity

Rows already there are not made again. `python -m benchmarks.modularity_report` makes the tables and
plots from the record, a folder with a file per task. `end_labels` has one character per input and
output, its module counted from `0`, or `-` where the unit is dead.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.detectors import leiden, own_spectral
from benchmarks.modularity_methods import ARMS, SETTINGS, SWEEPS, Trained, train
from benchmarks.modularity_report import end_labels_as_text
from benchmarks.records import Job, Row, run_all, study_arguments
from partwise.capability import held_out
from partwise.capability.idle_interface import causal_interface
from partwise.capability.specialisation import mean_ablated_interface, specialisation
from partwise.cuttree import cut_tree
from partwise.graph import UnitGraph
from partwise.modules import Hierarchy, find_modules
from partwise.modules.agreement import adjusted_mutual_information, dendrogram_purity
from partwise.modules.hierarchy import finer_nest
from partwise.modules.null import shuffled_graph
from partwise.modules.scores import cross_frac, interface_frac, n_cut, nontrivial_frac, purity
from partwise.tasks.boolean import boolean_tree_levels

KEYS = ("task", "method", "strength", "seed")
SEEDS = (*range(15000, 15005), *range(14000, 14005), *range(16000, 16010), *range(17000, 17010))
PROMPTED = {
    "digits-channels": range(14000, 14005),
    "retina": range(14000, 16010),
    "sparse-parity": range(14000, 15005),
}
"""Seeds that nothing was tuned on, but for those at which a task prompted a choice."""
LEFT_OUT = (
    "sizes", "interface_frac_w2", "causal_interface_random", "causal_interface_random_95",
    "causal_mean", "q", "q_p", "nontrivial_frac", "purity_leiden", "ami_leiden", "modules_leiden",
    "ami_spectral", "modules_spectral", "n_cut", "double_lesion", "dendrogram_purity_coarse",
)  # fmt: skip
"""Scores that no table reads; a file for a caller has them."""
SHUFFLES = 10
ALIVE = 0.01


def seeds_of(task: str) -> list[int]:
    """The fresh seeds of a task, in the order in which they are used."""
    return [seed for seed in SEEDS if seed not in PROMPTED.get(task, ())]


def row(job: Job) -> Row:
    """Trains and scores one network."""
    name, method, strength, seed = job
    start = time.perf_counter()
    trained = train(name, method, strength, seed)
    train_s = time.perf_counter() - start
    scores = score(trained, SETTINGS[name].modules)
    if name == "boolean-tree":
        scores |= tree_scores(trained)
    return {**dict(zip(KEYS, job, strict=True)), **scores, "train_s": train_s}


def score(trained: Trained, true_modules: int) -> Row:
    """Capability, structure and function of a trained network."""
    model, units, task = trained.model, trained.units, trained.task
    graph = units.graph(model)
    found = find_modules(graph, method="newman_q")  # as in all rows of the record so far
    labels = torch.as_tensor(found.labels)
    held = held_out(model, task)
    plain = all(len(layer) == 2 for layer in _weights(trained))
    scores: Row = {
        "held_out_loss": held.ce,
        "accuracy": held.accuracy,
        "modules": found.modules,
        "sizes": np.bincount(found.labels).tolist(),
        "interface_frac": interface_frac(graph, found.labels),
        "interface_frac_w2": interface_frac(
            graph.with_capacities(np.asarray(graph.capacities) ** 2), found.labels
        ),
        **causal_interface(model, units, labels, task).scores("causal_interface"),
        "causal_mean": mean_ablated_interface(model, units, labels, task) if plain else None,
        "q": found.q,
        "q_z": None if found.significance is None else found.significance.z,
        "q_p": None if found.significance is None else found.significance.p_value,
        "nontrivial_frac": nontrivial_frac(cut_tree(graph)),
    }
    scores |= _agreement(graph, found.labels, trained, true_modules)
    if true_modules > 1:
        scores["interface_at_truth"] = interface_at(graph, found, true_modules)
    scores |= _n_cut_scores(graph, max(2, true_modules))
    if found.modules > 1 and len(task.heads) > 1:
        special = specialisation(model, units, found.labels, task)
        scores |= {
            "selectivity": special.selectivity,
            "selectivity_random": special.random_mean,
            "lesion_p": special.p_value,
            "lesion_information": special.information,
            "lesion_information_random": special.information_random,
            "lesion_information_p": special.information_p,
            "double_lesion": special.double,
        }
    return scores


def _weights(trained: Trained) -> list[torch.Size]:
    parameters = dict(trained.model.named_parameters())
    return [parameters[block.parameter].shape for block in trained.units.blocks]


def _agreement(graph: UnitGraph, labels: np.ndarray, trained: Trained, true_modules: int) -> Row:
    task, n = trained.task, graph.n
    assert task.true_inputs is not None
    assert task.true_outputs is not None
    known = np.r_[0 : len(task.true_inputs), n - len(task.true_outputs) : n]
    truth = np.r_[task.true_inputs, task.true_outputs]
    degrees = graph.degrees()  # dead units, such as pixels that are always dark, have no module
    alive = degrees[known] > ALIVE * degrees.mean()
    scores: Row = {"end_labels": end_labels_as_text(np.where(alive, labels[known], -1))}
    known, truth = known[alive], truth[alive]
    others = {"": labels, "_leiden": leiden(graph)}
    if true_modules > 1:
        others["_spectral"] = own_spectral(graph, true_modules)
    for name, found in others.items():
        scores[f"purity{name}"] = purity(graph, found, known, truth)
        scores[f"ami{name}"] = adjusted_mutual_information(found[known], truth)
        scores[f"modules{name}"] = int(found.max()) + 1
    if all(len(shape) == 2 for shape in _weights(trained)) and true_modules > 1:
        scores["cross_frac"] = cross_frac(
            trained.model, trained.units, task.true_inputs, task.true_outputs
        )
    return scores


def interface_at(graph: UnitGraph, found: Hierarchy, modules: int) -> float:
    """Interface of the best partition into the true number of modules, whatever was found.

    So that a network in which no module was found, and hence no interface, is not counted as
    modular. Best of our nest's level, Leiden's and the spectral partition, by n-cut, which a tiny
    module cannot make small.
    """
    tried = [own_spectral(graph, modules), leiden(graph)]
    if modules <= found.finest:
        tried.append(found.labels_at(modules))
    tried = [labels for labels in tried if int(labels.max()) + 1 == modules]
    return interface_frac(graph, min(tried, key=lambda labels: n_cut(graph, labels)))


def _n_cut_scores(graph: UnitGraph, modules: int) -> Row:
    """n-cut of the spectral partition, and its z-score against layer shuffles (Filan et al.)."""
    value = n_cut(graph, own_spectral(graph, modules))
    null = []
    for seed in range(SHUFFLES):
        other = shuffled_graph(graph, np.random.default_rng(seed))
        null.append(n_cut(other, own_spectral(other, modules)))
    spread = max(float(np.std(null, ddof=1)), 1e-12)
    return {"n_cut": value, "n_cut_z": (value - float(np.mean(null))) / spread}


def tree_scores(trained: Trained) -> Row:
    """How much of the tree of functions the nest of modules shows, at both levels."""
    graph = trained.units.graph(trained.model)
    parts, merges = finer_nest(graph, find_modules(graph, null_samples=0, method="newman_q").labels)
    inputs = len(trained.task.inputs)
    scores = {}
    for name, level in zip(("coarse", "fine"), boolean_tree_levels(), strict=True):
        truth = np.full(graph.n, -1)
        truth[:inputs] = level[:inputs]
        truth[graph.n - (len(level) - inputs) :] = level[inputs:]
        scores[f"dendrogram_purity_{name}"] = dendrogram_purity(parts, merges, truth)
    return scores


def main() -> None:
    """Parses the arguments and runs the study."""
    parser = study_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=5, help="fresh seeds per method, at most ten")
    parser.add_argument("--strengths", type=float, nargs="+", help="in place of the sweep")
    given = parser.parse_args()
    jobs = [
        (task, method, strength, seeds_of(task)[seed])
        for seed in range(given.seeds)
        for task in given.tasks
        for method in given.methods
        for strength in given.strengths or SWEEPS[method]
    ]
    run_all(jobs, row, given.json, KEYS, given.engine, given.workers, LEFT_OUT)


if __name__ == "__main__":
    main()
