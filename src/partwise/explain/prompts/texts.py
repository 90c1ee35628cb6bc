"""Evidence on text: slices, tokens, marked contexts, attention, rules and directions.

Contexts are hostile: they are capped, shown on one line each, and cannot be told apart from data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from partwise.explain.prompts.tables import render_spread
from partwise.explain.prompts.writing import cut, joined, line, quoted, visible
from partwise.explain.values import (
    AttentionProfile,
    Context,
    Direction,
    Promotion,
    Rule,
    SliceEffect,
    TextEvidence,
    TokenRise,
    UnitProfile,
)

MOST_TOKENS, MOST_SLICES, MOST_CONTEXTS, MOST_HEADS = 64, 24, 6, 16
AROUND = 16
"""Tokens of a context on each side of its strongest mark."""
LONGEST_CONTEXT = 240
SHOWN = 0.5
"""Marks of at least this share of the strongest are shown."""


def render_text(text: TextEvidence, profiles: Sequence[UnitProfile]) -> dict[str, str]:
    """Titles and what stands below them."""
    attention = "its heads look, more than attention to all earlier tokens alike would"
    marked = "«token»number marks the nats that a token's prediction loses"
    return {
        "streams": joined(map(quoted, text.streams)),
        "its own tokens, strongest first": joined(map(quoted, text.tokens), MOST_TOKENS),
        "loss on slices of the tokens": _slices(text.slices),
        "tokens whose logits it raises most": _rises(text.promoted),
        "tokens whose logits it lowers most": _rises(text.suppressed),
        "tokens that it raises, taken together": _promotion(text.promotion),
        attention: _lines(map(_attention, text.attention), MOST_HEADS),
        "what the network predicts on a slice": _lines(map(_rule, text.rules), MOST_SLICES),
        f"texts that suffer most without it ({marked})": contexts(text.suffering),
        "texts that suffer least without it": contexts(text.spared),
        "texts where its units are most active": _lines(_active(profiles), MOST_HEADS),
        "directions": "\n".join(map(_direction, text.directions)),
    }


def contexts(found: Sequence[Context]) -> str:
    """Pieces of text, a line each, with their strong marks beside the tokens."""
    return _lines(map(_context, found), MOST_CONTEXTS)


def _context(context: Context) -> str:
    if not context.tokens:
        return f"[{line(context.stream)}]"
    marks = np.nan_to_num(np.array(context.marks, float), posinf=0.0, neginf=0.0)
    top = int(marks.argmax())
    start, stop = max(0, top - AROUND), top + AROUND
    least = max(SHOWN * float(marks[top]), 1e-9)
    pieces = zip(context.tokens[start:stop], marks[start:stop], strict=False)
    text = "".join(_marked(token, float(mark), least) for token, mark in pieces)
    return f"[{line(context.stream)}] {cut(text, LONGEST_CONTEXT)}"


def _marked(token: str, mark: float, least: float) -> str:
    plain = visible(token).replace("«", "‹").replace("»", "›")
    return f"«{plain}»{mark:.2g} " if mark >= least else plain


def _slices(slices: Iterable[SliceEffect]) -> str:
    return _lines(map(_slice, slices), MOST_SLICES)


def _slice(each: SliceEffect) -> str:
    where = f"where {line(each.where, 200)}" if each.where else "all tokens"
    loss = f"{each.loss_before:.4g} -> {each.loss_after:.4g} nats"
    return f"{where} ({each.tokens} tokens): {loss}{render_spread(each.spread)}"


def _rises(rises: Iterable[TokenRise]) -> str:
    return joined((f"{quoted(each.token)} {each.rise:+.2g}" for each in rises), MOST_TOKENS)


def _promotion(found: Promotion | None) -> str:
    if found is None:
        return ""
    tokens = joined(map(quoted, found.tokens), MOST_TOKENS)
    return (
        f"{tokens}: by {found.rise:.3g} logits where one of them comes next; a test likely finds "
        f"{found.safe:.3g} or more; as many random units raise them by {found.chance:.3g} or less"
    )


def _attention(each: AttentionProfile) -> str:
    return (
        f"unit {each.unit} ({line(each.name)}): {line(each.pattern, 200)!r} {each.share:.2f} of "
        f"its attention; a test likely finds {each.safe:.2f} or more; alike {each.even:.2f}"
    )


def _rule(each: Rule) -> str:
    where = f" where {line(each.where, 200)}" if each.where else ""
    own = "it is the module's own" if each.is_own else "random units single it out as much"
    return (
        f"{line(each.rule, 200)}{where}: {each.agreement:.1%} of the tokens; a test likely finds "
        f"{each.safe:.1%} or more; without the module {each.without:.1%}; {own}"
    )


def _active(profiles: Sequence[UnitProfile]) -> Iterable[str]:
    for each in profiles:
        if each.contexts:
            yield f"unit {each.unit}: {_context(each.contexts[0])}"


def _direction(each: Direction) -> str:
    parts = {
        "wires": joined(map(line, each.wires), 12),
        "loss on slices without it": _slices(each.slices),
        "texts that suffer most without it": contexts(each.suffering),
    }
    told = "\n".join(f"{title}:\n{text}" for title, text in parts.items() if text)
    share = f"{each.share:.2%} of the network's capacity"
    return f"what module {each.reader} reads of the other ({share}):\n{told}"


def _lines(items: Iterable[str], most: int) -> str:
    return joined((f"- {each}" for each in items), most, "\n")
