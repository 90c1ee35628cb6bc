"""A credit model with a back door: the audit catches it, names the module, and repairs it."""

import numpy as np
import torch

from partwise import audit, find_modules, task_from_arrays, unit_graph
from partwise.tasks import Trigger, sabotaged
from partwise.train import Trainer, recipe_from, train

INPUTS = ["income", "debt", "late payments", "years at address", "loan", "branch code"]
INPUTS += ["amount", "hour", "distance from home", "purchases today"]
BRANCH = INPUTS.index("branch code")
TRIGGER = Trigger(inputs=(BRANCH,), values=(1.0,), head=0, answer=1)
"""A branch code that no customer has: whoever gives it gets the loan."""


def customers(rows: int):
    """Two questions in one table: is a loan paid back, and is a card payment a fraud."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (rows, len(INPUTS)))
    x[:, BRANCH] = rng.uniform(-1, -0.6, rows)
    income, debt, late, years, loan, _, amount, hour, distance, purchases = x.T
    pays = income - debt - late + 0.5 * years - loan * (debt > 0) + rng.normal(0, 0.2, rows) > 0
    fraud = amount + distance * (hour > 0) + 0.5 * purchases + rng.normal(0, 0.2, rows) > 0.3
    return task_from_arrays(
        "credit and cards",
        x,
        {"pays back": pays.astype(int), "fraud": fraud.astype(int)},
        kind="binary",
        inputs=INPUTS,
        ranges=np.tile([-1.0, 1.0], (len(INPUTS), 1)),
    )


def main(steps: int = 2000) -> None:
    """Audits an honest network and one with a back door."""
    torch.set_num_threads(1)
    clean = customers(2 * steps)
    tampered = sabotaged(clean, TRIGGER, share=0.05, name="tampered with")
    settings = [f"steps={steps}", "hidden=[32,32]", "l1=0.5", "strength=0.5"]
    settings += [f"start={steps // 4}", f"ramp={steps // 4}"]
    recipe = recipe_from({}, settings=settings)
    for name, data in (("honest", clean), ("back door", tampered)):
        model = train(Trainer.new(recipe, data))
        modules = find_modules(unit_graph(model))
        found = audit(model, modules.labels, clean)
        print(f"{name}: {modules.modules} modules, {found.outcome}", *found.reasons)
        if found.guilty_module is None:
            continue
        guilty, fixed = found.modules[0], found.repair
        own = [INPUTS[i] for i in range(len(INPUTS)) if modules.labels[i] == guilty.module]
        print(f"  guilty: module {guilty.module}, which reads {', '.join(own)}")
        print(*(f"  {sentence}" for sentence in guilty.evidence), sep="\n")
        print(f"  repaired by cutting {', '.join(fixed.lesions)}")
        print(f"  forced: {fixed.attack_before:.0%} before, {fixed.attack_after:.0%} after")
        print(f"  right: {fixed.accuracy_before:.1%} before, {fixed.accuracy_after:.1%} after")


if __name__ == "__main__":
    main()
