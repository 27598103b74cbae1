"""How long a report still takes, and which stages come first, by the times of the last run.

Without a run here, those of the copy in git are used.
"""

import contextlib
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from typing import Any

from verdict.base import artifacts, paths
from verdict.base.params import Params
from verdict.workflow import stages

TIMES = "times.json"


def times_of(runs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds that executions took, by label, from their records."""
    return {stages.label(run["stage"], run.get("trial")): run["elapsed_s"] for run in runs}


def keep_times(params: Params, profile: str) -> None:
    """Remember how long each stage of a whole report took."""
    homes = [stages.folder(profile, *execution) for execution in stages.executions(params)]
    artifacts.write_json(paths.work_dir(profile) / TIMES, times_of(map(artifacts.read_run, homes)))


def _known(profile: str) -> dict[str, float]:
    """Times of the last run, or else of the copy; none where neither can be read, since no run is to stop for that."""
    for folder in (paths.work_dir(profile), paths.published_dir(profile)):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = artifacts.read_json(folder / TIMES)
            return {label: float(time) for label, time in found.items() if isinstance(time, int | float)}
    return {}


def longest_ways(params: Params, profile: str) -> dict[str, float]:
    """Seconds from the start of each execution, by label, to the end of the report, were there a core for every job.

    Whoever has the longest way goes first: list scheduling by critical path (Graham 1969). An unknown time is a second.
    """
    seconds = _known(profile)
    needs = {execution: stages.upstream(params, *execution) for execution in stages.executions(params)}
    ways = dict.fromkeys(needs, 0.0)
    for execution in reversed([*TopologicalSorter(needs).static_order()]):
        ways[execution] += seconds.get(stages.label(*execution), 1.0)
        for need in needs[execution]:
            ways[need] = max(ways[need], ways[execution])
    return {stages.label(*execution): way for execution, way in ways.items()}


def remaining(params: Params, profile: str, cores: int) -> str:
    """About how long a report still takes, in words, "" where nothing is known.

    That is how long its unfinished stages took the last time, scaled by how much faster or slower the others are now.
    """
    before, taken = _known(profile), {}
    labels = {stages.label(*execution): execution for execution in stages.executions(params)}
    for label in labels.keys() & before.keys():
        # A record that is not there yet, or is replaced at this moment, is of what is left.
        with contextlib.suppress(FileNotFoundError, ValueError):
            taken[label] = artifacts.read_run(stages.folder(profile, *labels[label]))["elapsed_s"]
    left_s = sum(before[label] for label in labels.keys() & before.keys() - taken.keys())
    expected_s = sum(before[label] for label in taken)
    pace = sum(taken.values()) / expected_s if expected_s else 1.0
    if not left_s:
        return ""
    minutes = left_s * pace / cores / 60
    return "less than a minute left" if minutes < 1 else f"about {minutes:.0f} min left"
