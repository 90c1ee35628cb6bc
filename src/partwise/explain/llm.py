"""A writer that asks a language model, whichever endpoint it is behind.

    evidence ─► prompt ─► endpoint ─► words ─► Description, with where it came from
                 ▲                      │
                 └── once, with why ────┴────► Failed, with the raw reply

Words are hostile: what is no valid description becomes a `Failed`, never a description.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from numpy.typing import ArrayLike

from partwise.explain.endpoints import (
    DEFAULT_LIMITS,
    DEFAULT_SETTINGS,
    Cached,
    Endpoint,
    Ledger,
    Limits,
    MockEndpoint,
    Prompt,
    Record,
    Rehearsal,
    Reply,
    Settings,
    UnansweredError,
    from_environment,
)
from partwise.explain.endpoints.base import LONGEST_RAW, LONGEST_REASON, cut
from partwise.explain.endpoints.prices import LIKELY_OUT, Price, likely_tokens, most_tokens
from partwise.explain.prompts import Neighbour, again_prompt, description_prompt, names_prompt
from partwise.explain.replies import BadReplyError, read_description, read_names
from partwise.explain.rounds import Work, described_in_rounds, work_on
from partwise.explain.subject import Subject
from partwise.explain.values import Description, Evidence, Failed

NAMES = "names"
"""What records of the last pass are about."""
UNFINISHED = {
    "length": "the model's answer was cut off at its token limit",
    "refusal": "the model refused to answer",
}
Found = TypeVar("Found")


class Estimate(NamedTuple):
    """What describing a network will take, before anything is sent.

    Attributes:
        prompts: what would be sent, in order.
        kept: replies that the cache holds already.
        tokens_in: about how many tokens would be read.
        dollars: what it is likely to cost; None where no price is known.
        most: what it can cost, every reply as long as it may be.
    """

    prompts: tuple[Prompt, ...]
    kept: int
    tokens_in: int
    dollars: float | None
    most: float | None


class NotConfirmedError(Exception):
    """Somebody saw the estimate and said no."""


@dataclass(frozen=True)
class LLMWriter:
    """Describes modules and interfaces by asking a language model.

    Attributes:
        endpoint: who is asked.
        settings: how.
        concurrency: how many prompts are under way at once.
        confirm: shown the estimate before anything is sent; False ends it.
        price: of the endpoint's tokens, for the estimate.
        records: every exchange so far, in the order they ended.
    """

    endpoint: Endpoint
    settings: Settings = DEFAULT_SETTINGS
    concurrency: int = 1
    confirm: Callable[[Estimate], bool] | None = None
    price: Price | None = None
    records: list[Record] = field(default_factory=list, repr=False)
    _noting: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def from_environment(
        cls, *, limits: Limits = DEFAULT_LIMITS, cache: Path | None = None
    ) -> LLMWriter:
        """The writer that PARTWISE_LLM_BASE_URL, PARTWISE_LLM_MODEL and PARTWISE_LLM_API_KEY name.

        A key of `none` stands for a server that needs no key.

        Raises:
            MissingExtraError: if the client is not installed.
            RecipeError: if a variable is not set, or its value cannot be used.
        """
        chosen = from_environment()
        return cls(chosen.within(Ledger(), cache, limits), price=chosen.price)

    @property
    def name(self) -> str:
        """How reports name the writer."""
        return self.endpoint.name

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
        return self.write_beside(evidence, [Neighbour(each) for each in neighbours])

    def write_beside(
        self, evidence: Evidence, neighbours: Sequence[Neighbour]
    ) -> Description | Failed:
        """`write`, with neighbours that have a subject."""
        prompt, subject = description_prompt(evidence, neighbours), evidence.subject
        return self._usable(prompt, subject, lambda words: read_description(words, evidence))

    def write_subject(
        self,
        subject: Subject,
        parts: ArrayLike | None = None,
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[tuple[Evidence, Description | Failed]]:
        """Describes every module and interface: parts first, then modules, then interfaces.

        Args:
            subject: the network.
            parts: (n,) finer labels; large modules are described from these parts up.
            on_step: told after each step how many are done, of how many.

        Raises:
            NotConfirmedError: if the estimate was not confirmed; nothing was sent.
        """
        work = work_on(subject, parts, on_step)
        if self.confirm is not None and not self.confirm(self.estimate(work)):
            raise NotConfirmedError
        return self._write_all(work, on_step)

    def estimate(self, work: Work) -> Estimate:
        """What describing all of it will take; nothing is sent.

        Replies that are kept already stand for themselves, and a mock's for the rest.
        """
        cached = self.endpoint if isinstance(self.endpoint, Cached) else None
        rehearsal = Rehearsal(cached, MockEndpoint())
        replace(self, endpoint=rehearsal, concurrency=1, records=[])._write_all(work)
        prompts, price = rehearsal.unknown, self.price
        likely, longest = sum(map(likely_tokens, prompts)), sum(map(most_tokens, prompts))
        if price is None:
            return Estimate(tuple(prompts), rehearsal.kept, likely, None, None)
        dollars = price(likely, LIKELY_OUT * len(prompts))
        most = price(longest, self.settings.max_tokens * len(prompts))
        return Estimate(tuple(prompts), rehearsal.kept, likely, dollars, most)

    def _write_all(
        self, work: Work, on_step: Callable[[int, int], None] = lambda done, total: None
    ) -> list[tuple[Evidence, Description | Failed]]:
        described = described_in_rounds(work, self.write_beside, self.concurrency, on_step)
        return self._named_alike(described)

    def _named_alike(
        self, described: list[tuple[Evidence, Description | Failed]]
    ) -> list[tuple[Evidence, Description | Failed]]:
        """The same with consistent names, and nothing else changed."""
        known = [
            Neighbour(words, evidence.subject)
            for evidence, words in described
            if isinstance(words, Description)
        ]
        if sum(each.subject.startswith("module") for each in known) < 2:
            return described
        subjects = [each.subject for each in known]
        names = self._usable(names_prompt(known), NAMES, lambda words: read_names(words, subjects))
        if isinstance(names, Failed):
            return described
        return [(evidence, _renamed(words, names, evidence)) for evidence, words in described]

    def _usable(self, prompt: Prompt, subject: str, read: Callable[[str], Found]) -> Found | Failed:
        """What is read of the reply; asked for once more, with the reason, where it is unusable."""
        found = self._tried(prompt, subject, read)
        if isinstance(found, _Unusable):
            again = again_prompt(prompt, found.reply.text, found.problem)
            found = self._tried(again, subject, read)
        if isinstance(found, _Unusable):
            return _failed(found.problem, found.reply.raw)
        return found

    def _tried(
        self, prompt: Prompt, subject: str, read: Callable[[str], Found]
    ) -> Found | _Unusable | Failed:
        try:
            reply = self.endpoint.ask(prompt, self.settings)
        except UnansweredError as problem:
            self._note(prompt, subject, None, problem.reason)
            return _failed(problem.reason, problem.raw)
        if reply.finish in UNFINISHED:
            self._note(prompt, subject, reply, UNFINISHED[reply.finish])
            return _failed(UNFINISHED[reply.finish], reply.raw)
        try:
            found = read(reply.text)
        except BadReplyError as error:
            self._note(prompt, subject, reply, str(error))
            return _Unusable(reply, str(error))
        self._note(prompt, subject, reply)
        return found

    def _note(self, prompt: Prompt, subject: str, reply: Reply | None, problem: str = "") -> None:
        record = Record.of(
            prompt, self.name, self.settings, reply, cut(problem, LONGEST_REASON), subject
        )
        with self._noting:
            self.records.append(record)


class _Unusable(NamedTuple):
    """A reply that is worth asking for once more, and why."""

    reply: Reply
    problem: str


def _failed(reason: str, raw: str) -> Failed:
    return Failed(reason=cut(reason, LONGEST_REASON), raw_reply=cut(raw, LONGEST_RAW))


def _renamed(
    words: Description | Failed, names: dict[str, str], evidence: Evidence
) -> Description | Failed:
    name = names.get(evidence.subject)
    if isinstance(words, Failed) or name is None:
        return words
    return words.model_copy(update={"name": name})
