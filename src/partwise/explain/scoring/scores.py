"""Scores of ratings against lesion effects, with intervals and a control.

Simulation is the correlation of ratings with effects on samples at their natural rate (Bills et
al., 2023). Detection asks which samples suffer: its F1 at natural rates, beside the mean of both
hit rates that Paulo et al. (2024) report. Fuzzing marks tokens rightly and wrongly in the same
texts. Oikarinen et al. (2025) show that a score is only worth something if it falls when labels
are missing and when there are too many; hit rates do not notice the second, F1 and correlation do.

The control is the same judge's score for the other modules' words. Words that tell modules apart
score well above it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from partwise.explain.questions import lesion_effects, told_in_questions
from partwise.explain.scoring.judges import SUFFERS, ClaimJudge, EndpointJudge, Judge
from partwise.explain.scoring.samples import Samples, samples_of, shown
from partwise.explain.subject import Subject
from partwise.explain.values import Description, Explained, Failed, Score

SAMPLES = {"claims": 2000, "endpoint": 100}
DRAWS = 1000
FUZZED = 20
"""Texts that are marked rightly, and as many wrongly."""
Array = NDArray[np.float64]
Measure = Callable[[Array, Array, Array], Array]


def correlation(weights: Array, rates: Array, effects: Array) -> Array:
    """(draws,) weighted Pearson correlation; 0 where either does not vary.

    Args:
        weights: (draws, n) weight of each sample.
        rates: (n,) what was predicted.
        effects: (n,) what is true.
    """
    total = weights.sum(1)
    mean_r, mean_e = weights @ rates / total, weights @ effects / total
    both = weights @ (rates * effects) / total - mean_r * mean_e
    spread_r = weights @ rates**2 / total - mean_r**2
    spread_e = weights @ effects**2 / total - mean_e**2
    product = np.maximum(spread_r, 0) * np.maximum(spread_e, 0)
    varies = product > 1e-18
    return np.where(varies, both / np.sqrt(np.where(varies, product, 1)), 0.0)


def f1(weights: Array, said: Array, effects: Array) -> Array:
    """(draws,) F1 of what is `said` (n,), 0 or 1, to suffer, for samples that do."""
    true = effects >= SUFFERS
    hits, either = weights @ (said * true), weights @ said + weights @ true
    return np.where(either > 0, 2 * hits / np.maximum(either, 1e-12), 0.0)


def balanced(weights: Array, said: Array, effects: Array) -> Array:
    """(draws,) mean of the hit rates on samples that suffer and on those that do not."""
    true = effects >= SUFFERS
    sides = [
        weights @ (hit * among) / np.maximum(weights @ among, 1e-12)
        for hit, among in ((said, true), (1 - said, ~true))
    ]
    return (sides[0] + sides[1]) / 2


KINDS: dict[Literal["simulation", "detection"], Measure] = {
    "simulation": correlation,
    "detection": f1,
}


def scored(
    subject: Subject, explained: Sequence[Explained], judge: EndpointJudge | None = None
) -> list[Explained]:
    """Explanations with what short descriptions tell of each module, and its words' scores.

    Args:
        subject: the network, taken apart.
        explained: of every module, then of interfaces, which have no scores.
        judge: a language model that rates samples by name and sentence, beside the claims.
    """
    words = [each.description for each in explained[: subject.modules]]
    scores = [tuple(each) for each in score_words(subject, words, ClaimJudge())]
    if judge is not None:
        rated = [score_words(subject, words, judge)]
        rated += [fuzzing(subject, words, judge)] if subject.of_text else []
        for each in rated:
            scores = [(*known, *more) for known, more in zip(scores, each, strict=True)]
    modules = [
        each.model_copy(update={"scores": own, "told": tuple(told_in_questions(subject, module))})
        for module, (each, own) in enumerate(zip(explained, scores, strict=False))
    ]
    return [*modules, *explained[subject.modules :]]


def score_words(
    subject: Subject, words: Sequence[Description | Failed], judge: Judge, most: int | None = None
) -> list[list[Score]]:
    """The scores of every module's words; empty for a module without words.

    Args:
        subject: the network, taken apart.
        words: a description per module.
        judge: who rates; the same samples for all modules.
        most: samples that are rated.
    """
    kind = "endpoint" if isinstance(judge, EndpointJudge) else "claims"
    samples = samples_of(subject, SAMPLES[kind] if most is None else most)
    weights = _weights(samples)
    rated = [judge.rates(w, samples) if isinstance(w, Description) else w for w in words]
    return [
        _scores(samples, weights, rated, module, judge) if isinstance(w, Description) else []
        for module, w in enumerate(words)
    ]


def _scores(
    samples: Samples, weights: Array, rated: Sequence[Array | Failed], module: int, judge: Judge
) -> list[Score]:
    own, effects = rated[module], samples.effects(module)
    if isinstance(own, Failed):
        return [Score(kind=kind, judge=judge.name, failure=own.reason) for kind in KINDS]
    others = [r for k, r in enumerate(rated) if k != module and not isinstance(r, Failed)]
    found = []
    for kind, measure in KINDS.items():
        seen = [r if kind == "simulation" else _said(judge, r) for r in (own, *others)]
        control = [_plainly(measure, each, effects) for each in seen[1:]]
        beside = float(np.mean(control)) if control else None
        found.append(_score(kind, judge, measure, weights, seen[0], effects, beside))
    return found


def _score(
    kind: Literal["simulation", "detection", "fuzzing"],
    judge: Judge,
    measure: Measure,
    weights: Array,
    said: Array,
    truth: Array,
    control: float | None,
) -> Score:
    """A measure of what was said, with its interval."""
    low, high = np.quantile(measure(weights, said, truth), (0.025, 0.975))
    return Score(
        kind=kind,
        judge=judge.name,
        value=_plainly(measure, said, truth),
        low=float(low),
        high=float(high),
        control=control,
        samples=len(said),
    )


def _said(judge: Judge, rates: Array) -> Array:
    """(n,) 1 where a sample is said to suffer."""
    return (rates >= judge.middle).astype(np.float64)


def _plainly(measure: Measure, rates: Array, effects: Array) -> float:
    """A measure in which all samples weigh alike."""
    return float(measure(np.ones((1, len(rates))), rates, effects)[0])


def _weights(samples: Samples) -> Array:
    """(draws, n) random weights, the same for all samples of a source."""
    subject = samples.subject
    sources = subject.rows("final").sources[samples.of_head()[1]]
    _, place = np.unique(sources, return_inverse=True)
    place = place.reshape(sources.shape)
    rng = np.random.default_rng((subject.seed, 6))
    drawn = rng.standard_exponential((DRAWS, int(place.max()) + 1))
    weights: Array = drawn[:, place].prod(2)
    return weights


def fuzzing(
    subject: Subject, words: Sequence[Description | Failed], judge: EndpointJudge, seed: int = 0
) -> list[list[Score]]:
    """Whether words tell right marks from wrong ones in the same texts; text only.

    In each text the token that suffers most is marked, or one that hardly suffers.
    """
    return [
        [_fuzzed(subject, module, each, judge, seed)] if isinstance(each, Description) else []
        for module, each in enumerate(words)
    ]


def _fuzzed(
    subject: Subject, module: int, words: Description, judge: EndpointJudge, seed: int
) -> Score:
    texts, right = _marked(subject, module, seed)
    rates = judge.rated(words, texts)
    if isinstance(rates, Failed):
        return Score(kind="fuzzing", judge=judge.name, failure=rates.reason)
    weights = np.random.default_rng((seed, 7)).standard_exponential((DRAWS, len(right)))
    truth = right.astype(np.float64)
    return _score("fuzzing", judge, balanced, weights, _said(judge, rates), truth, 0.5)


def _marked(subject: Subject, module: int, seed: int) -> tuple[list[str], NDArray[np.bool_]]:
    """Texts with a mark, and whether it is on a token that suffers."""
    effects = lesion_effects(subject, "final", module).reshape(-1, subject.text.context)
    worst, calmest = effects.argmax(1), np.abs(effects).argmin(1)
    order = np.random.default_rng((seed, 8)).permutation(len(effects))[: 2 * FUZZED]
    right = np.arange(len(order)) % 2 == 0
    places = np.where(right, worst[order], calmest[order]) + order * subject.text.context
    return [shown(subject, place) for place in places.tolist()], right
