import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

WORKER = Path(__file__).parent / "distributed_worker.py"


def launch(tmp_path, ranks):
    outs = [tmp_path / f"{ranks}-{rank}.safetensors" for rank in range(ranks)]
    store = tmp_path / f"store-{ranks}"
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(ranks), store, out], stderr=subprocess.PIPE
        )
        for rank, out in enumerate(outs)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors.decode()
    return [load_file(out) for out in outs]


def test_two_processes_train_as_one(tmp_path):
    (alone,) = launch(tmp_path, 1)
    first, second = launch(tmp_path, 2)
    assert int(alone["labels"].max()) >= 1  # the penalty and the masks were at work
    assert torch.equal(first["labels"], second["labels"])
    assert torch.equal(first["labels"], alone["labels"])
    together = (first.pop("losses") + second.pop("losses")) / 2
    torch.testing.assert_close(together, alone.pop("losses"), rtol=1e-4, atol=1e-5)
    for name, weight in alone.items():
        torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
