"""Scaling: the same trials on one, two and four workers, from which size a cluster's nodes beat one worker, and what
work costs by its size.

Everything runs in a clone of the project, as `make report` would run it. A run's processor seconds are those of all its
processes. The model of cost is what a run takes to start, and for each stage a line over pairs; it is fitted on two
sizes and compared with a third, and with runs of several trials and seeds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.bench import installation

from verdict.base import artifacts, paths
from verdict.base.labels import HALF_NEW_SPLITS, Split
from verdict.base.params import Params, load_params
from verdict.workflow import slurm, stages, start

PROFILE = "scale"
WORKERS = (1, 2, 4)
SEEDS = (11, 23, 37)
N_TRIALS = 6
SIZES = (1024, 4096, 16384)
# Training pairs at which a cluster is set against one worker: a fit takes a few seconds, and a good part of a minute.
CLUSTER_SIZES = (16_384, 65_536)
# What its small jobs ask a cluster for; states are asked for soon, so that waiting for news is not measured.
ON_SLURM = {"stages": {"default": {"mem_mb": 2000, "minutes": 30}}, "slurm": {"first_check_s": 1}}
# What the lab asked about.
ASKED_PAIRS, ASKED_TRIALS = 565_000, 1_000
PARTS = ("01_data", stages.FEATURES, stages.WARMUP_STAGE, "trial")


@dataclass(frozen=True)
class Lap:
    """One run of the pipeline: wall and processor seconds, and the seconds of each job's own work."""

    wall_s: float
    cpu_s: float
    job_s: tuple[float, ...]

    def overhead_s(self, workers: int) -> float:
        """Seconds of a worker that each job costs besides its own work, everything that is not work included."""
        return (self.wall_s * workers - sum(self.job_s)) / len(self.job_s)


@dataclass(frozen=True)
class Line:
    """Processor seconds of a part: fixed and for each thousand pairs."""

    fixed_s: float
    per_thousand_s: float

    @classmethod
    def through(cls, n_pairs: Sequence[float], seconds: Sequence[float]) -> Line:
        """The least-squares line through measurements, with no negative coefficient."""
        slope, fixed = np.polyfit(np.asarray(n_pairs) / 1000, seconds, 1)
        return cls(max(float(fixed), 0.0), max(float(slope), 0.0))

    def at(self, n_pairs: float) -> float:
        """Seconds for a number of pairs."""
        return self.fixed_s + self.per_thousand_s * n_pairs / 1000


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a search by its pairs, trials and seeds.

    Attributes
    ----------
    lines : dict of Line
        Of each part, without what starting a run takes.
    start_s : float
        What a run takes whatever it does: the workflow, and libraries that its jobs share.
    """

    lines: dict[str, Line]
    start_s: float

    @classmethod
    def through(cls, n_pairs: Sequence[float], seconds: dict[str, list[float]], start_s: float) -> Cost:
        """The model of parts that were each measured in a run of their own, starting included."""
        own = {part: np.maximum(np.asarray(measured) - start_s, 0) for part, measured in seconds.items()}
        return cls({part: Line.through(n_pairs, measured) for part, measured in own.items()}, start_s)

    def alone(self, part: str, n_pairs: float) -> float:
        """A part in a run of its own."""
        return self.start_s + self.lines[part].at(n_pairs)

    def search(self, n_pairs: float, n_trials: int, n_seeds: int) -> float:
        """One run: data, features and warm-up once, a fit for each trial and seed."""
        once = sum(self.lines[part].at(n_pairs) for part in PARTS[:-1])
        return self.start_s + once + n_trials * n_seeds * self.lines["trial"].at(n_pairs)


def profile(n_pairs: int, n_trials: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Parameters of a search of equal trials on some pairs: training, warm-up and evaluation grow together."""
    part = max(64, n_pairs // 8)
    split = {"warmup_train": n_pairs, "warmup_val": part, "train": n_pairs, "val": part, "calib": part, "test": part}
    split |= dict.fromkeys(map(str, (Split.INDEPENDENT, *HALF_NEW_SPLITS)), 64)
    trial = {"parent": "warmup", "vision_blocks": 0, "text_blocks": 1, "learning_rate": 1.0e-3, "weight_decay": 1.0e-2}
    trial |= {"dropout": 0.1, "epochs": 1, "patience": 1, "schedule": "cosine"}
    return {
        "title": "Scaling",
        "is_smoke": True,
        "data": {"digits": {"n_pairs": split}},
        "training": {
            "seeds": list(seeds),
            "batch_size": 64,
            "warmup": {"epochs": 1},
            "trials": [{"name": f"t{k}", **trial} for k in range(n_trials)],
        },
        "statistics": {"n_resamples": 200},
    }


class Bench:
    """A clone of the project in which runs are measured."""

    def __init__(self, root: Path, say: Callable[[str], None]):
        self.root, self.say = root, say
        installation.clone(root)

    def set(self, content: dict[str, Any]) -> Params:
        """Make these the parameters of the runs that follow."""
        artifacts.write_text(self.root / "params" / f"{PROFILE}.yaml", yaml.safe_dump(content))
        asked = self.root / "params" / "execution" / "slurm" / f"{PROFILE}.yaml"
        artifacts.write_text(asked, yaml.safe_dump(ON_SLURM))
        return load_params(PROFILE, self.root / "params")

    def record(self, name: str, *trial: str) -> str:
        """The record that a stage, or a trial, makes."""
        return "/".join(["work", PROFILE, name, *trial, "run.json"])

    def measure(self, targets: Sequence[str], *, workers: int, where: str = "local") -> Lap:
        """Make records, and measure it.

        Raises
        ------
        RuntimeError
            If they were not all made; the message holds the end of what was said.
        """
        before, started = os.times(), time.monotonic()
        command = start.command("verdict.workflow.pipeline", "--profile", PROFILE, "--cores", str(workers))
        command += ["--where", where, *targets]
        environment = installation.environment(self.root)
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        # Of all processes that this one has waited for, theirs included.
        wall, cpu = time.monotonic() - started, sum(os.times()[2:4]) - sum(before[2:4])
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        return Lap(wall, cpu, tuple(self.field(target, "elapsed_s") for target in targets))

    def field(self, target: str, name: str) -> Any:
        """An entry of a record."""
        return artifacts.read_json(self.root / target)[name]

    def forget(self, name: str) -> None:
        """Remove what a stage made, its training states too."""
        shutil.rmtree(self.root / "work" / PROFILE / name, ignore_errors=True)
        shutil.rmtree(self.root / "work" / PROFILE / "checkpoints", ignore_errors=True)


def _trials(bench: Bench, params: Params) -> list[str]:
    return [bench.record(stages.TRIAL_STAGE, trial) for trial in stages.instances(params, stages.TRIAL_STAGE)]


def workers(bench: Bench, n_pairs: int) -> dict[str, Any]:
    """The same trials on 1, 2 and 4 workers."""
    targets, laps = _ready(bench, n_pairs), {}
    for count in WORKERS:
        bench.forget(stages.TRIAL_STAGE)
        laps[count] = bench.measure(targets, workers=count)
        bench.say(f"{len(targets)} jobs on {count} worker(s): {laps[count].wall_s:.0f} s")
    rows = [
        {"workers": n, **asdict(lap), "speed_up": laps[1].wall_s / lap.wall_s, "overhead_s": lap.overhead_s(n)}
        for n, lap in laps.items()
    ]
    return {"n_pairs": n_pairs, "n_trials": N_TRIALS, "n_seeds": len(SEEDS), "local": rows}


def _ready(bench: Bench, n_pairs: int) -> list[str]:
    """The trials of a search, everything that they need made."""
    params = bench.set(profile(n_pairs, N_TRIALS, SEEDS))
    bench.measure([bench.record(stages.WARMUP_STAGE)], workers=1)
    return _trials(bench, params)


def cluster(bench: Bench, sizes: Sequence[int]) -> dict[str, Any]:
    """The same trials on one local worker and on a cluster's nodes, by size; or why there is no cluster.

    What scheduling costs each job is by Slurm's own accounting: waiting is from submission to start, starting the
    allocation's time without the stage's own work.
    """
    rows: list[dict[str, Any]] = []
    if reason := slurm.why_not():
        return {"rows": rows, "why_not": reason}
    for n_pairs in sizes:
        targets, laps = _ready(bench, n_pairs), {}
        for where in ("local", "slurm"):
            bench.forget(stages.TRIAL_STAGE)
            laps[where] = bench.measure(targets, workers=1, where=where)
            bench.say(f"{n_pairs:,} pairs, {len(targets)} jobs, {where}: {laps[where].wall_s:.0f} s")
        hosts = [bench.field(target, "host") for target in targets]
        spent = accounting([str(host["job"]) for host in hosts])
        ran = [
            (spent[str(h["job"])], s) for h, s in zip(hosts, laps["slurm"].job_s, strict=True) if str(h["job"]) in spent
        ]
        row = {"n_pairs": n_pairs, "fit_s": float(np.median(laps["local"].job_s)) / len(SEEDS)}
        row |= {f"{where}_s": lap.wall_s for where, lap in laps.items()}
        row["nodes"] = len({host["node"] for host in hosts})
        row["waiting_s"] = float(np.median([waited for (waited, _), _ in ran])) if ran else None
        row["starting_s"] = float(np.median([took - own for (_, took), own in ran])) if ran else None
        rows.append(row | {"speed_up": laps["local"].wall_s / laps["slurm"].wall_s})
    return {"rows": rows, "why_not": ""}


def accounting(jobs: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Seconds of waiting and of running of each job, from Slurm's accounting; nothing where there is none."""
    form = "--format=JobIDRaw,Submit,Start,ElapsedRaw"
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--jobs", ",".join(jobs), form]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {}
    for job, submitted, started, elapsed in (line.split("|") for line in told.splitlines()):
        if elapsed.isdigit() and started not in ("Unknown", "None"):
            waited = np.datetime64(started) - np.datetime64(submitted)
            found[job] = (float(waited / np.timedelta64(1, "s")), float(elapsed))
    return found


def start_s(bench: Bench, n_pairs: int) -> float:
    """Processor seconds of a run before its first job: one fit's, less what each of two more adds."""
    params = bench.set(profile(n_pairs, 3, SEEDS[:1]))
    bench.measure([bench.record(stages.WARMUP_STAGE)], workers=1)
    targets, laps = _trials(bench, params), []
    for count in (1, len(targets)):
        bench.forget(stages.TRIAL_STAGE)
        laps.append(bench.measure(targets[:count], workers=1).cpu_s)
    return max(0.0, laps[0] - (laps[1] - laps[0]) / (len(targets) - 1))


def sizes(bench: Bench, n_pairs: Sequence[int]) -> dict[str, Any]:
    """Processor seconds of each part at three sizes, the model fitted on the first two, and both beside each other."""
    measured: dict[str, list[float]] = {part: [] for part in PARTS}
    for count in n_pairs:
        params = bench.set(profile(count, 1, SEEDS[:1]))
        shutil.rmtree(bench.root / "work", ignore_errors=True)
        records = [bench.record(part) for part in PARTS[:-1]] + _trials(bench, params)
        for part, target in zip(PARTS, records, strict=True):
            measured[part].append(bench.measure([target], workers=1).cpu_s)
        bench.say(f"{count:,} pairs: " + ", ".join(f"{part} {seconds[-1]:.0f} s" for part, seconds in measured.items()))
    start_cpu_s = start_s(bench, n_pairs[-1])
    first_two = {part: seconds[:2] for part, seconds in measured.items()}
    cost, whole = Cost.through(n_pairs[:2], first_two, start_cpu_s), Cost.through(n_pairs, measured, start_cpu_s)
    searches = [_search(bench, cost, n_pairs[0], n_trials, n_seeds) for n_trials, n_seeds in ((2, 1), (2, 3))]
    return {
        "n_pairs": list(n_pairs),
        "start_cpu_s": start_cpu_s,
        "measured_cpu_s": measured,
        "predicted_cpu_s": {part: [cost.alone(part, count) for count in n_pairs] for part in PARTS},
        "lines": {part: asdict(line) for part, line in whole.lines.items()},
        "searches": searches,
        "asked": asked(whole),
    }


def _search(bench: Bench, cost: Cost, n_pairs: int, n_trials: int, n_seeds: int) -> dict[str, Any]:
    """A whole search, from data to the last fit, measured and by the model."""
    params = bench.set(profile(n_pairs, n_trials, SEEDS[:n_seeds]))
    shutil.rmtree(bench.root / "work", ignore_errors=True)
    lap = bench.measure(_trials(bench, params), workers=2)
    found = {"n_pairs": n_pairs, "n_trials": n_trials, "n_seeds": n_seeds, "measured_cpu_s": lap.cpu_s}
    return {**found, "predicted_cpu_s": cost.search(n_pairs, n_trials, n_seeds)}


def asked(cost: Cost) -> dict[str, Any]:
    """On paper: what the lab's search needs, on this network and on processors like this one, in core hours."""
    fit = cost.lines["trial"].at(ASKED_PAIRS)
    return {
        "n_pairs": ASKED_PAIRS,
        "n_trials": ASKED_TRIALS,
        "once_core_h": sum(cost.lines[part].at(ASKED_PAIRS) for part in PARTS[:-1]) / 3600,
        "one_fit_core_h": fit / 3600,
        "search_core_h": cost.search(ASKED_PAIRS, ASKED_TRIALS, 1) / 3600,
        "search_of_three_seeds_core_h": cost.search(ASKED_PAIRS, ASKED_TRIALS, 3) / 3600,
    }


def bench(n_pairs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both measurements, in one clone that is removed afterwards."""
    folder = paths.WORK / "bench-scale"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        where = Bench(Path(name) / "project", say)
        found = {"workers": workers(where, n_pairs), "cluster": cluster(where, CLUSTER_SIZES)}
        return {**found, "sizes": sizes(where, SIZES)}
