import bz2
import contextlib
import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.errors import DataError
from partwise.train.sources import read_source, source_name


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


def test_the_column_is_looked_for_in_all_rows(tmp_path):
    def text_of(*rows):
        return read_source(write_jsonl(tmp_path / "rows.jsonl", rows))

    assert text_of({"text": None}, {"text": "b"}, {"text": ""}, {"text": "c"}) == "b\nc"
    assert text_of({"id": "x"}, {"id": "y", "text": "b"}) == "b"
    assert text_of({"n": 1}, {"n": 2, "story": "b"}) == "b"
    assert text_of({"text": "a"}, {"text": 5}, {"other": 1}) == "a\n5"
    assert text_of("a", "b") == "a\nb"
    pq.write_table(pa.table({"text": [None, "b"], "n": [1, 2]}), tmp_path / "a.parquet")
    assert read_source(str(tmp_path / "a.parquet")) == "b"
    columns = {
        "large": pa.array(["a", "b"], pa.large_string()),
        "dictionary": pa.array(["a", "b"]).dictionary_encode(),
        "binary": pa.array([b"a", b"b"]),
    }
    for name, column in columns.items():
        pq.write_table(pa.table({"text": column, "lang": ["en", "de"]}), tmp_path / name)
        assert read_source(str((tmp_path / name).rename(tmp_path / f"{name}.Parquet"))) == "a\nb"


def test_files_are_read_however_they_were_saved(tmp_path):
    rows = '{"text": "one"}\r\n\r\n{"text": "two\\r\\nthree"}\r\n'
    saved = {
        "a.txt": "one\r\ntwo\rthree",
        "a.TXT": "one\ntwo\nthree",
        "a.JSONL": rows,
        "a.jsonl": rows,
        "a.json": '[{"text": "one"}, {"text": "two\\nthree"}]',
        "lines.JSON": rows,
    }
    for name, text in saved.items():
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
            (tmp_path / name).write_bytes(text.encode(encoding))
            assert read_source(str(tmp_path / name)).strip() == "one\ntwo\nthree", (name, encoding)
        for suffix, pack in ((".gz", gzip), (".BZ2", bz2), (".xz", lzma)):
            packed = tmp_path / (name + suffix)
            packed.write_bytes(pack.compress(text.encode("utf-8-sig")))
            assert read_source(str(packed)).strip() == "one\ntwo\nthree", packed
            assert source_name(str(packed), []) == Path(name).stem
    assert read_source(str(tmp_path / "a.txt"), limit=5) == "one\nt"
    assert read_source(str(tmp_path / "a.TXT.gz"), limit=5) == "one\nt"


def test_half_a_surrogate_pair_becomes_what_can_be_written(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00"}')
    assert read_source(str(tmp_path / "a.jsonl")) == "a\ufffdb \U0001f600"


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=30)
    | st.builds(
        lambda value: json.dumps(value).encode(),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["text", "a", "b"]), inner)
            ),
            max_leaves=6,
        ),
    ),
    suffix=st.sampled_from([".txt", ".jsonl", ".json", ".parquet", ".jsonl.gz", ".txt.xz"]),
)
def test_any_bytes_are_text_or_a_clean_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        text = read_source(str(path))
        assert text.strip()
        text.encode()


def test_what_holds_no_text_is_named(tmp_path):
    two = write_jsonl(tmp_path / "two.jsonl", [{"a": "x", "b": "y"}])
    (tmp_path / "damaged.jsonl").write_text('{"text": "a"}\nnonsense\n')
    (tmp_path / "damaged.parquet").write_bytes(b"nonsense")
    (tmp_path / "binary.jsonl").write_bytes(b"\0\xff\xfe\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "cut.jsonl").write_text('{"text": "a"}\n{"text": "b')
    (tmp_path / "cut.json").write_text('[{"text": "a"}, {"te')
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"some text")[:-9])
    (tmp_path / "deep.jsonl").write_text('{"text": ' + "[" * 200_000)
    (tmp_path / "latin.jsonl").write_bytes('{"text": "a"}\n{"text": "café"}'.encode("latin-1"))
    pq.write_table(pa.table({"text": [b"a", b"\xff"]}), tmp_path / "bytes.parquet")
    pq.write_table(pa.table({"doc": [{"text": "a"}]}), tmp_path / "struct.parquet")
    chat = write_jsonl(tmp_path / "chat.jsonl", [{"messages": [{"role": "user"}]}])
    nested = write_jsonl(tmp_path / "nested.jsonl", [{"text": "a"}, {"text": {"b": "c"}}])
    list_row = write_jsonl(tmp_path / "list.jsonl", [["a"]])
    blank = write_jsonl(tmp_path / "blank.jsonl", [{"text": " "}])
    numbers = write_jsonl(tmp_path / "numbers.jsonl", [{"a": 1}])
    expected = {
        two: r"2 columns of text \(a, b\); name the one to read 'text'",
        numbers: r"0 columns of text \(a holds int\)",
        chat: r"0 columns of text \(messages holds list\); name the one to read 'text'",
        nested: "row 2 of .*nested.jsonl holds a value of type dict in the column 'text'",
        list_row: "row 1 of .*list.jsonl is of type list, no JSON object",
        "x" * 5000: "cannot read",
        str(tmp_path / "cut.jsonl"): r"row 2: Unterminated string .* no intact json file: mend",
        str(tmp_path / "cut.json"): "its array: .* no intact json file",
        str(tmp_path / "cut.txt.gz"): "no intact .gz file",
        str(tmp_path / "deep.jsonl"): "row 1: maximum recursion depth",
        str(tmp_path / "latin.jsonl"): "row 2 is not UTF-8",
        str(tmp_path / "bytes.parquet"): "row 2 .* bytes that are not UTF-8 in the column 'text'",
        str(tmp_path / "struct.parquet"): r"0 columns of text \(doc holds dict\)",
        str(tmp_path): "cannot read .*: Is a directory",
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
        with pytest.raises(DataError, match=words) as caught:
            read_source(source)
        assert "\n" not in str(caught.value)
