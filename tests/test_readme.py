import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_what_the_records_say():
    from benchmarks.tables import documents

    for path, text in documents().items():
        assert text == path.read_text(encoding="utf-8")


def example() -> tuple[str, str]:
    """The README's program, and what it says that it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return code, README.split(code)[1].split("```text\n")[1].split("```")[0]


def test_the_example_runs_and_prints_lines_of_the_kind_that_are_shown(capsys):
    code, shown = example()
    exec(code.replace("range(4000)", "range(20)"), {})
    kind = re.compile(
        r"(module|interface) [\d-]+ \| .*\. \[('(supported|refuted|undecided)'(, )?)*\]"
    )
    for text in (capsys.readouterr().out, shown):
        assert all(kind.fullmatch(line) for line in text.splitlines())


@pytest.mark.slow
def test_the_example_prints_what_is_shown(capsys):
    code, shown = example()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    exec(code, {})
    torch.set_num_threads(threads)
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target):
    assert target.startswith("https://") or (ROOT / target).exists()


def test_commands_exist():
    from partwise.cli import app

    known = {each.name or each.callback.__name__ for each in app.registered_commands}
    assert set(re.findall(r"^partwise (\w+)", README, re.MULTILINE)) <= known


def test_built_in_recipes_named_in_the_readme_exist():
    from partwise.train import built_in_recipes

    for name in re.findall(r"partwise train (\S+) --out", README):
        assert name in built_in_recipes()
