"""A writer that asks a language model, over an OpenAI-compatible HTTP interface.

    evidence ─► messages + schema ─► POST, retried ─► reply ─► Description
                                          │             │
                                          └─────────────┴────► Failed, with the raw reply

Server and reply are hostile: replies are capped in bytes and in time, the API key is taken out of
whatever came back, and text that is no valid description becomes a `Failed`, never a description.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from partwise.errors import MissingExtraError, RecipeError
from partwise.explain.prompts import Message, render_messages, reply_schema
from partwise.explain.replies import (
    BadReplyError,
    IncompleteReplyError,
    read_content,
    read_description,
)
from partwise.explain.values import Description, Evidence, Failed

if TYPE_CHECKING:
    import httpx

BASE_URL = "PARTWISE_LLM_BASE_URL"
MODEL = "PARTWISE_LLM_MODEL"
API_KEY = "PARTWISE_LLM_API_KEY"
NO_KEY = "none"
REMOVED = "[API key removed]"

_LONGEST_REASON = 500
_LONGEST_RAW = 20_000
_SHORTEST_KEY = 8
_LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "proxy", "socks")))
_HINTS = {
    401: f"; check {API_KEY}",
    403: f"; check {API_KEY}",
    404: f"; check {BASE_URL} and {MODEL}",
}


@dataclass(frozen=True)
class Limits:
    """How long, how often and how much.

    Attributes:
        connect_s: longest wait for a connection.
        read_s: longest silence of the server.
        deadline_s: longest time for a whole reply, however busily the server sends.
        reply_bytes: longest reply.
        retries: how often a request is repeated after a 429, a 5xx, a timeout or a hang-up.
        first_wait_s: wait before the first repetition; it doubles with each one.
        longest_wait_s: longest wait, also where the server's Retry-After asks for more.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    deadline_s: float = 180.0
    reply_bytes: int = 1_000_000
    retries: int = 4
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuses what is no limit.

        Raises:
            RecipeError: if a limit is not a positive finite number, or `retries` not in 0 to 20.
        """
        for name, value in vars(self).items():
            if name != "retries" and not 0 < value < float("inf"):
                raise RecipeError(f"{name} is {value}; it must be positive and finite")
        if self.retries not in range(21):
            raise RecipeError(f"retries is {self.retries}; it must be a whole number from 0 to 20")


DEFAULT_LIMITS = Limits()


class LLMWriter:
    """Describes modules and interfaces by asking a language model.

    Attributes:
        name: `"llm:MODEL"`, for reports.
        model: the model's name at the server.
        limits: time, size and repetitions that an answer may cost.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        seed: int = 0,
        sleep: Callable[[float], None] = time.sleep,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        """Checks the settings; nothing is sent yet.

        Args:
            base_url: address of the interface, such as `https://api.openai.com/v1`.
            model: the model's name there.
            api_key: sent as a bearer token; None for a server that needs none.
            limits: time, size and repetitions that an answer may cost.
            seed: seed of the jitter of the waits between repetitions.
            sleep: what waits, given seconds.
            on_wait: told each second that a server is silent how many are left; from a thread.

        Raises:
            MissingExtraError: if httpx is not installed.
            RecipeError: if the address, the model's name or the key cannot be used.
        """
        self._httpx = _import_httpx()
        self._key = _Key(api_key)
        if any(self._key.is_in(text) for text in (base_url, model)):
            raise RecipeError(
                f"{BASE_URL} or {MODEL} contains the API key; it belongs in {API_KEY}"
            )
        if not 0 < len(model.strip()) <= 200:
            raise RecipeError(f"{MODEL} has {len(model.strip())} characters; it needs 1 to 200")
        self._base_url = _check_base_url(base_url.strip(), self._httpx)
        self.model = model.strip()
        self.name = f"llm:{self.model}"
        self.limits = limits
        self._random = random.Random(seed)
        self._sleep = sleep
        self.on_wait = on_wait

    @classmethod
    def from_environment(cls, *, limits: Limits = DEFAULT_LIMITS, seed: int = 0) -> LLMWriter:
        """The writer that PARTWISE_LLM_BASE_URL, PARTWISE_LLM_MODEL and PARTWISE_LLM_API_KEY name.

        A key of `none` stands for a server that needs no key.

        Raises:
            MissingExtraError: if httpx is not installed.
            RecipeError: if a variable is not set, or its value cannot be used.
        """
        base_url, model, key = (_read_variable(name) for name in (BASE_URL, MODEL, API_KEY))
        return cls(base_url, model, None if key == NO_KEY else key, limits=limits, seed=seed)

    def __repr__(self) -> str:
        return f"LLMWriter(base_url={self._base_url!r}, model={self.model!r})"

    def write(
        self, evidence: Evidence, neighbours: Sequence[Description] = ()
    ) -> Description | Failed:
        """What the model says of the subject, or why it says nothing that can be used.

        A bad server or reply raises nothing: it gives a `Failed` with the raw reply, cut to
        20,000 characters and without the API key.

        Args:
            evidence: what the model may see of the subject.
            neighbours: descriptions of the parts around it.
        """
        messages = render_messages(evidence, neighbours)
        reply, content, problem = self._described(messages, evidence)
        if isinstance(content, str):
            messages += _again(content, problem)
            reply, content, problem = self._described(messages, evidence)
        if isinstance(content, Description):
            return content
        reason = _cut(self._key.redact(problem), _LONGEST_REASON)
        return Failed(reason=reason, raw_reply=_cut(reply.text, _LONGEST_RAW))

    def _described(
        self, messages: Sequence[Message], evidence: Evidence
    ) -> tuple[_Reply, Description | str | None, str]:
        """The reply; what it describes, or its words if those lack a field, or None; and why."""
        with _redacted_logs(self._key):
            reply = self._ask(json.dumps(self._request(messages)).encode())
        if reply.problem:
            return reply, None, reply.problem
        content = ""
        try:
            content = self._key.redact(read_content(reply.text))
            return reply, read_description(content, evidence), ""
        except IncompleteReplyError as error:
            return reply, content, str(error)
        except BadReplyError as error:
            return reply, None, str(error)

    def _request(self, messages: Sequence[Message]) -> dict[str, Any]:
        schema = {"name": "description", "strict": True, "schema": reply_schema()}
        return {
            "model": self.model,
            "messages": list(messages),
            "response_format": {"type": "json_schema", "json_schema": schema},
        }

    def _ask(self, request: bytes) -> _Reply:
        reply = self._post(request)
        for attempt in range(self.limits.retries):
            if not reply.may_pass:
                return reply
            self._sleep(self._wait_s(attempt, reply.retry_after_s))
            reply = self._post(request)
        if reply.may_pass and self.limits.retries:
            tried = f"{reply.problem}; tried {self.limits.retries + 1} times"
            return reply._replace(problem=tried)
        return reply

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return min(retry_after_s, self.limits.longest_wait_s)
        longest = min(self.limits.first_wait_s * 2**attempt, self.limits.longest_wait_s)
        return longest * self._random.uniform(0.5, 1.0)

    def _post(self, request: bytes) -> _Reply:
        body = bytearray()
        deadline = _Deadline(self.limits.deadline_s)
        try:
            with (
                _ticking(self.limits.deadline_s, self.on_wait),
                deadline,
                self._open(request, deadline) as response,
            ):
                self._read(response, body)
            reply = self._judge(response, body)
        except self._httpx.TimeoutException as error:
            reply = self._reply(body, f"the server timed out ({type(error).__name__})", True)
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            reply = self._reply(body, f"no whole reply: {_one_line(error)}", True)
        if deadline.passed:
            reply = self._reply(body, f"no whole reply in {self.limits.deadline_s:g} s", True)
        return reply

    # A client per attempt: the deadline only knows the sockets that its own attempt opens.
    @contextmanager
    def _open(self, request: bytes, deadline: _Deadline) -> Iterator[httpx.Response]:
        connect_s = min(self.limits.connect_s, self.limits.deadline_s)
        timeout = self._httpx.Timeout(self.limits.read_s, connect=connect_s)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        with (
            self._httpx.Client(verify=_certificates(), timeout=timeout, headers=headers) as client,
            client.stream(
                "POST",
                f"{self._base_url}/chat/completions",
                content=request,
                headers=self._key.headers(),
                extensions={"trace": deadline.watch},
            ) as response,
        ):
            yield response

    # Raw: a compressed reply, which nobody asked for, must not unfold past the cap.
    def _read(self, response: httpx.Response, body: bytearray) -> None:
        for chunk in response.iter_raw():
            body += chunk[: self.limits.reply_bytes + 1 - len(body)]
            if len(body) > self.limits.reply_bytes:
                return

    def _judge(self, response: httpx.Response, body: bytearray) -> _Reply:
        status = response.status_code
        if status != 200:
            may_pass = status in (408, 429) or status >= 500
            wait_s = _read_retry_after(response.headers.get("retry-after", ""))
            return self._reply(body, f"HTTP {status}{_HINTS.get(status, '')}", may_pass, wait_s)
        if len(body) > self.limits.reply_bytes:
            return self._reply(body, f"the reply exceeds {self.limits.reply_bytes} bytes")
        return self._reply(body)

    def _reply(
        self,
        body: bytearray,
        problem: str = "",
        may_pass: bool = False,
        retry_after_s: float | None = None,
    ) -> _Reply:
        text = self._key.redact(body.decode(errors="replace"))
        return _Reply(text, problem, may_pass, retry_after_s)


def _again(content: str, problem: str) -> list[Message]:
    """What is said to a model whose words did not fit: once, and with the reason."""
    wish = f"This cannot be used: {problem}. Reply once more, with the whole JSON object."
    return [
        Message(role="assistant", content=_cut(content, _LONGEST_RAW)),
        Message(role="user", content=wish),
    ]


class _Reply(NamedTuple):
    """What one attempt brought: the body without the key, and what was wrong, if anything was."""

    text: str
    problem: str
    may_pass: bool
    retry_after_s: float | None


class _Key:
    """The API key: leaves by `headers` only, and is taken out of text by `redact`.

    Raises:
        RecipeError: if the key is too short to be told from other text, or is no bearer token.
    """

    def __init__(self, key: str | None) -> None:
        self._text = key
        if key is None:
            return
        if not re.fullmatch(r"[!-~]+", key) or set(key) & set("\"'\\"):
            raise RecipeError(
                f"{API_KEY} contains a space, quote, backslash or non-ASCII character"
            )
        if len(key) < _SHORTEST_KEY:
            raise RecipeError(
                f"{API_KEY} has {len(key)} characters; a key needs at least {_SHORTEST_KEY}. "
                f"If the server needs no key, set it to {NO_KEY!r}"
            )
        # Servers echo keys plainly, JSON-escaped (also twice) or percent-encoded.
        spellings = (
            rf"(?:\\{{0,4}}{re.escape(c)}|\\{{1,4}}u00{ord(c):x}|%{ord(c):x})" for c in key
        )
        self._pattern = re.compile("".join(spellings), re.IGNORECASE)

    def __repr__(self) -> str:
        return "<API key>"

    def headers(self) -> dict[str, str]:
        return {} if self._text is None else {"Authorization": f"Bearer {self._text}"}

    def is_in(self, text: str) -> bool:
        return self._text is not None and self._pattern.search(text) is not None

    def redact(self, text: str) -> str:
        if self._text is None:
            return text
        return self._redact_end(self._pattern.sub(REMOVED, text), self._text)

    # A reply that was cut off may end inside the key.
    def _redact_end(self, text: str, key: str) -> str:
        for length in range(len(key) - 1, _SHORTEST_KEY // 2, -1):
            if text.endswith(key[:length]):
                return text[:-length] + REMOVED
        return text


class _Deadline:
    """Ends an exchange when its time is up, however busily the server sends.

    httpx bounds the wait for each piece, not their sum, so a reply or its headers that come byte
    by byte would last for ever. Shutting the socket down wakes whoever reads from it.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def watch(self, event: str, info: dict[str, Any]) -> None:
        """Notes the socket of a connection; httpx's `trace` extension calls it."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sockets.append(info["return_value"].get_extra_info("socket"))
            if self.passed:
                self._shut_down()

    def _pass(self) -> None:
        self.passed = True
        self._shut_down()

    # Not `each.shutdown`: that of a TLS socket forgets its session under the reading thread.
    def _shut_down(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)


@contextmanager
def _ticking(seconds: float, tell: Callable[[float], None] | None) -> Iterator[None]:
    """Tells each second how many are left."""
    if tell is None:
        yield
        return
    over, started = threading.Event(), time.monotonic()

    def tick() -> None:
        while not over.wait(1.0):
            tell(max(0.0, seconds - (time.monotonic() - started)))

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()


@contextmanager
def _redacted_logs(key: _Key) -> Iterator[None]:
    """Takes the key out of what httpx logs meanwhile: it logs headers that a server may echo."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = key.redact(record.getMessage()), ()
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(redact)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(redact)


def _import_httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        raise MissingExtraError(
            "the LLM writer needs httpx, which is not installed; pip install 'partwise[llm]'"
        ) from error
    return httpx


# Reading the certificates takes longer than a request to a server nearby.
@cache
def _certificates() -> ssl.SSLContext:
    return _import_httpx().create_ssl_context()


def _read_variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        way_out = f"; set it to {NO_KEY!r} if the server needs no key" if name == API_KEY else ""
        raise RecipeError(
            f"the environment variable {name} is not set, and the LLM writer needs it{way_out}"
        )
    return value


def _check_base_url(text: str, httpx: ModuleType) -> str:
    # Only the beginning is shown: a key may have been put into the wrong variable.
    shown = f"{BASE_URL} is {_cut(text, 8)!r}"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise RecipeError(f"{shown}, which is no URL; give one like https://HOST/v1") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise RecipeError(f"{shown}, without http(s):// and a host; give one like https://HOST/v1")
    if url.userinfo or url.query or url.fragment:
        raise RecipeError(f"{shown}, with a user, query or fragment; the key belongs in {API_KEY}")
    return text.rstrip("/")


def _read_retry_after(text: str) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None if it is neither."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
