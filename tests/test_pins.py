"""The bits of four trainings. A change that moves them says in its commit message why it may.

`python -m tests.test_pins` prints the hashes of the code as it is.
"""

import hashlib
import platform

import pytest
import torch

from partwise.tasks import Text
from partwise.tasks.streams import known_streams
from partwise.train import Trainer, recipe_from

ENGLISH = "it was the best of times, it was the worst of times. " * 100
MADE_ON = ("2.13.0+cpu", "x86_64", "AVX512")
"""Other machines add numbers up in another order."""
PINS = {
    "fixed": "0077d4eea194cf21a46e6672fc306fe9b5edac3db8348eea27a07d98129a77f5",
    "released": "9a982b351231fb05a4b0ec9b847f15c2e9a94a2fc5c8ad7587f51000432f8d0a",
    "rewound": "e2272403e15de004fbfe9eff36366f931c8e3e599905f7b28668d617ffb40c8e",
    "shares": "f9af6a6b58652af5b134ffc9b89f6928e213c123354f48758855d5be485cb2d1",
}


def here():
    return torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability()


def fixed():
    """A strength that the user sets: refreshes, masked steps, two modules in the end."""
    penalty = "l1=4 strength=1 start=200 ramp=100 mask_after=50 mask_share=0.5"
    settings = f"{penalty} steps=500 weight_decay=0.3".split()
    return Trainer.new(recipe_from({}, settings=settings)), 500


def budgeted(task):
    settings = f"task={task} budget=0.05 steps=600 batch=64 weight_decay=0.3".split()
    return Trainer.new(recipe_from({}, settings=settings)), 600


def released():
    """Within a budget: pressed, split in two, released."""
    return budgeted("two-playgrounds")


def rewound():
    """Within a budget, and no modules: back to the weights of the plain phase."""
    return budgeted("digits-pair")


def shares():
    """A GPT, with masked and silenced steps."""
    schedule = "start=10 ramp=10 refresh_every=10 lag=3 mask_after=10 mask_share=0.5 probes=200"
    sizes = "context=8 width=16 layers=1 steps=60 batch=8"
    settings = f"{schedule} silence_share=0.5 {sizes}".split()
    recipe = recipe_from({"data": {"texts": ["known streams"]}}, settings=settings)
    text = Text(known_streams(("letters", "digits"), ENGLISH), recipe.context)
    return Trainer.new(recipe, text), 60


RUNS = {
    "fixed": (fixed, 2),
    "released": (released, 2),
    "rewound": (rewound, 1),
    "shares": (shares, 2),
}
"""What is trained, and how many modules it must end with to pin what it is there for."""


def trained(name):
    """A trainer at its end, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer, steps = RUNS[name][0]()
        for _ in range(steps):
            trainer.advance()
    finally:
        torch.set_num_threads(threads)
    return trainer


def digest(model):
    bits = hashlib.sha256()
    for weight in model.parameters():
        bits.update(weight.detach().numpy().tobytes())
    return bits.hexdigest()


@pytest.mark.parametrize("name", RUNS)
def test_the_weights_have_the_bits_they_had(name):
    if here() != MADE_ON:
        pytest.skip(f"pins were made on {MADE_ON}, this is {here()}")
    trainer = trained(name)
    assert trainer.penalty.modules == RUNS[name][1]
    assert digest(trainer.model) == PINS[name]


if __name__ == "__main__":
    print(here())
    for each in RUNS:
        done = trained(each)
        print(each, done.penalty.modules, digest(done.model))
