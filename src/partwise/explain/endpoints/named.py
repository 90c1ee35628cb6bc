"""From `--llm openai:MODEL` and the environment to an endpoint, its price and its limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from partwise.errors import RecipeError
from partwise.explain.endpoints.asking import Ledger, Metered, Retrying
from partwise.explain.endpoints.base import DEFAULT_LIMITS, Endpoint, Limits
from partwise.explain.endpoints.keys import API_KEY, BASE_URL, MODEL, NO_KEY, Address, is_here
from partwise.explain.endpoints.mock import MockEndpoint
from partwise.explain.endpoints.prices import Price, free, price_of
from partwise.explain.endpoints.records import Cached, ReplayEndpoint

if TYPE_CHECKING:
    from partwise.explain.endpoints.exchange import OnWait

USUAL = {
    "openai": ("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY"),
    "anthropic": ("https://api.anthropic.com", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
}
"""Kind of server -> its usual address, and the variables that users set for it."""
KINDS = "openai:MODEL, anthropic:MODEL, openrouter:MODEL, http://HOST/v1#MODEL, local:DIR, "
KINDS += "replay:FILE, mock, or env"


@dataclass(frozen=True)
class Chosen:
    """An endpoint that was asked for by name, and can be opened.

    Attributes:
        name: kind and model; what its replies are kept under.
        price: of its tokens; None where no price is known.
        opened: makes it, given limits and what is told while it is silent.
        is_kept: whether its replies are worth keeping.
    """

    name: str
    price: Price | None
    opened: Callable[[Limits, OnWait | None], Endpoint]
    is_kept: bool = True

    def within(
        self,
        ledger: Ledger,
        cache: Path | None = None,
        limits: Limits = DEFAULT_LIMITS,
        on_wait: OnWait | None = None,
    ) -> Endpoint:
        """The endpoint: cached, retried, and within a budget.

        Args:
            ledger: what may be spent.
            cache: file of kept replies; None keeps none.
            limits: of bytes, time and repetitions.
            on_wait: told each second that a server is silent how many are left.

        Raises:
            MissingExtraError: if a library is not installed.
            RecipeError: if a variable is missing, or there is a budget and no price is known.
        """
        if self.price is None and ledger.most is not None:
            raise RecipeError(f"no price of {self.name} is known, so no cost can be bounded")
        metered = Metered(self.opened(limits, on_wait), self.price or _unknown, ledger)
        return self._kept(Retrying(metered, limits), cache)

    def rehearsed(self, cache: Path | None = None) -> Endpoint:
        """A stand-in of its name, which needs no key and sends nothing."""
        return self._kept(MockEndpoint(name=self.name), cache)

    def _kept(self, endpoint: Endpoint, cache: Path | None) -> Endpoint:
        return Cached(endpoint, cache) if self.is_kept and cache is not None else endpoint


def chosen_endpoint(name: str) -> Chosen:
    """The endpoint of a name; its key is not asked for yet.

    Raises:
        RecipeError: if there is none of that name.
        MissingExtraError: if the table of prices is not installed.
    """
    if name.startswith(("http://", "https://")):
        base_url, _, model = name.partition("#")
        return _server(base_url, model, "the address", lambda: _key(API_KEY))
    kind, _, rest = name.partition(":")
    if kind in USUAL and rest:
        return _usual(kind, rest)
    if kind == "local" and rest:
        return _local(Path(rest))
    if kind == "replay" and rest:
        path = Path(rest)
        return Chosen(name, free, lambda limits, on_wait: ReplayEndpoint(path), is_kept=False)
    if name == "mock":
        return Chosen(name, free, lambda limits, on_wait: MockEndpoint(), is_kept=False)
    if name == "env":
        return from_environment()
    raise RecipeError(f"there is no endpoint {name[:40]!r}; choose {KINDS}")


def from_environment() -> Chosen:
    """What PARTWISE_LLM_BASE_URL, PARTWISE_LLM_MODEL and PARTWISE_LLM_API_KEY name.

    A key of `none` stands for a server that needs no key.

    Raises:
        RecipeError: if a variable is not set.
    """
    base_url, model, key = (_required(name) for name in (BASE_URL, MODEL, API_KEY))
    return _server(base_url, model, BASE_URL, lambda: None if key == NO_KEY else key)


def _server(base_url: str, model: str, variable: str, key: Callable[[], str | None]) -> Chosen:
    """Any OpenAI-compatible server; those on this machine are free."""

    def opened(limits: Limits, on_wait: OnWait | None) -> Endpoint:
        from partwise.explain.endpoints.openai import OpenAIEndpoint

        address = Address.of(base_url, model, key(), variable)
        return OpenAIEndpoint(address, name=name, limits=limits, on_wait=on_wait)

    Address.of(base_url, model, variable=variable)
    name = f"{base_url}#{model}"
    return Chosen(name, free if is_here(base_url) else None, opened)


def _usual(kind: str, model: str) -> Chosen:
    """A known provider, or whoever stands at the address that its variable names."""
    usual, url_variable, key_variable = USUAL[kind]
    base_url = os.environ.get(url_variable, "").strip() or usual
    is_usual = base_url == usual
    name = f"{kind}:{model}" if is_usual else f"{base_url}#{model}"

    def opened(limits: Limits, on_wait: OnWait | None) -> Endpoint:
        from partwise.explain.endpoints.anthropic import AnthropicEndpoint
        from partwise.explain.endpoints.openai import OpenAIEndpoint

        key = _required(key_variable) if is_usual else _key(key_variable)
        address = Address.of(base_url, model, key, url_variable, key_variable)
        made = AnthropicEndpoint if kind == "anthropic" else OpenAIEndpoint
        return made(address, name=name, limits=limits, on_wait=on_wait)

    price = price_of(model, kind)
    return Chosen(name, free if price is None and is_here(base_url) else price, opened)


def _local(path: Path) -> Chosen:
    def opened(limits: Limits, on_wait: OnWait | None) -> Endpoint:
        from partwise.explain.endpoints.local import LocalEndpoint

        return LocalEndpoint(path)

    return Chosen(f"local:{path.resolve().name}", free, opened)


def _unknown(tokens_in: int, tokens_out: int) -> None:
    return None


def _key(variable: str) -> str | None:
    value = os.environ.get(variable, "").strip()
    return None if value in ("", NO_KEY) else value


def _required(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        way_out = f"; set it to {NO_KEY!r} if the server needs no key" if name == API_KEY else ""
        raise RecipeError(
            f"the environment variable {name} is not set, and the LLM writer needs it{way_out}"
        )
    return value
