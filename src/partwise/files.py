"""Files that are written whole or not at all, and tensors that are read without running code."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from partwise.errors import CheckpointError, DataError, OutputError

PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def new_directory(path: Path) -> Path:
    """Makes a directory that must not hold anything yet.

    Raises:
        OutputError: if it exists and is not empty, or cannot be made.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists already; choose another output or remove it first")
    with _as_output_error(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically: a temporary file beside it, then a rename.

    Raises:
        OutputError: if the disk is full or the place cannot be written.
    """
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file.

    Raises:
        OutputError: if the disk is full or the place cannot be written.
    """
    with _as_output_error(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON atomically; numbers that JSON has no word for are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file atomically."""
    write_bytes(path, tensor_bytes(tensors))


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as a safetensors file."""
    return save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a binary file atomically."""
    _write(path, lambda temporary: temporary.write_bytes(content))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        CheckpointError: if it is missing, a pickle, truncated or otherwise damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.suffix in PICKLE_SUFFIXES or _starts_like_pickle(path):
        raise CheckpointError(
            f"{path} looks like a pickle, which could run any code when loaded; "
            "save it with safetensors.torch.save_file instead"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no intact safetensors file ({error})") from error


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the stage that writes it first") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); run the stage that writes it again"
        ) from error


def _starts_like_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
    return (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or head == b"PK\x03\x04"


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    with _as_output_error(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write {path}: {error}; free some space or choose another place"
        ) from error
