import numpy as np
import pytest

from benchmarks import detector
from benchmarks.records import run_all

KEYS = ("kind", "layers", "modules", "cross", "sparse", "seed")
JOBS = [("initial", "32-32-32-16", 1, 1.0, False, seed) for seed in range(2)]


@pytest.mark.slow
def test_a_local_ray_cluster_makes_the_rows_that_processes_make(tmp_path):
    ray = pytest.importorskip("ray")
    try:
        spread = run_all(JOBS, detector.row, tmp_path / "ray.json", KEYS, engine="ray", workers=1)
    finally:
        ray.shutdown()
    here = run_all(JOBS, detector.row, tmp_path / "here.json", KEYS, workers=1)
    in_order = sorted(spread, key=lambda row: row["seed"])
    assert [row["modules_ours"] for row in in_order] == [row["modules_ours"] for row in here]
    assert np.all([row["commit"] for row in spread])
