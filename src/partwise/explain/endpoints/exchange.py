"""One request and its reply within limits of bytes and time: the transport of the kept clients.

    client of openai or anthropic ─► Exchange ─► httpx2, a connection per request ─► server

The clients never hold the API key: `Exchange` puts it on, sends no header that it does not know,
and hands back a reply from which the key was taken, without the server's own headers.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any

import httpx2

from partwise.explain.endpoints.base import Limits, UnansweredError
from partwise.explain.endpoints.keys import Key

OnWait = Callable[[float], None]
_SENT = ("accept", "anthropic-version", "openai-organization", "openai-project", "user-agent")
_LOGGERS = ("httpx2", "httpcore2", "openai", "anthropic")


class CutOffError(httpx2.TransportError):
    """What the clients pass on as the cause of theirs: why there is no whole reply."""

    def __init__(self, problem: UnansweredError) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class Exchange(httpx2.BaseTransport):
    """Sends one request on a connection of its own, and reads the reply within limits."""

    def __init__(
        self,
        key: Key,
        headers: Callable[[], dict[str, str]],
        limits: Limits,
        on_wait: OnWait | None = None,
    ) -> None:
        """Sends nothing yet.

        Args:
            key: taken out of replies and logs.
            headers: gives the header that holds it.
            limits: of bytes and time.
            on_wait: told each second that a reply is due how many are left; from a thread.
        """
        self._key = key
        self._headers = headers
        self._limits = limits
        self.on_wait = on_wait

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The reply, without the key and with nothing in its headers but a wait.

        Raises:
            CutOffError: if there is no whole reply within the limits.
        """
        body, deadline = bytearray(), _Deadline(self._limits.deadline_s)
        try:
            with (
                _redacted_logs(self._key),
                _ticking(self._limits.deadline_s, self.on_wait),
                deadline,
                self._open(request, deadline) as response,
            ):
                self._read(response, body)
        except httpx2.TimeoutException as error:
            problem = f"the server timed out ({type(error).__name__})"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            problem = f"no whole reply: {_one_line(error)}"
        else:
            problem = ""
        if deadline.passed:
            problem = f"no whole reply in {self._limits.deadline_s:g} s"
        if problem:
            raise self._cut_off(problem, body, may_pass=True)
        if len(body) > self._limits.reply_bytes and response.status_code == 200:
            raise self._cut_off(f"the reply exceeds {self._limits.reply_bytes} bytes", body)
        waits = {k: v for k, v in response.headers.items() if k.lower() == "retry-after"}
        return httpx2.Response(
            response.status_code,
            headers={**waits, "Content-Type": "application/json"},
            content=self._text(body).encode(),
        )

    # A client per request: the deadline only knows the sockets that its own request opens.
    @contextmanager
    def _open(self, request: httpx2.Request, deadline: _Deadline) -> Iterator[httpx2.Response]:
        connect_s = min(self._limits.connect_s, self._limits.deadline_s)
        known = {k: v for k, v in request.headers.items() if k.lower() in _SENT}
        headers = {**known, "Content-Type": "application/json", "Accept-Encoding": "identity"}
        with (
            httpx2.Client(
                verify=_certificates(),
                timeout=httpx2.Timeout(self._limits.read_s, connect=connect_s),
                headers=headers,
            ) as client,
            client.stream(
                request.method,
                request.url,
                content=request.read(),
                headers=self._headers(),
                extensions={"trace": deadline.watch},
            ) as response,
        ):
            yield response

    # Raw: a compressed reply, which nobody asked for, must not unfold past the cap.
    def _read(self, response: httpx2.Response, body: bytearray) -> None:
        for chunk in response.iter_raw():
            body += chunk[: self._limits.reply_bytes + 1 - len(body)]
            if len(body) > self._limits.reply_bytes:
                return

    def _text(self, body: bytearray) -> str:
        return self._key.redact(body.decode(errors="replace"))

    def _cut_off(self, reason: str, body: bytearray, may_pass: bool = False) -> CutOffError:
        reason = self._key.redact(reason)
        return CutOffError(UnansweredError(reason, self._text(body), may_pass, is_charged=True))


def read_retry_after(text: str) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None if it is neither."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


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
def _ticking(seconds: float, tell: OnWait | None) -> Iterator[None]:
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


_filters = threading.Lock()


@contextmanager
def _redacted_logs(key: Key) -> Iterator[None]:
    """Takes the key out of what is logged meanwhile: headers that a server may echo."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = key.redact(record.getMessage()), ()
        return True

    loggers = [logging.getLogger(name) for name in _logger_names()]
    # Lists are replaced, never changed: another thread may be going through them.
    with _filters:
        for logger in loggers:
            logger.filters = [*logger.filters, redact]
    try:
        yield
    finally:
        with _filters:
            for logger in loggers:
                logger.filters = [each for each in logger.filters if each is not redact]


def _logger_names() -> list[str]:
    known = list(logging.root.manager.loggerDict)
    return [name for name in known if name.split(".")[0] in _LOGGERS]


# Reading the certificates takes longer than a request to a server nearby.
@cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
