"""What prompts cost: tokens guessed from bytes, prices from a kept table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from partwise.explain.endpoints.base import Prompt
from partwise.explain.endpoints.hosted import imported
from partwise.explain.endpoints.schemas import strict

Price = Callable[[int, int], float | None]
"""(tokens in, tokens out) -> US dollars; None where no price is known."""
LIKELY_BYTES, LEAST_BYTES = 3.5, 2.0
"""Bytes of a token: of English with numbers, and of dense code."""
LIKELY_OUT = 800
"""Tokens of a usual description."""


def likely_tokens(prompt: Prompt) -> int:
    """About how many tokens a prompt has; no tokenizer is at hand before it is sent."""
    return math.ceil(_size(prompt) / LIKELY_BYTES)


def most_tokens(prompt: Prompt) -> int:
    """How many tokens a prompt has at most, but for odd tokenizers."""
    return math.ceil(_size(prompt) / LEAST_BYTES)


def _size(prompt: Prompt) -> int:
    return len(prompt.text.encode()) + len(json.dumps(strict(prompt.schema)))


def free(tokens_in: int, tokens_out: int) -> float:
    """The price of what runs on this machine."""
    return 0.0


def price_of(model: str, provider: str | None = None) -> Price | None:
    """The price of a model's tokens, from the table that `genai-prices` ships; None if unknown.

    Raises:
        MissingExtraError: if it is not installed.
    """
    prices = imported("genai_prices")

    def price(tokens_in: int, tokens_out: int) -> float:
        usage = prices.Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        found = prices.calc_price(usage, model_ref=model, provider_id=provider)
        return float(found.total_price)

    try:
        price(1, 1)
    except (LookupError, ValueError):
        return None
    return price
