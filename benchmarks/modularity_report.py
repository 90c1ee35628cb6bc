"""Tables and plots of the modularity and detector studies, from their records alone.

    python -m benchmarks.modularity_report

Writes `modularity.md`, `modularity_pareto.svg` and `detector.md` into `benchmarks/results/`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from statistics import mean, median, stdev

import numpy as np
from scipy.stats import t as student

from benchmarks.modularity_methods import DROPOUT, SETTINGS, SWEEPS, TOLD
from benchmarks.records import RESULTS, Row, read_rows
from partwise.files import write_text
from partwise.modules.agreement import stability

Score = Callable[[Row], float]

COLUMNS = (
    ("held_out_loss", "held-out loss"),
    ("accuracy", "accuracy"),
    ("interface_frac", "interface"),
    ("interface_at_truth", "interface at the true number"),
    ("causal_interface", "causal"),
    ("causal_interface_worst", "causal, worst"),
    ("cross_frac", "cross"),
    ("modules", "modules"),
    ("purity", "purity"),
    ("ami", "AMI"),
    ("purity_spectral", "purity, spectral"),
    ("q_z", "Q z"),
    ("n_cut_z", "n-cut z"),
    ("selectivity", "lesions"),
    ("selectivity_random", "random lesions"),
    ("lesion_p", "lesion p"),
    ("lesion_information", "information"),
    ("lesion_information_random", "random information"),
    ("lesion_information_p", "information p"),
    ("train_s", "s"),
)
JUDGED = (
    "digits-pair", "digits-four", "two-playgrounds", "formulas-independence", "sparse-parity",
)  # fmt: skip
COUNTED = (*JUDGED, "digits-shared", "digit-one", "digits-random")
"""Tasks with a bar on losses and interfaces, and with one on modules."""
FLOOR = 1e-5
ROUNDING = 1e-12
IDLE = 1e-3
"""Interface shares below this are alike: fewer than one weight in a thousand."""
IDLE_NATS = 0.02
"""An interface whose removal adds no more than this, jointly and at the worst, is idle."""
WORST = "causal_interface_worst"
ALIKE = 0.01
"""Mean losses this close, as a share, are alike."""
PANEL, MARGIN, PER_ROW = 260, 46, 3
FEWEST_SEEDS = 3
"""Methods with fewer rows than this are not compared with ours."""
STILL = 1e4
"""A z-score beyond this says that the shuffles hardly vary, no more."""
BARS = """\
Bars, on digits-pair, digits-four, two-playgrounds, formulas-independence and sparse-parity: the
true number of modules at a purity of 0.97 at 4 of 5 seeds; held-out loss at most 1.05 of the best
L1 setting's; interface at most 0.1 of that setting's; at most 0.02 nats added by removing all
interfaces, and by the worst part of them where that was measured. On every task with modules:
lesions more selective than random ones, p < 0.01. On boolean-tree a dendrogram purity of 0.9; on
digits-shared three modules at 4 of 5 seeds; on digit-one and digits-random one module. **Bold** is
missed. Losses are compared by their means over the seeds, and where the median of the single seeds'
ratios differs by more than 5%, it is given too. Where modules are closed, ours sets the interface
to 0 in the weights, so that it and what it carries are 0 by construction, and what is measured is
the loss; a network of one module has neither."""
GLOSSARY = """\
±: half of a 95% interval of the mean, by the normal. *interface*: share of capacity between
modules; *at the true number*: of the best partition into as many modules as are right, whatever
was found; *causal*: nats that removing the interface adds, *worst*: that the worst part of it
does, as far as gradient ascent finds it; *cross*: share of the path mass from
inputs to outputs of another true part; *purity, AMI*: against the true parts, of live inputs and
outputs, and by spectral clustering told the number; *Q z, n-cut z*: against networks with
shuffled layers, none where these hardly vary; *lesions*: how much of what removing a module does
falls on the heads that it serves, beside random lesions as large; *information*: what the module
that is lost says about which heads suffer; *s*: seconds of training; *stability*: adjusted Rand
index of two seeds' parts; *strength*: the budget, a multiple of the default L1, a weight or a
share of weights, as in `modularity_methods.py`.

`plain`, `l1`, `bimt`, `n-cut`, `clusterability` (blocks fixed, or found anew), `dmon`,
`modular-start`, `top-k` and `dropout-prune` are peers; `leiden` is ours with Leiden's partition
in place of the cut tree's, `l1-released` our phases without any split, `true-blocks` ours told
the answer, `ours-dropout` ours on networks with dropout. All have weight decay 0.3; plain
training of digits-pair is better at 0.5 (`plain_twin.jsonl`)."""
FRONTS = """\
`ours`: ours dominates every setting of the peer in mean held-out loss and interface at the true
number of modules; `peer`: a setting of the peer dominates ours; numbers: neither does, and these
are the peer's least loss and least interface as multiples of ours. `~`: no paired 95% interval
over the seeds shows it, that is, that the better one's loss or interface is lower; beside
numbers, that the peer's loss is. Losses within 1% and interfaces below
0.001 count as equal. Both are compared at the same seeds, of which there must be three, and a
peer with dropout with ours on the same networks (`ours-dropout`), where there are such rows."""
COLOURS = ("#c1121f", "#3a86ff", "#2a9d8f", "#f4a261", "#8338ec", "#6c757d", "#bc6c25", "#00b4d8",
           "#606c38", "#d62ad0", "#e9c46a", "#1d3557", "#ff006e")  # fmt: skip


def groups(rows: Iterable[Row]) -> dict[tuple[str, str, float], list[Row]]:
    """Rows by task, method and strength, in the order of the settings."""
    found: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        found.setdefault((row["task"], row["method"], row["strength"]), []).append(row)
    order = list(SETTINGS)
    return dict(sorted(found.items(), key=lambda each: (order.index(each[0][0]), each[0][1:])))


def shown(values: Sequence[float | None]) -> str:
    """Mean, and half the 95% interval of the mean by the normal where there are several.

    >>> shown([1.0, 3.0]), shown([0.25]), shown([None])
    ('2.00±1.96', '0.25', '')
    """
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle = _number(mean(known))
    if len(known) == 1:
        return middle
    return f"{middle}±{_number(1.96 * stdev(known) / math.sqrt(len(known)))}"


def _number(value: float) -> str:
    if abs(value) < ROUNDING:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def interface(row: Row) -> float:
    """The interface that a row is judged by: that at the true number of modules.

    A network in which no module was found has no interface to boast of; where an older row does
    not say what it is at the true number, it counts as all of the capacity.
    """
    if "interface_at_truth" in row:
        share = float(row["interface_at_truth"])
        return share if share > ROUNDING else 0.0
    alone = row["modules"] == 1 and SETTINGS[row["task"]].modules > 1
    return 1.0 if alone else float(row["interface_frac"])


def point(rows: Sequence[Row]) -> tuple[float, float]:
    """Mean held-out loss and mean interface of a setting."""
    return mean(row["held_out_loss"] for row in rows), mean(interface(row) for row in rows)


def held_out_loss(row: Row) -> float:
    """A row's held-out loss."""
    return float(row["held_out_loss"])


def lower_in(rows: Sequence[Row], other: Sequence[Row]) -> list[Score]:
    """The scores whose mean is lower than the other's, where they are not alike (IDLE, ALIKE)."""
    floors = {held_out_loss: 0.0, interface: IDLE}
    return [
        score
        for score, floor in floors.items()
        if max(mean(map(score, rows)), floor) * (1 + ALIKE) < max(mean(map(score, other)), floor)
    ]


def dominated(rows: Sequence[Row], other: Sequence[Row]) -> bool:
    """Whether `other` is as good in loss and interface, and better in one."""
    return not lower_in(rows, other) and bool(lower_in(other, rows))


def fronts(rows: Sequence[Row]) -> str:
    """Ours against each peer that is not told the answer, on every task with modules.

    `ours`: ours dominates each of its settings; `peer`: one of its settings dominates ours; with
    numbers, neither: the best loss and interface of the peer as multiples of ours.
    """
    found = groups(rows)
    peers = [m for m in SWEEPS if m not in TOLD and not m.startswith("ours")]
    lines = [f"| task | {' | '.join(peers)} |", "|" + " --- |" * (len(peers) + 1)]
    made: list[str] = []
    for task in SETTINGS:
        ours = found.get((task, "ours", SWEEPS["ours"][0]))
        if ours is None or SETTINGS[task].modules == 1:
            continue
        with_dropout = found.get((task, "ours-dropout", SWEEPS["ours-dropout"][0]), ours)
        cells = [
            _against(
                with_dropout if peer in DROPOUT else ours,
                [each for key, each in found.items() if key[:2] == (task, peer)],
            )
            for peer in peers
        ]
        lines.append(f"| {task} | {' | '.join(cells)} |")
        made += filter(None, cells)
    return "\n".join([*lines, "", _counted(made)])


def _counted(cells: Sequence[str]) -> str:
    """How often ours is ahead, the peer, or neither, in words."""
    rest = [cell for cell in cells if cell.strip("~") not in ("ours", "peer")]
    unsure = sum(cell.startswith("~") for cell in rest)
    ours, peer = (
        f"{cells.count(who) + cells.count('~' + who)} (shown in {cells.count(who)})"
        for who in ("ours", "peer")
    )
    return (
        f"Of {len(cells)} cells ours dominates in {ours}, the peer in {peer}, neither in the other "
        f"{len(rest)}, in {unsure} of which no lower loss is shown."
    )


def _against(ours: Sequence[Row], settings: Sequence[Sequence[Row]]) -> str:
    seeds = {row["seed"] for row in ours}
    common = [sum(row["seed"] in seeds for row in each) for each in settings]
    settings = [each for each, n in zip(settings, common, strict=True) if n >= FEWEST_SEEDS]
    if not settings:
        return ""
    pairs = [_at_common_seeds(ours, each) for each in settings]
    if all(dominated(each, own) for own, each in pairs):
        return _sure("ours", all(_is_shown(own, each) for own, each in pairs))
    ahead = [(own, each) for own, each in pairs if dominated(own, each)]
    if ahead:
        return _sure("peer", any(_is_shown(each, own) for own, each in ahead))
    points = [(point(each), point(own)) for own, each in pairs]
    loss, at = min((each[0] / own[0], i) for i, (each, own) in enumerate(points))
    share = min(each[1] / max(own[1], IDLE) for each, own in points)
    own, each = pairs[at]
    return _sure(f"{loss:.2f} / {share:.2g}", _is_lower(each, own, held_out_loss))


def _sure(cell: str, is_shown: bool) -> str:
    return cell if is_shown else f"~{cell}"


def _is_shown(rows: Sequence[Row], other: Sequence[Row]) -> bool:
    """Whether a paired interval shows a score lower, of those that are not alike."""
    return any(_is_lower(rows, other, score) for score in lower_in(rows, other))


def _is_lower(rows: Sequence[Row], other: Sequence[Row], score: Score) -> bool:
    """Whether a score is lower than the other's at the same seeds, by a paired 95% interval."""
    theirs = {row["seed"]: score(row) for row in other}
    gaps = [score(row) - theirs[row["seed"]] for row in rows if row["seed"] in theirs]
    if len(gaps) < 2:
        return False
    spread = stdev(gaps) / math.sqrt(len(gaps))
    return bool(mean(gaps) + spread * student.ppf(0.975, len(gaps) - 1) < 0)


def _at_common_seeds(
    rows: Sequence[Row], other: Sequence[Row]
) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows of both methods at the seeds that both were run at; all, where they share none."""
    common = {row["seed"] for row in rows} & {row["seed"] for row in other}
    if not common:
        return rows, other
    own, theirs = ([row for row in each if row["seed"] in common] for each in (rows, other))
    return own, theirs


def table(rows: Sequence[Row]) -> str:
    """One Markdown table per task; `on front` marks settings that nothing untold dominates."""
    parts = []
    found = groups(rows)
    for task in dict.fromkeys(key[0] for key in found):
        own = {key: each for key, each in found.items() if key[0] == task}
        columns = [each for each in COLUMNS if each[0] != WORST or any(WORST in r for r in rows)]
        titles = [title for _, title in columns]
        head = ["method", "strength", "seeds", "on front", *titles, "stability"]
        lines = [f"## {task}", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        for (_, method, strength), each in own.items():
            rivals = [v for k, v in own.items() if k[1] not in TOLD and v is not each]
            front = not any(dominated(each, rival) for rival in rivals)
            cells = [shown([_known(row, name) for row in each]) for name, _ in columns]
            cells.append(shown(agreements(each)))
            first = [method, f"{strength:g}", str(len(each)), "yes" if front else "no"]
            lines.append(f"| {' | '.join([*first, *cells])} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _known(row: Row, name: str) -> float | None:
    """A row's score, none where it says nothing."""
    value: float | None = row.get(name)
    if name.endswith("_z") and value is not None and abs(value) > STILL:
        return None
    return None if name in ("causal_interface", WORST) and row["modules"] == 1 else value


def end_labels_as_text(labels: Iterable[int]) -> str:
    """Modules of inputs and outputs, one character each: `0` and on, `-` for a dead unit (-1).

    >>> end_labels_as_text([0, 1, -1])
    '01-'
    """
    return "".join("-" if label < 0 else chr(ord("0") + label) for label in labels)


def end_labels(text: str) -> np.ndarray:
    """(ends,) the modules that `end_labels_as_text` wrote."""
    return np.array([-1 if each == "-" else ord(each) - ord("0") for each in text])


def agreements(rows: Sequence[Row]) -> list[float]:
    """Adjusted Rand index of inputs and outputs of every two seeds, where both have them live."""
    ends = [end_labels(row["end_labels"]) for row in rows if "end_labels" in row]
    scores = []
    for a, b in combinations(ends, 2):
        both = (a >= 0) & (b >= 0)
        scores.append(stability([a[both], b[both]]))
    return scores


def bars(rows: Sequence[Row]) -> str:
    """Which of the study's bars hold for `ours` at its default budget, from the records."""
    lines = ["| task | seeds | right number and purity ≥ 0.97 | loss / best L1 | loss / plain | "
             "interface / that L1's | causal / worst | lesion p < 0.01 | by information | "
             "dendrogram |", "|" + " --- |" * 10]  # fmt: skip
    found = groups(rows)
    for task in SETTINGS:
        ours = found.get((task, "ours", SWEEPS["ours"][0]))
        if ours is None:
            continue
        right = [
            r["modules"] == SETTINGS[task].modules and r.get("purity", 0) >= 0.97 for r in ours
        ]
        l1 = [each for key, each in found.items() if key[:2] == (task, "l1")]
        best = min(l1, key=lambda each: point(each)[0], default=None)
        plain = found.get((task, "plain", SWEEPS["plain"][0]))
        trees = [row.get("dendrogram_purity_fine") for row in ours]
        judged = task in JUDGED
        cells = [
            task,
            str(len(ours)),
            _marked(f"{sum(right)} of {len(right)}", task in COUNTED and mean(right) < 0.8),
            _marked(_losses(ours, best), judged and _over(ours, best, 0, 1.05)),
            _losses(ours, plain),
            _marked(_interfaces(ours, best), judged and _over(ours, best, 1, 0.1)),
            _causal(ours, judged),
            _marked(_significant(ours, "lesion_p"), _some(ours, "lesion_p", 0.01)),
            _significant(ours, "lesion_information_p"),
            _marked(shown(trees), mean_of(trees, 1.0) < 0.9),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _causal(ours: Sequence[Row], judged: bool) -> str:
    """What the interface carries, jointly and, where it was measured, at the worst."""
    joint, worst = ([_known(row, name) for row in ours] for name in ("causal_interface", WORST))
    cell = _marked(shown(joint), judged and mean_of(joint) > IDLE_NATS)
    if all(value is None for value in worst):
        return cell
    return f"{cell} / {_marked(shown(worst), judged and mean_of(worst) > IDLE_NATS)}"


def mean_of(values: Sequence[float | None], otherwise: float = 0.0) -> float:
    """Mean of what is known."""
    known = [value for value in values if value is not None]
    return mean(known) if known else otherwise


def _marked(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


def _over(ours: Sequence[Row], other: Sequence[Row] | None, of: int, most: float) -> bool:
    """Whether the mean loss (0) or interface (1) is beyond this multiple of the other's."""
    if other is None:
        return False
    own, theirs = _at_common_seeds(ours, other)
    return point(own)[of] > most * point(theirs)[of]


def _losses(ours: Sequence[Row], other: Sequence[Row] | None) -> str:
    """Ratio of the mean losses, and the median ratio at single seeds where it differs."""
    if other is None:
        return ""
    own, theirs = (
        {row["seed"]: row["held_out_loss"] for row in each}
        for each in _at_common_seeds(ours, other)
    )
    whole = mean(own.values()) / mean(theirs.values())
    middle = (
        median(own[seed] / theirs[seed] for seed in own) if own.keys() == theirs.keys() else whole
    )
    differ = abs(middle / whole - 1) > 0.05
    return _number(whole) + (f" (median {_number(middle)})" if differ else "")


def _interfaces(ours: Sequence[Row], other: Sequence[Row] | None) -> str:
    if other is None:
        return ""
    own, theirs = _at_common_seeds(ours, other)
    return _number(point(own)[1] / max(point(theirs)[1], 1e-12))


def _significant(rows: Sequence[Row], name: str) -> str:
    """At how many seeds lesions have p < 0.01, of those with two modules and two heads or more."""
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return ""
    return f"{sum(value < 0.01 for value in values)} of {len(values)}"


def _some(rows: Sequence[Row], name: str, least: float) -> bool:
    """Whether a score that is known is not below `least`."""
    return any(row[name] >= least for row in rows if row.get(name) is not None)


def pareto(rows: Sequence[Row]) -> str:
    """An SVG with a panel per task: held-out loss across, interface share (log) upwards."""
    found = groups(rows)
    tasks = list(dict.fromkeys(key[0] for key in found))
    methods = list(dict.fromkeys(key[1] for key in found))
    high = math.ceil(len(tasks) / PER_ROW) * (PANEL + MARGIN) + 24 * math.ceil(len(methods) / 5)
    wide = PER_ROW * (PANEL + MARGIN) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high + 20}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for i, task in enumerate(tasks):
        x, y = (i % PER_ROW) * (PANEL + MARGIN) + MARGIN, i // PER_ROW * (PANEL + MARGIN) + 20
        own = {key[1:]: each for key, each in found.items() if key[0] == task}
        parts.append(_panel(task, own, methods, x, y))
    for i, method in enumerate(methods):
        x, y = MARGIN + i % 5 * 180, high - 24 * (math.ceil(len(methods) / 5) - 1 - i // 5)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{COLOURS[i % len(COLOURS)]}"/>'
                     f'<text x="{x + 8}" y="{y + 4}">{method}</text>')  # fmt: skip
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    task: str, own: dict[tuple[str, float], list[Row]], methods: list[str], x: int, y: int
) -> str:
    points = [
        (method, strength, point(each)[0], max(FLOOR, point(each)[1]))
        for (method, strength), each in own.items()
    ]  # fmt: skip
    low, top = min(p[2] for p in points), max(p[2] for p in points)
    span = (top - low) or 1.0
    parts = [
        f'<rect x="{x}" y="{y}" width="{PANEL}" height="{PANEL - 20}" fill="none" stroke="#ccc"/>',
        f'<text x="{x}" y="{y - 5}" font-weight="bold">{task}</text>',
        f'<text x="{x}" y="{y + PANEL - 5}">loss {low:.3g}</text>',
        f'<text x="{x + PANEL}" y="{y + PANEL - 5}" text-anchor="end">{top:.3g}</text>',
    ]
    for power in range(0, 6):
        at = y + 8 + power / 5 * (PANEL - 36)
        parts.append(f'<text x="{x - 4}" y="{at + 4}" text-anchor="end">1e-{power}</text>')
    for method, strength, loss, interface in points:
        cx = x + 8 + (loss - low) / span * (PANEL - 16)
        cy = y + 8 - math.log10(interface) / 5 * (PANEL - 36)
        colour = COLOURS[methods.index(method) % len(COLOURS)]
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{colour}">'
                     f"<title>{method} {strength:g}</title></circle>")  # fmt: skip
    return "\n".join(parts)


def detector_table(rows: Sequence[Row]) -> str:
    """Mean adjusted Rand index per cell, and the structureless networks that were split."""
    names = ("ours", "leiden", "spectral", "linkage")
    cells: dict[tuple, list[Row]] = {}
    for row in rows:
        if row["kind"] == "planted":
            key = (row["layers"], row["modules"], row["cross"], row["sparse"])
            cells.setdefault(key, []).append(row)
    lines = ["| layers | modules | cross | weights | ours | Leiden | spectral (told k) | linkage "
             "(told k) | behind by |", "|" + " --- |" * 9]  # fmt: skip
    behind = {"leiden": 0, "spectral": 0}
    counted = 0
    for (layers, modules, cross, sparse), each in sorted(cells.items()):
        ari = {name: mean(row[f"ari_{name}"] for row in each) for name in names}
        lag = {name: ari[name] - ari["ours"] for name in behind}
        if cross <= 0.5:
            counted += 1
            for name in behind:
                behind[name] += lag[name] > 0.02
        words = ", ".join(f"{name} {gap:.2f}" for name, gap in lag.items() if gap > 0.02)
        kind = "thinned" if sparse else "scaled"
        values = " | ".join(f"{ari[name]:.2f}" for name in names)
        lines.append(f"| {layers} | {modules} | {cross:g} | {kind} | {values} | {words} |")
    none = [row for row in rows if row["kind"] != "planted"]
    split = {
        name: sum(row[f"modules_{name}"] > 1 for row in none) for name in ("ours", "weak", "leiden")
    }
    return "\n".join([
        f"Cells with cross ≤ 0.5: {counted}; more than 0.02 behind Leiden in {behind['leiden']}, "
        f"behind spectral in {behind['spectral']}.",
        "",
        f"Structureless networks split into modules, of {len(none)}: {split['ours']} by "
        f"`method=\"newman_q\"`, {split['weak']} by likelihood, {split['leiden']} by Leiden. In "
        "the table, *ours* is by likelihood.",
        "", *lines,
    ])  # fmt: skip


def made_from(record: str, rows: Sequence[Row]) -> str:
    """What a page was made from: the record, and how many of its rows each commit made."""
    commits = Counter(row["commit"][:7] for row in rows)
    made = ", ".join(f"{count:,} at {commit}" for commit, count in commits.most_common())
    command = "Made by `python -m benchmarks.modularity_report`"
    return f"{command} from `{record}` (rows: {made}).\n\n"


def pages() -> dict[str, str]:
    """Every page and plot by its name in the results."""
    rows = read_rows(RESULTS / "modularity")
    text = made_from("modularity/*.jsonl", rows)
    text += "![Pareto fronts](modularity_pareto.svg)\n\n## Bars, method `ours`\n\n"
    text += f"{BARS}\n\n{bars(rows)}\n\n"
    text += f"## Ours against each peer\n\n{FRONTS}\n\n{fronts(rows)}\n\n"
    text += f"## What the tables below say\n\n{GLOSSARY}\n\n{table(rows)}\n"
    planted = read_rows(RESULTS / "detector.jsonl")
    alone = made_from("detector.jsonl", planted) + detector_table(planted) + "\n"
    return {
        "modularity.md": "# Modularity study\n\n" + text,
        "modularity_pareto.svg": pareto(rows),
        "detector.md": "# The detector alone\n\n" + alone,
    }


if __name__ == "__main__":
    for name, text in pages().items():
        write_text(RESULTS / name, text)
