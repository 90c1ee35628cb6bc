"""A network and data of one's own, through the verbs."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from partwise.cli import main
from partwise.train.network import mlp


def partwise(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["partwise", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code, *capsys.readouterr()


def written_rows(path, count=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 3)).round(3)
    y = (x[:, 0] > 0).astype(int)
    lines = ["a,b,c,above", *(",".join(map(str, [*row, k])) for row, k in zip(x, y, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(mlp([3, 6, 2]).state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "own_nets.py").write_text(
        "from partwise.train.network import mlp\n\ndef make():\n    return mlp([3, 6, 2])\n"
    )
    written_rows(tmp_path / "rows.csv")
    return tmp_path


@pytest.mark.parametrize("factory", [(), ("--factory", "own_nets:make")])
def test_a_file_and_rows_go_the_whole_way(here, factory, monkeypatch, capsys):
    given = ("net.safetensors", *factory, "--data", "rows.csv", "--target", "above", "--out", "o")
    for verb, file in {"explain": "descriptions.jsonl", "report": "report.html"}.items():
        code, _, error = partwise(monkeypatch, capsys, verb, *given)
        assert code == 0, error
        assert (here / "o" / file).is_file()


def test_wrong_data_and_factories_end_in_one_line(here, monkeypatch, capsys):
    net = "net.safetensors"
    calls = {
        ("explain", net, "--data", "rows.csv", "--out", "p"): "set data.targets",
        ("explain", net, "--data", "gone.csv", "--target", "a", "--out", "p"): "gone.csv",
        ("explain", net, "--factory", "own_nets:none", "--out", "p"): "cannot be found",
        ("explain", net, "--data", "rows.csv", "--target", "above"): "--out",
    }
    for arguments, words in calls.items():
        code, _, error = partwise(monkeypatch, capsys, *arguments)
        assert code == 2, (arguments, error)
        assert words in " ".join(error.split()), (arguments, error)
