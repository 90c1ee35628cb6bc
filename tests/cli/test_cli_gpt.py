import json
import logging
import os
import re
import resource
import string
import sys
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    GPTJConfig,
    GPTJForCausalLM,
    PreTrainedTokenizerFast,
)

from partwise.cli import main
from partwise.tasks.streams import known_streams

TINY = "context=8 steps=6 batch=8 start=2 ramp=2 refresh_every=2 mask_after=1 probes=100"
TUNED = [word for setting in TINY.split() for word in ("--set", setting)]
SETTINGS = [*TUNED, "--set", "width=16", "--set", "layers=1"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts, a GPT-2-shaped checkpoint, and checkpoints that cannot be used."""
    folder = tmp_path_factory.mktemp("gpt")
    corpus = known_streams(("letters", "digits"), "it was the best of times. " * 60)
    for stream in corpus.streams:
        text = "".join(corpus.vocabulary[i] for i in stream.ids[:1500])
        (folder / f"{stream.name}.txt").write_text(text)
    save_checkpoint(folder / "gpt2", GPT2LMHeadModel(gpt2_config(41)), tokenizer_of(41))
    save_checkpoint(folder / "wrong-tokenizer", GPT2LMHeadModel(gpt2_config(30)), tokenizer_of(41))
    gptj = GPTJConfig(vocab_size=41, n_positions=8, n_embd=16, n_head=2, n_layer=1, rotary_dim=4)
    save_checkpoint(folder / "gptj", GPTJForCausalLM(gptj), tokenizer_of(41))
    GPT2Model(gpt2_config(41)).save_pretrained(folder / "no-tokenizer")
    (folder / "empty").mkdir()
    return folder


def gpt2_config(size):
    return GPT2Config(
        vocab_size=size, n_positions=8, n_embd=16, n_head=4, n_layer=1, bos_token_id=0,
        eos_token_id=0, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip


def tokenizer_of(size):
    words = [*string.ascii_lowercase, *"0123456789 +=;", "<unk>"]
    core = Tokenizer(models.WordLevel({c: i for i, c in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    assert core.get_vocab_size() == size
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def save_checkpoint(path, model, tokenizer):
    torch.manual_seed(0)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def partwise(monkeypatch, capfd, *arguments):
    """Exit code, standard output and standard error of a call in this process."""
    monkeypatch.setattr("sys.argv", ["partwise", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code, *capfd.readouterr()


def texts(folder):
    return ("--text", folder / "letters.txt", "--text", folder / "digits.txt")


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """A small GPT's run, made once by the command itself."""
    out = folder / "run"
    if not out.exists():
        code, said, error = partwise(
            monkeypatch, capfd, "train", "--model", "gpt", *texts(folder), *SETTINGS, "--out", out
        )
        assert code == 0, error
        assert re.search(r"6 steps, held-out loss letters \d\.\d{3}, digits \d\.\d{3}", flat(said))
    return out


def flat(text):
    return " ".join(text.split())


@pytest.fixture
def plain(folder, monkeypatch, capfd):
    """The plain twin's run, made once."""
    out, off = folder / "plain", ("--set", "strength=0", "--set", "mask_share=0")
    if not out.exists():
        done = partwise(
            monkeypatch, capfd, "train", *texts(folder), *SETTINGS, *off, "--out", out, "--seed", 1
        )
        assert done[0] == 0, done[2]
    return out


@pytest.fixture
def blimp(folder):
    """Items of a task."""
    items = [{"sentence_good": "the best", "sentence_bad": "eht tseb"}] * 3
    (folder / "blimp.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder / "blimp.jsonl"


def noisy_scores(model, tokenizer, tasks, folder, limit):
    """What stands for the harness: every item right, and all kinds of noise."""
    print("progress")
    print("progress", file=sys.stderr)
    os.write(2, b"progress")
    logging.getLogger("lm_eval.evaluator").error("noise")
    warnings.warn("noise", UserWarning, stacklevel=1)
    return {task: np.ones(3) for task in tasks}


def test_a_gpt_is_trained_resumed_and_compared(run, plain, blimp, monkeypatch, capfd):
    assert {path.name for path in (run / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "vocabulary.json",
    }
    assert partwise(monkeypatch, capfd, "train", "--resume", run)[0] == 0
    monkeypatch.setattr("partwise.runs.evaluation.harness_scores", noisy_scores)
    given = ("eval", run, "--baseline", plain, "--task", blimp)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, said, error = partwise(monkeypatch, capfd, *given)
    assert (code, error) == (0, "")
    assert "run beside" in flat(said)
    assert re.search(r"loss, nats per token │ +\d\.\d{3} │ +\d\.\d{3} │ +[+-]\d\.\d{3}", said)
    assert "blimp_local: 3 items cannot tell which of the two answers more" in flat(said)
    assert json.loads((run / "capability.json").read_text())["tasks"]["blimp_local"]


@pytest.mark.slow
def test_the_harness_makes_no_noise(folder, run, plain, blimp, monkeypatch, capfd):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)  # the harness asks git for a commit
    given = ("eval", run, "--baseline", plain, "--task")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert partwise(monkeypatch, capfd, *given, blimp)[::2] == (0, "")
    code, _, error = partwise(monkeypatch, capfd, *given, "no-such-task")
    assert (code, error.count("\n")) == (2, 1)
    assert "cannot score no-such-task" in error


def test_a_pretrained_model_is_finetuned_and_compared_with_its_start(folder, monkeypatch, capfd):
    out = folder / "finetuned"
    settings = (*TUNED, "--set", "lr=0.01")
    code, _, error = partwise(
        monkeypatch, capfd, "finetune", "--model", folder / "gpt2", *texts(folder), *settings,
        "--out", out,
    )  # fmt: skip
    assert code == 0, error
    AutoModelForCausalLM.from_pretrained(out / "model")
    code, said, error = partwise(monkeypatch, capfd, "eval", out, "--json")
    assert (code, error) == (0, "")
    found = json.loads(said)
    assert found["loss"]["high"] < 0
    assert found["baseline"] == str(folder / "gpt2")


def bad_calls(folder, run):
    """Arguments -> what the one line must name."""
    (folder / "binary.txt").write_bytes(b"a\0b")
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    (folder / "empty.txt").write_text("")
    (folder / "short.txt").write_text("abc")
    gpt = ("train", "--model", "gpt", *SETTINGS, "--out", folder / "new")
    tune = ("finetune", *TUNED, "--out", folder / "new", *texts(folder), "--model")
    return {
        gpt: "no text given",
        (*gpt, "--text", folder / "binary.txt"): "is a binary file",
        (*gpt, "--text", folder / "latin.txt"): "is not UTF-8",
        (*gpt, "--text", folder / "empty.txt"): "holds no text",
        (*gpt, "--text", folder / "gone.txt"): "No such file",
        (*gpt, "--text", folder / "short.txt"): "fewer than the 9 of one sequence",
        (*gpt, "--text", "owner/set"): "without network pass a local txt",
        (*gpt, *texts(folder), "--bpe", "10"): "at least 256 tokens",
        (*gpt, *texts(folder), "--set", "step=1"): "cannot set 'step=1'",
        (*gpt, *texts(folder), "--set", "width=15"): "cannot be shared by 4 heads",
        (*gpt[:-1], run, *texts(folder)): "exists already",
        (*gpt, "some-recipe"): "takes no recipe",
        ("train", "--model", "gpt2"): "partwise finetune --model",
        ("train", "digits-pair-plain", "--bpe", "300"): "name its text with --text",
        ("train", "--resume", run, "--set", "steps=1"): "give it alone",
        (*tune, folder / "gptj"): "cannot read the architecture GPTJForCausalLM; readable are GPT,",
        (*tune, folder / "wrong-tokenizer"): "the tokenizer that was saved with the checkpoint",
        (*tune, folder / "no-tokenizer"): "tokenizer",
        (*tune, folder / "empty"): "pass a local directory",
        (*tune, "openai-community/gpt2"): "without network pass a local directory",
        (*tune, folder / "gpt2", "--set", "context=9"): "longer than the model's context of 8",
        ("eval", run): "give a run to compare with",
        ("eval", run, "--baseline", folder / "gone"): "no checkpoint of a run",
        ("eval", folder / "empty"): "is no run; partwise runs lists runs",
        ("eval", run, "--baseline", run, "--task", folder / "trivia.jsonl"): "known files are",
    }


@pytest.mark.filterwarnings("ignore")  # the libraries' own, on checkpoints without a head
def test_bad_input_is_one_line_and_exit_code_2(folder, run, monkeypatch, capfd):
    for arguments, words in bad_calls(folder, run).items():
        code, said, error = partwise(monkeypatch, capfd, *arguments)
        assert code == 2, (arguments, said, error)
        assert words in error, (arguments, error)
        assert error.startswith("partwise: "), error
        assert error.count("\n") == 1, error
    assert not (folder / "new").exists()


def test_a_killed_gpt_run_resumes_with_the_same_bits(
    folder, tmp_path, killed_at, monkeypatch, capfd
):
    longer = (*SETTINGS, "--set", "steps=60", "--set", "checkpoint_every=20")
    start = ("train", "--model", "gpt", *texts(folder), *longer, "--out")
    killed_at(30, *start, tmp_path / "killed")
    files = [tmp_path / name / "checkpoint.safetensors" for name in ("killed", "whole")]
    assert int(load_file(files[0])["step"]) == 20
    for rest in (("train", "--resume", tmp_path / "killed"), (*start, tmp_path / "whole")):
        assert partwise(monkeypatch, capfd, *rest)[0] == 0
    killed, whole = map(load_file, files)
    assert int(whole["step"]) == 60
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


@pytest.fixture
def no_large_files():
    """The system refuses files above 16 kB, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_is_one_line(folder, tmp_path, no_large_files, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    start = ("train", "--model", "gpt", *texts(folder), *SETTINGS, "--out", out)
    code, _, error = partwise(monkeypatch, capfd, *start)
    assert code == 2
    assert f"cannot write {out / 'checkpoint.safetensors'}" in error
    assert "Traceback" not in error
    assert {path.name for path in out.iterdir()} == {
        "recipe.toml",
        "manifest.json",
        "metrics.jsonl",
    }


@pytest.mark.parametrize("command", ["finetune", "eval"])
def test_help_of_gpt_commands_shows_an_example(command, monkeypatch, capfd):
    code, said, _ = partwise(monkeypatch, capfd, command, "--help")
    assert code == 0
    assert "Example: partwise" in said


STAGES = {
    "cut": "modules.json",
    "explain": "descriptions.jsonl",
    "audit": "audit.json",
    "report": "report.html",
}


def test_every_verb_works_on_a_gpts_run(folder, run, monkeypatch, capfd):
    for verb, file in STAGES.items():
        code, _, error = partwise(monkeypatch, capfd, verb, run)
        assert code in ((0, 1, 3) if verb == "audit" else (0,)), (verb, error)
        assert (run / file).is_file(), verb
    other = folder / "other"
    read = ("--text", folder / "digits.txt", "--out", other)
    assert partwise(monkeypatch, capfd, "explain", run, *read)[0] == 0
    assert (other / "descriptions.jsonl").is_file()


def test_every_verb_works_on_a_pretrained_directory(folder, monkeypatch, capfd):
    read = (folder / "gpt2", *texts(folder), "--out", folder / "read")
    for verb, file in STAGES.items():
        code, _, error = partwise(monkeypatch, capfd, verb, *read)
        assert code in ((0, 1, 3) if verb == "audit" else (0,)), (verb, error)
        assert (folder / "read" / file).is_file(), verb
    code, said, _ = partwise(monkeypatch, capfd, "cut", folder / "gpt2")
    assert code == 0
    assert "41 in tokens" in flat(said)


def test_what_does_not_fit_a_language_model_ends_in_one_line(folder, run, monkeypatch, capfd):
    (folder / "strange.txt").write_text("ЖЩЮ " * 500)
    read = ("--text", folder / "letters.txt")
    made = folder / "foreign"
    made.mkdir()
    if not (run / "modules.json").exists():
        assert partwise(monkeypatch, capfd, "cut", run)[0] == 0
    (made / "modules.json").write_text((run / "modules.json").read_text())
    calls = {
        ("explain", folder / "gpt2", "--out", folder / "a"): "give --text",
        ("explain", folder / "gpt2", *read): "--out",
        ("explain", run, "--text", folder / "strange.txt"): "characters of stream 'strange'",
        ("explain", folder / "gpt2", *read, "--out", made): "modules.json describes",
        ("cut", folder / "gpt2", *read, "--context", 99): "--context 99",
        ("cut", folder / "gptj"): "cannot read the architecture",
        ("cut", run, "--layers", "0"): "leave out --layers",
        ("explain", run, "--data", "a.csv"): "leave out --data",
    }
    for arguments, words in calls.items():
        code, _, error = partwise(monkeypatch, capfd, *arguments)
        assert code == 2, arguments
        assert words in flat(error).splitlines()[-1], (arguments, error)
