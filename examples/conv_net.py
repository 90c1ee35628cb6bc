"""A conv net reads one digit in each channel, and comes apart into a module for each."""

import numpy as np
import torch

from partwise import explain, find_modules, unit_graph
from partwise.explain import count_verdicts
from partwise.train import Trainer, built_in_recipe, train


def main(steps: int = 1500) -> None:
    """Trains by a built-in recipe, finds the modules, and describes them."""
    torch.set_num_threads(1)
    recipe = built_in_recipe("digits-channels-conv", [f"steps={steps}", "lr=4e-3"])
    trainer = Trainer.new(recipe)
    task, model = trainer.data, train(trainer)

    rows = task.rows("final", 1000, seed=0)
    with torch.no_grad():
        right = task.correct(model(rows.x), rows.y).mean(0)
    print(f"right at each digit: {right[0]:.1%}, {right[1]:.1%}")
    graph = unit_graph(model, rows.x[:2])
    modules = find_modules(graph)
    print(f"{modules.modules} modules")
    for group in graph.groups:
        counts = np.bincount(modules.labels[group.start : group.stop], minlength=modules.modules)
        print(f"  {group.name}: {' + '.join(map(str, counts))} units")
    described = explain(model, modules.labels, task, units=trainer.units, samples=300)
    for part in described:
        print(part.subject, "|", part.description.sentence)
    print(count_verdicts(described))


if __name__ == "__main__":
    main()
