import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import caching

import partwise
from partwise import compiled as module
from partwise.compiled import compiled

NOTE = "set NUMBA_CACHE_DIR to a folder that can be written"
KERNEL = """
import numpy as np, partwise
from partwise.cuttree.queries import _find
print(_find(np.array([0, 0, 1, 2]), 3))
"""
CUT_TREE = """
from partwise import UnitGraph, cut_tree
print(cut_tree(UnitGraph.from_edges(3, [0, 1], [1, 2], [2.0, 1.5])).min_cut(0, 2))
"""


def run_where_nothing_can_be_written(folder, code):
    """Runs code on a copy of the package; even root makes no folder where a file is in its way."""
    copy = folder / "partwise"
    shutil.copytree(
        Path(partwise.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    for place in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        (place / "__pycache__").touch()
    taken = {name: str(copy / "__pycache__" / name) for name in ("HOME", "XDG_CACHE_HOME")}
    environment = {**os.environ, **taken, "PYTHONPATH": str(folder)}
    environment["NUMBA_CACHE_DIR"] = str(copy / "__pycache__" / "kernels")
    return subprocess.run(
        [sys.executable, "-B", "-c", code], env=environment, capture_output=True, text=True
    )


def test_an_installation_that_cannot_be_written_works(tmp_path):
    done = run_where_nothing_can_be_written(tmp_path, KERNEL)
    assert done.stdout.split() == ["0"], done.stderr
    assert done.stderr.count(NOTE) == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_cut_trees_are_built_where_nothing_can_be_written(tmp_path):
    done = run_where_nothing_can_be_written(tmp_path, CUT_TREE)
    assert done.stdout.split() == ["1.5"], done.stderr


def test_only_a_cache_without_a_place_is_forgiven(monkeypatch, caplog):
    module._say_that_nothing_is_kept.cache_clear()

    def half(x):
        return x / 2

    with monkeypatch.context() as without:
        without.setattr(caching.CacheImpl, "_locator_classes", [])
        with caplog.at_level(logging.WARNING, "partwise"):
            kernels = [compiled()(half), compiled(error_model="numpy")(half)]
    assert [record.message.endswith(NOTE) for record in caplog.records] == [True]
    assert kernels[0](3.0) == 1.5
    assert np.isinf(kernels[1](np.inf))

    def refuse(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(module, "njit", lambda **_: refuse)
    with pytest.raises(RuntimeError, match="something else"):
        compiled()(half)


def test_kernels_are_compiled_in_one_way():
    package = Path(partwise.__file__).parent
    asking = [path.name for path in package.rglob("*.py") if "njit" in path.read_text()]
    assert asking == ["compiled.py"]
