"""Runs: what a training left in a directory, opened through one door whatever was trained."""

from partwise.runs.open_run import CLEAN_TASK, OpenRun, is_run, open_run

__all__ = ["CLEAN_TASK", "OpenRun", "is_run", "open_run"]
