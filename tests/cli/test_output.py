"""`--json`, `--quiet`, interruptions, and completion."""

import inspect
import json
import logging
import sys

import pytest
import typer
from safetensors.torch import save_file
from test_cli import RECIPE, partwise

from partwise.cli import VERBS, app
from partwise.cli.console import silenced
from partwise.train.network import mlp

QUICK = ("--set", "steps=40")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run, made quietly."""
    folder = tmp_path_factory.mktemp("output")
    (folder / "recipe.toml").write_text(RECIPE)
    done = partwise("train", folder / "recipe.toml", "--out", folder / "run", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["step"] == 40
    return folder / "run"


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_json_and_quiet(verb):
    group = typer.main.get_command(app)
    options = {name for each in group.commands[verb].params for name in each.opts}
    assert {"--json", "--quiet"} <= options
    assert "Example: partwise" in inspect.getdoc(VERBS[verb])


KEYS = {
    "cut": {"modules", "words", "significance"},
    "explain": {"parts", "claims", "composition"},
    "audit": {"outcome", "modules", "repair"},
    "report": {"report"},
}


def test_results_are_one_object_on_standard_output(run):
    for verb, keys in KEYS.items():
        done = partwise(verb, run, "--json", "-q")
        assert done.returncode in ((0, 1, 3) if verb == "audit" else (0,)), done.stderr
        assert done.stderr == ""
        found = json.loads(done.stdout)
        assert found.keys() >= keys
    saved = [json.loads(line) for line in (run / "descriptions.jsonl").read_text().splitlines()]
    assert json.loads(partwise("explain", run, "--json", "-q").stdout)["parts"] == saved


def test_prompts_are_an_object_too(run):
    shown = json.loads(partwise("explain", run, "--show-evidence", "0", "--json").stdout)
    assert shown["messages"][0]["role"] == "system"
    dry = json.loads(partwise("explain", run, "--llm", "mock", "--dry-run", "--json").stdout)
    assert dry["tokens_in"] > 0


def test_errors_leave_standard_output_empty(tmp_path):
    done = partwise("cut", tmp_path / "gone", "--json")
    assert (done.returncode, done.stdout) == (2, "")


def test_the_quiet_see_results_and_no_hints(tmp_path):
    save_file(mlp([4, 6, 2]).state_dict(), tmp_path / "m.safetensors")
    loud, quiet = (partwise("cut", tmp_path / "m.safetensors", *q) for q in ((), ("--quiet",)))
    assert "assumed; --activation names another" in loud.stdout
    assert "find modules" in loud.stderr
    assert quiet.stderr == ""
    assert "assumed" not in quiet.stdout
    assert "one module" in quiet.stdout


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(out, recipe, watch):
        out.mkdir()
        (out / "recipe.toml").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr("partwise.train.start_run", interrupted)
    done = partwise("train", "digits-pair-plain", "--out", tmp_path / "run")
    assert done.returncode == 130
    assert done.stderr.splitlines()[-2:] == [
        f"Go on with: partwise train --resume {tmp_path / 'run'}",
        "partwise: interrupted",
    ]


def test_the_demo_prints_its_summary(tmp_path, monkeypatch):
    from partwise.demo import Demo

    twin = dict.fromkeys(("held_out_ce", "accuracy", "interface_frac", "cross_frac"), 0.5)
    causal = {"causal_interface": 0.0, "causal_interface_worst": 0.0}
    summary = {
        "task": "digits-pair", "seed": 3, "seconds": 1.0, "plain": twin,
        "modular": {**twin, **causal, "modules": 2, "purity": 1.0, "newman_q": 0.4,
                    "newman_q_z": None},
        "cut_tree": {"units": 9, "edges": 20, "build_s": 0.001},
        "claims": {"supported": 4, "refuted": 1},
        "audit": {"clean_flagged": False, "sabotaged_flagged": True, "guilty_module": 1,
                  "attack_before": 1.0, "attack_after": 0.0, "accuracy_before": 0.9,
                  "accuracy_after": 0.8},
    }  # fmt: skip
    made = Demo(summary, [], tmp_path / "report.html")
    monkeypatch.setattr("partwise.demo.run_demo", lambda out, seed, watch: made)
    done = partwise("demo", "--seed", "3")
    assert done.returncode == 0
    for words in ("digits-pair, seed 3", "sabotaged: module 1 guilty", "2 (1.000)", "report.html"):
        assert words in done.stdout
    found = json.loads(partwise("demo", "--json").stdout)
    assert found == {**summary, "report": str(tmp_path / "report.html")}


@pytest.mark.parametrize("error", [typer.Abort, KeyboardInterrupt])
def test_a_question_that_is_not_answered_is_an_interruption(error, monkeypatch):
    def asked(*_, **__):
        raise error

    monkeypatch.setattr("partwise.cli.app", asked)
    done = partwise("cut", "x")
    assert (done.returncode, done.stderr) == (130, "partwise: interrupted\n")


def test_libraries_are_silenced_and_heard_again(capsys):
    with silenced():
        print("noise")
        print("noise", file=sys.stderr)
        logging.getLogger("partwise.strange").critical("noise")
    print("heard")
    assert capsys.readouterr() == ("heard\n", "")


def test_shells_complete_commands_and_recipes():
    words = {"_PARTWISE_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    done = partwise(**words, COMP_WORDS="partwise fin")
    assert (done.returncode, done.stdout.split()) == (0, ["finetune"])
    words["COMP_CWORD"] = "2"
    done = partwise(**words, COMP_WORDS="partwise train digits-pair-b")
    assert done.stdout.split() == ["digits-pair-budget"]
