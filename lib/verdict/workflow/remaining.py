"""How long a report still takes, by how long its stages took the last time: here, or when the copy in git was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def remaining(params: Params, profile: str, cores: int) -> str:
    """About how long a report still takes, as words; "" where nothing is known of what is left.

    What is left is weighed by how much faster or slower than the last time the finished stages were.
    """
    files = [paths.work_dir(profile) / TIMES, paths.published_dir(profile) / TIMES]
    before = next((artifacts.read_json(file) for file in files if file.is_file()), {})
    labels = {stages.label(*execution): execution for execution in stages.executions(params)}
    done = {label: one for label, one in labels.items() if label in before and stages.finished(profile, *one)}
    left_s = sum(before[label] for label in labels.keys() & before.keys() - done.keys())
    taken_s = sum(artifacts.read_run(stages.folder(profile, *one))["elapsed_s"] for one in done.values())
    expected_s = sum(before[label] for label in done)
    pace = taken_s / expected_s if expected_s else 1.0
    minutes = left_s * pace / cores / 60
    return "" if not left_s else "less than a minute left" if minutes < 1 else f"about {minutes:.0f} min left"
