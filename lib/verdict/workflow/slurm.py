"""Slurm: how Snakemake submits there, and a watch over jobs that wait for something that will not come."""

import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from verdict.base.artifacts import write_text
from verdict.workflow.execution import Execution
from verdict.workflow.stages import FEATURES, TRIAL_STAGE, rule_name

# Reasons of a waiting job that more patience does not change: nothing that is up can take it, or somebody holds it.
UNPLACEABLE = (
    *("ReqNodeNotAvail", "Nodes required for job are DOWN", "BadConstraints", "PartitionNodeLimit", "NodeDown"),
    *("PartitionTimeLimit", "PartitionDown", "PartitionInactive", "PartitionConfig", "AccountNotAllowed"),
    *("InvalidAccount", "InvalidQOS", "JobHeld", "launch failed requeued held"),
)
EVERY_S = 5.0
SAY_AGAIN_S = 300.0


class SlurmError(RuntimeError):
    """Slurm is not there, or does not answer."""


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SlurmError(f"{' '.join(command)}: {str(getattr(error, 'stderr', '') or error).strip()}") from None


def why_not() -> str:
    """Why jobs cannot be submitted from here; "" where they can."""
    if shutil.which("sbatch") is None:
        return "sbatch is not on this machine"
    try:
        nodes = _ask("sinfo", "--noheader", "--Node", "--format=%N")
    except SlurmError as error:
        return str(error)
    return "" if nodes.strip() else "sinfo lists no node"


def options(execution: Execution, prefix: str, log: Path) -> list[str]:
    """Options with which Snakemake submits to Slurm; names of jobs begin with the prefix.

    States come from accounting only where there is one: without it `sacct` answers nothing, and a run would never end.
    """
    own = execution.slurm
    asked = {"slurm_account": own.account, "slurm_partition": own.partition}
    has_accounting = "accounting_storage/none" not in _ask("scontrol", "show", "config")
    named = [f"{key}={value}" for key, value in asked.items() if value]
    return [
        *("--executor", "slurm", "--jobs", str(execution.jobs), "--retries", str(execution.retries)),
        *("--latency-wait", str(execution.latency_s), "--slurm-no-requeue", "--slurm-jobname-prefix", prefix),
        *("--slurm-init-seconds-before-status-checks", str(own.first_check_s), "--slurm-logdir", str(log)),
        *("--slurm-status-command", "sacct" if has_accounting else "squeue"),
        *(("--default-resources", *named) if named else ()),
    ]


def plain_states(folder: Path) -> dict[str, str]:
    """Variables that put a wrapper of the accounting command, if there is one, into the path.

    It removes from states who caused them: the executor takes a job that is "CANCELLED by 0" for one that still runs.
    """
    real = shutil.which("sacct")
    if real is None:
        return {}
    script = folder / "bin" / "sacct"
    if Path(real) != script:
        cut = "sed -E 's/CANCELLED by [^|]*/CANCELLED/'"
        text = f'#!/bin/sh\nfound=$({shlex.quote(real)} "$@") || exit $?\nprintf \'%s\\n\' "$found" | {cut}\n'
        write_text(script, text)
        script.chmod(0o755)
    return _first_in_path(script)


def found_commands(folder: Path) -> dict[str, str]:
    """Variables that put a `which` into the path where the system has none: Snakemake's executors ask it as they are
    imported, on any machine.
    """
    if shutil.which("which"):
        return {}
    write_text(script := folder / "bin" / "which", '#!/bin/sh\ncommand -v "$1"\n')
    script.chmod(0o755)
    return _first_in_path(script)


def _first_in_path(script: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([str(script.parent.resolve()), os.environ.get("PATH", os.defpath)])}


def newest_log(folder: Path, stage: str, trial: str | None) -> Path | None:
    """What Slurm logged last of a stage, or of a job for a part of it, that did not succeed; None without any."""
    whole = f"rule_{rule_name(stage)}" if trial is None else f"rule_trial/{trial}"
    part = {FEATURES: r"rule_feature_shard/\d+", TRIAL_STAGE: rf"rule_seed/{trial}_\d+"}.get(stage, whole)
    own = re.compile(f"({whole}|{part})/[^/]+")
    found = [path for path in folder.glob("rule_*/**/*.log") if own.fullmatch(path.relative_to(folder).as_posix())]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def refusals(log: Path) -> list[str]:
    """Why Slurm refused jobs, by the log of a run, each cause once; nothing where it took all."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    causes = dict.fromkeys(re.findall(r"sbatch failed\. The error message was '(.*?)'\.?$", text, re.MULTILINE))
    return [f"Slurm refused jobs: {cause[:300]}; params/execution/slurm/ says what they ask for" for cause in causes]


def unplaceable(text: str, prefix: str) -> dict[str, tuple[str, str]]:
    """Jobs of one run that nothing can take, from lines `job|name|comment|reason` of squeue: by number what each is
    for, as the executor's comment says it, and why Slurm lets it wait.
    """
    stuck = {}
    jobs = (line.strip().split("|", 3) for line in text.splitlines() if line.count("|") >= 3)
    for job, name, comment, bracketed in jobs:
        reason = bracketed.strip("()")
        if name.startswith(f"{prefix}_") and reason.startswith(UNPLACEABLE):
            rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
            stuck[job] = (f"{rule.removeprefix('stage_')} {wildcards.replace('_', ' ')}".strip(), reason)
    return stuck


@dataclass
class Watch:
    """Report jobs that nothing can take, and cancel them when they have waited long enough."""

    prefix: str
    report_after_s: float
    give_up_after_s: float
    say: Callable[[str], None]
    _since: dict[str, float] = field(default_factory=dict)
    _said: dict[str, float] = field(default_factory=dict)

    def loop(self, over: threading.Event) -> None:
        """Look every few seconds until the run is over."""
        while not over.wait(EVERY_S):
            try:
                listed = _ask("squeue", "--noheader", "--states=PENDING", "--format=%i|%j|%k|%r")
                for job in self.look(unplaceable(listed, self.prefix), now=time.monotonic()):
                    _ask("scancel", job)
            except SlurmError as error:
                over.wait(30)
                self.say(f"the watch over waiting jobs: {error}")

    def look(self, stuck: Mapping[str, tuple[str, str]], *, now: float) -> list[str]:
        """Say what is stuck, as `unplaceable` gives it; return the jobs to cancel. `now` is of a monotonic clock."""
        self._since = {job: self._since.get(job, now) for job in stuck}
        given_up = []
        for job, (what, reason) in stuck.items():
            waited = now - self._since[job]
            if waited >= self.give_up_after_s:
                self.say(f"{what} (job {job}) is given up after {waited:.0f} s: {reason}")
                given_up.append(job)
            elif waited >= self.report_after_s and now - self._said.get(job, -SAY_AGAIN_S) >= SAY_AGAIN_S:
                self._said[job] = now
                self.say(f"{what} (job {job}) cannot be placed, for {waited:.0f} s now: {reason}")
        return given_up
