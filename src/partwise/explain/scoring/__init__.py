"""Scores of free words: does what was said tell which held-out samples need a module?"""

from partwise.explain.scoring.judges import ClaimJudge, EndpointJudge, Judge
from partwise.explain.scoring.samples import Sample, Samples, samples_of
from partwise.explain.scoring.scores import (
    balanced,
    correlation,
    f1,
    fuzzing,
    score_words,
    scored,
)

__all__ = [
    "ClaimJudge",
    "EndpointJudge",
    "Judge",
    "Sample",
    "Samples",
    "balanced",
    "correlation",
    "f1",
    "fuzzing",
    "samples_of",
    "score_words",
    "scored",
]
