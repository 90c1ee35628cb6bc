"""Evidence on rows of numbers: heads' losses, unit profiles, examples, a fitted program."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from partwise.explain.chance import Band, input_band, lesion_band, wire_band
from partwise.explain.evidence.graphs import (
    boundary,
    code,
    crossing,
    feeds,
    hidden_of,
    inputs_of,
    reads,
    sizes_by_layer,
    units_by_layer,
)
from partwise.explain.evidence.pictures import map_profiles
from partwise.explain.evidence.thresholds import CAREFUL, best_threshold, carefully
from partwise.explain.fitting import fit_program
from partwise.explain.intervals import Estimate
from partwise.explain.measures import Measures
from partwise.explain.subject import Subject
from partwise.explain.values import Evidence, Example, Foreign, HeadEffect, Spread, UnitProfile
from partwise.modules import module_masses

MOST_PROFILES = 8


def table_module(subject: Subject, module: int) -> Evidence:
    """Evidence about one module, from the samples of the `train` split."""
    effects = _effects(
        subject,
        lambda measures, head: measures.of_module(module, head),
        *[lesion_band(subject, "train", module)] * 2,
    )
    head = int(np.argmax([effect.added for effect in effects]))
    fitted = fit_program(
        subject, head, inputs_of(subject, module), CAREFUL * subject.rows("claims").independent
    )
    return Evidence(
        kind="module",
        modules=(module,),
        units=units_by_layer(subject, module),
        sizes=sizes_by_layer(subject, module),
        reads=reads(subject, module),
        feeds=feeds(subject, module),
        interface_frac=boundary(subject, module),
        code=code(subject, subject.labels == module),
        effects=effects,
        profiles=_profiles(subject, module),
        examples=_examples(subject, _activity(subject, module)),
        inputs=subject.task.inputs,
        heads=tuple(head.name for head in subject.data.heads),
        fitted=fitted.text if fitted else None,
        fitted_head=head if fitted else None,
        fitted_fidelity=fitted.fidelity if fitted else 0.0,
        fitted_low=fitted.low if fitted else 0.0,
        fitted_safe=fitted.safe if fitted else 0.0,
        fitted_chance=fitted.chance if fitted else 0.0,
        picture=subject.task.picture,
        maps=map_profiles(subject, module),
        foreign=_foreign(subject, module) if subject.map_layers else None,
    )


def table_interface(subject: Subject, pair: tuple[int, int]) -> Evidence:
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
        reads=tuple(crossing(subject, *pair)),
        feeds=tuple(crossing(subject, *reversed(pair))),
        interface_frac=float(2 * mass[pair]),
        code=code(subject, np.isin(subject.labels, pair), crossing=True),
        effects=effects,
        profiles=(),
        examples=_examples(subject, change),
        inputs=subject.task.inputs,
        heads=tuple(head.name for head in subject.data.heads),
        picture=subject.task.picture,
    )


def _effects(
    subject: Subject, added: Callable[[Measures, int], Estimate], more: Band, less: Band
) -> tuple[HeadEffect, ...]:
    """What an intervention does to each head, beside random ones that do `more`, or `less`."""
    before = subject.losses("train").mean(0)
    spread = subject.batch("train").y.var(0, correction=0)
    effects = []
    for k, head in enumerate(subject.data.heads):
        found, careful = added(Measures(subject, "train"), k), added(carefully(subject), k)
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
                    chance_low=less.low(k),
                    chance_high=more.high(k),
                ),
                variance=(spread[k].item() or None) if head.kind == "value" else None,
            )
        )
    return tuple(effects)


def _foreign(subject: Subject, module: int) -> Foreign | None:
    """What the inputs of other modules do to each question."""
    others = np.flatnonzero(subject.labels[: len(subject.task.inputs)] != module)
    if not len(others):
        return None
    inputs = tuple(others.tolist())
    band = input_band(subject, "train", inputs)
    effects = _effects(subject, lambda measures, head: measures.of_inputs(inputs, head), band, band)
    return Foreign(inputs=inputs, effects=effects)


def _activity(subject: Subject, module: int) -> Tensor:
    """(b,) how far the module's hidden units are from their means, in standard deviations."""
    values = subject.lesions.activations(subject.batch("train").x)[:, hidden_of(subject, module)]
    if values.shape[1] == 0:
        return torch.zeros(len(values))
    return ((values - values.mean(0)) / (values.std(0) + 1e-6)).square().mean(1).sqrt()


def _profiles(subject: Subject, module: int) -> tuple[UnitProfile, ...]:
    batch, names = subject.batch("train"), subject.unit_names
    values, degrees = subject.lesions.activations(batch.x), subject.graph.degrees()
    questions = _answer_indicators(subject)
    profiles = []
    for unit in hidden_of(subject, module)[:MOST_PROFILES]:
        answer, threshold, f1 = max(
            ((name, *best_threshold(values[:, unit], truth)) for name, truth in questions.items()),
            key=lambda each: each[2],
        )
        holds = questions[answer].numpy() > 0
        found, chance = Measures(subject, "train").of_unit(int(unit), threshold, holds)
        careful, _ = carefully(subject).of_unit(int(unit), threshold, holds)
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
    for k, head in enumerate(subject.data.heads):
        if head.kind == "value":
            found[f"answer{k} > {y[:, k].median():.3g}"] = (y[:, k] > y[:, k].median()).float()
            continue
        for value in torch.unique(y[:, k]).tolist():
            found[f"answer{k} == {value:g}"] = (y[:, k] == value).float()
    return found


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
