"""Tumours and wines in one network: nobody tells it that two tables are glued together."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_wine

from partwise import explain, find_modules, task_from_arrays, unit_graph
from partwise.explain import count_verdicts
from partwise.train import Trainer, recipe_from, train


def glued(pairs: int = 2000):
    """Rows of a tumour and a wine each; a tumour or a wine stays in one split."""
    tumours, wines = load_breast_cancer(), load_wine()
    rng = np.random.default_rng(0)
    rows, splits = [], []
    order = [rng.permutation(len(table.target)) for table in (tumours, wines)]
    for split, low, high in (("train", 0, 0.6), ("claims", 0.6, 0.8), ("final", 0.8, 1)):
        count = round((high - low) * pairs)
        own = [each[int(low * len(each)) : int(high * len(each))] for each in order]
        rows.append([rng.choice(each, count) for each in own])
        splits += [split] * count
    first, second = np.hstack(rows)
    scaled = [(table.data - table.data.mean(0)) / table.data.std(0) for table in (tumours, wines)]
    return task_from_arrays(
        "a tumour and a wine",
        np.hstack([scaled[0][first], scaled[1][second]]),
        {
            "tumour": tumours.target_names[tumours.target[first]],
            "cultivar": wines.target_names[wines.target[second]],
        },
        inputs=[*tumours.feature_names, *wines.feature_names],
        splits=splits,
        groups=np.stack([first, second], 1),  # rows that share a tumour are not independent
    )


def main(steps: int = 3000) -> None:
    """Trains within a budget, finds the modules, and describes them."""
    torch.set_num_threads(1)
    task = glued()
    settings = [f"steps={steps}", "budget=0.05", "hidden=[32,32]", "weight_decay=0.3"]
    model = train(Trainer.new(recipe_from({}, settings=settings), task))
    modules = find_modules(unit_graph(model))
    print(f"{modules.modules} modules")
    reads = (model[0].weight.abs().sum(0) > 0).numpy()  # training disconnects what carries nothing
    for k in range(modules.modules):
        own = np.flatnonzero(reads & (modules.labels[: len(reads)] == k))
        of_tumours, of_wines = (own < 30).sum(), (own >= 30).sum()
        print(f"module {k} reads {of_tumours} columns of tumours, {of_wines} of wines")
    described = explain(model, modules.labels, task)
    for part in described:
        print(part.subject, "|", part.description.sentence)
    print(count_verdicts(described))


if __name__ == "__main__":
    main()
