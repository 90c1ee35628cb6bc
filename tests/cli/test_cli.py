import io
import json
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from partwise.cli import main
from partwise.cli.cut import significance_words
from partwise.graph import UnitGraph
from partwise.modules import Significance, find_modules
from partwise.train import mlp

RECIPE = """
task = "two-playgrounds"
l1 = 0.01
[model]
hidden = [8]
[training]
steps = 40
batch = 16
[cut_tree]
strength = 0.1
start = 10
min_gain = 0.01
"""


def partwise(*arguments, **environment):
    """What a call in this process prints, and the exit code that it ends with."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["partwise", *map(str, arguments)])
        for name, value in {"COLUMNS": "200", **environment}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as done:
            main()
    return SimpleNamespace(returncode=done.value.code, stdout=out.getvalue(), stderr=err.getvalue())


def process(*arguments):
    """The same in a process of its own."""
    command = [sys.executable, "-m", "partwise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny finished run, made once by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "recipe.toml").write_text(RECIPE)
    done = partwise("train", folder / "recipe.toml", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_stages_follow_one_another(run):
    for stage in ("cut", "explain", "report"):
        done = partwise(stage, run)
        assert done.returncode == 0, done.stderr
    assert partwise("audit", run).returncode in (0, 1, 3)
    files = {path.name for path in run.iterdir()}
    assert files == {
        "recipe.toml",
        "manifest.json",
        "checkpoint.safetensors",
        "metrics.jsonl",
        "modules.json",
        "descriptions.jsonl",
        "composition.json",
        "audit.json",
        "report.html",
    }
    assert len(json.loads((run / "modules.json").read_text())["labels"]) == 14 + 8 + 2


def test_a_budget_that_held_no_modules_apart_says_so(run, tmp_path):
    within = RECIPE.partition("l1 =")[0] + "[training]\nsteps = 40\n[cut_tree]\nbudget = 0.025\n"
    (tmp_path / "recipe.toml").write_text(within)
    done = partwise("train", tmp_path / "recipe.toml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "No modules could be held apart within the budget of 2.5%" in done.stdout
    assert "held apart" not in partwise("cut", run).stdout


def test_cut_takes_any_mlp_checkpoint(tmp_path):
    save_file(mlp([4, 6, 2]).state_dict(), tmp_path / "m.safetensors")
    done = partwise("cut", tmp_path / "m.safetensors", "--out", tmp_path / "modules.json")
    assert done.returncode == 0, done.stderr
    assert "one module" in done.stdout
    assert done.stdout.startswith(
        "2 layers 0 -> 2, ReLU between them (assumed; --activation names another)\n"
    )
    assert json.loads((tmp_path / "modules.json").read_text())["labels"] == [0] * 12
    torch.save(mlp([4, 6, 2]).state_dict(), tmp_path / "m.pt")
    told = partwise("cut", tmp_path / "m.pt", "--activation", "tanh", "--layers", "0, 2")
    assert told.stdout.startswith("2 layers 0 -> 2, tanh between them\n"), told.stderr


def test_words_on_chance_have_no_z_where_there_is_none():
    graph = UnitGraph.from_edges(6, [0, 0, 1, 3, 3, 4], [1, 2, 2, 4, 5, 5], [1.0] * 6)
    found = find_modules(graph, null_samples=0)
    assert found.modules == 2

    def words(*figures):
        return significance_words(replace(found, significance=Significance(*figures)))

    assert words(1 / 6, 1 / 6, 3e-8, None, 1.0, 2) == (
        "Newman's Q 0.167; 2 shuffled networks reach 0.167 (p 1.000). "
        "Not significant by the weights alone."
    )
    assert "0.300 ± 0.010 (z 20.0, p 0.050)" in words(0.5, 0.3, 0.01, 20.0, 0.05, 19, 20.0)
    likely = words(0.2, 0.3, 0.01, -10.0, 0.05, 19, 8.1, 4, "likelihood")
    assert "(by likelihood 8.1 deviations, p 0.050)" in likely


def test_a_method_that_is_none_is_one_clear_line(tmp_path):
    save_file(mlp([4, 6, 2]).state_dict(), tmp_path / "m.safetensors")
    done = partwise("cut", tmp_path / "m.safetensors", "--method", "leiden")
    assert done.returncode == 2
    assert "choose 'likelihood' or 'newman_q'" in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", ["demo", "train", "cut", "explain", "audit", "report"])
def test_help_shows_an_example(command):
    done = partwise(command, "--help")
    assert done.returncode == 0
    assert "Example: partwise" in done.stdout


def bad_calls(tmp_path, run):
    """Arguments -> what the one line must name."""
    (tmp_path / "typo.toml").write_text("[training]\nstep = 3\n")
    (tmp_path / "value.toml").write_text("l1 = -1\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    torch.save({"a": 1}, tmp_path / "pickle.pt")
    save_file(mlp([2, 2]).state_dict(), tmp_path / "good.safetensors")
    nan = mlp([2, 2]).state_dict()
    nan["0.weight"].fill_(float("nan"))
    save_file(nan, tmp_path / "nan.safetensors")
    return {
        ("train", tmp_path / "typo.toml", "--out", tmp_path / "a"): "unknown key 'training.step'",
        ("train", tmp_path / "value.toml", "--out", tmp_path / "a"): "l1 = -1",
        ("train", tmp_path / "none.toml", "--out", tmp_path / "a"): "no recipe",
        ("train", "nonsense", "--out", tmp_path / "a"): "there are digits-channels-conv",
        ("train",): "give a recipe",
        ("train", "digits-pair-plain", "--out", tmp_path / "taken"): "exists already",
        ("train", "--resume", tmp_path / "gone"): "is no run; partwise runs lists",
        ("train", "digits-pair-plain", "--resume", run): "alone",
        ("demo", "--out", tmp_path / "taken"): "exists already",
        ("cut", tmp_path / "gone"): "no checkpoint",
        ("cut", tmp_path / "pickle.pt"): "no state dict (a)",
        ("cut", tmp_path / "nan.safetensors"): "NaN",
        ("cut", run, "--out", tmp_path / "taken" / "file"): "exists already",
        ("explain", tmp_path / "nan.safetensors"): "NaN",
        ("explain", tmp_path / "good.safetensors"): "give --data",
        ("audit", tmp_path / "good.safetensors"): "give --data",
        ("report", tmp_path / "good.safetensors"): "--out",
        ("explain", tmp_path / "taken"): "no checkpoint",
        ("explain", run, "--llm", "env"): "PARTWISE_LLM_BASE_URL",
        ("audit", tmp_path / "gone"): "no checkpoint",
        ("report", tmp_path / "gone"): "no checkpoint",
    }


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, run):
    for arguments, named in bad_calls(tmp_path, run).items():
        done = partwise(*arguments)
        said = done.stderr.strip().splitlines()
        assert done.returncode == 2, (arguments, said)
        assert len(said) == 1, (arguments, said)
        assert said[0].startswith("partwise: "), (arguments, said)
        assert named in said[0], (arguments, said)
    assert not (tmp_path / "a").exists()


def test_an_error_leaves_the_process_with_its_code_and_no_traceback(tmp_path):
    done = process("cut", tmp_path / "gone")
    assert done.returncode == 2
    assert done.stderr.startswith("partwise: no checkpoint")
    assert "Traceback" not in done.stderr


def test_the_version_is_told():
    assert partwise("--version").stdout.startswith("partwise 0.")


def test_wrong_flags_are_named():
    done = partwise("demo", "--sed", "1")
    assert done.returncode == 2
    assert "--sed" in done.stderr


def test_importing_partwise_loads_no_heavy_extras():
    code = (
        "import sys, partwise, partwise.cli; "
        "print([m for m in ('transformers', 'sklearn', 'sympy', 'openai', 'anthropic', 'httpx2',"
        " 'networkx', 'igraph')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(400)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_descriptions_that_all_fail_exit_with_1_and_keep_the_earlier_ones(run):
    earlier = run / "descriptions.jsonl"
    before = earlier.read_text() if earlier.exists() else None
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = partwise(
            "explain",
            run,
            "--llm",
            "env",
            PARTWISE_LLM_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1",
            PARTWISE_LLM_MODEL="m",
            PARTWISE_LLM_API_KEY="none",
            NO_PROXY="127.0.0.1",
        )
        server.shutdown()
    assert done.returncode == 1
    assert "earlier ones were kept" in done.stdout
    assert (earlier.read_text() if earlier.exists() else None) == before
