"""The network that a command is about."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    with output.waiting("open the network"):
        quiet_libraries()
        from partwise.stages import open_network

        one_thread()
        order = None if layers is None else [name.strip() for name in layers.split(",")]
        return open_network(path, order, **options)


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
