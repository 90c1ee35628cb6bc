"""The parts of a JSON schema that different endpoints can hold a model to."""

from __future__ import annotations

from typing import Any

_NOT_STRICT = {
    "default",
    "discriminator",
    "pattern",
    "title",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
}
LONGEST_TEXT = 300
MOST_ITEMS = 6


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The common subset that OpenAI's strict mode, Anthropic, vLLM and llama.cpp all accept.

    It has no defaults, no discriminators and no bounds, which the reader of the reply checks.
    Every property is required, and `kind` comes first: OpenAI tells the members of an `anyOf`
    apart by their first key.
    """
    kept = {key: value for key, value in schema.items() if key not in _NOT_STRICT}
    return _walked(kept, strict)


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose every reply is short: bounds are kept or made narrower, none is left out."""
    kept = {key: value for key, value in schema.items() if key not in ("discriminator", "title")}
    if "pattern" in kept:
        kept = {"type": "string", "pattern": kept["pattern"]}
    elif kept.get("type") == "string" and not kept.keys() & {"enum", "const"}:
        kept["maxLength"] = min(kept.get("maxLength", LONGEST_TEXT), LONGEST_TEXT)
    if kept.get("type") == "array":
        kept["maxItems"] = min(kept.get("maxItems", MOST_ITEMS), MOST_ITEMS)
    if kept.get("type") in ("number", "integer") and not kept.keys() & {"enum", "const"}:
        kept = _short_number(kept)
    return _walked(kept, bounded)


def _short_number(schema: dict[str, Any]) -> dict[str, Any]:
    """The same number with few digits: no grammar bounds those of a number otherwise."""
    kept = {k: v for k, v in schema.items() if k != "default"}
    kept.setdefault("maximum", 1_000_000)
    if "exclusiveMinimum" not in kept:
        kept.setdefault("minimum", -1_000_000 if kept["type"] == "number" else 0)
    return kept if kept["type"] == "integer" else {**kept, "multipleOf": 0.0001}


def _walked(schema: dict[str, Any], change: Any) -> dict[str, Any]:
    """The schema with its parts changed, and every property required."""
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")
    if "anyOf" in schema:
        schema["anyOf"] = [change(each) for each in schema["anyOf"]]
    if "items" in schema:
        schema["items"] = change(schema["items"])
    for table in schema.keys() & {"properties", "$defs"}:
        schema[table] = {name: change(each) for name, each in schema[table].items()}
    if "properties" in schema:
        first = sorted(schema["properties"].items(), key=lambda item: "const" not in item[1])
        schema["properties"] = dict(first)
        schema["required"] = list(schema["properties"])
    return schema
