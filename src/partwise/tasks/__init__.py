"""Embedded tasks whose true structure is known."""

from collections.abc import Callable

from partwise.errors import RecipeError
from partwise.tasks.arrays import task_from_arrays
from partwise.tasks.boolean import boolean_tree, modular_addition, retina, sparse_parity
from partwise.tasks.digit_variants import (
    digit_one,
    digits_channels,
    digits_random,
    digits_shared,
)
from partwise.tasks.digits import digits_four, digits_pair
from partwise.tasks.formulas import compositionality, feature_sharing, independence
from partwise.tasks.planted import planted_blocks
from partwise.tasks.playground import playground, two_playgrounds
from partwise.tasks.sabotage import Trigger, corner_patch, digits_pair_sabotaged, sabotaged
from partwise.tasks.task import Batch, Head, Rows, Split, Task
from partwise.tasks.text import Text, TextRows
from partwise.tasks.words import Words

TASKS: dict[str, Callable[[], Task]] = {
    "digits-pair": digits_pair,
    "digits-pair-sabotaged": digits_pair_sabotaged,
    "digits-four": digits_four,
    "digits-shared": digits_shared,
    "digits-channels": digits_channels,
    "digits-random": digits_random,
    "digit-one": digit_one,
    "formulas-independence": independence,
    "formulas-sharing": feature_sharing,
    "formulas-composition": compositionality,
    "retina": retina,
    "boolean-tree": boolean_tree,
    "sparse-parity": sparse_parity,
    "modular-addition": modular_addition,
    "playground-circle": lambda: playground("circle"),
    "playground-xor": lambda: playground("xor"),
    "playground-gaussians": lambda: playground("gaussians"),
    "playground-spiral": lambda: playground("spiral"),
    "two-playgrounds": two_playgrounds,
}


Data = Task | Text
"""Samples with questions, in splits of which no sample is in two."""


def task_named(name: str) -> Task:
    """The embedded task of this name.

    Raises:
        RecipeError: if there is none, naming those that exist.
    """
    if name not in TASKS:
        raise RecipeError(f"no task '{name}'; there are {', '.join(TASKS)}")
    return TASKS[name]()


__all__ = [
    "TASKS",
    "Batch",
    "Data",
    "Head",
    "Rows",
    "Split",
    "Task",
    "Text",
    "TextRows",
    "Trigger",
    "Words",
    "corner_patch",
    "planted_blocks",
    "sabotaged",
    "task_from_arrays",
    "task_named",
]
