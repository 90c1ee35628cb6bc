"""What is compiled at installation is what a first use needs."""

import os
import subprocess
import sys

import pytest

from partwise.cuttree import warm

FIRST_USE = """
import sys, torch
from numba.core.dispatcher import Dispatcher
from partwise import find_modules, unit_graph
from partwise.train import Trainer, recipe_from

penalty = "l1=4 strength=1 start=10 ramp=10 mask_after=5 mask_share=0.5 refresh_every=10"
trainer = Trainer.new(recipe_from({}, settings=penalty.split()))
for _ in range(40):
    trainer.advance()
find_modules(unit_graph(trainer.model, torch.zeros(1, 128)))
for name, module in sorted(sys.modules.items()):
    for kernel in vars(module).values() if name.startswith("partwise") else ():
        if isinstance(kernel, Dispatcher) and kernel.__module__ == name:
            if sum(kernel.stats.cache_misses.values()):
                print(name, kernel.__name__, kernel.stats.cache_misses)
"""


@pytest.mark.slow
def test_a_first_use_compiles_nothing(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    printed = [
        subprocess.run(
            [sys.executable, *code], env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        for code in (("-c", "from partwise import warm; warm.compile_kernels()"), ("-c", FIRST_USE))
    ]
    assert printed == ["", ""]


def test_kernels_are_forgotten_in_every_folder_of_the_package(tmp_path):
    caches = [tmp_path / part / "__pycache__" for part in ("", "modules", "loss")]
    for cache in caches:
        cache.mkdir(parents=True)
        for name in ("a.nbi", "a.1.nbc", "a.cpython-311.pyc"):
            (cache / name).touch()
    warm.forget_kernels(tmp_path)
    assert {path.name for path in tmp_path.rglob("a.*")} == {"a.cpython-311.pyc"}
