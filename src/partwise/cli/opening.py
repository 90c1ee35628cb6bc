"""The network that a command is about."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partwise.errors import CheckpointError

if TYPE_CHECKING:
    from partwise.cli.console import Output
    from partwise.stages import Network

LOUD = ("huggingface_hub", "transformers", "datasets", "lm_eval")
SETTINGS = {
    "HF_HUB_VERBOSITY": "critical",
    "TRANSFORMERS_VERBOSITY": "critical",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What libraries read when they are imported."""


RUN_FILES = ("recipe.toml", "gpt.json")
"""Either makes a directory a run; the latter in those of earlier versions."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
NO_NETWORKS = {
    ".csv": "a table and no network; name the network first, and the table with --data",
    ".npz": "a table and no network; name the network first, and the table with --data",
    ".parquet": "a table and no network; name the network first, and the table with --data",
    ".toml": "a recipe and no network; partwise train makes one by it",
    ".jsonl": "a text and no network; name the network first, and the text with --text",
    ".py": "a program and no network; name a file of weights, and the program with --factory",
}
"""What people name in a network's place, and what they mean."""


@dataclass(frozen=True)
class Reading:
    """A network, and what it is to be read on, as options say it.

    Attributes:
        path: a run, a file, or a pretrained model.
        text: sources for a language model.
        context: tokens of a document.
        data: rows, or a function that gives a task.
        target: columns of the rows that are to be predicted.
        factory: a function that makes the network.
        out: where to write.
    """

    path: str
    text: list[str] | None = None
    context: int | None = None
    data: str | None = None
    target: list[str] | None = None
    factory: str | None = None
    out: Path | None = None

    def network(self, output: Output) -> Network:
        """The network, opened."""
        return opened(
            output,
            self.path,
            texts=self.text or (),
            context=self.context,
            data=self.data,
            targets=self.target or (),
            factory=self.factory,
            out=self.out,
        )


def opened(output: Output, path: str, layers: str | None = None, **options: Any) -> Network:
    """The network of a run, a file or a pretrained model, with what the options say of it."""
    refuse_wrong_file(Path(path))
    with output.waiting("open the network"):
        quiet_libraries()
        from partwise.stages import open_network

        one_thread()
        order = None if layers is None else [name.strip() for name in layers.split(",")]
        return open_network(path, order, **options)


def refuse_wrong_file(path: Path) -> None:
    """Refuses what cannot be a network, before anything is loaded.

    Raises:
        CheckpointError: if it is missing, and no hub's name, or a file of another kind.
    """
    if path.is_file() and path.suffix in NO_NETWORKS:
        raise CheckpointError(f"{path} is {NO_NETWORKS[path.suffix]}")
    if path.exists() or (HUB_NAME.fullmatch(str(path)) and not path.parent.is_dir()):
        return
    way_out = nearest(path) or "partwise runs lists runs"
    raise CheckpointError(f"no checkpoint at {path}: there is no such file or directory; {way_out}")


def refuse_no_run(path: Path) -> None:
    """Refuses what is no run's directory, before anything is loaded.

    Raises:
        CheckpointError: if it is none.
    """
    if not any((path / name).is_file() for name in RUN_FILES):
        known = nearest(path) or "partwise runs lists runs, partwise train makes one"
        raise CheckpointError(f"{path} is no run; {known}")


def nearest(path: Path) -> str:
    """What stands in the place of a missing file and has nearly its name, in words."""
    if path.exists() or not path.parent.is_dir():
        return ""
    near = get_close_matches(path.name, sorted(each.name for each in path.parent.iterdir()), 1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def one_thread() -> None:
    """Networks this small train fastest, and bit-identically, on one thread."""
    import torch

    torch.set_num_threads(1)


def quiet_libraries() -> None:
    """An error is one line here; what libraries log beside it says nothing more."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
