"""A run's metrics in TensorBoard or Weights & Biases, beside `metrics.jsonl`."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from partwise.errors import MissingExtraError, TrainingError

TRACKERS = ("none", "tensorboard", "wandb")
Track = Callable[[Mapping[str, Any]], None]
"""Gets a line of metrics; `step` is the number of steps done."""


def refuse_missing_tracker(kind: str) -> None:
    """Makes sure that a tracker can be imported, before anything is written.

    Raises:
        MissingExtraError: if it is not installed, saying what to install.
    """
    if kind == "none":
        return
    try:
        importlib.import_module(kind)
    except ImportError as error:
        raise MissingExtraError(
            f"track = {kind} needs {kind}; pip install {kind}, or leave track at none"
        ) from error


@contextlib.contextmanager
def tracking(
    kind: str,
    out: Path,
    step: int = 0,
    config: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> Iterator[Track]:
    """What metrics are sent to, until the run ends.

    TensorBoard's event files go to `out/tensorboard`, wandb's to `out/wandb`. A resumed run goes
    on in the same curves: in TensorBoard from `step`, so that what ran ahead of the checkpoint is
    dropped; wandb takes no step twice. Without network or login set `WANDB_MODE=offline`.

    Args:
        kind: one of `TRACKERS`.
        out: the run directory.
        step: steps done before.
        config: what is recorded of the run beside its metrics (wandb).
        run_id: the run's id (wandb); the same one goes on in the same curves.

    Raises:
        MissingExtraError: if the tracker is not installed.
        TrainingError: if wandb cannot begin.
    """
    refuse_missing_tracker(kind)
    if kind == "none":
        yield lambda metrics: None
    elif kind == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(out / "tensorboard"), purge_step=step + 1) as writer:
            yield lambda metrics: _write_scalars(writer, metrics)
    else:
        run = _wandb_run(out, config, run_id)
        try:
            yield lambda metrics: run.log(_values(metrics), step=metrics["step"])
        finally:
            run.finish()


def _write_scalars(writer: Any, metrics: Mapping[str, Any]) -> None:
    for name, value in _values(metrics).items():
        writer.add_scalar(name, value, metrics["step"])


def _values(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "step" and value is not None}


def _wandb_run(out: Path, config: Mapping[str, Any] | None, run_id: str | None) -> Any:
    import wandb

    named: dict[str, Any] = {"project": "partwise", "name": out.name, "dir": str(out)}
    try:
        return wandb.init(**named, config=dict(config or {}), id=run_id, resume="allow")
    except wandb.Error as error:
        raise TrainingError(
            f"wandb cannot begin ({str(error).splitlines()[0]}); log in with 'wandb login', or set "
            "WANDB_MODE=offline"
        ) from error
