"""The audit: every decision in a log that is checked, explained in words, and replayed.

Run `python -m verdict.decide.log --help`. How fast, and in how much memory, is measured by `make bench`.
"""

from verdict.decide.log.explain import explain_item
from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import Item, LogSummary, find_item, read_log, run_id, write_log
from verdict.decide.log.replay import Difference, Replay, replay_log

__all__ = [
    "DecidedBatch",
    "Difference",
    "Item",
    "LogSummary",
    "Replay",
    "explain_item",
    "find_item",
    "iter_items",
    "read_log",
    "replay_log",
    "run_id",
    "write_log",
]
