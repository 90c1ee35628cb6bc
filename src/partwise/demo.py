"""The demo: two digits at once, the whole way from training to report, in one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.audit import AuditReport
from partwise.audit.repair import repaired_model
from partwise.audit.triggers import success_of
from partwise.capability import held_out
from partwise.capability.held_out import HELD_OUT_SEED
from partwise.capability.idle_interface import causal_interface
from partwise.cuttree import cut_tree
from partwise.explain import Explained, count_verdicts, subject_of
from partwise.files import new_directory, write_json
from partwise.graph import UnitGraph
from partwise.modules import Hierarchy, search_modules
from partwise.modules.scores import cross_frac, interface_frac, purity
from partwise.report import write_report
from partwise.stages import (
    Network,
    audit_run,
    cut_run,
    explain_run,
    open_network,
    run_content,
    run_partition,
)
from partwise.tasks import Task, corner_patch
from partwise.train import RunDirectory, Trainer, built_in_recipe, train_run

Watch = Callable[[str, int, int, dict[str, Any]], None]
"""Told the stage, how much of it is done, of how much, and the latest metrics."""

TWINS = {
    "plain": ("digits-pair-plain", "digits-pair"),
    "modular": ("digits-pair-modular", "digits-pair"),
    "sabotaged": ("digits-pair-modular", "digits-pair-sabotaged"),
}


@dataclass(frozen=True)
class Demo:
    """What a demo leaves behind.

    Attributes:
        summary: the content of `summary.json`.
        explained: the modular twin's descriptions with their verdicts.
        report: path of `report.html`.
    """

    summary: dict[str, Any]
    explained: list[Explained]
    report: Path


def run_demo(
    out: Path, seed: int = 0, watch: Watch = lambda stage, done, total, metrics: None
) -> Demo:
    """Trains the twins and the sabotaged sibling, takes them apart, describes, audits, reports.

    Args:
        out: directory for the runs, `summary.json` and `report.html`; must not exist yet.
        seed: seed of weights, batches and everything else.
        watch: told how far each stage is.

    Raises:
        OutputError: if `out` is taken or cannot be written.
    """
    started = time.perf_counter()
    new_directory(out)
    plain, modular, sabotaged = (_train(out, name, seed, watch) for name in TWINS)
    watch("cut tree and null model", 0, 1, {})
    graph, found = cut_run(modular)
    cut_run(sabotaged)
    watch("cut tree and null model", 1, 1, {})
    explained = explain_run(modular, on_step=lambda done, total: watch("words", done, total, {}))
    watch("audit", 0, 2, {})
    clean_audit = audit_run(modular)
    watch("audit", 1, 2, {})
    sabotaged_audit = audit_run(sabotaged)
    watch("audit", 2, 2, {})
    summary = {
        "task": "digits-pair",
        "seed": seed,
        "seconds": 0.0,
        "plain": _plain_scores(plain, found.modules),
        "modular": _modular_scores(modular, graph, found),
        "cut_tree": _tree_scores(graph, found),
        "claims": count_verdicts(explained),
        "audit": _audit_scores(sabotaged, clean_audit, sabotaged_audit),
    }
    summary["seconds"] = round(time.perf_counter() - started, 1)
    report = _report(out, modular, plain, sabotaged_audit, summary)
    write_json(out / "summary.json", summary)
    return Demo(summary, explained, report)


def _train(out: Path, name: str, seed: int, watch: Watch) -> Network:
    recipe_name, task = TWINS[name]
    recipe = built_in_recipe(recipe_name, [f"seed={seed}", f"data.task={task}"])
    run, steps = RunDirectory.create(out / name, recipe), recipe.training.steps
    stage = f"train {name}"
    watch(stage, 0, steps, {})
    trainer = Trainer.new(recipe)
    train_run(run, trainer, lambda metrics: watch(stage, metrics["step"], steps, metrics))
    return open_network(run.path)


def _plain_scores(network: Network, modules: int) -> dict[str, float]:
    """The plain twin's scores; its interface is that of its own best split into as many modules.

    The split is forced: the significance test would call the plain twin one module.
    """
    graph, task = network.units.graph(network.model), network.task
    found = search_modules(graph)
    labels = found.labels_at(min(modules, found.finest))
    return _common_scores(network, graph, labels, task)


def _common_scores(
    network: Network, graph: UnitGraph, labels: NDArray[np.int64], task: Task
) -> dict[str, float]:
    assert task.true_inputs is not None
    assert task.true_outputs is not None
    held = held_out(network.model, task)
    return {
        "held_out_ce": held.ce,
        "accuracy": held.accuracy,
        "interface_frac": interface_frac(graph, labels),
        "cross_frac": cross_frac(network.model, network.units, task.true_inputs, task.true_outputs),
    }


def _modular_scores(network: Network, graph: UnitGraph, found: Hierarchy) -> dict[str, Any]:
    task, tested = network.task, found.significance
    return {
        **_common_scores(network, graph, found.labels, task),
        **causal_interface(
            network.model, network.units, torch.as_tensor(found.labels), task
        ).scores("causal_interface"),
        "modules": found.modules,
        "purity": purity(graph, found.labels, *_truth(graph, task)),
        "newman_q": found.q,
        "newman_q_z": None if tested is None else tested.z,
    }


def _truth(graph: UnitGraph, task: Task) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Units whose true module is known, and those modules."""
    assert task.true_inputs is not None
    assert task.true_outputs is not None
    outputs = np.arange(graph.n - len(task.outputs), graph.n)
    units = np.concatenate([np.arange(len(task.inputs)), outputs])
    return units, np.concatenate([task.true_inputs, task.true_outputs])


def _tree_scores(graph: UnitGraph, found: Hierarchy) -> dict[str, Any]:
    inflated = graph.inflated(found.inflation)
    started = time.perf_counter()
    tree = cut_tree(inflated)
    return {
        "units": graph.n,
        "edges": graph.m,
        "nontrivial_edges": tree.nontrivial_edges,
        "build_s": time.perf_counter() - started,
    }


def _audit_scores(
    sabotaged: Network, clean_audit: AuditReport, sabotaged_audit: AuditReport
) -> dict[str, Any]:
    """Scores against the planted trigger, which the audit itself never saw."""
    trigger, repair = corner_patch(), sabotaged_audit.repair
    partition = run_partition(sabotaged)
    subject = subject_of(sabotaged.model, partition, sabotaged.task, sabotaged.units)
    repaired = subject.model if repair is None else repaired_model(subject, repair)
    x, y = sabotaged.task.batch("final", 4000, HELD_OUT_SEED)
    others = x[y[:, trigger.head] != trigger.answer]
    after = replace(subject, model=repaired)
    return {
        "clean_flagged": clean_audit.flagged,
        "sabotaged_flagged": sabotaged_audit.flagged,
        "guilty_module": sabotaged_audit.guilty_module,
        "attack_before": success_of(subject, trigger, others),
        "attack_after": success_of(after, trigger, others),
        "accuracy_before": held_out(subject.model, sabotaged.task).accuracy,
        "accuracy_after": held_out(repaired, sabotaged.task).accuracy,
    }


def _report(
    out: Path,
    modular: Network,
    plain: Network,
    sabotaged_audit: AuditReport,
    summary: dict[str, Any],
) -> Path:
    content = run_content(modular)
    content = replace(
        content,
        title="Two digits, one network",
        audits={**content.audits, "sabotaged": sabotaged_audit},
        histories={"plain": plain.metrics(), **content.histories},
        summary=summary,
    )
    write_report(out / "report.html", content)
    return out / "report.html"
