"""Several programs in one network, side by side: the truth has modules of many operations.

The programs read the same tokens, each through residual channels of its own, and nothing of each
other. Neurons at the end write their answers down together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from partwise.zoo.compiler import Compiled
from partwise.zoo.language import Program, mapped


def together(programs: Sequence[Program]) -> Program:
    """One program whose answer is the answers of several, such as `2|y`.

    Args:
        programs: over the same tokens and of the same causality.
    """
    first = programs[0]
    assert all(each.texts == first.texts for each in programs)
    assert all(each.is_causal == first.is_causal for each in programs)
    answer = mapped(_joined, *(each.output for each in programs), role="pairs")
    return replace(
        first,
        name=" + ".join(each.name for each in programs),
        family="together",
        output=answer,
        longest=min(each.longest for each in programs),
        shortest=max(each.shortest for each in programs),
        draw=None,
    )


def _joined(*answers: object) -> str:
    return "|".join(str(each) for each in answers)


def programs_of_units(programs: Sequence[Program], net: Compiled) -> NDArray[np.int64]:
    """(units,) the program that each unit works for, from 1; 0 where for all or none.

    Args:
        programs: those that were put together.
        net: `together` of them, compiled.
    """
    labels = np.zeros(net.truth.units, np.int64)
    operations = dict.fromkeys((programs[0].tokens, *(o for p in programs for o in p.operations)))
    position = {id(operation): i for i, operation in enumerate(operations)}
    for number, program in enumerate(programs, 1):
        for operation in program.operations:
            part = net.truth.components[position[id(operation)]]
            own = part.channels if part.kind == "embedding" else (*part.units, *part.channels)
            labels[list(own)] = number
    return labels
