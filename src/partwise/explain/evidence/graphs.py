"""What the graph says of a module or an interface: units, what it reads and feeds, wires."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partwise.explain.subject import Subject
from partwise.explain.values import Share
from partwise.modules import module_masses

MOST_UNITS = 64
MOST_CODE_LINES = 40
READ_SHARE = 0.95


def inputs_of(subject: Subject, module: int) -> NDArray[np.int64]:
    """The module's own inputs that carry `READ_SHARE` of the capacity it reads from them."""
    own = np.flatnonzero(subject.labels[: len(subject.task.inputs)] == module)
    strength = subject.graph.degrees()[own]
    order = np.argsort(-strength, kind="stable")
    enough = np.searchsorted(np.cumsum(strength[order]), READ_SHARE * strength.sum()) + 1
    return np.sort(own[order[:enough]])


def units_by_layer(subject: Subject, module: int) -> dict[str, tuple[str, ...]]:
    """A module's strongest units, by layer; all of its inputs."""
    names, degrees, found = subject.unit_names, subject.graph.degrees(), {}
    layers = {layer.group.name: layer.name for layer in subject.map_layers}
    for group in subject.graph.groups:
        own = np.flatnonzero(subject.labels[group.start : group.stop] == module) + group.start
        strongest = own[np.argsort(-degrees[own], kind="stable")]
        if group.kind != "input":
            strongest = strongest[:MOST_UNITS]
        found[layers.get(group.name, group.name)] = tuple(names[unit] for unit in strongest)
    return found


def sizes_by_layer(subject: Subject, module: int) -> dict[str, int]:
    """How many units a module has, by layer."""
    layers = {layer.group.name: layer.name for layer in subject.map_layers}
    return {
        layers.get(group.name, group.name): int(
            (subject.labels[group.start : group.stop] == module).sum()
        )
        for group in subject.graph.groups
    }


def reads(subject: Subject, module: int) -> tuple[Share, ...]:
    """What a module reads: inputs by name, other modules as a whole."""
    graph, labels = subject.graph, subject.labels
    inside = labels[graph.targets] == module
    from_input = graph.sources < len(subject.task.inputs)
    edges = np.flatnonzero(inside & (from_input | (labels[graph.sources] != module)))
    return _shares(subject, edges, graph.sources[edges], from_input[edges])


def feeds(subject: Subject, module: int) -> tuple[Share, ...]:
    """What a module feeds: outputs by name, other modules as a whole."""
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


def crossing(subject: Subject, reader: int, writer: int) -> list[Share]:
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


def boundary(subject: Subject, module: int) -> float:
    """Share of all capacity that leaves a module."""
    mass = module_masses(subject.graph, subject.labels)
    return float(2 * (mass[module].sum() - mass[module, module]))


def code(subject: Subject, chosen: NDArray[np.bool_], crossing: bool = False) -> str:
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


def hidden_of(subject: Subject, module: int) -> NDArray[np.int64]:
    """The module's hidden units, strongest first."""
    own = np.flatnonzero(subject.units.hidden & (subject.labels == module))
    return own[np.argsort(-subject.graph.degrees()[own], kind="stable")]
