"""Describing modules and interfaces, in words that were tested."""

from partwise.explain.claims import Claim
from partwise.explain.endpoints import Limits
from partwise.explain.explain import (
    Writer,
    count_verdicts,
    explain,
    explain_subject,
    subject_of,
)
from partwise.explain.llm import LLMWriter
from partwise.explain.subject import Subject
from partwise.explain.values import Description, Evidence, Explained, Failed, Verdict
from partwise.explain.writers.built_in import ProgramWriter

__all__ = [
    "Claim",
    "Description",
    "Evidence",
    "Explained",
    "Failed",
    "LLMWriter",
    "Limits",
    "ProgramWriter",
    "Subject",
    "Verdict",
    "Writer",
    "count_verdicts",
    "explain",
    "explain_subject",
    "subject_of",
]
