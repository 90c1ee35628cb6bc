"""A small GPT of English and sums, read token by token."""

from pydoc_data.topics import topics

import torch
import torch.nn.functional as F

from partwise import Text, explain
from partwise.interventions.lesions import Lesions
from partwise.runs import Network
from partwise.stages import cut_network
from partwise.tasks.streams import known_streams
from partwise.train import Trainer, recipe_from, train

LEAST = 1.0  # nats that a token must lose without a module to be marked


def read(model, units, labels, text):
    """Prints held-out documents, and under each token the module that it needs most."""
    reference, rows = text.rows("train", 4096, seed=1), text.rows("final", 128, seed=2)
    streams = torch.from_numpy(reference.streams[:: text.context])
    lesions = Lesions(model, units, reference.x, streams)
    of_rows = torch.from_numpy(rows.streams[:: text.context])

    @torch.no_grad()
    def losses(run):
        logits = run(rows.x).flatten(0, 1)
        return F.cross_entropy(logits, rows.y[:, 0].long(), reduction="none")

    whole, rises = losses(model), []
    for k in range(labels.max() + 1):
        held = torch.from_numpy((labels == k) & units.hidden)
        with lesions.holding(held, of_rows) as without:
            rises.append(losses(without) - whole)
    rise, module = torch.stack(rises).max(0)
    marks = [str(int(k)) if r > LEAST else "." for r, k in zip(rise, module, strict=True)]
    words = [text.vocabulary[int(i)].replace("\n", " ") for i in rows.y[:, 0]]
    for start in range(0, len(words), text.context):
        print(*("".join(row[start : start + text.context]) for row in (words, marks)), sep="\n")


def main(steps: int = 600) -> None:
    """Trains the GPT, finds its modules, and reads it."""
    torch.set_num_threads(1)
    english = "\n".join(topics[name] for name in sorted(topics))
    text = Text(known_streams(("letters", "digits"), english), context=32)
    fields = {"data": {"texts": ["known streams"]}, "penalty": {"kind": "share"}}
    at = [f"{name}={steps * share // 6}" for name, share in (("start", 1), ("ramp", 2))]
    recipe = recipe_from(fields, settings=[f"steps={steps}", *at, f"mask_after={steps // 4}"])
    trainer = Trainer.new(recipe, text)
    model = train(trainer).eval()
    _, modules = cut_network(Network(model, trainer.units, read_data=lambda: text))
    print(f"{modules.modules} modules")
    read(model, trainer.units, modules.labels, text)
    for part in explain(model, modules.labels, text, units=trainer.units, samples=2048):
        print(part.subject, "|", part.description.sentence)


if __name__ == "__main__":
    main()
