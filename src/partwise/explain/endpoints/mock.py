"""An endpoint that answers at once, with the smallest reply that fits the schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from partwise.explain.endpoints.base import LONGEST_RAW, Prompt, Reply, Settings, cut


class MockEndpoint:
    """For tests, and for rehearsals that send nothing."""

    def __init__(self, answer: Callable[[Prompt], str] | None = None, name: str = "mock") -> None:
        """Takes what is to be answered; the smallest reply that fits, if left out."""
        self._answer = answer
        self.name = name

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The answer; see `Endpoint`."""
        text = json.dumps(smallest(prompt.schema)) if self._answer is None else self._answer(prompt)
        return Reply(text=text, raw=cut(text, LONGEST_RAW), tokens_in=0, tokens_out=0, cost=0.0)


def smallest(schema: dict[str, Any], name: str = "mock") -> Any:
    """The smallest value that fits a schema, as far as mocks need it.

    >>> smallest({"anyOf": [{"type": "string"}, {"type": "null"}]}), smallest({"type": "array"})
    (None, [])
    """
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return None if {"type": "null"} in schema["anyOf"] else smallest(schema["anyOf"][0], name)
    if schema.get("type") == "object":
        fields = schema.get("properties", {}).items()
        return {field: smallest(each, f"mock {field}") for field, each in fields}
    if schema.get("type") == "array":
        least = schema.get("minItems", 0)
        return [smallest(schema["items"], name)] * least if least else []
    plain = {"string": name, "integer": 0, "number": 0.0, "boolean": False}
    return plain.get(schema.get("type", ""))
