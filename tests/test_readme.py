import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_what_the_records_say():
    from benchmarks.tables import documents

    for path, text in documents().items():
        assert text == path.read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code.replace("range(4000)", "range(20)"), {})
    assert capsys.readouterr().out.startswith("module 0 | ")


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
