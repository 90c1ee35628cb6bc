import json
import re
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks import pages
from partwise.tasks.streams import letters_of, sums

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


GPT_SIZES = "--set steps=20 --set context=16 --set width=16"
SMALL = {
    "train digits-pair-modular --out runs/mine": "train two-playgrounds-modular --out runs/mine "
    "--set steps=60",
    "--out runs/gpt": f"--out runs/gpt {GPT_SIZES}",
    "--model openai-community/gpt2 --text a.txt": "--model models/gpt2 --text a.txt --set steps=4",
    "--task data/wsc273.jsonl": "",
}
"""What the README's commands are run with, in place of what takes minutes or a network."""


def commands():
    """The README's command lines, with small settings; the demo has its own test."""
    blocks = pages.blocks_of(README)
    lines = [line for each in blocks if each.language == "sh" for line in pages.commands(each.body)]
    found = [line for line in lines if line.startswith("partwise ") and "demo" not in line]
    for long, short in SMALL.items():
        whole = re.compile(rf"{re.escape(long)}(?!\S)")
        assert any(whole.search(line) for line in found), long
        found = [whole.sub(short, line) for line in found]
    return found


def run(command):
    (block,) = pages.blocks_of(f"```sh\n{command}\n```\n")
    return pages.Story().printed(block)


def write_what_the_readme_has():
    """Rows, networks and text of the names that its commands give."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    np.savez("rows.npz", x=x, y=y)
    table = np.column_stack([x, y])
    np.savetxt("rows.csv", table, delimiter=",", header="a,b,c,d,price", comments="")
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    save_file(net.state_dict(), "net.safetensors")
    torch.save(net.state_dict(), "net.pt")
    layers = "nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)"
    code = f"from torch import nn\n\n\ndef make():\n    return nn.Sequential({layers})\n"
    Path("my_nets.py").write_text(code)
    Path("a.txt").write_text(letters_of("".join(topics[name] for name in sorted(topics)))[:60_000])
    rows = [json.dumps({"text": f"{k}+{k}={2 * k};" * 20}) for k in range(100)]
    Path("b.jsonl").write_text("\n".join(rows))
    Path("b.txt").write_text(sums(2000, np.random.default_rng(0)))
    pretrained_directory(Path("models/gpt2"))
    run(f"partwise train --model gpt --text a.txt --text b.jsonl --out runs/plain {GPT_SIZES}")


def pretrained_directory(place):
    """The small GPT-2 of the example, hardly trained."""
    from tests.examples.test_examples import example

    example("hugging-face").pretrained(place, [Path("a.txt"), Path("b.txt")], steps=2)


@pytest.mark.slow
def test_every_command_runs_with_small_settings():
    with pages.folder():
        write_what_the_readme_has()
        for command in commands():
            assert run(command).strip(), command
