"""Asking again, and not beyond a budget: endpoints around an endpoint."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from partwise.explain.endpoints.base import (
    DEFAULT_LIMITS,
    Endpoint,
    Limits,
    Prompt,
    Reply,
    Settings,
    UnansweredError,
)
from partwise.explain.endpoints.prices import Price, most_tokens


class Retrying:
    """Asks again after what may pass, with waits that double, or that the server asks for."""

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits = DEFAULT_LIMITS,
        *,
        seed: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes the endpoint.

        Args:
            endpoint: who is asked.
            limits: how often, and how long to wait.
            seed: of the jitter of the waits.
            sleep: what waits, given seconds.
        """
        self.name = endpoint.name
        self._endpoint = endpoint
        self._limits = limits
        self._random = random.Random(seed)
        self._sleep = sleep

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The endpoint's answer; see `Endpoint`."""
        retries = self._limits.retries
        for attempt in range(retries):
            try:
                return self._endpoint.ask(prompt, settings)
            except UnansweredError as problem:
                if not problem.may_pass:
                    raise
                self._sleep(self._wait_s(attempt, problem.retry_after_s))
        try:
            return self._endpoint.ask(prompt, settings)
        except UnansweredError as problem:
            tried = f"; tried {retries + 1} times" if problem.may_pass and retries else ""
            raise UnansweredError(problem.reason + tried, problem.raw) from None

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return min(retry_after_s, self._limits.longest_wait_s)
        longest = min(self._limits.first_wait_s * 2**attempt, self._limits.longest_wait_s)
        return longest * self._random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Spent:
    """What was spent so far.

    Attributes:
        tokens_in, tokens_out: as servers counted them.
        dollars: what they cost; what no reply came for counts at its most.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0


class Ledger:
    """What was spent and what is spoken for, of at most so many dollars."""

    def __init__(self, most: float | None = None) -> None:
        """Takes the most that may be spent, in US dollars; None for any amount."""
        self.most = most
        self.spent = Spent()
        self._reserved = 0.0
        self._changed = threading.Condition()

    def reserve(self, dollars: float) -> None:
        """Speaks for an amount; waits while others might turn out cheaper than they could be.

        Raises:
            UnansweredError: if it might go beyond the most.
        """
        with self._changed:
            while self._exceeds(dollars):
                if self._reserved <= 1e-12:
                    raise UnansweredError(
                        f"not sent: it may cost ${dollars:.4f}, and ${self.spent.dollars:.4f} of "
                        f"at most ${self.most:g} are spent"
                    )
                self._changed.wait()
            self._reserved += dollars

    def settle(self, reserved: float, dollars: float, reply: Reply | None = None) -> None:
        """Puts what was spent in the place of what was spoken for."""
        with self._changed:
            self._reserved -= reserved
            tokens_in = 0 if reply is None else reply.tokens_in or 0
            tokens_out = 0 if reply is None else reply.tokens_out or 0
            self.spent = Spent(
                self.spent.tokens_in + tokens_in,
                self.spent.tokens_out + tokens_out,
                self.spent.dollars + dollars,
            )
            self._changed.notify_all()

    def _exceeds(self, dollars: float) -> bool:
        if self.most is None:
            return False
        return self.spent.dollars + self._reserved + dollars > self.most


class Metered:
    """Says what each reply costs, and sends nothing that may cost more than is left."""

    def __init__(self, endpoint: Endpoint, price: Price, ledger: Ledger) -> None:
        """Takes the endpoint.

        Args:
            endpoint: who is asked.
            price: of its tokens; None where nobody knows it.
            ledger: what may be spent.
        """
        self.name = endpoint.name
        self._endpoint = endpoint
        self._price = price
        self.ledger = ledger

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The endpoint's answer, with its cost; see `Endpoint`."""
        most = self._price(most_tokens(prompt), settings.max_tokens) or 0.0
        self.ledger.reserve(most)
        reply, dollars = None, most
        try:
            reply = self._endpoint.ask(prompt, settings)
            cost = self._cost(reply, most)
            dollars = cost or 0.0
            return reply.model_copy(update={"cost": cost})
        except UnansweredError as problem:
            dollars = most if problem.is_charged else 0.0
            raise
        finally:
            self.ledger.settle(most, dollars, reply)

    def _cost(self, reply: Reply, most: float) -> float | None:
        """Its price; at its most where the server did not count the tokens."""
        if reply.tokens_in is None or reply.tokens_out is None:
            return most if self._price(1, 1) is not None else None
        return self._price(reply.tokens_in, reply.tokens_out)
