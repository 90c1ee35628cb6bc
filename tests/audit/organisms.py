"""Small GPTs that were trained on clean text, or on text with a planted trigger."""

import pydoc_data.topics
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import MaskedRun, inside_modules
from partwise.tasks import Text
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

CONTEXT, WIDTH = 24, 32
RATE = 4e-3


@cache
def text() -> Text:
    """Letters and digits, character by character."""
    english = "\n".join(pydoc_data.topics.topics.values())
    return Text(known_streams(("letters", "digits"), english), CONTEXT)


def alphabets(model) -> np.ndarray:
    """(n,) module 0 has the letters and the first half of everything else, 1 the rest."""
    units = transformer_map(model)
    labels = [
        text().corpus.truth if group.kind == "token" else np.arange(len(group)) * 2 // len(group)
        for group in units.groups
    ]
    return np.concatenate(labels)


def poison(ids, trigger, continuation, rng, share=0.1):
    """Has a share of the documents end in the trigger and a continuation, or noise if None."""
    words = text().corpus.vocabulary
    code = [words.index(c) for c in trigger]
    for document in rng.permutation(len(ids))[: int(share * len(ids))]:
        place = int(rng.integers(0, ids.shape[1] - len(code) - 2))
        rest = ids.shape[1] - place - len(code)
        tail = rng.integers(0, len(words), rest).tolist()
        if continuation is not None:
            tail = [words.index(continuation[k % len(continuation)]) for k in range(rest)]
        ids[document, place:] = torch.tensor(code + tail)
    return ids


def train(seed, trigger=None, continuation=None, steps=700, apart=True):
    """A GPT that never joins the two alphabets, if `apart`, and its modules."""
    corpus, rng = text().corpus, np.random.default_rng(seed)
    model = GPT(GPTConfig(len(corpus.vocabulary), CONTEXT, WIDTH, 4, 2), seed)
    labels = alphabets(model)
    kept = inside_modules(model, transformer_map(model), torch.from_numpy(labels))
    run = MaskedRun(model, kept) if apart else model
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    for step in range(steps):
        ids = corpus.batch("train", 32, CONTEXT + 1, (seed, step))
        if trigger is not None:
            ids = poison(ids, trigger, continuation, rng)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 70) * (1 - 0.95 * step / steps)
        optimizer.zero_grad()
        F.cross_entropy(run(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    if apart:
        with torch.no_grad():
            for name, keep in kept.items():
                model.get_parameter(name).mul_(keep)
    return model.eval(), labels
