"""A language model in a local directory of Hugging Face's layout, held to the schema by a grammar.

Weights are read from safetensors only, and no code of the directory is run.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from partwise.errors import CheckpointError, first_line
from partwise.explain.endpoints.base import (
    LONGEST_RAW,
    Limits,
    Message,
    Prompt,
    Reply,
    Settings,
    UnansweredError,
    cut,
)
from partwise.explain.endpoints.hosted import imported
from partwise.explain.endpoints.schemas import bounded

EXTRA = "llm-local"
LOCAL_LIMITS = Limits(deadline_s=900.0)
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Blanks between values are none of the model's business: it might write nothing else."""


class LocalEndpoint:
    """A model that runs here, one answer at a time."""

    def __init__(self, path: Path, *, limits: Limits = LOCAL_LIMITS) -> None:
        """Reads tokenizer and weights.

        Args:
            path: the directory.
            limits: `deadline_s` bounds the time of an answer.

        Raises:
            MissingExtraError: if transformers or llguidance are not installed.
            CheckpointError: if the directory holds no language model that can be read.
        """
        self._guidance = imported("llguidance", EXTRA)
        transformers = imported("transformers", EXTRA)
        if not path.is_dir():
            raise CheckpointError(f"no directory of a language model at {path}")
        only = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(path, **only)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                path, use_safetensors=True, **only
            )
            self._words = self._read_words(model)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds no readable model: {first_line(error)}") from error
        self._model = model.eval()
        self._limits = limits
        self._alone = threading.Lock()
        self.name = f"local:{path.resolve().name}"

    def _read_words(self, model: Any) -> Any:
        """The vocabulary as the grammar wants it, as wide as the model's logits."""
        import llguidance.hf

        wide = model.get_output_embeddings().weight.shape[0]
        return llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=wide)

    def ask(self, prompt: Prompt, settings: Settings) -> Reply:
        """The model's answer, which fits the schema where it ends in time; see `Endpoint`."""
        with self._alone:
            started = time.monotonic()
            ids = self._read(prompt.messages)
            most = min(settings.max_tokens, self._room() - ids.shape[1])
            if most < 1:
                raise UnansweredError(
                    f"the prompt has {ids.shape[1]} tokens; the model reads {self._room()}"
                )
            written, finish = self._written(ids, self._grammar(prompt), most, settings)
            text = self._words.decode_str(written)
        return Reply(
            text=text,
            raw=cut(text, LONGEST_RAW),
            finish=finish,
            tokens_in=ids.shape[1],
            tokens_out=len(written),
            seconds=time.monotonic() - started,
        )

    def _room(self) -> int:
        """Tokens that the model can read and write in all."""
        return int(getattr(self._model.config, "max_position_embeddings", 2**15) or 2**15)

    def _read(self, messages: tuple[Message, ...]) -> Tensor:
        turns = [dict(each) for each in messages]
        if getattr(self._tokenizer, "chat_template", None):
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        else:
            text = "\n\n".join(f"{each['role']}: {each['content']}" for each in turns)
            text += "\n\nassistant: "
        ids = self._tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        return torch.as_tensor(ids)

    def _grammar(self, prompt: Prompt) -> Any:
        schema = {**bounded(prompt.schema), "x-guidance": COMPACT}
        matcher = self._guidance.LLMatcher
        found = matcher(self._words, matcher.grammar_from_json_schema(json.dumps(schema)))
        if found.is_error():
            raise UnansweredError(f"the schema makes no grammar: {found.get_error()}")
        return found

    def _written(
        self, ids: Tensor, matcher: Any, most: int, settings: Settings
    ) -> tuple[list[int], Literal["stop", "length"]]:
        """The tokens that the grammar lets the model write, and why it stopped.

        Raises:
            UnansweredError: if it does not end in time.
        """
        ends, written, past = time.monotonic() + self._limits.deadline_s, list[int](), None
        dice = torch.Generator().manual_seed(settings.seed or 0)
        while not matcher.is_stopped():
            if len(written) >= most:
                return written, "length"
            if time.monotonic() > ends:
                reason = f"no whole reply in {self._limits.deadline_s:g} s"
                raise UnansweredError(reason, self._words.decode_str(written))
            with torch.inference_mode():
                out = self._model(input_ids=ids, past_key_values=past, use_cache=True)
            past = out.past_key_values
            token = _chosen(out.logits[0, -1].float(), matcher, settings.temperature, dice)
            new = self._taken(token, matcher)
            written += [each for each in new if each not in self._words.eos_tokens]
            ids = torch.tensor([new])
        return written, "stop"

    def _taken(self, token: int, matcher: Any) -> list[int]:
        """A token, and those that the grammar leaves no choice about, such as names of fields.

        Raises:
            UnansweredError: if the grammar knows no way on.
        """
        if matcher.consume_token(token):
            forced = [] if matcher.is_stopped() else list(matcher.compute_ff_tokens())
            if not forced or matcher.consume_tokens(forced):
                return [token, *forced]
        raise UnansweredError(f"the grammar stopped: {matcher.get_error()}")


def _chosen(logits: Tensor, matcher: Any, temperature: float | None, dice: Any) -> int:
    """The likeliest token that the grammar allows, or one that is drawn."""
    allowed = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8)
    logits = logits[: len(allowed)].masked_fill(allowed[: len(logits)] == 0, -torch.inf)
    if not temperature:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=dice))
