"""Exported programs: `.pt2` files of `torch.export.save`, and the inputs they came with."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from partwise.errors import CheckpointError
from partwise.train.weight_files import BROKEN

Example = Tensor | tuple[Any, ...]


def load_exported(path: Path) -> tuple[nn.Module, Example]:
    """The network of an exported program, and the example it was exported with.

    The pickles inside are tried with PyTorch's `weights_only` loader first, since its own loader
    of programs falls back on running their code. That is no proof against a malicious graph: open
    only programs you trust.

    Raises:
        CheckpointError: if it is damaged, holds objects that are no tensors, was compiled, or does
            not say which positional tensors it takes.
    """
    _refuse_code(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            # Guards pin the example's batch size, and are code in the file.
            model = program.module(check_guards=False)
            example = program.example_inputs
    except (pickle.UnpicklingError, *BROKEN) as error:
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(
            f"{path} is no intact exported program of this PyTorch, {torch.__version__} "
            f"({why[:200]}); export it anew with torch.export.save"
        ) from error
    return model, _positional(example, path)


def _positional(example: Any, path: Path) -> Example:
    if example is None:
        raise CheckpointError(f"{path} holds no example inputs; export it anew with torch.export")
    args, named = example
    if named or not args:
        raise CheckpointError(
            f"{path} was exported with inputs by name ({', '.join(named) or 'none at all'}); "
            "export it with positional ones"
        )
    return args[0] if len(args) == 1 and isinstance(args[0], Tensor) else tuple(args)


def _refuse_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if "aotinductor" in name:
                    raise CheckpointError(
                        f"{path} holds compiled code; export it anew with torch.export.save"
                    )
                content = archive.read(name)
                if content[:2] == b"PK" or content[:1] == b"\x80":
                    torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds pickled objects beside tensors, which could run any code when loaded; "
            "export it with tensors as inputs and constants alone"
        ) from error
    except BROKEN as error:
        raise CheckpointError(f"{path} is no intact exported program; export it anew") from error
