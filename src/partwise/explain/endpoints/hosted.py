"""What servers have in common: a kept client over `Exchange`, and its errors as ours."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from partwise.errors import MissingExtraError
from partwise.explain.endpoints.base import (
    DEFAULT_LIMITS,
    LONGEST_RAW,
    Limits,
    Prompt,
    Reply,
    Settings,
    UnansweredError,
    cut,
)
from partwise.explain.endpoints.keys import Address

if TYPE_CHECKING:
    import httpx2

    from partwise.explain.endpoints.exchange import Exchange, OnWait

NO_KEY_HELD = "put on by the transport"


class Hosted(ABC):
    """An endpoint that is asked over HTTP, once per `ask`."""

    library: ClassVar[str]
    """The client's package."""

    def __init__(
        self,
        address: Address,
        *,
        limits: Limits = DEFAULT_LIMITS,
        name: str = "",
        on_wait: OnWait | None = None,
    ) -> None:
        """Sends nothing yet.

        Args:
            address: server, model and key.
            limits: of bytes and time.
            name: what its replies are kept under; library and model, if left out.
            on_wait: told each second that a reply is due how many are left; from a thread.

        Raises:
            MissingExtraError: if the client is not installed.
        """
        self._library = imported(self.library)
        self.address = address
        self.name = name or f"{self.library}:{address.model}"
        from partwise.explain.endpoints.exchange import Exchange

        self.exchange = Exchange(address.key, self._key_header, limits, on_wait)
        self._client = self._made_client(_http_client(self.exchange))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.base_url!r}, {self.address.model!r})"

    @abstractmethod
    def _made_client(self, http_client: httpx2.Client) -> Any:
        """The kept client, without a key and without repetitions of its own."""

    @abstractmethod
    def _key_header(self) -> dict[str, str]:
        """The header that the key leaves by."""

    @abstractmethod
    def _send(self, prompt: Prompt, settings: Settings) -> str:
        """The body of the server's reply."""

    @abstractmethod
    def _read(self, completion: Any) -> dict[str, Any] | None:
        """Fields of a `Reply` from a parsed body; None if it is no such thing."""

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The model's answer; see `Endpoint`."""
        started = time.monotonic()
        body = self._body(prompt, settings)
        try:
            completion = json.loads(body)
        except (ValueError, RecursionError):
            raise UnansweredError("the server's reply is not JSON", body, is_charged=True) from None
        fields = self._read(completion)
        if fields is None:
            reason = "the server's reply is no chat completion"
            raise UnansweredError(reason, body, is_charged=True)
        fields["text"] = self.address.key.redact(fields["text"])
        seconds = time.monotonic() - started
        return Reply(raw=cut(body, LONGEST_RAW), seconds=seconds, **fields)

    def _body(self, prompt: Prompt, settings: Settings) -> str:
        try:
            return self._send(prompt, settings)
        except self._library.APIStatusError as error:
            raise self._refused(error.response) from None
        except self._library.APIConnectionError as error:
            raise _cause(error) from None

    def _refused(self, response: httpx2.Response) -> UnansweredError:
        from partwise.explain.endpoints.exchange import read_retry_after

        status, address = response.status_code, self.address
        hints = {
            401: f"; check {address.key.variable}",
            403: f"; check {address.key.variable}",
            404: f"; check {address.variable} and the model's name",
        }
        return UnansweredError(
            f"HTTP {status}{hints.get(status, '')}",
            response.text,
            may_pass=status in (408, 429) or status >= 500,
            retry_after_s=read_retry_after(response.headers.get("retry-after", "")),
        )


def imported(library: str, extra: str = "llm") -> ModuleType:
    """A package of an extra.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {library}, which is not installed; pip install 'partwise[{extra}]'"
        ) from error


def count(value: Any) -> int | None:
    """A number of tokens that a server says, if it is one."""
    return value if type(value) is int and 0 <= value < 10**9 else None


def _http_client(exchange: Exchange) -> httpx2.Client:
    import httpx2

    return httpx2.Client(transport=exchange, timeout=None)


def _cause(error: BaseException) -> UnansweredError:
    """What `Exchange` said, however often it was wrapped."""
    from partwise.explain.endpoints.exchange import CutOffError

    found: BaseException | None = error
    while found is not None and not isinstance(found, CutOffError):
        found = found.__cause__ or found.__context__
    return UnansweredError("no whole reply", may_pass=True) if found is None else found.problem
