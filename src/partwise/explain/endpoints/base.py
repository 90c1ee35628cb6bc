"""What every endpoint takes and gives: a prompt, settings, and a reply or the reason why not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from partwise.errors import PartwiseError, RecipeError

LONGEST_REASON = 500
LONGEST_RAW = 20_000


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """What is sent: a conversation, and the JSON schema of the reply.

    Attributes:
        messages: the turns, the first of them the system's.
        schema: of the reply, with all its bounds; each endpoint sends the part that it can keep.
        version: names of the template files that made it.
    """

    messages: tuple[Message, ...]
    schema: dict[str, Any]
    version: str

    @cached_property
    def hash(self) -> str:
        """SHA-256 of messages and schema."""
        return digest([list(self.messages), self.schema])

    @property
    def text(self) -> str:
        """All that a model is given to read."""
        return "\n\n".join(each["content"] for each in self.messages)


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Value):
    """How a model is to answer; what is None is left to the server.

    Attributes:
        max_tokens: longest answer.
        temperature: of sampling.
        seed: of sampling.
    """

    max_tokens: int = Field(8192, ge=1)
    temperature: float | None = None
    seed: int | None = None


DEFAULT_SETTINGS = Settings()


class Reply(_Value):
    """What a model answered; the API key was taken out of both texts.

    Attributes:
        text: the model's words.
        raw: the server's reply as it came, cut to 20,000 characters.
        finish: why the model stopped.
        tokens_in, tokens_out: as the server counted them; None where it did not.
        seconds: how long it took.
        cost: in US dollars; None where no price is known.
    """

    text: str
    raw: Annotated[str, Field(max_length=LONGEST_RAW)]
    finish: Literal["stop", "length", "refusal"] = "stop"
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float = 0.0
    cost: float | None = None


class UnansweredError(PartwiseError):
    """No reply, and why.

    Attributes:
        reason: for readers, at most 500 characters.
        raw: what came of a reply, without the API key.
        may_pass: whether asking once more may help.
        retry_after_s: how long the server asks to wait before.
        is_charged: whether the server may have worked, and charge for it.
    """

    def __init__(
        self,
        reason: str,
        raw: str = "",
        may_pass: bool = False,
        retry_after_s: float | None = None,
        is_charged: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = cut(reason, LONGEST_REASON)
        self.raw = cut(raw, LONGEST_RAW)
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s
        self.is_charged = is_charged


class Endpoint(Protocol):
    """Whatever answers prompts; it may be asked from several threads at once."""

    @property
    def name(self) -> str:
        """Kind and model, as in `openai:gpt-5-mini`; never a key."""
        ...

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The model's answer.

        Raises:
            UnansweredError: whatever goes wrong.
        """
        ...


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


def cut(text: str, length: int) -> str:
    """The beginning of a text, of at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
