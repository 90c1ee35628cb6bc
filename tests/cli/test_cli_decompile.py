"""`partwise decompile`, end to end."""

import subprocess
import sys

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


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A network whose answer is whether the first of two numbers is larger, and rows for it."""
    monkeypatch.chdir(tmp_path)
    model = mlp([2, 2, 2])
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1], [-1, 1]]))
        model[2].weight.copy_(torch.tensor([[-20.0, 20], [20, -20]]))
        for layer in (model[0], model[2]):
            layer.bias.zero_()
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    x = torch.randn(600, 2, generator=torch.Generator().manual_seed(0)).tolist()
    lines = ["a,b,above", *(f"{a},{b},{int(a > b)}" for a, b in x)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_network_becomes_a_file(rows, monkeypatch, capsys):
    given = ("decompile", "net.safetensors", "--data", "rows.csv", "--target", "above")
    code, printed, error = partwise(monkeypatch, capsys, *given, "--out", "program.py")
    assert code == 0, error
    assert "1 of 1 questions have a short program" in printed
    text = (rows / "program.py").read_text()
    assert "x0 > x1" in text
    done = subprocess.run([sys.executable, "-I", "program.py"], capture_output=True, text=True)
    assert "above: the network's answer on" in done.stdout, done.stderr
    code, _, error = partwise(monkeypatch, capsys, *given, "--out", "program.py")
    assert code == 2
    assert "exists already" in error
