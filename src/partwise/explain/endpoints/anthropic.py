"""Anthropic's models, held to the schema as the arguments of a tool that they must use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from partwise.explain.endpoints.base import Prompt, Settings
from partwise.explain.endpoints.hosted import NO_KEY_HELD, Hosted, count
from partwise.explain.endpoints.schemas import strict

if TYPE_CHECKING:
    import httpx2

TOOL = "reply"
_FINISH = {"max_tokens": "length", "refusal": "refusal"}


class AnthropicEndpoint(Hosted):
    """A model behind `/v1/messages`."""

    library = "anthropic"

    def _made_client(self, http_client: httpx2.Client) -> Any:
        return self._library.Anthropic(
            api_key=NO_KEY_HELD,
            base_url=self.address.base_url,
            max_retries=0,
            http_client=http_client,
        )

    def _key_header(self) -> dict[str, str]:
        return self.address.key.plain()

    def _send(self, prompt: Prompt, settings: Settings) -> str:
        turns = [each for each in prompt.messages if each["role"] != "system"]
        system = "\n\n".join(e["content"] for e in prompt.messages if e["role"] == "system")
        tool = {
            "name": TOOL,
            "description": "Hands in the reply.",
            "input_schema": strict(prompt.schema),
        }
        wished = {} if settings.temperature is None else {"temperature": settings.temperature}
        reply = self._client.messages.with_raw_response.create(
            model=self.address.model,
            max_tokens=settings.max_tokens,
            system=system,
            messages=turns,
            tools=[tool],
            tool_choice={"type": "tool", "name": TOOL},
            timeout=None,
            **wished,
        )
        return str(reply.http_response.text)

    def _read(self, completion: Any) -> dict[str, Any] | None:
        match completion:
            case {"type": "message", "content": list(blocks)}:
                reason, usage = completion.get("stop_reason"), completion.get("usage")
            case _:
                return None
        usage = usage if isinstance(usage, dict) else {}
        return {
            "text": _words(blocks),
            "finish": _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop",
            "tokens_in": count(usage.get("input_tokens")),
            "tokens_out": count(usage.get("output_tokens")),
        }


def _words(blocks: list[Any]) -> str:
    """The tool's arguments as JSON; the plain text where the tool was not used."""
    texts = []
    for block in blocks:
        match block:
            case {"type": "tool_use", "input": dict(arguments)}:
                return json.dumps(arguments, ensure_ascii=False)
            case {"type": "text", "text": str(text)}:
                texts.append(text)
    return "".join(texts)
