import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from partwise.errors import DataError
from partwise.train.sources import read_source


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_tables_give_their_text(tmp_path):
    rows = [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]
    assert read_source(write_jsonl(tmp_path / "a.jsonl", rows)) == "one\ntwo"
    assert read_source(str(tmp_path / "a.jsonl"), limit=5) == "one\nt"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_source(str(tmp_path / "a.parquet")) == "one\ntwo"
    assert read_source(write_jsonl(tmp_path / "b.jsonl", [{"n": 1, "story": "it was"}])) == "it was"
    (tmp_path / "notes").write_text("plain")
    assert read_source(str(tmp_path / "notes")) == "plain"


def test_what_holds_no_text_is_named(tmp_path):
    two = write_jsonl(tmp_path / "two.jsonl", [{"a": "x", "b": "y"}])
    (tmp_path / "damaged.jsonl").write_text('{"text": "a"}\nnonsense\n')
    (tmp_path / "damaged.parquet").write_bytes(b"nonsense")
    (tmp_path / "binary.jsonl").write_bytes(b"\0\xff\xfe\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    blank = write_jsonl(tmp_path / "blank.jsonl", [{"text": " "}])
    numbers = write_jsonl(tmp_path / "numbers.jsonl", [{"a": 1}])
    expected = {
        two: r"2 columns of text \(a, b\); name the one to read 'text'",
        numbers: "0 columns of text",
        blank: "holds no text",
        str(tmp_path / "damaged.jsonl"): "no intact json file",
        str(tmp_path / "damaged.parquet"): "no intact parquet file",
        str(tmp_path / "binary.jsonl"): "no intact json file",
        str(tmp_path / "empty.jsonl"): "holds no text",
        str(tmp_path / "gone.jsonl"): "No such file",
        str(tmp_path / "gone.txt"): "No such file",
        str(tmp_path / "empty.txt"): "holds no text",
        str(tmp_path / "binary.txt"): "is a binary file",
        str(tmp_path / "latin.txt"): "is not UTF-8",
        "owner/data-set": "without network pass a local txt, jsonl or parquet file",
    }
    for source, words in expected.items():
        with pytest.raises(DataError, match=words):
            read_source(source)
