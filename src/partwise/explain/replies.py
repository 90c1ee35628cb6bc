"""Reading a language model's reply: a description that fits the evidence, or a reason why not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pydantic import ValidationError

from partwise.explain.claims import ActivationClaim, AttendsClaim, Claim, IgnoresClaim
from partwise.explain.language import parse_program
from partwise.explain.values import Description, Evidence
from partwise.tasks.text import VARIABLES


class BadReplyError(Exception):
    """Why a reply is no description."""


class IncompleteReplyError(BadReplyError):
    """A reply that lacks a field: worth asking for once more."""


def read_content(text: str) -> str:
    """The model's words in a chat completion.

    Raises:
        BadReplyError: if the completion is damaged, cut off or a refusal.
    """
    try:
        completion = json.loads(text)
    except (ValueError, RecursionError):
        raise BadReplyError("the server's reply is not JSON") from None
    match completion:
        case {"choices": [{"finish_reason": "length"}, *_]}:
            raise BadReplyError("the model's answer was cut off at the server's token limit")
        case {"choices": [{"message": {"content": str(content)}}, *_]}:
            return content
        case {"choices": [{"message": {"refusal": str()}}, *_]}:
            raise BadReplyError("the model refused to answer")
    raise BadReplyError("the server's reply is no chat completion")


def read_description(content: str, evidence: Evidence) -> Description:
    """The description in a model's words.

    Raises:
        IncompleteReplyError: if it lacks a field.
        BadReplyError: if it does not fit the schema otherwise, or speaks of heads, inputs, units or
            variables that are not in the evidence.
    """
    try:
        description = Description.model_validate_json(unfenced(content), strict=True)
    except ValidationError as error:
        lacks = any(each["type"] == "missing" for each in error.errors(include_url=False))
        kind = IncompleteReplyError if lacks else BadReplyError
        raise kind(_describe_violation(error)) from None
    except RecursionError:
        raise BadReplyError("a program in the answer is nested too deeply") from None
    _check_variables(description.program, evidence)
    for claim in description.claims:
        _check_claim(claim, evidence)
    return description


def unfenced(content: str) -> str:
    r"""The JSON inside a Markdown code fence, or the text as it is where there is none.

    >>> unfenced("Here it is:\n```json\n{}\n```")
    '{}'
    """
    found = re.search(r"```(?:json)?[ \t]*\r?\n(.*?)\r?\n?```", content, re.DOTALL)
    return found[1].strip() if found else content


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
