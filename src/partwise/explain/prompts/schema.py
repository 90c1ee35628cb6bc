"""The JSON schema of a description: parameters of claims that can be made of the evidence."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from partwise.explain.claims import (
    ActivationClaim,
    AttendsClaim,
    BaseClaim,
    Claim,
    InterfaceClaim,
)
from partwise.explain.prompts.simple import simple_programs
from partwise.explain.values import Description, Evidence

MOST_CHOICES = 64
"""Longer lists of numbers are left to the check of the reply."""


def claims_about(evidence: Evidence) -> list[type[BaseClaim]]:
    """The kinds of claim that can be made: of this part, these data, and the units shown."""
    data = "table" if evidence.text is None else "text"
    union, *_ = get_args(Claim)
    fitting = [k for k in get_args(union) if evidence.kind in k.about and data in k.data]
    return [kind for kind in fitting if _units(kind, evidence) != []]


def reply_schema(evidence: Evidence) -> dict[str, Any]:
    """The schema of a `Description` of this part, with all bounds.

    Claims have no sentence, which is made from their parameters; heads, units and readers are
    those that the evidence names.
    """
    schema, kinds = _description(), claims_about(evidence)
    known, own = schema["$defs"], schema["properties"]
    defined = {kind.__name__: _claim(known[kind.__name__], kind, evidence) for kind in kinds}
    items = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in defined]}
    program = {"anyOf": [_simple("program", {"type": "string"}, evidence), {"type": "null"}]}
    claims = {**own["claims"], "items": items}
    return {
        **schema,
        "properties": {**own, "program": program, "claims": claims},
        "$defs": defined,
    }


@cache
def _description() -> dict[str, Any]:
    """The schema of any description, which nobody may change."""
    return Description.model_json_schema()


def _claim(schema: dict[str, Any], kind: type[BaseClaim], evidence: Evidence) -> dict[str, Any]:
    own = {name: each for name, each in schema["properties"].items() if name != "sentence"}
    choices = {"head": list(range(len(evidence.heads))), "unit": _units(kind, evidence)}
    for name in own.keys() & choices.keys():
        own[name] = _one_of(choices[name]) or own[name]
    if kind is InterfaceClaim:
        own["reader"] = {"anyOf": [_one_of(list(evidence.modules)), {"type": "null"}]}
    own = {name: _simple(name, each, evidence) for name, each in own.items()}
    if "inputs" in own:
        inputs = _one_of(list(range(len(evidence.inputs))))
        own["inputs"] = {**own["inputs"], "items": inputs or own["inputs"]["items"]}
    return {**schema, "properties": own, "required": list(own)}


def _simple(name: str, schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """The schema with the pattern of simple programs, where it is that of a program."""
    found = simple_programs(evidence).get(name)
    return schema if found is None else {**schema, "pattern": f"^({found})$"}


def _units(kind: type[BaseClaim], evidence: Evidence) -> list[int] | None:
    """The units that a claim may name; None where it names none."""
    if kind is ActivationClaim:
        return [each.unit for each in evidence.profiles]
    if kind is AttendsClaim:
        return [each.unit for each in evidence.text.attention] if evidence.text else []
    return None


def _one_of(numbers: list[int] | None) -> dict[str, Any] | None:
    if not numbers or len(numbers) > MOST_CHOICES:
        return None
    return {"type": "integer", "enum": sorted(set(numbers))}
