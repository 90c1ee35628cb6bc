"""Language models behind one protocol: servers, a local model, recorded replies, a mock.

prompt, settings ─► cache ─► retries ─► budget ─► one exchange ─► reply
                                                         └──────► UnansweredError, with its raw
"""

from partwise.explain.endpoints.asking import Ledger, Metered, Retrying, Spent
from partwise.explain.endpoints.base import (
    DEFAULT_LIMITS,
    DEFAULT_SETTINGS,
    Endpoint,
    Limits,
    Message,
    Prompt,
    Reply,
    Settings,
    UnansweredError,
)
from partwise.explain.endpoints.keys import Address
from partwise.explain.endpoints.mock import MockEndpoint
from partwise.explain.endpoints.named import Chosen, chosen_endpoint, from_environment
from partwise.explain.endpoints.records import Cached, Record, Rehearsal, ReplayEndpoint

__all__ = [
    "DEFAULT_LIMITS",
    "DEFAULT_SETTINGS",
    "Address",
    "Cached",
    "Chosen",
    "Endpoint",
    "Ledger",
    "Limits",
    "Message",
    "Metered",
    "MockEndpoint",
    "Prompt",
    "Record",
    "Rehearsal",
    "ReplayEndpoint",
    "Reply",
    "Retrying",
    "Settings",
    "Spent",
    "UnansweredError",
    "chosen_endpoint",
    "from_environment",
]
