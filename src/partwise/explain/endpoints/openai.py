"""OpenAI-compatible servers: OpenAI, OpenRouter, vLLM, Ollama, llama.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from partwise.explain.endpoints.base import Prompt, Settings
from partwise.explain.endpoints.hosted import NO_KEY_HELD, Hosted, count
from partwise.explain.endpoints.schemas import strict

if TYPE_CHECKING:
    import httpx2


class OpenAIEndpoint(Hosted):
    """A model behind `/chat/completions`, held to the schema by `response_format`."""

    library = "openai"

    def _made_client(self, http_client: httpx2.Client) -> Any:
        return self._library.OpenAI(
            api_key=NO_KEY_HELD,
            base_url=self.address.base_url,
            max_retries=0,
            http_client=http_client,
        )

    def _key_header(self) -> dict[str, str]:
        return self.address.key.bearer()

    def _send(self, prompt: Prompt, settings: Settings) -> str:
        schema = {"name": "reply", "strict": True, "schema": strict(prompt.schema)}
        wished = {"temperature": settings.temperature, "seed": settings.seed}
        reply = self._client.chat.completions.with_raw_response.create(
            model=self.address.model,
            messages=list(prompt.messages),
            response_format={"type": "json_schema", "json_schema": schema},
            **{self._length_name(): settings.max_tokens},
            **{name: value for name, value in wished.items() if value is not None},
        )
        return str(reply.http_response.text)

    # OpenAI's newer models refuse the old name, many other servers do not know the new one.
    def _length_name(self) -> str:
        is_openai = self.address.base_url.startswith("https://api.openai.com")
        return "max_completion_tokens" if is_openai else "max_tokens"

    def _read(self, completion: Any) -> dict[str, Any] | None:
        match completion:
            case {"choices": [{"finish_reason": "length", "message": {"content": str(text)}}, *_]}:
                finish = "length"
            case {"choices": [{"finish_reason": "length"}, *_]}:
                text, finish = "", "length"
            case {"choices": [{"message": {"content": str(text)}}, *_]}:
                finish = "stop"
            case {"choices": [{"message": {"refusal": str(text)}}, *_]}:
                finish = "refusal"
            case _:
                return None
        usage = completion.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return {
            "text": text,
            "finish": finish,
            "tokens_in": count(usage.get("prompt_tokens")),
            "tokens_out": count(usage.get("completion_tokens")),
        }
