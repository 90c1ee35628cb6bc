"""Exported programs: `.pt2` files of `torch.export.save`, and the inputs they came with."""

from __future__ import annotations

import io
import json
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
            # Guards are code in the file.
            model = program.module(check_guards=False)
            example, in_training = program.example_inputs, _in_training(program)
    except (pickle.UnpicklingError, *BROKEN) as error:
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(
            f"{path} is no intact exported program of this PyTorch, {torch.__version__} "
            f"({why[:200]}); export it anew with torch.export.save"
        ) from error
    if in_training:
        raise CheckpointError(
            f"{path} was exported in training mode ({in_training}); export it after model.eval()"
        )
    for name in ("train", "eval"):  # PyTorch forbids both here; what ran above stays as it is.
        model.__dict__.pop(name, None)
    return model.eval(), _positional(example, path)


def _in_training(program: Any) -> str:
    """What in a program behaves as in training: dropout, batch statistics; empty if nothing."""
    for node in program.graph.nodes:
        kind = str(node.target)
        if "dropout" in kind and (node.args[2:3] == (True,) or "native_dropout" in kind):
            return "dropout"
        if "aten.batch_norm" in kind and node.args[5] is True:
            return "batch statistics"
    changed = list(program.graph_signature.buffers_to_mutate.values())
    return f"it changes {changed[0]}" if changed else ""


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
    """Refuses programs with pickles of anything but tensors, and compiled ones."""
    refused = ""
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in archive.namelist():
                if "aotinductor/" in name:
                    refused = "compiled code"
                elif name.endswith("_config.json"):
                    refused = refused or _refuse_payloads(archive, name)
                elif name.endswith(".pt"):
                    _try_pickle(archive.read(name))
    except pickle.UnpicklingError:
        refused = "pickled objects beside tensors"
    except BROKEN as error:
        raise CheckpointError(f"{path} is no intact exported program; export it anew") from error
    if refused:
        raise CheckpointError(
            f"{path} holds {refused}, which could run any code when loaded; export it with tensors "
            "as inputs and constants alone"
        )


def _refuse_payloads(archive: zipfile.ZipFile, config: str) -> str:
    """What a list of weights or constants holds beside tensors; empty if nothing."""
    for entry in json.loads(archive.read(config)).get("config", {}).values():
        name = entry["path_name"]
        if "_obj" in name:
            return "objects that are no tensors"
        if entry.get("use_pickle"):
            _try_pickle(archive.read(f"{config.rpartition('/')[0]}/{name}"))
    return ""


def _try_pickle(content: bytes) -> None:
    if content:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
