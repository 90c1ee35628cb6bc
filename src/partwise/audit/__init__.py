"""Audits: which module is the reason that a network does what it should not."""

from partwise.audit.audit import audit, audit_subject
from partwise.audit.outcomes import AuditReport, ModuleSuspicion, Outcome
from partwise.audit.repair import Repair, repair_module

__all__ = [
    "AuditReport",
    "ModuleSuspicion",
    "Outcome",
    "Repair",
    "audit",
    "audit_subject",
    "repair_module",
]
