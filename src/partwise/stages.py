"""The stages of a run: each reads the files of the stage before, so any can be repeated alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from partwise.audit import AuditReport, audit
from partwise.cuttree import CutTree
from partwise.errors import CheckpointError, DataError, UnreadableModelError
from partwise.explain import Explained, Failed, Writer, explain
from partwise.files import read_json, write_json, write_text
from partwise.graph import UnitGraph, UnitMap, unit_map
from partwise.modules import (
    Hierarchy,
    Method,
    Significance,
    find_modules,
    given_modules,
    module_masses,
)
from partwise.report import ReportContent, report_content, write_report
from partwise.runs import CLEAN_TASK, is_run, open_run
from partwise.tasks import Task, task_named
from partwise.train import Recipe, RunDirectory
from partwise.train.exported import load_exported
from partwise.train.network import load_chain
from partwise.train.onnx_network import load_onnx
from partwise.train.weight_files import kind_of


@dataclass(frozen=True, eq=False)
class Network:
    """A network as the stages after training see it.

    Attributes:
        model: in evaluation mode.
        units: its unit map.
        run: the run it came from, or None for a bare checkpoint file.
        recipe: the run's recipe, likewise.
        in_force: (n,) the modules that the training held apart; None where there was one.
        origin: what was read from a bare file, and what was assumed, in words.
    """

    model: nn.Module
    units: UnitMap
    run: RunDirectory | None = None
    recipe: Recipe | None = None
    in_force: NDArray[np.int64] | None = None
    origin: str = ""

    @property
    def directory(self) -> RunDirectory:
        """The run's directory.

        Raises:
            DataError: for a bare checkpoint, which has none.
        """
        if self.run is None:
            raise DataError("a bare checkpoint is no run; give the directory of a run")
        return self.run

    @property
    def task(self) -> Task:
        """What the network is for, clean.

        Raises:
            DataError: for a bare checkpoint, which names no task.
        """
        if self.recipe is None:
            raise DataError("a bare checkpoint names no task; give the directory of a run")
        name = str(self.recipe.data.task)
        return task_named(CLEAN_TASK.get(name, name))


def open_network(
    path: Path, layers: Sequence[str] | None = None, activation: str | None = None
) -> Network:
    """The network of a run directory, or of a file that people keep networks in.

    A file is a state dict of linear layers (safetensors, or `torch.save`), an exported program
    (`.pt2`) or an ONNX graph (`.onnx`).

    Args:
        path: the directory or file.
        layers: a state dict's layers in the order they run, where its names do not tell.
        activation: what stands between a state dict's layers, ReLU where nobody says; see
            `ACTIVATIONS`.

    Raises:
        CheckpointError: if there is none, it is damaged or does not fit, or its order is untold.
        UnreadableModelError: if it has an operation that cannot be read.
        MissingExtraError: for a `.onnx` file without the extra `onnx`.
        RecipeError: if the run's recipe is missing or wrong.
        DataError: if `layers` or `activation` is given where the file knows it.
    """
    if path.is_dir():
        _refuse_options(path, "a run", layers, activation)
        return _run_network(path)
    kind = kind_of(path)
    if kind in ("torch", "safetensors"):
        chain = load_chain(path, layers, activation)
        return Network(chain.model.eval(), unit_map(chain.model), origin=chain.words)
    _refuse_options(path, "an ONNX graph" if kind == "ONNX" else "an " + kind, layers, activation)
    model, example = load_onnx(path) if kind == "ONNX" else load_exported(path)
    try:
        units = unit_map(model, example)
    except UnreadableModelError as error:
        raise UnreadableModelError(f"{path}: {error}") from error
    words = "ONNX graph" if kind == "ONNX" else kind.capitalize()
    return Network(model, units, origin=f"{words}, read with inputs {_shape_words(example)}")


def _run_network(path: Path) -> Network:
    run = RunDirectory(path)
    if is_run(path) and run.recipe().is_text:
        raise CheckpointError(
            f"{path} holds a language model; read it in Python (unit_graph(model)), or see "
            "partwise eval"
        )
    if not run.checkpoint.exists():
        if (path / "config.json").exists():
            raise CheckpointError(
                f"{path} holds a language model; read it in Python (unit_graph(model)), or see "
                "partwise eval"
            )
        raise CheckpointError(f"{path} has no checkpoint; train it first (partwise train)")
    opened = open_run(path)
    in_force = None if opened.partition is None else opened.partition.labels
    return Network(opened.model, opened.units, run, opened.recipe, in_force)


def _refuse_options(
    path: Path, kind: str, layers: Sequence[str] | None, activation: str | None
) -> None:
    for option, value in (("--layers", layers), ("--activation", activation)):
        if value is not None:
            raise DataError(
                f"{path} is {kind}, which knows its own layers and activations; leave out {option}"
            )


def _shape_words(example: Tensor | tuple[Any, ...]) -> str:
    inputs = (example,) if isinstance(example, Tensor) else example
    shapes = ["x".join(map(str, x.shape)) for x in inputs if isinstance(x, Tensor)]
    return ", ".join(shape or "a number" for shape in shapes)


def cut_network(
    network: Network,
    seed: int = 0,
    in_force: bool = False,
    method: Method = "likelihood",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[UnitGraph, Hierarchy]:
    """Unit graph and modules of a network: from its weights alone, or those that were in force.

    Args:
        network: what to take apart.
        seed, method, on_step: as in `find_modules`.
        in_force: take the modules that the training held apart.

    Raises:
        DataError: if those are asked for and the training held no modules apart.
    """
    graph = network.units.graph(network.model)
    if in_force:
        if network.in_force is None:
            raise DataError("this training held no modules apart; leave out --in-force")
        return graph, given_modules(graph, network.in_force, seed=seed, on_step=on_step)
    min_gain = 0.01 if network.recipe is None else network.recipe.penalty.min_gain
    return graph, find_modules(graph, min_gain=min_gain, seed=seed, method=method, on_step=on_step)


def write_modules(path: Path, graph: UnitGraph, found: Hierarchy) -> None:
    """Writes `modules.json`."""
    write_json(
        path,
        {
            "modules": found.modules,
            "labels": found.labels.tolist(),
            "pieces": found.pieces.tolist(),
            "merges": [list(merge) for merge in found.merges],
            "inflation": found.inflation,
            "newman_q": found.q,
            "significance": None if found.significance is None else vars(found.significance),
            "masses": module_masses(graph, found.labels).tolist(),
            "tree": {
                "parent": found.tree.parent.tolist(),
                "value": [float(v) if np.isfinite(v) else None for v in found.tree.value],
                "order": found.tree.order.tolist(),
            },
            "groups": [vars(group) for group in graph.groups],
        },
    )


def read_modules(path: Path, units: int) -> Hierarchy:
    """Reads `modules.json`.

    Raises:
        DataError: if it is missing, damaged, or of a network with another number of units.
    """
    saved = read_json(path)
    try:
        found = _hierarchy(saved)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({error!r}); run 'partwise cut' again") from error
    if not len(found.labels) == len(found.pieces) == len(found.tree.parent) == units:
        raise DataError(f"{path} describes {len(found.labels)} units, the network has {units}")
    if not (_numbers_modules(found.labels) and _numbers_modules(found.pieces) and _is_tree(found)):
        raise DataError(f"{path} is damaged (no partition and tree); run 'partwise cut' again")
    return found


def _numbers_modules(labels: NDArray[np.int64]) -> bool:
    """Whether labels are 0, 1, ... without a gap."""
    return bool(np.array_equal(np.unique(labels), np.arange(labels.max() + 1)))


def _is_tree(found: Hierarchy) -> bool:
    """Whether every unit but the first in order has a parent that comes before it."""
    parent, order = found.tree.parent, found.tree.order
    if not np.array_equal(np.sort(order), np.arange(len(parent))) or parent[order[0]] != -1:
        return False
    place = np.argsort(order)
    rest = order[1:]
    inside = (parent[rest] >= 0) & (parent[rest] < len(parent))
    return bool(inside.all() and (place[parent[rest]] < place[rest]).all())


def _hierarchy(saved: dict[str, Any]) -> Hierarchy:
    tree, tested = saved["tree"], saved["significance"]
    value = [np.inf if v is None else v for v in tree["value"]]
    return Hierarchy(
        labels=np.array(saved["labels"], np.int64),
        pieces=np.array(saved["pieces"], np.int64),
        merges=tuple((int(a), int(b), float(cost)) for a, b, cost in saved["merges"]),
        tree=CutTree(
            np.array(tree["parent"], np.int64),
            np.array(value, np.float64),
            np.array(tree["order"], np.int64),
        ),
        inflation=saved["inflation"],
        q=saved["newman_q"],
        significance=None if tested is None else Significance(**tested).without_false_z(),
    )


def cut_run(
    network: Network,
    in_force: bool = False,
    method: Method = "likelihood",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[UnitGraph, Hierarchy]:
    """`cut_network`, written to the run's `modules.json`."""
    graph, found = cut_network(network, in_force=in_force, method=method, on_step=on_step)
    if network.run is not None:
        write_modules(network.run.path / "modules.json", graph, found)
    return graph, found


def run_labels(network: Network) -> NDArray[np.int64]:
    """The labels of the run's `modules.json`; found anew where there is none."""
    return run_hierarchy(network).labels


def run_hierarchy(network: Network) -> Hierarchy:
    """The modules of the run's `modules.json`; found anew where there is none."""
    path = network.directory.path / "modules.json"
    if not path.exists():
        return cut_run(network)[1]
    return read_modules(path, network.units.n)


def explain_run(
    network: Network,
    writer: Writer | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[Explained]:
    """Describes a run's modules, and writes `descriptions.jsonl`.

    Where every description failed, what was written before stays.
    """
    task = network.task
    explained = explain(network.model, run_labels(network), task, writer, on_step=on_step)
    if all(isinstance(each.description, Failed) for each in explained):
        return explained
    lines = "".join(each.model_dump_json() + "\n" for each in explained)
    write_text(network.directory.path / "descriptions.jsonl", lines)
    return explained


def audit_run(network: Network) -> AuditReport:
    """Audits a run's network, and writes `audit.json`."""
    task = network.task
    verdict = audit(network.model, run_labels(network), task)
    write_text(network.directory.path / "audit.json", verdict.model_dump_json(indent=1) + "\n")
    return verdict


def run_content(network: Network) -> ReportContent:
    """What a report can show of a run: its modules, and whatever later stages have written.

    Raises:
        DataError: if a stage's file is damaged.
    """
    run, recipe = network.directory, network.directory.recipe()
    manifest, audited = read_json(run.path / "manifest.json"), run.path / "audit.json"
    content = report_content(
        network.model,
        run_hierarchy(network),
        title=f"{recipe.name}, seed {recipe.seed}",
        task=recipe.name,
        explained=read_descriptions(run.path / "descriptions.jsonl"),
        units=network.units,
    )
    return replace(
        content,
        audits={run.path.name: _read_audit(audited)} if audited.exists() else {},
        histories={run.path.name: run.metrics()},
        facts={key: str(manifest.get(key)) for key in ("partwise", "commit", "seed", "torch")},
    )


def report_run(network: Network) -> Path:
    """Writes a run's `report.html`."""
    path = network.directory.path / "report.html"
    write_report(path, run_content(network))
    return path


def read_descriptions(path: Path) -> list[Explained]:
    """Reads `descriptions.jsonl`; empty where the stage has not run.

    Raises:
        DataError: if a line is damaged.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [Explained.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise DataError(f"{path} is damaged; run 'partwise explain' again") from error


def _read_audit(path: Path) -> AuditReport:
    try:
        return AuditReport.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(
            f"{path} is damaged, or an older Partwise wrote it; run 'partwise audit' again"
        ) from error
