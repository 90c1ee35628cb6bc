"""Runs: what a training left in a directory, opened through one door whatever was trained."""

from partwise.runs.evaluation import Comparison, evaluate
from partwise.runs.network import Network, open_network
from partwise.runs.open_run import CLEAN_TASK, OpenRun, open_run
from partwise.train.run_files import is_run

__all__ = [
    "CLEAN_TASK",
    "Comparison",
    "Network",
    "OpenRun",
    "evaluate",
    "is_run",
    "open_network",
    "open_run",
]
