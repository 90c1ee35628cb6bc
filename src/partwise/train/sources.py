"""Text from files and data sets: txt, jsonl, parquet, or a data set of the Hugging Face hub.

A source is a path or the hub's name of a data set, `NAME` or `NAME:CONFIG`. Tables are streamed:
no more of them is read than is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from partwise.errors import DataError, MissingExtraError
from partwise.tasks.streams import read_text

TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
MAX_CHARACTERS = 50_000_000


def read_source(source: str, limit: int = MAX_CHARACTERS) -> str:
    """The text of a source.

    Args:
        source: a txt, jsonl or parquet file, or a data set's hub name. A file of any other suffix
            is read as plain text.
        limit: characters that are read at most.

    Raises:
        DataError: if it is missing, empty, binary, not UTF-8, damaged, or has no column of text;
            for a hub name without network.
        MissingExtraError: if a table is given and datasets is not installed.
    """
    path = Path(source)
    builder = TABLES.get(path.suffix)
    if builder is None and (path.exists() or not is_hub_name(source)):
        return read_text(path)[:limit]
    rows = _hub_rows(source) if builder is None else _file_rows(builder, path)
    text = _first_characters(_column(rows, source), limit)
    if not text.strip():
        raise DataError(f"{source} holds no text")
    return text


def source_name(source: str, taken: Iterable[str]) -> str:
    """A stream's name: the file's stem or the data set's last name, made unique.

    >>> source_name("data/a.txt", []), source_name("owner/set:config", ["set"])
    ('a', 'set-2')
    """
    stem = Path(source).stem if not is_hub_name(source) else source.split("/")[-1].split(":")[0]
    stem = stem.removesuffix(".txt")
    name, count = stem, 2
    while name in taken:
        name, count = f"{stem}-{count}", count + 1
    return name


def is_hub_name(source: str) -> bool:
    """Whether a source that is no file here reads like the hub's name of a data set.

    >>> is_hub_name("Salesforce/wikitext:wikitext-2-raw-v1"), is_hub_name("data/no.txt")
    (True, False)
    """
    text_like = Path(source).suffix in (".txt", ".md", *TABLES)
    return not Path(source).exists() and not text_like and bool(HUB_NAME.fullmatch(source))


def _file_rows(builder: str, path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.is_file():
        raise DataError(f"cannot read {path}: No such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path} holds no text")
    return _rows(str(path), f"it is no intact {builder} file", builder, data_files=str(path))


def _hub_rows(source: str) -> Iterator[Mapping[str, Any]]:
    name, _, config = source.partition(":")
    way_out = "without network pass a local txt, jsonl or parquet file"
    return _rows(source, way_out, name, config or None)


def _rows(source: str, reason: str, *where: Any, **options: Any) -> Iterator[Mapping[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(
            "jsonl, parquet and the hub's data sets need datasets; pip install 'partwise[hf]'"
        ) from error
    try:
        yield from load_dataset(*where, **options, split="train", streaming=True)
    except (OSError, ValueError, UnicodeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot read {source} ({first}); {reason}") from error


def _column(rows: Iterator[Mapping[str, Any]], source: str) -> Iterator[str]:
    """The texts of the column `text`, or of the only column that holds text."""
    first = next(rows, None)
    if first is None:
        raise DataError(f"{source} holds no text")
    columns = [name for name, value in first.items() if isinstance(value, str)]
    if "text" not in columns and len(columns) != 1:
        raise DataError(
            f"{source} has {len(columns)} columns of text ({', '.join(columns) or 'none'}); "
            "name the one to read 'text'"
        )
    wanted = "text" if "text" in columns else columns[0]
    return (str(row[wanted]) for row in chain([first], rows) if row[wanted])


def _first_characters(texts: Iterator[str], limit: int) -> str:
    parts, count = [], 0
    for text in texts:
        parts.append(text)
        count += len(text) + 1
        if count >= limit:
            break
    return "\n".join(parts)[:limit]
