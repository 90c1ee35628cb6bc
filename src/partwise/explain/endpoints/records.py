"""Recorded replies, one a line: the cache, the provenance of descriptions, and what is replayed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from partwise.errors import DataError
from partwise.explain.endpoints.base import (
    Endpoint,
    Message,
    Prompt,
    Reply,
    Settings,
    UnansweredError,
    digest,
)
from partwise.files import append_line

MOST_BYTES = 2**30
"""Larger files of recorded replies are not read."""


class Record(BaseModel):
    """A prompt, who was asked how, and what came back.

    Attributes:
        prompt_version: the template files that made it.
        prompt_hash: SHA-256 of messages and schema.
        endpoint: kind and model.
        settings: of the endpoint.
        messages: what was sent.
        time: when the reply came, UTC.
        reply: what came; None where nothing did.
        problem: why nothing came, or why it could not be used.
        subject: the module or interface it was about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_version: str
    prompt_hash: str
    endpoint: str
    settings: Settings
    messages: tuple[Message, ...]
    time: str
    reply: Reply | None = None
    problem: str = ""
    subject: str = ""

    @classmethod
    def of(
        cls,
        prompt: Prompt,
        endpoint: str,
        settings: Settings,
        reply: Reply | None,
        problem: str = "",
        subject: str = "",
    ) -> Record:
        """The record of an exchange that has just ended."""
        return cls(
            prompt_version=prompt.version,
            prompt_hash=prompt.hash,
            endpoint=endpoint,
            settings=settings,
            messages=prompt.messages,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            reply=reply,
            problem=problem,
            subject=subject,
        )

    @property
    def key(self) -> str:
        """What a cache knows it by."""
        return cache_key(self.prompt_hash, self.endpoint, self.settings)


def cache_key(prompt_hash: str, endpoint: str, settings: Settings) -> str:
    """SHA-256 of prompt, model and settings."""
    return digest([prompt_hash, endpoint, settings.model_dump()])


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file; a line that an interruption cut short is passed over.

    Raises:
        DataError: if it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES} bytes; remove it")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    for line in lines:
        try:
            yield Record.model_validate_json(line)
        except ValidationError:
            continue


class ReplayEndpoint:
    """Answers with recorded replies, whoever gave them, found by the prompt's hash."""

    def __init__(self, path: Path) -> None:
        """Reads the records: a cache, a provenance file, or any of that format.

        Raises:
            DataError: if the file cannot be read, or holds no record with a reply.
        """
        self.name = f"replay:{path.name}"
        self._replies = _by_prompt(read_records(path))
        if not self._replies:
            raise DataError(f"{path} holds no recorded reply")

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The recorded answer; see `Endpoint`."""
        found = self._replies.get(prompt.hash)
        if found is None:
            raise UnansweredError("there is no recorded reply to this prompt")
        return found.model_copy(update={"cost": 0.0})


def _by_prompt(records: Iterable[Record]) -> dict[str, Reply]:
    return {each.prompt_hash: each.reply for each in records if each.reply is not None}


class Cached:
    """An endpoint that is never asked the same thing twice: its replies are kept in a file.

    Replies that cannot be used are kept too: they were paid for, and would come again.
    """

    def __init__(self, endpoint: Endpoint, path: Path) -> None:
        """Reads what the file holds; it need not exist.

        Raises:
            DataError: if it cannot be read.
        """
        self.endpoint = endpoint
        self.name = endpoint.name
        self._path = path
        self._writing = threading.Lock()
        records = [*read_records(path)] if path.exists() else []
        _end_last_line(path)
        self._known = {each.key: each.reply for each in records if each.reply is not None}

    def known(self, prompt: Prompt, settings: Settings) -> Reply | None:
        """The kept reply, free of cost; None where there is none."""
        found = self._known.get(cache_key(prompt.hash, self.name, settings))
        return None if found is None else found.model_copy(update={"cost": 0.0})

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The kept reply, or the endpoint's; see `Endpoint`."""
        found = self.known(prompt, settings)
        if found is not None:
            return found
        reply = self.endpoint.ask(prompt, settings)
        record = Record.of(prompt, self.name, settings, reply)
        with self._writing:
            append_line(self._path, record.model_dump_json())
            self._known[record.key] = reply
        return reply


def _end_last_line(path: Path) -> None:
    """Ends a line that an interruption cut short, so that the next begins anew."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        append_line(path, "")


class Rehearsal:
    """Answers from a cache, or with a stand-in, and sends nothing; notes what it was asked."""

    def __init__(self, cached: Cached | None, stand_in: Endpoint) -> None:
        self.name = stand_in.name if cached is None else cached.name
        self._cached = cached
        self._stand_in = stand_in
        self.unknown: list[Prompt] = []
        self.kept = 0

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The kept reply, or the stand-in's; see `Endpoint`."""
        found = None if self._cached is None else self._cached.known(prompt, settings)
        if found is not None:
            self.kept += 1
            return found
        self.unknown.append(prompt)
        return self._stand_in.ask(prompt, settings)
