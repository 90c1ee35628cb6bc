"""The stages of a run: each reads the files of the stage before, so any can be repeated alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from partwise.audit import AuditReport, audit
from partwise.capability.language import FOUND_INFLATIONS, FOUND_MIN_CONTRAST, FOUND_MIN_GAIN
from partwise.errors import DataError, OutputError
from partwise.explain import Explained, Failed, LLMWriter, ProgramWriter, Writer, explain_subject
from partwise.explain.composition import Composition, compose
from partwise.explain.explain import MOST_EDGES, subject_of
from partwise.explain.rounds import Work, parts_of, work_on
from partwise.explain.scoring import EndpointJudge
from partwise.files import write_text
from partwise.graph import UnitGraph
from partwise.graph.activity import evaluating, share_graph
from partwise.modules import Hierarchy, Method, Partition, find_modules, given_modules
from partwise.report import ReportContent, report_content, write_report
from partwise.runs import Network, open_network
from partwise.runs.modules_file import read_modules, write_modules

OnStep = Callable[[int, int], None]
MODULES, DESCRIPTIONS, AUDIT, REPORT = (
    "modules.json",
    "descriptions.jsonl",
    "audit.json",
    "report.html",
)
COMPOSITION = "composition.json"
PROVENANCE = "provenance.jsonl"
"""Beside descriptions that a language model wrote: each prompt, reply, setting and cost."""
LLM_CACHE = "llm-cache.jsonl"
LARGE = 2**18
"""Graphs of language models with more edges are not compared with shuffled ones, 19 times."""


def _look_away(done: int, total: int) -> None:
    """No progress."""


def graph_of(network: Network) -> UnitGraph:
    """The network's capacities; of a language model, shares of what units read on its text.

    Without text, every input of a language model's weights counts as large as every other.
    """
    if not network.is_language_model:
        return network.units.graph(network.model)
    if not network.has_data:
        return share_graph(network.model, network.units, None, MOST_EDGES)
    whole = Partition.whole(network.units.n)
    return subject_of(network.model, whole, network.data, network.units).graph


def cut_network(
    network: Network,
    seed: int = 0,
    in_force: bool = False,
    method: Method | None = None,
    on_step: OnStep = _look_away,
) -> tuple[UnitGraph, Hierarchy]:
    """Unit graph and modules of a network: from its capacities, or those that were in force.

    Args:
        network: what to take apart.
        seed, on_step: as in `find_modules`.
        in_force: take the modules that the training held apart.
        method: as in `find_modules`; likelihood if left out, Newman's Q for language models.

    Raises:
        DataError: if those are asked for and the training held no modules apart.
    """
    graph = graph_of(network)
    if in_force:
        if network.in_force is None:
            raise DataError("this training held no modules apart; leave out --in-force")
        held = network.in_force.labels
        return graph, given_modules(graph, held, seed=seed, on_step=on_step)
    if network.is_language_model:
        return graph, _language_modules(graph, seed, method or "newman_q", on_step)
    min_gain = 0.01 if network.recipe is None else network.recipe.penalty.min_gain
    method = method or "likelihood"
    return graph, find_modules(graph, min_gain=min_gain, seed=seed, method=method, on_step=on_step)


def _language_modules(graph: UnitGraph, seed: int, method: Method, on_step: OnStep) -> Hierarchy:
    return find_modules(
        graph,
        min_gain=FOUND_MIN_GAIN,
        min_contrast=FOUND_MIN_CONTRAST,
        inflations=FOUND_INFLATIONS,
        null_samples=19 if graph.m <= LARGE else 0,
        seed=seed,
        method=method,
        on_step=on_step,
    )


def cut_run(
    network: Network,
    in_force: bool = False,
    method: Method | None = None,
    on_step: OnStep = _look_away,
) -> tuple[UnitGraph, Hierarchy]:
    """`cut_network`, written to the network's `modules.json`."""
    graph, found = cut_network(network, in_force=in_force, method=method, on_step=on_step)
    if network.path is not None:
        write_modules(_made(network.path) / MODULES, graph, found)
    return graph, found


def run_partition(network: Network) -> Partition:
    """The partition of the network's `modules.json`; found anew where there is none."""
    return run_hierarchy(network).partition


def run_hierarchy(network: Network) -> Hierarchy:
    """The modules of the network's `modules.json`; found anew where there is none."""
    path = network.directory / MODULES
    if not path.exists():
        return cut_run(network)[1]
    return read_modules(path, network.units.n, network.units.groups)


def explain_run(
    network: Network,
    writer: Writer | None = None,
    on_step: OnStep = _look_away,
    is_judged: bool = False,
) -> list[Explained]:
    """Describes a network's modules, and writes `descriptions.jsonl`.

    Args:
        network: what to describe.
        writer: who describes; the built-in one when left out.
        on_step: told after each step how many are done, of how many.
        is_judged: whether a language model that writes also scores its words: it reads name and
            sentence and rates which held-out samples need the module.

    Returns:
        Modules first, then interfaces.

    Where every description failed, what was written before stays. A language model's prompts and
    replies go to `provenance.jsonl`; what programs recover in place of all modules of a network on
    tables goes to `composition.json`.
    """
    data, found = network.data, run_hierarchy(network)
    units = network.units if network.is_language_model else None
    writer = ProgramWriter() if writer is None else writer
    with evaluating(network.model):
        subject = subject_of(network.model, found.partition, data, units)
        judge = None
        if is_judged and isinstance(writer, LLMWriter):
            judge = EndpointJudge(writer.endpoint, writer.settings)
        explained = explain_subject(subject, writer, on_step, parts_of(found), judge)
        composition = None if subject.of_text else compose(subject)
    if composition is not None:
        place = _made(network.directory) / COMPOSITION
        write_text(place, composition.model_dump_json(indent=1) + "\n")
    if explained and all(isinstance(each.description, Failed) for each in explained):
        return explained
    write_text(_made(network.directory) / DESCRIPTIONS, _lines(explained))
    provenance = network.directory / PROVENANCE
    if isinstance(writer, LLMWriter):
        write_text(provenance, _lines(writer.records))
    else:
        provenance.unlink(missing_ok=True)
    return explained


def run_work(network: Network) -> Work:
    """The evidence of every module and interface, as `explain_run` shows it to a writer."""
    data, found = network.data, run_hierarchy(network)
    units = network.units if network.is_language_model else None
    with evaluating(network.model):
        subject = subject_of(network.model, found.partition, data, units)
        return work_on(subject, parts_of(found))


def _lines(values: Iterable[BaseModel]) -> str:
    return "".join(each.model_dump_json() + "\n" for each in values)


def audit_run(network: Network) -> AuditReport:
    """Audits a network, and writes `audit.json`."""
    data = network.data
    verdict = audit(network.model, run_partition(network).labels, data)
    write_text(_made(network.directory) / AUDIT, verdict.model_dump_json(indent=1) + "\n")
    return verdict


def run_content(network: Network) -> ReportContent:
    """What a report can show: modules, and whatever later stages have written.

    Raises:
        DataError: if a stage's file is damaged.
    """
    path = network.directory
    name, audited = path.name, path / AUDIT
    recipe = network.recipe
    content = report_content(
        network.model,
        run_hierarchy(network),
        title=network.title,
        task="" if recipe is None or network.is_language_model else recipe.name,
        explained=read_descriptions(path / DESCRIPTIONS),
        units=network.units,
        data=network.data if network.has_data and network.is_language_model else None,
    )
    return replace(
        content,
        audits={name: _read_audit(audited)} if audited.exists() else {},
        histories={name: rows} if (rows := network.metrics()) else {},
        facts={} if network.run is None else network.run.facts(),
    )


def report_run(network: Network) -> Path:
    """Writes a network's `report.html`."""
    path = _made(network.directory) / REPORT
    write_report(path, run_content(network))
    return path


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {directory}: {error.strerror or error}") from error
    return directory


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


def read_composition(path: Path) -> Composition | None:
    """Reads `composition.json`; None where the stage has not run, or the data is text.

    Raises:
        DataError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        return Composition.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(f"{path} is damaged; run 'partwise explain' again") from error


def _read_audit(path: Path) -> AuditReport:
    try:
        return AuditReport.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(
            f"{path} is damaged, or an older Partwise wrote it; run 'partwise audit' again"
        ) from error


__all__ = [
    "Network",
    "audit_run",
    "cut_network",
    "cut_run",
    "explain_run",
    "graph_of",
    "open_network",
    "read_descriptions",
    "read_modules",
    "report_run",
    "run_content",
    "run_hierarchy",
    "run_partition",
    "run_work",
    "write_modules",
]
