"""The demo of a language model: a GPT of letters and sums, from training to report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partwise.audit import AuditReport
from partwise.capability.language import stream_losses, without_interface
from partwise.demo import Watch
from partwise.explain import Explained, count_verdicts
from partwise.files import new_directory, write_json, write_text
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
from partwise.tasks.streams import letters_of, sums
from partwise.train import start_run
from partwise.train.recipe_files import recipe_from

SUMS = 40_000
TWINS = {"plain": {"kind": "none"}, "modular": {"kind": "share"}}


@dataclass(frozen=True)
class GPTDemo:
    """What the demo leaves behind.

    Attributes:
        summary: the content of `summary.json`.
        explained: the modular twin's descriptions with their verdicts.
        audit: what was found in it.
        report: path of `report.html`.
    """

    summary: dict[str, Any]
    explained: list[Explained]
    audit: AuditReport
    report: Path


def run_gpt_demo(
    out: Path,
    seed: int = 0,
    watch: Watch = lambda stage, done, total, metrics: None,
    settings: tuple[str, ...] = (),
) -> GPTDemo:
    """Trains a plain and a modular GPT, takes the latter apart, describes, audits and reports.

    The text is Python's own documentation in lower case, and sums such as `17+25=42;`.

    Args:
        out: directory for the texts, the runs, `summary.json` and `report.html`; must not exist.
        seed: seed of weights, batches and sums.
        watch: told how far each stage is.
        settings: changes of the recipe, such as `steps=500`.

    Raises:
        OutputError: if `out` is taken or cannot be written.
    """
    started = time.perf_counter()
    new_directory(out)
    texts = _texts(out, seed)
    plain, modular = (_train(out, name, texts, seed, watch, settings) for name in TWINS)
    watch("cut tree and null model", 0, 1, {})
    cut_run(modular)
    watch("cut tree and null model", 1, 1, {})
    explained = explain_run(modular, on_step=lambda done, total: watch("words", done, total, {}))
    watch("audit", 0, 1, {})
    verdict = audit_run(modular)
    watch("audit", 1, 1, {})
    summary = {
        "seed": seed,
        "seconds": 0.0,
        "plain": _losses(plain),
        "modular": _losses(modular),
        "without_interface": _losses(modular, cut=True),
        "modules": run_partition(modular).modules,
        "claims": count_verdicts(explained),
        "audit": verdict.outcome,
    }
    report = out / "report.html"
    content = run_content(modular)
    histories = {"plain": plain.metrics(), **content.histories}
    write_report(report, replace(content, title="Letters and sums, one GPT", histories=histories))
    summary["seconds"] = round(time.perf_counter() - started, 1)
    write_json(out / "summary.json", summary)
    return GPTDemo(summary, explained, verdict, report)


def _texts(out: Path, seed: int) -> list[str]:
    """Writes the two streams; returns their paths."""
    from pydoc_data.topics import topics

    letters = letters_of("\n".join(topics[name] for name in sorted(topics)))
    streams = {"letters": letters, "digits": sums(SUMS, np.random.default_rng(seed))}
    for name, text in streams.items():
        write_text(out / f"{name}.txt", text)
    return [str((out / f"{name}.txt").resolve()) for name in streams]


def _train(
    out: Path, name: str, texts: list[str], seed: int, watch: Watch, settings: tuple[str, ...]
) -> Network:
    fields = {"data": {"texts": texts}, "seed": seed, "penalty": TWINS[name]}
    recipe = recipe_from(fields, "the demo's recipe", settings)
    steps, stage = recipe.training.steps, f"train {name}"
    watch(stage, 0, steps, {})
    start_run(out / name, recipe, watch=lambda step, row: watch(stage, step, steps, dict(row)))
    return open_network(out / name)


@torch.no_grad()
def _losses(network: Network, cut: bool = False) -> dict[str, float]:
    """Held-out loss of each stream in nats per token, with or without what joins modules."""
    weights = None
    if cut:
        part = run_partition(network).tensor
        weights = without_interface(network.model, network.units, part)
    text = network.data
    return stream_losses(network.model, text.corpus, text.context, weights)  # type: ignore[union-attr]
