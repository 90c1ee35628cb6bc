"""What Partwise raises, and when.

    PartwiseError                  every error a user can cause; the CLI prints it and exits 2
    ├── GraphError                 capacities or edges that make no graph
    ├── UnreadableModelError       a layer or operation no units can be read from
    ├── RecipeError                a recipe with an unknown key or a value out of range
    ├── CheckpointError            a checkpoint that is missing, damaged, or of another network
    ├── OutputError                an output that exists already, or cannot be written
    ├── DataError                  data of the wrong shape, size or encoding
    ├── TrainingError              a training run that cannot go on, such as a loss that is NaN
    ├── ProgramError               text that is no program of the description language
    └── MissingExtraError          an optional dependency that is not installed

`DataWarning` is the one warning. Each message names the value seen, the value allowed, and the way
out.
"""


def first_line(error: Exception) -> str:
    """What an error of another library says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class PartwiseError(Exception):
    """Something a user can put right; its message says how."""


class GraphError(PartwiseError, ValueError):
    """Edges or capacities that do not make a unit graph."""


class UnreadableModelError(PartwiseError, TypeError):
    """A layer or operation whose units and capacities cannot be read."""


class RecipeError(PartwiseError, ValueError):
    """A recipe with an unknown key, or a value out of its range."""


class CheckpointError(PartwiseError, ValueError):
    """A checkpoint that is missing, damaged, or belongs to another network."""


class OutputError(PartwiseError, OSError):
    """An output path that is taken, or cannot be written."""


class DataError(PartwiseError, ValueError):
    """Data of the wrong shape, size or encoding."""


class DataWarning(UserWarning):
    """Data that can be used, but about which something cannot be said."""


class TrainingError(PartwiseError, RuntimeError):
    """A training run that cannot go on."""


class ProgramError(PartwiseError, ValueError):
    """Text that is not a program of the description language."""


class MissingExtraError(PartwiseError, ImportError):
    """An optional dependency that is not installed."""
