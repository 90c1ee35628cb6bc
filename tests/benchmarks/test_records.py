"""Records: how they are read and written, and that those we keep are small and cited."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.records import (
    RESULTS,
    append_row,
    read_record,
    read_rows,
    rounded,
    run_all,
    told,
    write_record,
    write_result,
)

ROOT = RESULTS.parents[1]
KEPT = sorted(path for path in RESULTS.rglob("*") if path.is_file())
LARGEST, ALL = 300_000, 2_000_000
"""Bytes of a file, and of all together."""


def test_numbers_have_six_significant_digits():
    row = {"loss": 0.12345678, "n": 1234567, "each": (1e-9 / 3, None, True), "of": {"a": -2 / 3}}
    assert rounded(row) == {
        "loss": 0.123457, "n": 1234567, "each": [3.33333e-10, None, True], "of": {"a": -0.666667},
    }  # fmt: skip


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_come_back_with_what_made_them(tmp_path, name):
    path = tmp_path / name
    assert append_row(path, {"seed": 0, "loss": 1 / 3}, study="first") == {
        "seed": 0, "loss": 0.333333,
    }  # fmt: skip
    append_row(path, {"seed": 1, "loss": 0.5}, study="second")
    head, rows = read_record(path)
    assert rows == [{"seed": 0, "loss": 0.333333}, {"seed": 1, "loss": 0.5}]
    assert (head["study"], set(head) >= {"command", "date", "machine"}) == ("first", True)
    assert read_rows(path) == rows


def test_a_file_for_a_caller_is_one_object_and_leaves_nothing_out(tmp_path):
    for name in ("rows.json", "rows.jsonl"):
        append_row(tmp_path / name, {"seed": 0, "history": [1, 2]}, ["history"])
    whole = json.loads((tmp_path / "rows.json").read_text())
    assert whole["rows"] == [{"seed": 0, "history": [1, 2]}]
    assert read_rows(tmp_path / "rows.jsonl") == [{"seed": 0}]


def test_a_folder_has_a_file_for_each_value_of_the_first_field(tmp_path):
    for task, seed in (("b", 0), ("a", 0), ("b", 1)):
        append_row(tmp_path / "study", {"task": task, "seed": seed})
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["a.jsonl", "b.jsonl"]
    rows = [(row["task"], row["seed"]) for row in read_rows(tmp_path / "study")]
    assert rows == [("a", 0), ("b", 0), ("b", 1)]


def test_a_row_that_cannot_be_written_leaves_the_record_as_it_was(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_row(path, {"loss": 1.0})
    before = path.read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_row(path, {"loss": float("nan")})
    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_record_is_written_anew_and_a_result_is_one_row_or_the_object(tmp_path):
    for _ in "ab":
        write_record(tmp_path / "rows.jsonl", [{"a": 1}])
    assert read_rows(tmp_path / "rows.jsonl") == [{"a": 1}]
    for name in ("one.json", "one.jsonl"):
        write_result(tmp_path / name, {"share": 2 / 3})
    assert json.loads((tmp_path / "one.json").read_text()) == {"share": 0.666667}
    assert read_rows(tmp_path / "one.jsonl") == [{"share": 0.666667}]


def test_threads_make_rows_too(tmp_path, capsys):
    def work(job):
        return {"a": job[0], "list": [1]}

    rows = run_all([(1,), (2,)], work, tmp_path / "rows.jsonl", ("a",), "threads", workers=2)
    assert sorted(row["a"] for row in rows) == [1, 2]
    assert capsys.readouterr().out.count("list") == 0
    assert told({"seed": 3, "loss": 0.123456, "sizes": [1]}) == "seed=3 loss=0.1235"


def is_compact(path: Path) -> bool:
    """Whether a `.jsonl` file has an object per line, and no number of more digits than six."""
    long: list[str] = []

    def number(text: str) -> float:
        if float(text) != rounded(float(text)):
            long.append(text)
        return float(text)

    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_float=number) for line in lines]
    return all(isinstance(row, dict) for row in rows) and not long


def test_what_is_not_compact_is_seen(tmp_path):
    for text, right in (
        ('{"a":0.123457}\n', True),
        ('{"a":[{"b":0.1234567}]}\n', False),
        ('[1]\n', False),
    ):  # fmt: skip
        (tmp_path / "rows.jsonl").write_text(text)
        assert is_compact(tmp_path / "rows.jsonl") == right


def test_records_are_small():
    assert {path.suffix for path in KEPT} <= {".jsonl", ".md", ".svg"}
    sizes = {path.name: path.stat().st_size for path in KEPT}
    assert {name: size for name, size in sizes.items() if size >= LARGEST} == {}
    assert sum(sizes.values()) < ALL


@pytest.mark.parametrize(
    "path", [path for path in KEPT if path.suffix == ".jsonl"], ids=lambda path: path.stem
)
def test_a_record_is_compact_and_says_what_made_it(path):
    assert is_compact(path)
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert "command" in first or "commit" in first


def test_pages_among_the_records_are_made_from_them():
    from benchmarks.modularity_report import pages

    made = pages()
    assert {path.name for path in KEPT if path.suffix != ".jsonl"} == set(made)
    for name, text in made.items():
        assert (RESULTS / name).read_text(encoding="utf-8") == text


OF_RUNS = {"descriptions.jsonl", "llm-cache.jsonl", "metrics.jsonl", "provenance.jsonl"}


def texts() -> dict[Path, str]:
    """README, design notes, benchmarks and tests, which may name records."""
    files = [ROOT / "README.md", *(ROOT / "docs" / "design").glob("*.md")]
    files += [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").rglob("*.py")]
    return {path: path.read_text(encoding="utf-8") for path in files}


def test_records_that_are_named_exist_and_those_that_exist_are_named():
    found = texts()
    docs = "\n".join(text for path, text in found.items() if path.suffix == ".md")
    named = re.findall(r"`(?:benchmarks/results/)?([\w*/-]+\.jsonl)`", docs)
    assert named
    for name in named:
        assert name.removeprefix("RUN/") in OF_RUNS or list(RESULTS.glob(name)), name
    everything = "\n".join(text for path, text in found.items() if path.name != "test_records.py")
    for path in KEPT:
        parts = path.relative_to(RESULTS).with_suffix("").parts
        globs = [name for name in named if "*" in name and path in RESULTS.glob(name)]
        assert globs or parts[0] in everything, path
