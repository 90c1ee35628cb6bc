"""Reading a language model's words: a description that fits the evidence, or a reason why not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from partwise.explain.claims import ActivationClaim, AttendsClaim, Claim, IgnoresClaim
from partwise.explain.endpoints.hosted import imported
from partwise.explain.prompts import NewNames
from partwise.explain.values import Description, Evidence
from partwise.programs.language import parse_program
from partwise.tasks.text import VARIABLES

MOST_MENDED = 100_000
"""Longer text is not mended."""
Form = TypeVar("Form", bound=BaseModel)


class BadReplyError(Exception):
    """Why words are no description; worth telling the model once."""


def read_description(content: str, evidence: Evidence) -> Description:
    """The description in a model's words.

    Raises:
        BadReplyError: if they do not fit the schema, or speak of heads, inputs, units or variables
            that are not in the evidence.
    """
    description = _read(Description, content)
    _check_variables(description.program, evidence)
    for claim in description.claims:
        _check_claim(claim, evidence)
    return description


def read_names(content: str, subjects: Sequence[str]) -> dict[str, str]:
    """The new name of each part that gets one, in a model's words.

    Raises:
        BadReplyError: if they do not fit the schema, or name a part that does not exist.
    """
    found = {each.subject: each.name for each in _read(NewNames, content).names}
    unknown = sorted(found.keys() - set(subjects))
    if unknown:
        raise BadReplyError(f"there is no part {unknown[0]!r}")
    return found


def json_in(content: str) -> str:
    r"""The first JSON object in a text, mended where it is whole but not quite JSON.

    Text without a whole object stays as it is: what was cut off is not made up.

    >>> json_in("Here it is:\n```json\n{'a': [1, 2,],}\n```")
    '{"a": [1, 2]}'
    >>> json_in('{"a": 1')
    '{"a": 1'
    """
    found = _first_object(content)
    if found is None:
        return content
    try:
        json.loads(found)
    except RecursionError:
        return content
    except ValueError:
        return _mended(found)
    return found


def _first_object(content: str) -> str | None:
    """The text from the first brace to the one that closes it, whatever quotes hold."""
    start, depth, quote = content.find("{"), 0, ""
    if start < 0:
        return None
    for match in re.finditer(r"\\.|[{}\"']", content[start:], re.DOTALL):
        mark = match[0]
        if quote:
            quote = "" if mark == quote else quote
        elif mark == '"' or (mark == "'" and _opens(content, start + match.start())):
            quote = mark
        elif mark in "{}":
            depth += 1 if mark == "{" else -1
            if depth == 0:
                return content[start : start + match.end()]
    return None


def _opens(content: str, place: int) -> bool:
    """Whether a single quote begins a text: after a brace, bracket, colon or comma."""
    return content[max(0, place - 20) : place].rstrip()[-1:] in "{[:,"


def _mended(text: str) -> str:
    if len(text) > MOST_MENDED:
        return text
    try:
        found = imported("json_repair").loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(found) if isinstance(found, dict) else text


def _read(form: type[Form], content: str) -> Form:
    try:
        return form.model_validate_json(json_in(content), strict=True)
    except ValidationError as error:
        raise BadReplyError(_describe_violation(error)) from None
    except RecursionError:
        raise BadReplyError("a program in the answer is nested too deeply") from None


def _describe_violation(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"the model's answer does not fit the schema at {place or 'its root'}: {first['msg']}"


def _check_claim(claim: Claim, evidence: Evidence) -> None:
    data = "table" if evidence.text is None else "text"
    if evidence.kind not in claim.about or data not in claim.data:
        raise BadReplyError(f"{claim.kind!r} is no claim about {evidence.subject}")
    for program in claim.programs:
        _check_variables(program, evidence)
    match claim:
        case ActivationClaim(unit=unit):
            _check_number("unit", unit, [each.unit for each in evidence.profiles])
        case AttendsClaim(unit=unit):
            known = () if evidence.text is None else evidence.text.attention
            _check_number("head", unit, [each.unit for each in known])
        case IgnoresClaim(inputs=inputs):
            for each in inputs:
                _check_number("input", each, range(len(evidence.inputs)))
    _check_number("head", getattr(claim, "head", 0), range(len(evidence.heads)))


def _check_number(noun: str, number: int, known: Sequence[int]) -> None:
    if number not in known:
        raise BadReplyError(f"a claim names {noun} {number}, which is not in the evidence")


def _check_variables(program: str | None, evidence: Evidence) -> None:
    if program is None:
        return
    known = {f"x{k}" for k in range(len(evidence.inputs))}
    known |= {f"answer{k}" for k in range(len(evidence.heads))}
    if evidence.text is not None:
        known = set(VARIABLES)
    unknown = sorted(parse_program(program).variables - known)
    if unknown:
        raise BadReplyError(f"a program reads {unknown[0]!r}, which is not in the evidence")
