"""A GPT whose two modules are known by construction: letters, and digits that read letters.

Besides English and sums there is a stream of codes such as `c2f5`, a random letter and its digit.
Letters never read digits, in training or after it; digits read letters, since codes need it.
"""

import pydoc_data.topics
import string

import numpy as np
import torch
import torch.nn.functional as F

from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import MaskedRun, between
from partwise.tasks import Text
from partwise.tasks.streams import DIGITS, character_corpus, letters_of, sums
from partwise.train import GPT, GPTConfig

CONTEXT, WIDTH, STEPS, RATE = 16, 32, 400, 6e-3
LETTERS_MODULE, DIGITS_MODULE = 0, 1


def coded_text() -> Text:
    """English letters, sums, and codes."""
    rng = np.random.default_rng(0)
    letters = rng.integers(0, 26, 40_000)
    codes = "".join(string.ascii_lowercase[k] + str(k % 10) for k in letters.tolist())
    english = letters_of("\n".join(pydoc_data.topics.topics.values()))[:200_000]
    texts = {"letters": english, "digits": sums(20_000, rng), "codes": codes}
    return Text(character_corpus(texts), CONTEXT)


def modules_of(model: GPT, text: Text) -> np.ndarray:
    """(n,) 0 for letters and the first half of all else, 1 for digits and the other half."""
    is_digit = np.array([c in DIGITS for c in text.corpus.vocabulary])
    labels = [
        is_digit if group.kind == "token" else np.arange(len(group)) * 2 // len(group)
        for group in transformer_map(model).groups
    ]
    return np.concatenate(labels).astype(np.int64)


def trained(text: Text) -> tuple[GPT, np.ndarray]:
    """The network, in which letters read no digits, and its modules."""
    model = GPT(GPTConfig(len(text.corpus.vocabulary), CONTEXT, WIDTH, 4, 2))
    labels = modules_of(model, text)
    kept = between(
        model, transformer_map(model), torch.from_numpy(labels), DIGITS_MODULE, LETTERS_MODULE
    )
    run = MaskedRun(model, kept)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    for step in range(STEPS):
        ids = text.corpus.batch("train", 48, CONTEXT + 1, (0, step))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 40) * (1 - 0.95 * step / STEPS)
        optimizer.zero_grad()
        F.cross_entropy(run(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    run.commit()
    return model.eval(), labels
