import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).parent / "distributed_worker.py"


def launch(tmp_path, ranks, kind):
    outs = [tmp_path / f"{kind}-{rank}.safetensors" for rank in range(ranks)]
    store = tmp_path / f"store-{kind}"
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(ranks), store, out, kind],
            stderr=subprocess.PIPE,
        )
        for rank, out in enumerate(outs)
    ]
    errors = [worker.communicate(timeout=240)[1].decode() for worker in workers]
    assert not any(worker.returncode for worker in workers), "".join(errors)
    return [load_file(out) for out in outs]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return launch(tmp_path_factory.mktemp("alone"), 1, "none")[0]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_as_one(tmp_path, alone, kind):
    first, second = launch(tmp_path, 2, kind)
    assert int(alone["labels"].max()) >= 1  # the penalty and the masks were at work
    assert torch.equal(first["labels"], second["labels"])
    assert torch.equal(first["labels"], alone["labels"])
    together = (first["losses"] + second["losses"]) / 2
    torch.testing.assert_close(together, alone["losses"], rtol=1e-4, atol=1e-5)
    for name in alone.keys() - {"losses", "labels"}:
        torch.testing.assert_close(first[name], alone[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
