"""Decompiles transformers: from weights, modules and sequences to steps that run without them.

1. `components`: every head, and the neurons of each module in each block, is one component.
2. `reading`: what each component reads and writes becomes a table over symbols.
3. `steps`: the tables, run one after the other, answer as the network does.
4. `roles`: what each table is, in a closed vocabulary; `tasks`: what the answers are.

Nothing here sees a program or its truth: only a model, a partition, and sequences without answers.
"""

from partwise.zoo.decompile.reading import Reading, Undecompilable, decompile
from partwise.zoo.decompile.roles import roles_of
from partwise.zoo.decompile.steps import Decompiled
from partwise.zoo.decompile.tasks import name_task

__all__ = ["Decompiled", "Reading", "Undecompilable", "decompile", "name_task", "roles_of"]
