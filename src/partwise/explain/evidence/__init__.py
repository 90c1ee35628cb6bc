"""Evidence: what a writer may see of a module or an interface, from the `train` split."""

from partwise.explain.evidence.tables import table_interface, table_module
from partwise.explain.evidence.texts import text_interface, text_module
from partwise.explain.subject import Subject
from partwise.explain.values import Evidence


def module_evidence(subject: Subject, module: int) -> Evidence:
    """Evidence about one module."""
    return (text_module if subject.of_text else table_module)(subject, module)


def interface_evidence(subject: Subject, pair: tuple[int, int]) -> Evidence:
    """Evidence about the edges between two modules."""
    return (text_interface if subject.of_text else table_interface)(subject, pair)


__all__ = ["interface_evidence", "module_evidence"]
