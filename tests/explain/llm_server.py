"""A chat-completion server on loopback that misbehaves on demand."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

LONGEST_WAIT_S = 5.0

Act = Callable[["_Handler"], None]


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class LLMServer(ThreadingHTTPServer):
    """Plays the acts of `script` in order, one per request, and the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Act] = []
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def play(self, handler: _Handler, asked: Asked) -> None:
        self.asked.append(asked)
        self.script[min(len(self.asked), len(self.script)) - 1](handler)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join(LONGEST_WAIT_S)

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients of these tests hang up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: LLMServer
    timeout = LONGEST_WAIT_S

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.play(self, Asked(self.path, dict(self.headers), body))

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def completion(content: str | None, finish: str = "stop", **message: object) -> bytes:
    answer = {"role": "assistant", "content": content, **message}
    return json.dumps({"choices": [{"message": answer, "finish_reason": finish}]}).encode()


def send(body: bytes, status: int = 200, reason: str | None = None, **headers: str) -> Act:
    def act(handler: _Handler) -> None:
        handler.send_response(status, reason)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return act


def stay_silent(handler: _Handler) -> None:
    handler.server.closing.wait(LONGEST_WAIT_S)


def hang_up(handler: _Handler) -> None:
    handler.close_connection = True


def reset(handler: _Handler) -> None:
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def hang_up_midway(body: bytes) -> Act:
    def act(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) + 100))
        handler.end_headers()
        handler.wfile.write(body)

    return act


def send_endlessly(piece: bytes, pause_s: float) -> Act:
    def act(handler: _Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.closing.wait(pause_s):
            handler.wfile.write(piece)

    return act


def send_headers_endlessly(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x")
