"""What is said of a small GPT's modules: how much of it holds, and of whom else it would hold.

Trains twins on known-answer streams: modular, plain, and plain with L1. The same writer describes
the modules of each, and every claim is tested on text that the writer did not see. Controls test
the same descriptions on the wrong modules: swapped, and random ones of equal size in every layer.
Rows go to the file as they are made; the same command goes on where it was stopped.

    python -m benchmarks.gpt_words --seeds 5 --json benchmarks/results/gpt_words.jsonl
    python -m benchmarks.gpt_words --seeds 2 --streams letters,digits,problems --kinds modular \
        --json benchmarks/results/gpt_words.jsonl
    python -m benchmarks.gpt_words --seeds 0 --json benchmarks/results/gpt_words.jsonl \
        --page docs/design/gpt-words.md
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.records import Record, Row, append_row, machine, read_record, read_rows, told
from benchmarks.tables import filled
from partwise.capability.language import (
    FOUND_INFLATIONS,
    FOUND_MIN_CONTRAST,
    FOUND_MIN_GAIN,
    refined,
)
from partwise.explain.claims import ActivationClaim, AttendsClaim, Claim
from partwise.explain.explain import explain_subject, subject_of
from partwise.explain.subject import Part, Subject
from partwise.explain.values import Verdict
from partwise.explain.verification import decide, try_on
from partwise.explain.writers.built_in import ProgramWriter
from partwise.graph.activity import share_graph
from partwise.modules import search_modules
from partwise.tasks import Text
from partwise.tasks.streams import Corpus, known_streams
from partwise.train import Recipe, Trainer, recipe_from, train
from partwise.train.recipe_files import changed

FIRST_SEED = 7000
L1 = 0.8
"""It costs about what the penalty does: 1.16 nats at 0.3, 1.21 at 1, penalty 1.20 (seed 6990)."""
KINDS: dict[str, tuple[str, ...]] = {
    "modular": (),
    "plain": ("strength=0", "mask_share=0", "silence_share=0"),
    "l1": ("strength=0", "mask_share=0", "silence_share=0", f"l1={L1}"),
}
"""Settings of each twin; those without a penalty are split afterwards."""
PARTS = {"letters,digits": (), "letters,digits,problems": ("mask_share=0", "silence_share=0.35")}
"""Streams, and what their recipe changes."""
OUTCOMES = ("supported", "refuted", "undecided")
BAR, CONTROL_BAR = 0.8, 0.1


class Said(NamedTuple):
    """A claim, of which part it was made, and what became of it."""

    part: Part
    verdict: Verdict


def best_split(trainer: Trainer, modules: int) -> NDArray[np.int64]:
    """(n,) the best split of a network's weights into so many modules, or as many as it shows."""
    graph = share_graph(trainer.model, trainer.units, None)
    found = search_modules(graph, FOUND_MIN_GAIN, FOUND_INFLATIONS, min_contrast=FOUND_MIN_CONTRAST)
    return refined(graph, found.labels_at(min(modules, found.finest)))


def described(subject: Subject) -> list[Said]:
    """What the built-in writer says of a network, tested."""
    parts = explain_subject(subject, ProgramWriter())
    return [Said(each.evidence.part, v) for each in parts for v in each.verdicts]


def swapped(subject: Subject, said: Sequence[Said]) -> list[Said]:
    """The claims about each module, tested on the next one. Interfaces are left out."""
    about = [each for each in said if each.part.kind == "module"]
    if subject.modules < 2:
        return []
    to = {m: (m + 1) % subject.modules for m in range(subject.modules)}
    return tested_elsewhere(subject, subject, about, to)


def at_random(subject: Subject, said: Sequence[Said], seed: int) -> list[Said]:
    """All claims, tested on random modules of equal size in every layer."""
    rng = np.random.default_rng((seed, 2))
    labels = subject.labels.copy()
    for group in subject.units.groups:
        labels[group.start : group.stop] = rng.permutation(labels[group.start : group.stop])
    other = subject_of(
        subject.model, labels, subject.data, subject.units, subject.samples, subject.seed
    )
    return tested_elsewhere(subject, other, said, {m: m for m in range(subject.modules)})


def tested_elsewhere(
    subject: Subject, other: Subject, said: Sequence[Said], to: dict[int, int]
) -> list[Said]:
    """Claims about the modules of one subject, tested on those of another, decided together.

    Args:
        subject: what they were made of.
        other: what they are tested on; the same network.
        said: the claims.
        to: the module that each module's claims are tested on.
    """
    moved = []
    for part, verdict in said:
        place = Part(part.kind, tuple(to[m] for m in part.modules))
        claim = moved_claim(subject, other, part, place, verdict.claim)
        if claim is not None:
            moved.append((place, claim))
    verdicts = decide([try_on(other, place, claim) for place, claim in moved])
    return [Said(place, verdict) for (place, _), verdict in zip(moved, verdicts, strict=True)]


def moved_claim(
    subject: Subject, other: Subject, part: Part, place: Part, claim: Claim
) -> Claim | None:
    """A claim as it is made of another module; None where that has no such unit.

    A unit becomes another unit, that of the same rank by capacity in the same layer; a threshold
    becomes the one that it exceeds as often.
    """
    if not isinstance(claim, ActivationClaim | AttendsClaim):
        return claim
    degree = subject.graph.degrees()
    group = next(g for g in subject.units.groups if g.start <= claim.unit < g.stop)
    units = np.arange(group.start, group.stop)

    def ranked(of: Subject, module: int) -> list[int]:
        own = units[of.labels[units] == module]
        return [int(unit) for unit in own[np.argsort(-degree[own], kind="stable")]]

    theirs = [unit for unit in ranked(other, place.modules[0]) if unit != claim.unit]
    if not theirs:
        return None
    rank = ranked(subject, part.modules[0]).index(claim.unit)
    unit = theirs[min(rank, len(theirs) - 1)]
    if isinstance(claim, AttendsClaim):
        return claim.model_copy(update={"unit": unit})
    silent = float((subject.activity_of("train", claim.unit) <= claim.threshold).float().mean())
    threshold = float(subject.activity_of("train", unit).quantile(silent))
    return claim.model_copy(update={"unit": unit, "threshold": threshold})


def counts(said: Iterable[Said]) -> dict[str, int]:
    """How many claims were supported, refuted and undecided."""
    outcomes: list[str] = [each.verdict.outcome for each in said]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def by_kind(said: Sequence[Said]) -> dict[str, dict[str, int]]:
    """The same for each kind of claim."""
    kinds = dict.fromkeys(each.verdict.claim.kind for each in said)
    return {kind: counts(s for s in said if s.verdict.claim.kind == kind) for kind in kinds}


def stream_effects(subject: Subject) -> NDArray[np.float64]:
    """(modules, streams) nats that each stream's held-out loss rises by without each module."""
    streams = subject.text_rows("claims").streams
    before = subject.losses("claims")[:, 0]
    rises = [
        (subject.losses_without_module("claims", m)[:, 0] - before).double().numpy()
        for m in range(subject.modules)
    ]
    return np.array([
        [rise[streams == k].mean() for k in range(len(subject.text.streams))] for rise in rises
    ])  # fmt: skip


def told_of(each: Said) -> Row:
    """A claim and its test, for the record."""
    verdict = each.verdict
    row = {
        "part": "-".join(map(str, each.part.modules)),
        "kind": verdict.claim.kind,
        "outcome": verdict.outcome,
        "sentence": verdict.claim.sentence,
        "effect": verdict.effect,
        "bound": verdict.bound,
        "chance": verdict.chance,
        "rows": verdict.rows,
    }
    return {**row, "reason": verdict.reason} if verdict.reason else row


def interface_row(each: Said) -> Row:
    """What was claimed of one direction of an interface."""
    claim = each.verdict.claim
    assert claim.kind == "interface"
    (writer,) = (m for m in each.part.modules if m != claim.reader)
    return {
        "reader": claim.reader,
        "writer": writer,
        "where": claim.where,
        "relation": claim.relation,
        "amount": claim.amount,
        "effect": each.verdict.effect,
        "outcome": each.verdict.outcome,
    }


def row_of(
    streams: str, seed: int, kind: str, trainer: Trainer, labels: NDArray[np.int64]
) -> dict[str, Any]:
    """The figures of one trained network, described and tested."""
    start = time.perf_counter()
    subject = subject_of(trainer.model.eval(), labels, trainer.data, trainer.units)
    said = described(subject)
    interface = [each for each in said if each.part.kind == "interface"]
    effects = stream_effects(subject)
    own = effects.max(1)
    other = (effects.sum(1) - own) / max(effects.shape[1] - 1, 1)
    controls = {"swapped": swapped(subject, said)}
    if kind == "modular":
        controls["random"] = at_random(subject, said, seed)
    return {
        "streams": streams,
        "steps": trainer.recipe.training.steps,
        "seed": seed,
        "kind": kind,
        "modules": subject.modules,
        **{f"claims_{outcome}": number for outcome, number in counts(said).items()},
        "slice_effect_own": float(own.mean()),
        "slice_effect_other": float(other.mean()),
        "interface_claims_supported": counts(interface)["supported"],
        "interface_claims": len(interface),
        "loss": float(subject.losses("claims").mean()),
        "serves": [subject.text.streams[k] for k in effects.argmax(1)],
        "effects": effects.tolist(),
        "by_kind": by_kind(said),
        "controls": {
            name: {
                **counts(tested),
                "by_kind": by_kind(tested),
                "held": [told_of(each) for each in tested if each.verdict.outcome == "supported"],
            }
            for name, tested in controls.items()
        },
        "directions": [interface_row(each) for each in interface],
        "failed": [told_of(each) for each in said if each.verdict.outcome != "supported"],
        "explain_seconds": time.perf_counter() - start,
    }


def run_one(
    streams: str, seed: int, kind: str, recipe: Recipe, corpus: Corpus, modules: int
) -> dict[str, Any]:
    """Trains a twin and describes it."""
    start = time.perf_counter()
    seeded = changed(recipe.model_copy(update={"seed": seed}), KINDS[kind])
    trainer = Trainer.new(seeded, Text(corpus, seeded.context))
    train(trainer)
    labels = trainer.penalty.labels.numpy() if kind == "modular" else best_split(trainer, modules)
    row = row_of(streams, seed, kind, trainer, labels)
    return row | {"seconds": time.perf_counter() - start, "commit": machine()["commit"]}


def main() -> None:
    """Makes the rows that are missing, and the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--streams", default="letters,digits", choices=PARTS)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--set", nargs="*", default=[], help="recipe fields, e.g. width=96")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--page", type=Path, help="a page to write the record's tables into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = known_streams(
        tuple(args.streams.split(",")), "\n".join(pydoc_data.topics.topics.values())
    )
    recipe = recipe_from(
        {"data": {"texts": args.streams.split(",")}},
        settings=[f"steps={args.steps}", *PARTS[args.streams], *args.set],
    )
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        modules = len(corpus.streams)
        for kind in args.kinds.split(","):
            key = {"streams": args.streams, "steps": args.steps, "seed": seed, "kind": kind}
            made = [row for row in read_rows(args.json) if key.items() <= row.items()]
            row = made[0] if made else run_one(**_named(key), recipe=recipe, corpus=corpus,
                                               modules=modules)  # fmt: skip
            if not made:
                print(told(append_row(args.json, row)), flush=True)
            if kind == "modular":
                modules = max(2, row["modules"])
    if args.page:
        text = with_tables(args.page.read_text(encoding="utf-8"), read_record(args.json))
        args.page.write_text(text, encoding="utf-8")


def with_tables(text: str, record: Record) -> str:
    """A page with its tables made anew."""
    for name, table in TABLES.items():
        text = filled(text, name, table(record))
    return text


def _named(key: Row) -> dict[str, Any]:
    return {name: key[name] for name in ("streams", "seed", "kind")}


def share(row: Row, prefix: str = "") -> float:
    """Supported claims as a share of all; 0 where there are none."""
    found = [row[f"{prefix}{outcome}"] for outcome in OUTCOMES]
    return float(found[0] / max(sum(found), 1))


def words_table(record: Record) -> str:
    """What the writer said of each twin and what became of it, by seed, as a Markdown table."""
    rows = [row for row in record.rows if row["streams"] == "letters,digits"]
    lines = [
        "| twin | seed | loss | modules | supported, refuted, undecided | share | own stream "
        "| other stream | swapped | random |",
        "|" + " --- |" * 10,
    ]
    for kind in KINDS:
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["seed"])
        for row in own:
            claims = " / ".join(str(row[f"claims_{outcome}"]) for outcome in OUTCOMES)
            controls = " | ".join(_of_all(row, name) for name in ("swapped", "random"))
            lines.append(
                f"| {kind} | {row['seed']} | {row['loss']:.3f} | {row['modules']} | {claims} "
                f"| {share(row, 'claims_'):.0%} | {row['slice_effect_own']:.2f} "
                f"| {row['slice_effect_other']:z.3f} | {controls} |"
            )
        if own:
            met = sum(share(row, "claims_") >= BAR for row in own)
            lines.append(
                f"| **{kind}, mean** | {met} of {len(own)} reach {BAR:.0%} "
                f"| {mean(row['loss'] for row in own):.3f} | | "
                f"| **{mean(share(row, 'claims_') for row in own):.0%}** "
                f"| {mean(row['slice_effect_own'] for row in own):.2f} "
                f"| {mean(row['slice_effect_other'] for row in own):z.3f} "
                f"| {' | '.join(_mean_share(own, name) for name in ('swapped', 'random'))} |"
            )
    return "\n".join(lines)


def _mean_share(rows: Sequence[Row], name: str) -> str:
    known = [share(row["controls"][name]) for row in rows if name in row["controls"]]
    return f"**{mean(known):.0%}**" if known else ""


def _of_all(row: Row, name: str) -> str:
    if name not in row["controls"]:
        return ""
    control = row["controls"][name]
    total = sum(control[outcome] for outcome in OUTCOMES)
    return f"{control['supported']} of {total}"


def kinds_table(record: Record) -> str:
    """How many claims of each kind held of their own modules and of wrong ones, in Markdown."""
    columns = [(kind, name) for kind in KINDS for name in ("own", "swapped", "random")]
    columns = [each for each in columns if each[0] == "modular" or each[1] != "random"]
    found: dict[str, dict[tuple[str, str], list[int]]] = {}
    for row in record.rows:
        if row["streams"] != "letters,digits":
            continue
        tested = {name: control["by_kind"] for name, control in row["controls"].items()}
        for name, kinds in {"own": row["by_kind"], **tested}.items():
            for claim, outcomes in kinds.items():
                total = found.setdefault(claim, {}).setdefault((row["kind"], name), [0, 0])
                total[0] += outcomes["supported"]
                total[1] += sum(outcomes.values())
    lines = ["| kind of claim | " + " | ".join(f"{kind}, {name}" for kind, name in columns) + " |"]
    lines.append("|" + " --- |" * (len(columns) + 1))
    for claim, totals in found.items():
        cells = ["{} of {}".format(*totals[each]) if each in totals else "" for each in columns]
        lines.append(f"| {claim.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def interfaces_table(record: Record) -> str:
    """What each direction of three streams' interfaces carries, as a Markdown table."""
    rows = [row for row in record.rows if row["streams"] != "letters,digits"]
    lines = ["| seed | what is read | carries, supported | idle, supported | not supported |"]
    lines.append("|" + " --- |" * 5)
    for row in rows:
        if row["kind"] != "modular":
            continue
        names = row["serves"]
        for pair in dict.fromkeys((d["reader"], d["writer"]) for d in row["directions"]):
            own = [d for d in row["directions"] if (d["reader"], d["writer"]) == pair]
            held = [d for d in own if d["outcome"] == "supported"]
            cells = [
                ", ".join(_slice(d) for d in held if d["relation"] == relation)
                for relation in ("at least", "at most")
            ]
            cells.append(", ".join(_slice(d) for d in own if d not in held))
            what = f"{names[pair[0]]} ({pair[0]}) reads {names[pair[1]]} ({pair[1]})"
            lines.append(f"| {row['seed']} | {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _slice(direction: Row) -> str:
    sign = "≥" if direction["relation"] == "at least" else "≤"
    where = direction["where"].removeprefix("stream == ").replace("next in", "next:").strip("'")
    return f"{where} {sign} {direction['amount']:g}"


TABLES = {
    "words-table": words_table,
    "kinds-table": kinds_table,
    "interfaces-table": interfaces_table,
}
"""The mark of each table on the page, and what makes it."""


if __name__ == "__main__":
    main()
