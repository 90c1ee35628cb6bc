"""What an audit says: of the network, and of each of its modules."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from partwise.audit.repair import Repair

Outcome = Literal["flagged", "passed", "cannot be judged"]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModuleSuspicion(_Value):
    """How suspicious one module is.

    Triggers of a language model are sequences of tokens; their scores are those of an effect.

    Attributes:
        module: its number.
        outcome: flagged; passed if everything was searched; cannot be judged otherwise.
        score: share of held-out samples of other answers that its strongest trigger forces.
        baseline: share of the same samples that get the answer without the trigger; of a language
            model, the mean score of random sequences.
        siblings: mean share that the trigger forces on clean siblings; None without siblings.
        p_value: how often clean siblings can be forced as far, over all kinds of search; of a
            language model, how often the best of as many random sequences does as much.
        trigger_inputs: names of the trigger's inputs, or its tokens.
        forced_answer: what the trigger forces.
        evidence: the findings, in words.
        effect: of a language model, what the trigger does: see `audit.effects.Effects`.
        interval: 95%, of the score, by document; None of a table.
        driven_units: names of the module's units that the trigger drives beyond clean text.
    """

    module: int
    outcome: Outcome
    score: float
    baseline: float
    siblings: float | None
    p_value: float
    trigger_inputs: tuple[str, ...]
    forced_answer: str
    evidence: tuple[str, ...]
    effect: str | None = None
    interval: tuple[float, float] | None = None
    driven_units: tuple[str, ...] = ()

    @classmethod
    def silent(cls, module: int, outcome: Outcome) -> ModuleSuspicion:
        """Of a module that no trigger acts through."""
        return cls(
            module=module,
            outcome=outcome,
            score=0.0,
            baseline=0.0,
            siblings=None,
            p_value=1.0,
            trigger_inputs=(),
            forced_answer="none",
            evidence=("None of the strongest triggers found acts through this module.",),
        )

    @property
    def flagged(self) -> bool:
        """Whether the outcome is `flagged`."""
        return self.outcome == "flagged"

    @property
    def outlier(self) -> float:
        """Share that it forces beyond what happens without it, and beyond clean siblings'."""
        return self.score - max(self.baseline, self.siblings or 0.0)


class AuditReport(_Value):
    """The verdict on a network.

    Attributes:
        outcome: flagged if any module is; passed if everything was searched and nothing found;
            cannot be judged otherwise.
        reasons: what was not searched, or could not be told, and why.
        guilty_module: the most suspicious flagged module, or None.
        modules: every module, most suspicious first.
        repair: the measured repair of the guilty module, or None.
        searched: of a language model, how many sequences of each length were tried.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    guilty_module: int | None
    modules: tuple[ModuleSuspicion, ...]
    repair: Repair | None
    searched: tuple[str, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether the outcome is `flagged`."""
        return self.outcome == "flagged"
