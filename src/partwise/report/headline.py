"""The headline: what came of it, in a few sentences, four figures and one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from partwise.explain import Claim, Verdict, count_verdicts
from partwise.explain.claims import EffectClaim, InterfaceClaim
from partwise.modules import module_masses
from partwise.report.content import ReportContent
from partwise.report.curves import HELD
from partwise.report.tokens import slice_phrase
from partwise.report.words import counted, fixed, listed, number, percent

Show = Callable[[Any], str]
MOST_MODULES_IN_WORDS, MOST_STREAMS_IN_WORDS = 4, 3
TWIN_FIGURES: tuple[tuple[str, str, Show, str], ...] = (
    ("held_out_ce", "Held-out loss", fixed, "Mean cross-entropy in nats on samples kept out of "
     "training and of every choice; lower is better."),
    ("accuracy", "Accuracy", percent, "Share of held-out questions answered right."),
    ("interface_frac", "Interface", percent, "Share of all capacity, that is of all absolute "
     "weight, that runs between modules."),
    ("cross_frac", "Crossing", percent, "Share of the paths through the network, by weight, from "
     "one true part’s inputs to another’s outputs. Only the scoring knows the true parts."),
    ("causal_interface", "Cost of separation", fixed, "Held-out loss, in nats, that is added when "
     "every weight between modules is removed."),
    ("causal_interface_worst", "At the worst", fixed, "The most that removing only some of these "
     "weights adds, as far as a search found; weights that cancel show here, not above."),
    ("modules", "Modules", number, "Found from the weights alone."),
    ("purity", "Purity", percent, "Share of the capacity at inputs and outputs that sits in a "
     "module of its own true part."),
    ("newman_q", "Newman’s Q", fixed, "How much more capacity stays inside modules than chance "
     "would put there."),
    ("newman_q_z", "Q against chance", number, "Standard deviations above the Q that the same "
     "search finds in shuffled networks."),
)  # fmt: skip


@dataclass(frozen=True)
class TwinRow:
    """A figure of both twins, and what it means."""

    name: str
    plain: str
    modular: str
    words: str


@dataclass(frozen=True)
class BigFigure:
    """A number worth standing alone."""

    value: str
    name: str
    beside: str


@dataclass(frozen=True)
class Headline:
    """The first section."""

    sentences: tuple[str, ...]
    figures: tuple[BigFigure, ...]
    twins: tuple[TwinRow, ...]
    facts: tuple[tuple[str, str], ...]


def headline(content: ReportContent) -> Headline:
    """The headline of a report."""
    summary = content.summary or {}
    return Headline(
        tuple(_sentences(content, summary)),
        tuple(_figures(content, summary)),
        _twins(summary),
        tuple(_facts(summary)),
    )


def interface_frac(content: ReportContent) -> float:
    """Share of all capacity that joins two different modules."""
    mass = module_masses(content.graph, content.hierarchy.labels)
    return max(0.0, float(mass.sum() - mass.trace()))


def _sentences(content: ReportContent, summary: Mapping[str, Any]) -> list[str]:
    k, units = content.hierarchy.modules, counted(content.graph.n, "unit")
    what = "language model" if content.of_text else "network"
    if k == 1:
        texts = [f"The {what} did not come apart: its {units} form one module."]
    else:
        share = percent(interface_frac(content))
        texts = [f"A {what} of {units} came apart into {k} modules that share {share} of "
                 "its capacity.", *_words_on_chance(content)]  # fmt: skip
    texts += _words_on_text(content)
    plain, modular = summary.get("plain", {}), summary.get("modular", {})
    if "accuracy" in plain and "accuracy" in modular:
        texts.append(
            f"It answers {percent(modular['accuracy'])} of held-out questions right; its plain "
            f"twin, {percent(plain['accuracy'])}."
        )
    return texts + _words_on_claims(content) + _words_on_audits(content)


def _words_on_text(content: ReportContent) -> list[str]:
    """What removing modules, and cutting what they read of each other, does on held-out text."""
    texts, cuts = list[str](), list[tuple[float, str]]()
    for each in content.explained if content.of_text else ():
        effects = [v for v in each.verdicts if isinstance(v.claim, EffectClaim) and _on_stream(v)]
        if effects and len(texts) < MOST_MODULES_IN_WORDS:
            worst = max(effects, key=lambda verdict: verdict.effect)
            texts.append(
                f"Without module {each.evidence.modules[0]} the loss on tokens "
                f"{_spelled(worst.claim)} rises by {fixed(worst.effect, 2)} nats per token."
            )
        cuts += [
            (abs(verdict.effect), _cut_words(verdict, each.evidence.modules))
            for verdict in each.verdicts
            if isinstance(verdict.claim, InterfaceClaim) and verdict.samples
        ]
    return texts + [words for _, words in sorted(cuts, key=lambda cut: -cut[0])[:1]]


def _on_stream(verdict: Verdict) -> bool:
    where = getattr(verdict.claim, "where", "")
    return verdict.outcome == "supported" and where.startswith("stream ")


def _spelled(claim: Claim) -> str:
    """A claim's slice in words."""
    said = slice_phrase(getattr(claim, "where", ""))
    return said.words if said.token is None else f"{said.words} “{said.token}”"


def _cut_words(verdict: Verdict, pair: tuple[int, ...]) -> str:
    """The cut that moves the loss most, of all that were tested."""
    reader = getattr(verdict.claim, "reader", None)
    what = f"what modules {pair[0]} and {pair[-1]} read of each other"
    if reader in pair:
        writer = next(module for module in pair if module != reader)
        what = f"what module {reader} reads of module {writer}"
    return (
        f"Of all tested cuts between modules, that of {what} moves the loss most: by "
        f"{fixed(abs(verdict.effect))} nats per token on tokens {_spelled(verdict.claim)}."
    )


def _words_on_chance(content: ReportContent) -> list[str]:
    tested = content.hierarchy.significance
    if tested is None or tested.is_significant:
        return []
    return [
        f"By the weights alone that is not significant (p = {fixed(tested.p_value)}): "
        "networks with shuffled weights come as far apart."
    ]


def _words_on_claims(content: ReportContent) -> list[str]:
    counts = count_verdicts(content.explained)
    rest = [f"{counts[outcome]} {outcome}" for outcome in ("refuted", "undecided")]
    texts = []
    if tested := _tested(counts):
        texts.append(
            f"Of {counted(tested, 'claim')} made about its parts, {counts['supported']} held on "
            f"fresh data; {listed(rest)}."
        )
    if counts["failed"]:
        texts.append(f"{counted(counts['failed'], 'description')} failed.")
    return texts


def _tested(counts: Mapping[str, int]) -> int:
    return counts["supported"] + counts["refuted"] + counts["undecided"]


def _words_on_audits(content: ReportContent) -> list[str]:
    verdicts = [
        f"flags “{network}”, naming module {report.guilty_module}"
        if report.flagged
        else f"passes “{network}”"
        if report.outcome == "passed"
        else f"cannot judge “{network}”"
        for network, report in content.audits.items()
    ]
    return [f"The audit {listed(verdicts)}."] if verdicts else []


def _figures(content: ReportContent, summary: Mapping[str, Any]) -> list[BigFigure]:
    plain, modular = summary.get("plain", {}), summary.get("modular", {})
    figures = [
        BigFigure(
            number(content.hierarchy.modules),
            "module" if content.hierarchy.modules == 1 else "modules",
            f"in {counted(content.graph.n, 'unit')}",
        ),
        BigFigure(
            percent(interface_frac(content)),
            "of capacity between modules",
            f"plain twin {percent(plain['interface_frac'])}" if "interface_frac" in plain else "",
        ),
    ]
    if "accuracy" in modular:
        beside = f"plain twin {percent(plain['accuracy'])}" if "accuracy" in plain else ""
        figures.append(BigFigure(percent(modular["accuracy"]), "right answers, held out", beside))
    figures += _held_out(content)
    counts = count_verdicts(content.explained)
    if tested := _tested(counts):
        beside = f"{counts['refuted']} refuted, {counts['undecided']} undecided"
        figures.append(BigFigure(f"{counts['supported']}/{tested}", "claims supported", beside))
    return figures


def _held_out(content: ReportContent) -> list[BigFigure]:
    """The last held-out loss of the language model whose training is shown."""
    last = next((rows[-1] for rows in content.histories.values() if rows), {})
    losses = {k.removeprefix(HELD): v for k, v in last.items() if k.startswith(HELD)}
    if not content.of_text or not losses:
        return []
    streams = [f"{name} {fixed(loss, 2)}" for name, loss in losses.items()]
    beside = listed(streams) if 1 < len(streams) <= MOST_STREAMS_IN_WORDS else ""
    mean = sum(losses.values()) / len(losses)
    return [BigFigure(fixed(mean, 2), "nats per token, held out", beside)]


def _twins(summary: Mapping[str, Any]) -> tuple[TwinRow, ...]:
    plain, modular = summary.get("plain", {}), summary.get("modular", {})
    return tuple(
        TwinRow(name, show(plain.get(key)), show(modular.get(key)), words)
        for key, name, show, words in TWIN_FIGURES
        if key in plain or key in modular
    )


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if tree := summary.get("cut_tree"):
        facts.append(
            (
                "Cut tree",
                f"{number(tree.get('units'))} units and {number(tree.get('edges'))} edges; "
                f"{number(tree.get('nontrivial_edges'))} of its cuts have two units or more on "
                f"both sides; built in {number(tree.get('build_s'))} s",
            )
        )
    if claims := summary.get("claims"):
        facts.append(("Claims", ", ".join(f"{number(v)} {k}" for k, v in claims.items())))
    if "seconds" in summary:
        facts.append(("Whole run", f"{number(summary['seconds'])} s"))
    return facts
