"""Programs for many tasks, a family a file."""

from partwise.zoo.language import Program
from partwise.zoo.library import arithmetic, brackets, counting, logic, marking, moving, ordering

PROGRAMS: tuple[Program, ...] = (
    *moving.programs(),
    *counting.programs(),
    *ordering.programs(),
    *marking.programs(),
    *brackets.programs(),
    *logic.programs(),
    *arithmetic.programs(),
)

__all__ = ["PROGRAMS"]
