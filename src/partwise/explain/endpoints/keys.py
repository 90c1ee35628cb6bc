"""API keys that leave by one header only, and addresses that hold none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from partwise.errors import RecipeError
from partwise.explain.endpoints.base import cut

BASE_URL = "PARTWISE_LLM_BASE_URL"
MODEL = "PARTWISE_LLM_MODEL"
API_KEY = "PARTWISE_LLM_API_KEY"
NO_KEY = "none"
REMOVED = "[API key removed]"
_SHORTEST = 8


class Key:
    """An API key: sent by `bearer` or `plain` only, and taken out of text by `redact`."""

    def __init__(self, key: str | None, variable: str = API_KEY) -> None:
        """Checks the key.

        Args:
            key: the key; None for a server that needs none.
            variable: where it is from, for messages.

        Raises:
            RecipeError: if it is too short to be told from other text, or no header can hold it.
        """
        self._text = key
        self.variable = variable
        if key is None:
            return
        if not re.fullmatch(r"[!-~]+", key) or set(key) & set("\"'\\"):
            raise RecipeError(
                f"{variable} contains a space, quote, backslash or non-ASCII character"
            )
        if len(key) < _SHORTEST:
            raise RecipeError(
                f"{variable} has {len(key)} characters; a key needs at least {_SHORTEST}. "
                f"If the server needs no key, set it to {NO_KEY!r}"
            )
        # Servers echo keys plainly, JSON-escaped (also twice) or percent-encoded.
        spellings = (
            rf"(?:\\{{0,4}}{re.escape(c)}|\\{{1,4}}u00{ord(c):x}|%{ord(c):x})" for c in key
        )
        self._pattern = re.compile("".join(spellings), re.IGNORECASE)

    def __repr__(self) -> str:
        return "<API key>"

    def bearer(self) -> dict[str, str]:
        """The header that OpenAI-compatible servers read."""
        return {} if self._text is None else {"Authorization": f"Bearer {self._text}"}

    def plain(self) -> dict[str, str]:
        """The header that Anthropic reads."""
        return {} if self._text is None else {"X-Api-Key": self._text}

    def is_in(self, text: str) -> bool:
        """Whether a text holds the key."""
        return self._text is not None and self._pattern.search(text) is not None

    def redact(self, text: str) -> str:
        """The text without the key."""
        if self._text is None:
            return text
        return self._redact_end(self._pattern.sub(REMOVED, text), self._text)

    # A reply that was cut off may end inside the key.
    def _redact_end(self, text: str, key: str) -> str:
        for length in range(len(key) - 1, _SHORTEST // 2, -1):
            if text.endswith(key[:length]):
                return text[:-length] + REMOVED
        return text


@dataclass(frozen=True)
class Address:
    """Where a server is, what its model is called, and the key that it wants.

    Attributes:
        base_url: such as `https://api.openai.com/v1`, without a slash at its end.
        model: the model's name there.
        key: the key.
        variable: where the address is from, for messages.
    """

    base_url: str
    model: str
    key: Key
    variable: str = BASE_URL

    @classmethod
    def of(
        cls,
        base_url: str,
        model: str,
        key: str | None = None,
        variable: str = BASE_URL,
        key_variable: str = API_KEY,
    ) -> Address:
        """Checks what was given.

        Raises:
            RecipeError: if address, model or key cannot be used.
        """
        secret = Key(key, key_variable)
        model, base_url = model.strip(), base_url.strip()
        if any(secret.is_in(text) for text in (base_url, model)):
            raise RecipeError(
                f"{variable} or the model's name contains the API key; it belongs in {key_variable}"
            )
        if not 0 < len(model) <= 200:
            raise RecipeError(f"the model's name has {len(model)} characters; it needs 1 to 200")
        return cls(_checked(base_url, variable, key_variable), model, secret, variable)


def is_here(base_url: str) -> bool:
    """Whether a server is on this machine."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _checked(text: str, variable: str, key_variable: str) -> str:
    # Only the beginning is shown: a key may have been put into the wrong variable.
    shown = f"{variable} is {cut(text, 8)!r}"
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise RecipeError(f"{shown}, which is no URL; give one like https://HOST/v1") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RecipeError(f"{shown}, without http(s):// and a host; give one like https://HOST/v1")
    if "@" in url.netloc or url.query or url.fragment:
        raise RecipeError(
            f"{shown}, with a user, query or fragment; the key belongs in {key_variable}"
        )
    return text.rstrip("/")
