"""Gathering evidence: what a writer may see of a module or an interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain.chance import Band, lesion_band, wire_band
from partwise.explain.fitting import fit_program
from partwise.explain.intervals import Estimate
from partwise.explain.measures import Measures
from partwise.explain.subject import Subject
from partwise.explain.values import Evidence, Example, HeadEffect, Share, Spread, UnitProfile
from partwise.modules import module_masses

MOST_UNITS = 64
MOST_PROFILES = 8
MOST_CODE_LINES = 40
READ_SHARE = 0.95
CAREFUL = 0.2
"""Share of the test's rows whose interval a writer's bounds should leave room for: other rows test
a claim, and beside other claims. Reports say so where they show the claims."""


def module_evidence(subject: Subject, module: int) -> Evidence:
    """Evidence about one module, from the samples of the `train` split."""
    effects = _effects(
        subject,
        lambda measures, head: measures.of_module(module, head),
        *[lesion_band(subject, "train", module)] * 2,
    )
    reads = _reads(subject, module)
    head = int(np.argmax([effect.added for effect in effects]))
    fitted = fit_program(
        subject, head, inputs_of(subject, module), CAREFUL * subject.batch("claims").independent
    )
    return Evidence(
        kind="module",
        modules=(module,),
        units=_units(subject, module),
        reads=reads,
        feeds=_feeds(subject, module),
        interface_frac=_boundary(subject, module),
        code=_code(subject, subject.labels == module),
        effects=effects,
        profiles=_profiles(subject, module),
        examples=_examples(subject, _activity(subject, module)),
        inputs=subject.task.inputs,
        heads=tuple(head.name for head in subject.task.heads),
        fitted=fitted.text if fitted else None,
        fitted_head=head if fitted else None,
        fitted_fidelity=fitted.fidelity if fitted else 0.0,
        fitted_low=fitted.low if fitted else 0.0,
        fitted_safe=fitted.safe if fitted else 0.0,
        fitted_chance=fitted.chance if fitted else 0.0,
        picture=subject.task.picture,
    )


def interface_evidence(subject: Subject, pair: tuple[int, int]) -> Evidence:
    """Evidence about the edges between two modules, from the samples of the `train` split."""
    without = subject.losses_without_interface("train", pair)
    effects = _effects(
        subject,
        lambda measures, head: measures.of_interface(pair, head),
        wire_band(subject, "train", pair, "capacity"),
        wire_band(subject, "train", pair, "number"),
    )
    mass = module_masses(subject.graph, subject.labels)
    change = (without - subject.losses("train")).sum(1)
    return Evidence(
        kind="interface",
        modules=pair,
        units={},
        reads=tuple(_crossing(subject, *pair)),
        feeds=tuple(_crossing(subject, *reversed(pair))),
        interface_frac=float(2 * mass[pair]),
        code=_code(subject, np.isin(subject.labels, pair), crossing=True),
        effects=effects,
        profiles=(),
        examples=_examples(subject, change),
        inputs=subject.task.inputs,
        heads=tuple(head.name for head in subject.task.heads),
        picture=subject.task.picture,
    )


def inputs_of(subject: Subject, module: int) -> NDArray[np.int64]:
    """The module's own inputs that carry `READ_SHARE` of the capacity it reads from them."""
    own = np.flatnonzero(subject.labels[: len(subject.task.inputs)] == module)
    strength = subject.graph.degrees()[own]
    order = np.argsort(-strength, kind="stable")
    enough = np.searchsorted(np.cumsum(strength[order]), READ_SHARE * strength.sum()) + 1
    return np.sort(own[order[:enough]])


def _effects(
    subject: Subject, added: Callable[[Measures, int], Estimate], more: Band, less: Band
) -> tuple[HeadEffect, ...]:
    """What an intervention does to each head, beside random ones that do `more`, or `less`."""
    before = subject.losses("train").mean(0)
    spread = subject.batch("train").y.var(0, correction=0)
    effects = []
    for k, head in enumerate(subject.task.heads):
        found, careful = added(Measures(subject, "train"), k), added(_carefully(subject), k)
        (low, high), (safe_low, safe_high) = found.interval(), careful.interval()
        effects.append(
            HeadEffect(
                head=k,
                name=head.name,
                loss_before=before[k].item(),
                loss_after=before[k].item() + found.mean,
                spread=Spread(
                    low=low,
                    high=high,
                    safe_low=safe_low,
                    safe_high=safe_high,
                    chance_low=float(less.low[k]),
                    chance_high=float(more.high[k]),
                ),
                variance=(spread[k].item() or None) if head.kind == "value" else None,
            )
        )
    return tuple(effects)


def _carefully(subject: Subject) -> Measures:
    """Measures on the evidence, with intervals as wide as on `CAREFUL` of the test's rows."""
    return Measures(subject, "train", CAREFUL * subject.batch("claims").independent)


def _units(subject: Subject, module: int) -> dict[str, tuple[str, ...]]:
    names, degrees, found = subject.unit_names, subject.graph.degrees(), {}
    for group in subject.graph.groups:
        own = np.flatnonzero(subject.labels[group.start : group.stop] == module) + group.start
        strongest = own[np.argsort(-degrees[own], kind="stable")][:MOST_UNITS]
        found[group.name] = tuple(names[unit] for unit in strongest)
    return found


def _reads(subject: Subject, module: int) -> tuple[Share, ...]:
    graph, labels = subject.graph, subject.labels
    inside = labels[graph.targets] == module
    from_input = graph.sources < len(subject.task.inputs)
    edges = np.flatnonzero(inside & (from_input | (labels[graph.sources] != module)))
    return _shares(subject, edges, graph.sources[edges], from_input[edges])


def _feeds(subject: Subject, module: int) -> tuple[Share, ...]:
    graph, labels = subject.graph, subject.labels
    inside = labels[graph.sources] == module
    to_output = graph.targets >= graph.n - len(subject.task.outputs)
    edges = np.flatnonzero(inside & (to_output | (labels[graph.targets] != module)))
    return _shares(subject, edges, graph.targets[edges], to_output[edges])


def _shares(
    subject: Subject,
    edges: NDArray[np.int64],
    ends: NDArray[np.int32],
    by_name: NDArray[np.bool_],
) -> tuple[Share, ...]:
    """Capacity at the far ends, by the name of inputs and outputs, by module for the rest."""
    names, totals = subject.unit_names, dict[str, float]()
    for edge, end, named in zip(edges, ends, by_name, strict=True):
        key = names[end] if named else f"module {subject.labels[end]}"
        totals[key] = totals.get(key, 0.0) + float(subject.graph.capacities[edge])
    whole = sum(totals.values()) or 1.0
    shares, covered = [], 0.0
    for name, total in sorted(totals.items(), key=lambda item: -item[1]):
        if covered < READ_SHARE or name.startswith("module "):
            shares.append(Share(name=name, share=total / whole))
        covered += total / whole
    return tuple(shares)


def _crossing(subject: Subject, reader: int, writer: int) -> list[Share]:
    """The strongest edges through which `reader` reads `writer`."""
    graph, labels, names = subject.graph, subject.labels, subject.unit_names
    edges = np.flatnonzero((labels[graph.targets] == reader) & (labels[graph.sources] == writer))
    whole = graph.capacities[edges].sum() or 1.0
    strongest = edges[np.argsort(-graph.capacities[edges], kind="stable")][:8]
    return [
        Share(
            name=f"{names[graph.sources[e]]} -> {names[graph.targets[e]]}",
            share=float(graph.capacities[e] / whole),
        )
        for e in strongest
    ]


def _boundary(subject: Subject, module: int) -> float:
    mass = module_masses(subject.graph, subject.labels)
    return float(2 * (mass[module].sum() - mass[module, module]))


def _code(subject: Subject, chosen: NDArray[np.bool_], crossing: bool = False) -> str:
    """The strongest weights among the chosen units, as one line of code per reading unit."""
    graph, names = subject.graph, subject.unit_names
    keep = chosen[graph.sources] & chosen[graph.targets]
    same = subject.labels[graph.sources] == subject.labels[graph.targets]
    edges = np.flatnonzero(keep & (same != crossing))
    edges = edges[np.argsort(-graph.capacities[edges], kind="stable")][: 6 * MOST_CODE_LINES]
    terms: dict[int, list[str]] = {}
    for e in edges:
        term = f"{graph.capacities[e]:.2f}*|{names[graph.sources[e]]}|"
        terms.setdefault(int(graph.targets[e]), []).append(term)
    lines = [f"{names[unit]} <- {' + '.join(read[:8])}" for unit, read in sorted(terms.items())]
    return "\n".join(lines[:MOST_CODE_LINES])


def _activity(subject: Subject, module: int) -> Tensor:
    """(b,) how far the module's hidden units are from their means, in standard deviations."""
    values = subject.lesions.activations(subject.batch("train").x)[:, hidden_of(subject, module)]
    if values.shape[1] == 0:
        return torch.zeros(len(values))
    return ((values - values.mean(0)) / (values.std(0) + 1e-6)).square().mean(1).sqrt()


def hidden_of(subject: Subject, module: int) -> NDArray[np.int64]:
    """The module's hidden units, strongest first."""
    kinds = [group.kind for group in subject.graph.groups]
    hidden = np.array([kinds[g] == "hidden" for g in subject.graph.group_of_unit()])
    own = np.flatnonzero(hidden & (subject.labels == module))
    return own[np.argsort(-subject.graph.degrees()[own], kind="stable")]


def _profiles(subject: Subject, module: int) -> tuple[UnitProfile, ...]:
    batch, names = subject.batch("train"), subject.unit_names
    values, degrees = subject.lesions.activations(batch.x), subject.graph.degrees()
    questions = _answer_indicators(subject)
    profiles = []
    for unit in hidden_of(subject, module)[:MOST_PROFILES]:
        answer, threshold, f1 = max(
            ((name, *_best_threshold(values[:, unit], truth)) for name, truth in questions.items()),
            key=lambda each: each[2],
        )
        holds = questions[answer].numpy() > 0
        found, chance = Measures(subject, "train").of_unit(int(unit), threshold, holds)
        careful, _ = _carefully(subject).of_unit(int(unit), threshold, holds)
        profiles.append(
            UnitProfile(
                unit=int(unit),
                layer=names[unit],
                strength=float(degrees[unit]),
                quantiles=tuple(torch.quantile(values[:, unit], torch.linspace(0, 1, 5)).tolist()),
                best_answer=answer,
                threshold=threshold,
                f1=f1,
                f1_low=found.interval()[0],
                f1_safe=careful.interval()[0],
                chance=chance,
            )
        )
    return tuple(profiles)


def _answer_indicators(subject: Subject) -> dict[str, Tensor]:
    """Condition on the right answer, as a program -> (b,) whether it holds."""
    y, found = subject.batch("train").y, {}
    for k, head in enumerate(subject.task.heads):
        if head.kind == "value":
            found[f"answer{k} > {y[:, k].median():.3g}"] = (y[:, k] > y[:, k].median()).float()
            continue
        for value in torch.unique(y[:, k]).tolist():
            found[f"answer{k} == {value:g}"] = (y[:, k] == value).float()
    return found


def _best_threshold(values: Tensor, truth: Tensor) -> tuple[float, float]:
    """The threshold above which `values` tell `truth` with the highest F1, and that F1."""
    order = values.argsort(descending=True)
    hits = truth[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(values) + 1) + truth.sum())
    best = int(f1[:-1].argmax())
    middle = (values[order[best]] + values[order[best + 1]]) / 2
    return middle.item(), f1[best].item()


def _examples(subject: Subject, activity: Tensor) -> tuple[Example, ...]:
    order = activity.argsort(descending=True)
    rng = np.random.default_rng(subject.seed)
    chosen = [("highest", int(i)) for i in order[:4]]
    chosen += [("lowest", int(i)) for i in order[-2:]]
    chosen += [("random", int(i)) for i in rng.choice(len(activity), 2, replace=False)]
    batch = subject.batch("train")
    return tuple(
        Example(
            why=why,
            inputs=tuple(round(value, 3) for value in batch.x[i].tolist()),
            activity=activity[i].item(),
            answers=tuple(batch.y[i].tolist()),
        )
        for why, i in chosen
    )
