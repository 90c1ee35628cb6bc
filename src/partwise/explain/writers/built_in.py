"""The built-in writer: no language model, no network, only what the evidence says."""

from __future__ import annotations

from collections.abc import Sequence

from partwise.explain.values import Description, Evidence
from partwise.explain.writers import tables, texts


class ProgramWriter:
    """Describes modules by what they read, what they decide, and a fitted program.

    A claim is made where the evidence's own interval is beyond chance, and its bound comes from
    that interval, with room to spare (`Spread.safe_low`). Whether it holds is for the
    verification to say.
    """

    name = "built-in"

    def write(self, evidence: Evidence, neighbours: Sequence[Description] = ()) -> Description:
        """The description of a module or an interface.

        Args:
            evidence: what is known of it.
            neighbours: not used; language models are given them.
        """
        say = tables if evidence.text is None else texts
        if evidence.kind == "module":
            return say.describe_module(evidence)
        return say.describe_interface(evidence)
