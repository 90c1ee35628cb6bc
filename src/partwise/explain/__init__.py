"""Describing modules and interfaces, in words that were tested."""

from partwise.explain.explain import (
    Writer,
    count_verdicts,
    explain,
    explain_subject,
    subject_of,
)
from partwise.explain.llm import Limits, LLMWriter
from partwise.explain.program_writer import ProgramWriter
from partwise.explain.subject import Subject
from partwise.explain.values import Claim, Description, Evidence, Explained, Failed, Verdict

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
