"""Files that people keep networks in: what kind each is, and the state dicts among them.

No code from a file runs here: pickles are read by PyTorch's `weights_only` loader alone.
"""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from partwise.errors import CheckpointError
from partwise.files import PICKLE_SUFFIXES, read_tensors

Kind = Literal["exported program", "ONNX", "torch", "safetensors"]
READ = (
    "a run, a state dict (.safetensors, or .pt/.pth/.bin of torch.save), an exported program "
    "(.pt2) or .onnx"
)
MAGIC = {
    b"\x89HDF": "an HDF5 file (Keras?)",
    b"GGUF": "a GGUF file",
    b"\x93NUM": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
    b"TFL3": "a TensorFlow Lite file",
}
BROKEN = (
    RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError,
    AssertionError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What loaders of damaged files raise."""


def kind_of(path: Path) -> Kind:
    """What a file holds, told by its first bytes and its name.

    Raises:
        CheckpointError: if it is missing, empty, or nothing that can be read.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a directory; give {READ}")
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    head = _head(path)
    if not head:
        raise CheckpointError(f"{path} is empty; give {READ}")
    for magic, words in MAGIC.items():
        if head.startswith(magic) or head[4:].startswith(magic):
            raise CheckpointError(f"{path} is {words}; give {READ}")
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return "ONNX"
    if head.startswith(b"PK"):
        return _kind_of_archive(path)
    if suffix == ".pt2":
        return "exported program"
    pickled = head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"
    return "torch" if pickled or suffix in PICKLE_SUFFIXES else "safetensors"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error


def _kind_of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is cut off or damaged ({error})") from error
    inside = {name.rpartition("/")[2] for name in names}
    if "archive_format" in inside or "serialized_exported_program.json" in inside:
        return "exported program"
    if "constants.pkl" in inside:
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is not read; save it anew with torch.export"
        )
    if "data.pkl" in inside:
        return "torch"
    some = ", ".join(names[:3]) or "nothing"
    raise CheckpointError(f"{path} is a zip archive that holds {some}; give {READ}")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dict that `torch.save` wrote.

    A checkpoint that holds one state dict among other things (`{"model": ..., "epoch": 3}`) is
    taken for that.

    Raises:
        CheckpointError: if it is missing, damaged, holds objects that are no tensors, or is no
            state dict.
    """
    kind = kind_of(path)
    if kind == "torch":
        return _state_in(_unpickled(path), path)
    if kind == "safetensors":
        return read_tensors(path)
    raise CheckpointError(f"{path} holds no state dict; it is read as {kind}")


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _objects(path)
        if named:
            raise CheckpointError(
                f"{path} is a pickle of objects ({named}), not of tensors alone, and reading it "
                "could run any code; save the module's state_dict(), or export it as .pt2 or .onnx"
            ) from error
        raise CheckpointError(
            f"{path} is a damaged file of torch.save, or a pickle of objects, which is not read; "
            "save a state_dict()"
        ) from error
    except BROKEN as error:
        raise CheckpointError(f"{path} is no intact file of torch.save; save it anew") from error


def _objects(path: Path) -> str:
    """Names of what a pickle holds beside tensors."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, *BROKEN):
        return ""
    return ", ".join(sorted(found)[:3])


def _state_in(loaded: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        kind = "one tensor" if isinstance(loaded, Tensor) else f"a {type(loaded).__name__}"
        raise CheckpointError(f"{path} holds {kind}, no state dict; save model.state_dict()")
    if _is_state(loaded) or not loaded:
        return {name: tensor.detach() for name, tensor in loaded.items()}
    inner = [key for key, value in loaded.items() if _is_state(value)]
    if len(inner) == 1:
        return {name: tensor.detach() for name, tensor in loaded[inner[0]].items()}
    keys = ", ".join(str(key) for key in (inner or loaded))[:200]
    found = "several state dicts" if inner else "no state dict"
    raise CheckpointError(f"{path} holds {found} ({keys}); save model.state_dict() alone")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(t, Tensor) for k, t in value.items())
    )
