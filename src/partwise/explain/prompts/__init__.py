"""What language models are sent: versioned templates, the evidence as text, and a schema.

    describe.v3.md   the system's turn: the task, the claims and the language that fit the part
    evidence.v3.md   the user's turn: the evidence, its parts, its neighbours
    again.v1.md      what is said once to a reply that cannot be used
    names.v1.md      the task of the last pass, which makes names consistent
    judge.v1.md      the task of a judge, who rates samples by a description
    samples.v1.md    the judge's user's turn: name, sentence, samples

A template that changes gets a new number: replies are kept by the hash of what was sent.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, NamedTuple

from jinja2 import Environment, StrictUndefined, Template
from pydantic import BaseModel, ConfigDict, Field

from partwise.explain.endpoints.base import Message, Prompt
from partwise.explain.prompts import tables
from partwise.explain.prompts.schema import claims_about, reply_schema
from partwise.explain.prompts.texts import render_text
from partwise.explain.prompts.writing import cut, fence, joined, line
from partwise.explain.values import Description, Evidence
from partwise.programs.evaluate import FUNCTIONS, MANY
from partwise.tasks.text import VARIABLES
from partwise.tasks.words import CLASSES

DESCRIBE, EVIDENCE, AGAIN, NAMES = "describe.v3", "evidence.v3", "again.v1", "names.v1"
JUDGE, SAMPLES = "judge.v1", "samples.v1"
MOST_NEIGHBOURS = 32
LONGEST_WORDS = 20_000


class Neighbour(NamedTuple):
    """A part that was described already.

    Attributes:
        words: what was said of it.
        subject: which part it is; empty where nobody said.
        is_part: whether it is a part of what is to be described.
    """

    words: Description
    subject: str = ""
    is_part: bool = False


class NewName(BaseModel):
    """A part, and what it is called from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[str, Field(min_length=1, max_length=80)]
    name: Annotated[str, Field(min_length=1, max_length=80)]


class NewNames(BaseModel):
    """The reply of the last pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: tuple[NewName, ...] = Field(max_length=1000)


def description_prompt(evidence: Evidence, neighbours: Sequence[Neighbour] = ()) -> Prompt:
    """The conversation that asks for a description.

    Args:
        evidence: what the writer may see of the subject.
        neighbours: what was said of its parts and of others; names and sentences are shown.
    """
    user = _template(EVIDENCE).render(
        subject=evidence.subject,
        evidence=fence("evidence", _rendered(evidence)),
        parts=_fenced("parts", [each for each in neighbours if each.is_part]),
        neighbours=_fenced("neighbours", [each for each in neighbours if not each.is_part]),
    )
    messages = _message("system", _system(evidence)), _message("user", user)
    return Prompt(messages, reply_schema(evidence), f"{DESCRIBE}+{EVIDENCE}")


def again_prompt(prompt: Prompt, words: str, problem: str) -> Prompt:
    """The same conversation after a reply that cannot be used, and why."""
    wish = _template(AGAIN).render(problem=line(problem, 400))
    turns = _message("assistant", cut(words, LONGEST_WORDS) or "{}"), _message("user", wish)
    return Prompt((*prompt.messages, *turns), prompt.schema, f"{prompt.version}+{AGAIN}")


def names_prompt(described: Sequence[Neighbour]) -> Prompt:
    """The conversation that asks for consistent names."""
    user = fence("descriptions", _told(described, len(described)))
    messages = _message("system", _template(NAMES).render()), _message("user", user)
    return Prompt(messages, NewNames.model_json_schema(), NAMES)


def judge_prompt(
    words: Description, samples: Sequence[str], schema: dict[str, Any], most: int
) -> Prompt:
    """The conversation that asks how much samples need a part; claims and evidence stay out.

    Args:
        words: of which name and sentence are shown.
        samples: what is to be rated.
        schema: of the reply.
        most: the highest rating.
    """
    given = [{"sample": k, "text": text} for k, text in enumerate(samples)]
    user = _template(SAMPLES).render(
        name=json.dumps(words.name),
        description=json.dumps(words.sentence),
        samples=json.dumps(given, ensure_ascii=False),
        count=len(samples),
        most=most,
    )
    messages = _message("system", _template(JUDGE).render()), _message("user", user)
    return Prompt(messages, schema, JUDGE)


def _message(role: str, content: str) -> Message:
    return Message(role=role, content=content.strip())


@cache
def _template(name: str) -> Template:
    text = files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")
    # No HTML: what is rendered is read by models, and evidence is fenced.
    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _system(evidence: Evidence) -> str:
    kinds: list[Any] = claims_about(evidence)
    claims = [
        (kind.model_fields["kind"].default, line(inspect.getdoc(kind) or "", 800)) for kind in kinds
    ]
    return _template(DESCRIBE).render(
        kind=evidence.kind,
        claims=claims,
        functions=", ".join(FUNCTIONS),
        many=", ".join(MANY),
        of_text=evidence.text is not None,
        variables=list(VARIABLES.items()),
        classes=", ".join(CLASSES),
    )


def _fenced(tag: str, neighbours: Sequence[Neighbour]) -> str:
    return fence(tag, _told(neighbours, MOST_NEIGHBOURS)) if neighbours else ""


def _told(neighbours: Sequence[Neighbour], most: int) -> str:
    return joined((_tell(each) for each in neighbours), most, "\n")


def _tell(neighbour: Neighbour) -> str:
    words, subject = neighbour.words, f"{neighbour.subject}, " if neighbour.subject else ""
    return f"- {subject}{line(words.name)}: {line(words.sentence, 400)}"


def _rendered(evidence: Evidence) -> str:
    parts = {
        "subject": evidence.subject,
        "share of the network's capacity that crosses its border": f"{evidence.interface_frac:.2%}",
        "inputs": tables.render_inputs(evidence),
        "heads": joined(f"{k} = {line(name)}" for k, name in enumerate(evidence.heads)),
        "units by layer, strongest first": tables.render_units(evidence),
        "reads": tables.render_shares(evidence.reads),
        "feeds": tables.render_shares(evidence.feeds),
        f"loss of each head {_intervention(evidence)}": tables.render_effects(evidence),
        "its strongest hidden units": tables.render_profiles(evidence),
        "a fitted program": tables.render_fit(evidence),
        "its strongest edges, as code": tables.render_code(evidence),
        "samples": tables.render_examples(evidence),
    }
    if evidence.text is not None:
        parts |= render_text(evidence.text, evidence.profiles)
    return "\n".join(f"{title}:\n{text}" for title, text in parts.items() if text)


def _intervention(evidence: Evidence) -> str:
    if evidence.kind == "module":
        return "before and after its hidden units are held at their means"
    return "before and after the cut"


__all__ = [
    "Neighbour",
    "NewNames",
    "again_prompt",
    "description_prompt",
    "judge_prompt",
    "names_prompt",
    "reply_schema",
]
