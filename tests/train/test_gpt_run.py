import json
import shutil
import string
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    TrainingArguments,
)
from transformers import Trainer as HFTrainer

from partwise.capability.language import stream_losses
from partwise.errors import (
    CheckpointError,
    DataError,
    OutputError,
    RecipeError,
    TrainingError,
    UnreadableModelError,
)
from partwise.files import write_bytes
from partwise.loss import ShareSchedule
from partwise.runs import evaluate
from partwise.tasks import Text
from partwise.tasks.streams import known_streams
from partwise.train import (
    PenaltyMixin,
    Trainer,
    finetune,
    penalty_callback,
    penalty_for,
    recipe_from,
    resume,
    train_from_scratch,
)
from partwise.train.hf import load_pretrained, save_pretrained
from partwise.train.recipe_files import changed
from partwise.train.text import bpe_corpus, pretrained_corpus

SCHEDULE = ShareSchedule(start=3, ramp=4, refresh_every=4, mask_after=2, probes=150)
SETTINGS = "start=3 ramp=4 refresh_every=4 mask_after=2 probes=150 context=8 steps=12 batch=8"
TEXTS = {"data": {"texts": ["any"]}}
TINY = recipe_from(TEXTS, settings=[*SETTINGS.split(), "width=16", "layers=1"])


def small(settings):
    return changed(TINY, settings.split())


def every(steps):
    return small(f"log_every={steps} checkpoint_every={steps}")


@pytest.fixture
def texts(tmp_path):
    corpus = known_streams(("letters", "digits"), "it was the best of times. " * 100)
    paths = []
    for stream in corpus.streams:
        paths.append(tmp_path / f"{stream.name}.txt")
        paths[-1].write_text("".join(corpus.vocabulary[i] for i in stream.ids[:2500]))
    return paths


@pytest.fixture
def checkpoint(tmp_path):
    """A local GPT-2-shaped checkpoint with a character tokenizer."""
    alphabet = [*string.ascii_lowercase, *string.digits, " ", ".", "+", "=", ";", "<unk>"]
    words = {c: i for i, c in enumerate(alphabet)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(alphabet), n_positions=8, n_embd=16, n_head=4, n_layer=1,
            bos_token_id=0, eos_token_id=0, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        )
    )  # fmt: skip
    path = tmp_path / "gpt2-local"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, texts, interrupted_at):
    train_from_scratch(tmp_path / "whole", texts, every(4))
    with interrupted_at(10):
        train_from_scratch(tmp_path / "cut", texts, every(4))
    resume(tmp_path / "cut")
    whole, cut = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    rows = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "cut")]
    assert rows[0] == rows[1]
    assert [json.loads(line)["step"] for line in rows[0].splitlines()] == [4, 8, 12]
    assert set(load_file(tmp_path / "cut" / "model" / "model.safetensors"))


def test_finetuning_keeps_tokenizer_config_and_names(tmp_path, texts, checkpoint):
    recipe = small("steps=8 lr=1e-3 checkpoint_every=4")
    finetune(tmp_path / "run", str(checkpoint), texts, recipe)
    before = AutoModelForCausalLM.from_pretrained(checkpoint)
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert before.state_dict().keys() == after.state_dict().keys()
    assert before.config.to_dict().keys() == after.config.to_dict().keys()
    assert not torch.equal(before.transformer.wte.weight, after.transformer.wte.weight)
    assert after.lm_head.weight is after.transformer.wte.weight
    same = json.loads((checkpoint / "tokenizer.json").read_text())
    assert json.loads((tmp_path / "run" / "model" / "tokenizer.json").read_text()) == same
    resume(tmp_path / "run")  # a finished run resumes to itself
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    for a, b in zip(after.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_before_the_first_step_the_loss_is_the_untouched_models(texts, checkpoint):
    model, tokenizer = load_pretrained(str(checkpoint))
    content = {path.stem: path.read_text() for path in texts}
    corpus = pretrained_corpus(content, tokenizer, len(model.get_input_embeddings().weight))
    untouched, _ = load_pretrained(str(checkpoint))
    trainer = Trainer.new(small("context=7 steps=4"), Text(corpus, 7), model=model)
    losses = [stream_losses(each, corpus, 7, rounds=1) for each in (trainer.model, untouched)]
    assert losses[0] == losses[1]
    ids = corpus.batch("train", 8, 8, (0, 0))
    labels = ids.clone()
    with torch.no_grad():
        expected = untouched(input_ids=ids, labels=labels).loss
    assert next(trainer.losses()).item() == pytest.approx(expected.item(), rel=1e-5)


class ModularTrainer(PenaltyMixin, HFTrainer):
    pass


def hf_trainer(tmp_path, texts, checkpoint, **changes):
    model, tokenizer = load_pretrained(str(checkpoint))
    content = {path.stem: path.read_text() for path in texts}
    corpus = pretrained_corpus(content, tokenizer, len(tokenizer))
    data = [{"input_ids": row, "labels": row} for row in corpus.batch("train", 64, 8, (0,))]
    arguments = {"max_steps": 8, "per_device_train_batch_size": 8, **changes}
    args = TrainingArguments(
        output_dir=str(tmp_path / "hf"), report_to=[], use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False, **{"save_strategy": "no", "logging_steps": 4, **arguments},
    )  # fmt: skip
    trainer = ModularTrainer(model=model, args=args, train_dataset=data)
    trainer.penalty = penalty_for(
        model, lambda step: corpus.batch("claims", 150, 8, (step,)), SCHEDULE
    )
    return trainer


def test_the_trainer_mixin_trains_with_the_penalty(tmp_path, texts, checkpoint):
    trainer = hf_trainer(tmp_path, texts, checkpoint)
    trainer.train()
    assert trainer.penalty.steps_done == 8
    assert trainer.penalty.modules >= 2
    logged = [row for row in trainer.state.log_history if "loss" in row]
    assert [row["step"] for row in logged] == [4, 8]
    assert logged[-1]["modules"] == trainer.penalty.modules
    assert 0 < logged[-1]["interface_frac"] < 1


def test_masked_steps_refuse_gradient_checkpointing(tmp_path, texts, checkpoint):
    trainer = hf_trainer(tmp_path, texts, checkpoint, activation_checkpointing=True)
    with pytest.raises(TrainingError, match="turn it off, or set mask_share = 0"):
        trainer.train()
    trainer = hf_trainer(tmp_path, texts, checkpoint, activation_checkpointing=True)
    trainer.penalty.controller.schedule = replace(SCHEDULE, mask_share=0.0, silence_share=0.0)
    trainer.train()
    assert trainer.penalty.modules >= 2


def test_padding_is_not_learnt_where_labels_are_left_out(tmp_path, texts, checkpoint):
    trainer = hf_trainer(tmp_path, texts, checkpoint)
    trainer.model.eval()
    ids = trainer.train_dataset[0]["input_ids"][None, :5]
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=ids.dtype)], 1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 3, dtype=ids.dtype)], 1)
    loss = trainer.compute_loss(trainer.model, {"input_ids": ids})
    same = trainer.compute_loss(trainer.model, {"input_ids": padded, "attention_mask": mask})
    torch.testing.assert_close(same, loss)
    other = trainer.compute_loss(trainer.model, {"input_ids": padded})
    assert abs(other - loss) > 1e-3


def test_the_trainer_resumes_with_the_penalty(tmp_path, texts, checkpoint):
    """The same weights, bit for bit, as the run that went on; also in a new output directory."""

    def run(out, resume=None, **changes):
        changes = {"save_strategy": "steps", "save_steps": 4, **changes}
        trainer = hf_trainer(tmp_path / out, texts, checkpoint, **changes)
        trainer.add_callback(penalty_callback(trainer.penalty))
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("one")
    first = tmp_path / "one" / "hf" / "checkpoint-4"
    shutil.rmtree(first.with_name("checkpoint-8"))
    elsewhere = str(tmp_path / "nowhere")
    runs = [run("two", str(first)), run("one", True, resume_from_checkpoint=elsewhere)]
    for cut in runs:
        assert torch.equal(whole.penalty.labels, cut.penalty.labels)
        assert whole.penalty.steps_done == cut.penalty.steps_done == 8
        for a, b in zip(whole.model.parameters(), cut.model.parameters(), strict=True):
            assert torch.equal(a, b)
    (first / "penalty.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-4 holds no penalty\.safetensors.*anew$"):
        run("three", str(first))


def test_a_trainer_without_the_mixin_names_the_checkpoint_in_its_arguments(tmp_path):
    state = SimpleNamespace(global_step=4)
    args = SimpleNamespace(output_dir=tmp_path, resume_from_checkpoint=str(tmp_path / "given"))
    with pytest.raises(CheckpointError, match="given holds no"):
        penalty_callback(None).on_train_begin(args, state, None)
    args.resume_from_checkpoint = None
    with pytest.raises(CheckpointError, match="checkpoint-4 holds no"):
        penalty_callback(None).on_train_begin(args, state, None)


def test_the_trainer_mixin_averages_the_parts_of_a_batch(tmp_path, texts, checkpoint):
    """Same gradients however a batch is cut: plain SGD, one step, before the penalty begins."""
    weights = []
    for parts in (1, 4):
        trainer = hf_trainer(
            tmp_path, texts, checkpoint, max_steps=1, gradient_accumulation_steps=parts,
            per_device_train_batch_size=8 // parts, optim="sgd", learning_rate=1.0,
            max_grad_norm=0, lr_scheduler_type="constant",
        )  # fmt: skip
        trainer.penalty.controller.schedule = replace(SCHEDULE, start=100)
        trainer.train()
        weights.append(list(trainer.model.parameters()))
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_bpe_covers_any_text_and_knows_whose_tokens_are_whose():
    texts = {"a": "the cat sat on the mat " * 50, "b": "1+1=2;" * 200}
    corpus, tokenizer = bpe_corpus(texts, 280)
    assert tokenizer.decode(corpus.streams[0].ids.tolist()) == texts["a"]
    assert len(corpus.vocabulary) <= 280
    used = {name: set(s.ids.tolist()) for name, s in zip("ab", corpus.streams, strict=True)}
    assert all(corpus.truth[i] == 0 for i in used["a"] - used["b"])
    with pytest.raises(DataError, match="at least 256 tokens, got 10"):
        bpe_corpus(texts, 10)


def test_bad_input_is_named(tmp_path, texts, checkpoint):
    with pytest.raises(CheckpointError, match="pass a local directory"):
        load_pretrained(str(tmp_path / "nowhere"))
    long = small("context=9 steps=2")
    with pytest.raises(DataError, match=r"sequences of 9 tokens are longer than .* 8;"):
        finetune(tmp_path / "run", str(checkpoint), texts, long)
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"fewer than the 201 of one sequence"):
        train_from_scratch(tmp_path / "run", texts, small("context=200"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="no text given"):
        train_from_scratch(tmp_path / "run", [], TINY)
    with pytest.raises(DataError, match="No such file"):
        train_from_scratch(tmp_path / "run", [tmp_path / "no.txt"], TINY)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    with pytest.raises(OutputError, match="exists already"):
        train_from_scratch(tmp_path / "taken", texts, TINY)
    _, tokenizer = load_pretrained(str(checkpoint))
    for size in (5, 500):
        with pytest.raises(DataError, match="use the tokenizer that was saved with the checkpoint"):
            pretrained_corpus({"a": "zebra"}, tokenizer, size)
    with pytest.raises(DataError, match="does not know most of stream 'b'"):
        pretrained_corpus({"a": "zebra", "b": "ZEBRA"}, tokenizer, len(tokenizer))
    with pytest.raises(UnreadableModelError, match="GPT2Model; readable are"):
        penalty_for(load_pretrained(str(checkpoint))[0].transformer, lambda step: None)
    with pytest.raises(RecipeError, match="no recipe at"):
        resume(tmp_path / "nothing")


def test_runs_compare_on_the_same_sequences(tmp_path, texts):
    train_from_scratch(tmp_path / "long", texts, TINY)
    train_from_scratch(tmp_path / "short", texts, small("steps=1"))
    found = evaluate(tmp_path / "short", str(tmp_path / "long"), sequences=64)
    assert found.loss.low > 0
    assert found.loss.samples == 64
    assert (found.run_tokens, found.baseline_tokens) == (64, 12 * 64)
    sentences = found.sentences()
    assert sentences[2].startswith("Held-out loss: higher by ")
    assert sentences[3] == "The two were not trained on equally many tokens."
    written = json.loads((tmp_path / "short" / "capability.json").read_text())
    assert (written["tasks"], written["interface"]) == ({}, None)
    found = evaluate(tmp_path / "long", str(tmp_path / "short"), sequences=64, interface=True)
    assert found.interface is not None
    assert found.interface.worst >= found.interface.joint
    assert found.sentences()[-1].startswith("Without what joins its modules: ")
    train_from_scratch(tmp_path / "other", texts[:1], small("steps=1"))
    with pytest.raises(DataError, match="train both on the same texts"):
        evaluate(tmp_path / "other", str(tmp_path / "long"))
    with pytest.raises(DataError, match="give a run to compare with"):
        evaluate(tmp_path / "other")


def test_a_finetuned_run_compares_with_its_start(tmp_path, texts, checkpoint):
    recipe = small("steps=8 lr=1e-2")
    finetune(tmp_path / "run", str(checkpoint), texts, recipe)
    found = evaluate(tmp_path / "run", sequences=64)
    assert found.loss.high < 0
    assert found.baseline == str(checkpoint)
    assert found.baseline_tokens == 0


def test_a_text_that_changed_is_refused_on_resume(tmp_path, texts):
    train_from_scratch(tmp_path / "run", texts, small("steps=1"))
    texts[0].write_text("other words entirely")
    with pytest.raises(DataError, match="has changed since the run began"):
        resume(tmp_path / "run")


def test_a_nan_keeps_the_last_good_checkpoint(tmp_path, texts, monkeypatch):
    losses = Trainer.losses

    def spoilt(trainer):
        return (loss * (float("nan") if trainer.step == 6 else 1) for loss in losses(trainer))

    monkeypatch.setattr(Trainer, "losses", spoilt)
    words = f"nan at step 6; .* the checkpoint of step 4 is kept in {tmp_path / 'run'}"
    with pytest.raises(TrainingError, match=words):
        train_from_scratch(tmp_path / "run", texts, every(4))
    state = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert int(state["step"]) == 4
    assert all(t.isfinite().all() for t in state.values())


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, texts, monkeypatch):
    def full(path, content):
        if path.name == "checkpoint.safetensors" and path.exists():
            raise OutputError(f"cannot write {path}: No space left on device")
        write_bytes(path, content)

    monkeypatch.setattr("partwise.train.run_directory.write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        train_from_scratch(tmp_path / "run", texts, every(4))
    monkeypatch.undo()
    assert int(load_file(tmp_path / "run" / "checkpoint.safetensors")["step"]) == 4
    resume(tmp_path / "run")
    assert int(load_file(tmp_path / "run" / "checkpoint.safetensors")["step"]) == 12


def test_a_full_disk_is_named_when_a_pretrained_model_is_saved(tmp_path, checkpoint, monkeypatch):
    model, tokenizer = load_pretrained(str(checkpoint))

    def full(out):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        save_pretrained(tmp_path / "model", model, tokenizer)
