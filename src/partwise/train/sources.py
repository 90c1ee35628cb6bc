"""Text from files and data sets: txt, jsonl, parquet, or a data set of the Hugging Face hub.

A source is a path or the hub's name of a data set, `NAME` or `NAME:CONFIG`. Tables are streamed:
no more of them is read than is used. What text becomes on the way is said in `plain_text`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from partwise.errors import DataError, MissingExtraError
from partwise.tasks.streams import PACKED, open_binary, plain_text, read_text, text_encoding

TABLES = (".jsonl", ".json", ".parquet")
TEXTS = (".txt", ".md")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
MAX_CHARACTERS = 50_000_000
BATCH_ROWS = 1000
MEND = "mend or remove it"

Row = Mapping[str, Any]


def read_source(source: str, limit: int = MAX_CHARACTERS) -> str:
    """The text of a source.

    Of a table it is the column `text`, or the only column that holds text in any of its rows; rows
    without text are skipped, numbers among texts are read as they are written.

    Args:
        source: a txt, jsonl or parquet file, or a data set's hub name. A file of any other suffix
            is read as plain text. Text and jsonl may be packed (.gz, .bz2, .xz).
        limit: characters that are read at most.

    Raises:
        DataError: if it is missing, empty, binary, not UTF-8, damaged, or has no column of text;
            for a hub name without network.
        MissingExtraError: if a parquet file or a hub name is given and datasets is not installed.
    """
    path, kind = Path(source), _suffix(source)
    if kind not in TABLES and (os.path.exists(source) or not is_hub_name(source)):
        return read_text(path, limit)
    if kind not in TABLES:
        rows = _hub_rows(source)
    else:
        _require_file(path)
        rows = _parquet_rows(path) if kind == ".parquet" else _json_rows(path)
    text = "\n".join(_column(rows, source, limit))[:limit]
    if not text.strip():
        raise DataError(f"{source} holds no text")
    return text


def source_name(source: str, taken: Iterable[str]) -> str:
    """A stream's name: the file's stem or the data set's last name, made unique.

    >>> source_name("data/a.txt", []), source_name("owner/set:config", ["set"])
    ('a', 'set-2')
    """
    if is_hub_name(source):
        stem = source.split("/")[-1].split(":")[0]
    else:
        stem = Path(_unpacked(source)).stem
    stem = stem.removesuffix(".txt")
    name, count = stem, 2
    while name in taken:
        name, count = f"{stem}-{count}", count + 1
    return name


def is_hub_name(source: str) -> bool:
    """Whether a source that is no file here reads like the hub's name of a data set.

    >>> is_hub_name("Salesforce/wikitext:wikitext-2-raw-v1"), is_hub_name("data/no.TXT")
    (True, False)
    """
    text_like = _suffix(source) in (*TEXTS, *TABLES)
    return not os.path.exists(source) and not text_like and bool(HUB_NAME.fullmatch(source))


def _unpacked(source: str) -> str:
    """The name that a packed file had before."""
    path = Path(source)
    return str(path.with_suffix("")) if path.suffix.lower() in PACKED else source


def _suffix(source: str) -> str:
    return Path(_unpacked(source)).suffix.lower()


def _require_file(path: Path) -> None:
    if not os.path.isfile(path):
        raise DataError(f"cannot read {path}: No such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path} holds no text")


def _json_rows(path: Path) -> Iterator[Row]:
    """A row per line, or those of one array that fills the file."""
    with open_binary(path) as file:
        encoding = text_encoding(file.read(4))
    if _suffix(str(path)) == ".json" and (whole := _whole_json(path, encoding)) is not None:
        yield from (_row(value, path, number) for number, value in enumerate(whole, 1))
        return
    for number, line in enumerate(_lines(path, encoding), 1):
        if line.strip():
            yield _row(_parsed(line, path, number), path, number)


def _lines(path: Path, encoding: str) -> Iterator[str]:
    with open_binary(path) as file:
        number = 1
        try:
            if encoding != "utf-8":
                yield from file.read().decode(encoding).lstrip("\ufeff").split("\n")
                return
            for number, line in enumerate(file, 1):  # noqa: B007
                yield line.decode().lstrip("\ufeff")
        except UnicodeDecodeError as error:
            raise _damaged(path, f"row {number} is not {encoding.upper()}") from error


def _whole_json(path: Path, encoding: str) -> list[Any] | None:
    """The rows of a file that is one JSON value; None where it holds a value per line."""
    with open_binary(path) as file:
        content = file.read()
    try:
        value = json.loads(content.decode(encoding).lstrip("\ufeff"))
    except UnicodeDecodeError as error:
        raise _damaged(path, f"byte {error.start} is not {encoding.upper()}") from error
    except (ValueError, RecursionError) as error:
        if content.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"["):
            raise _damaged(path, f"its array: {error}") from error
        return None
    return value if isinstance(value, list) else [value]


def _parsed(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"row {number}: {error}") from error


def _row(value: Any, path: Path, number: int) -> Row:
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise DataError(f"row {number} of {path} is of type {kind}, no JSON object; {MEND}")
    return value


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"cannot read {path} ({what}); it is no intact json file: {MEND}")


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise _no_extra() from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(
            f"cannot read {path} ({_first_line(error)}); it is no intact parquet file"
        ) from error


def _hub_rows(source: str) -> Iterator[Row]:
    name, _, config = source.partition(":")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise _no_extra() from error
    try:
        yield from load_dataset(name, config or None, split="train", streaming=True)
    except Exception as error:  # what the hub, its data sets and their codecs raise has no bound
        raise DataError(
            f"cannot read {source} ({_first_line(error)}); "
            "without network pass a local txt, jsonl or parquet file"
        ) from error


def _no_extra() -> MissingExtraError:
    return MissingExtraError(
        "parquet and the hub's data sets need datasets; pip install 'partwise[hf]'"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _column(rows: Iterator[Row], source: str, limit: int) -> list[str]:
    """The texts of the column `text`, or of the only column that holds text in any row."""
    columns: dict[str, _Column] = {}
    for number, row in enumerate(rows, 1):
        for name, value in row.items():
            column = columns.setdefault(name, _Column(name, source))
            if "text" not in columns or name == "text":
                column.add(value, number)
        longest = columns.get("text") or max(columns.values(), key=len, default=None)
        if longest is not None and len(longest) >= limit:
            break
    if not columns:
        raise DataError(f"{source} holds no text")
    wanted = [column for column in columns.values() if column.is_text]
    if "text" in columns:
        wanted = [columns["text"]]
    if len(wanted) != 1:
        names = ", ".join(column.name for column in wanted) or ", ".join(
            f"{column.name} holds {column.others or 'nothing'}" for column in columns.values()
        )
        raise DataError(
            f"{source} has {len(wanted)} columns of text ({names}); name the one to read 'text', "
            "with one string in each row"
        )
    return wanted[0].checked()


class _Column:
    """What a column holds, its texts among it; complaints wait until it is known to be read."""

    def __init__(self, name: str, source: str):
        self.name, self.source = name, source
        self.texts: list[str] = []
        self.is_text = False
        self.others = ""
        self.complaint = ""
        self._length = 0

    def __len__(self) -> int:
        """Number of characters."""
        return self._length

    def add(self, value: Any, number: int) -> None:
        """Takes in a row's value."""
        if value is None or value == "":
            return
        kind = type(value).__name__
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                self._cannot_take(number, "bytes that are not UTF-8")
                return
        if isinstance(value, str):
            self.is_text = True
        else:
            self.others = self.others or kind
            if not isinstance(value, int | float):
                self._cannot_take(number, f"a value of type {kind}")
                return
        text = plain_text(str(value))
        self.texts.append(text)
        self._length += len(text) + 1

    def _cannot_take(self, number: int, what: str) -> None:
        self.others = self.others or what
        self.complaint = self.complaint or (
            f"row {number} of {self.source} holds {what} in the column '{self.name}', "
            f"wanted a string; {MEND}"
        )

    def checked(self) -> list[str]:
        """The texts, one per row that has any.

        Raises:
            DataError: if a row holds what is no text.
        """
        if self.complaint:
            raise DataError(self.complaint)
        return self.texts
