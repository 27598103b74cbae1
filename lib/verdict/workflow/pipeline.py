"""Make a profile's whole report: `python -m verdict.workflow.pipeline --profile PROFILE`. What `make report` calls.

Validates every parameter and opens every input first, lets one report of a profile run at a time, hands the graph to
Snakemake, and says where the report is, or what failed and where its notebook was kept.
"""

import argparse
import contextlib
import functools
import importlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from verdict.base import artifacts, paths
from verdict.base.params import Params, ParamsError, load_params
from verdict.workflow import integrity, place, slurm, stages, start, warm
from verdict.workflow.code_digest import code_cells
from verdict.workflow.execution import WHERES, load_execution
from verdict.workflow.remaining import keep_times, remaining
from verdict.workflow.result_folder import TWIN, failure, was_killed
from verdict.workflow.start import tell

RERUN_TRIGGERS = ("mtime", "input", "params")
STEPS = re.compile(r"\d+ of \d+ steps")
NOISE = re.compile(
    r"\[PlainKernelApp\] ERROR \| KeyboardInterrupt caught"
    r"|\s*$|\[[A-Z]\w\w [A-Z]|Assuming |Building DAG|Using shell|Provided |Rules claiming|Select jobs|Execute \d"
    r"|Finished job|host: |Complete log|Shutting down|Nothing to be done|Config file|Job stats|job +count|-{5}"
    r"|(stage_\w+|site|trial|seed|feature_shard|total) +\d"
    r"|SLURM run ID|Job \d+ has been submitted|Cleaning up SLURM|Guessed SLURM|Unable to guess|No (SLURM|partition)"
    r"|MinJobAge \d|No account was given|Trying without|Using shared|Warning: the following output files"
    r"|\S+/run\.json$|\s*sbatch call|\s*sbatch --|(local)?rule \w+:$|For further error details"
    r"| {4}(input|output|log|jobid|reason|wildcards|priority|threads|resources|shell|external_jobid): ?"
    r"| {8}exec .+ -m verdict\.| {8}\(command exited"
)
ERROR_TAIL = 12
# What opens all that a section's source names before anything runs: a function of the parameters.
CHECKS = {"data": ("verdict.data.sources", "check_inputs"), "clip": ("verdict.clip.pictures.sources", "check_inputs")}


def check_inputs(params: Params) -> None:
    """Open what a profile names, as the first stages will; an error says which file or parameter cannot be used."""
    for section, (module, function) in CHECKS.items():
        if getattr(params, section).source not in (None, stages.CLIP):
            getattr(importlib.import_module(module), function)(params)


def check_notebooks(params: Params) -> None:
    """Read the code of every notebook that a profile executes; ValueError names one that is half-written."""
    for spec in stages.specs_for(params):
        if spec.name not in stages.WITHOUT_NOTEBOOK:
            code_cells(paths.NOTEBOOKS / f"{stages.notebook_of(spec.name)}.ipynb")


@contextlib.contextmanager
def one_at_a_time(profile: str) -> Iterator[Path]:
    """Hold the profile's lock, a file; a second report of the same profile waits, and says so."""
    import fcntl

    home = paths.work_dir(profile)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        link = Path(error.filename)
        if link.is_symlink() and not link.exists():
            raise FileNotFoundError(f"{link} is a link to {link.readlink()}, a folder that does not exist") from None
        raise
    with (home / ".lock").open("w") as file:
        if not artifacts.try_lock(file):
            tell(f"another report of profile {profile!r} is being made; waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield home / ".lock"


def snakemake_command(profile: str, cores: int, targets: list[str], *, where: str = "local") -> list[str]:
    """The call of Snakemake: content and parameters decide what runs again; other jobs go on past a failed one."""
    gpus, execution = len(place.visible_gpus()), load_execution(where, profile)
    if where == "slurm":
        placed = slurm.options(execution, job_prefix(profile), paths.work_dir(profile) / "slurm")
    else:
        limits = [f"{name}={value}" for name, value in (("gpu", gpus), ("mem_mb", place.memory_mb())) if value]
        placed = [*(("--resources", *limits) if limits else ()), "--retries", str(execution.retries)]
    return [
        # It runs in the project's folder: a path in braces would be taken for a pattern.
        *start.command("snakemake", "--snakefile", "Snakefile", "--workflow-profile", "none"),
        *("--cores", str(cores), "--nolock", "--rerun-incomplete", "--keep-going"),
        # Only there do errors of a job that never started, for want of a place, not speak for themselves.
        *("--rerun-triggers", *RERUN_TRIGGERS, "--quiet", *(() if where == "slurm" else ("rules",)), "host", "reason"),
        *("--config", f"profile={profile}", f"gpus={gpus}", f"where={where}"),
        *placed,
        # What follows an option that takes several values would be taken for one more of them.
        *(("--", *targets) if targets else ()),
    ]


def job_prefix(profile: str) -> str:
    """How the jobs of this process begin their names on a cluster."""
    return f"verdict-{profile[:20]}-{os.getpid()}"


def _may_fork(where: str) -> bool:
    """Whether stages may start as forks of a process that has imported the libraries: not where it has asked for its
    GPUs, nor on macOS, whose numerical libraries do not survive a fork, nor on a cluster's nodes.
    """
    return sys.platform == "linux" and where == "local" and not place.visible_gpus()


def report(profile: str, cores: int, where: str = "local", targets: Sequence[str] = ()) -> int:
    """Run what is missing or out of date, and render the pages, of the stages that did run; with targets, make these
    records and no page. 0 when every stage ran, else Snakemake's exit status.
    """
    started = time.monotonic()
    params, log = load_params(profile), paths.work_dir(profile) / "snakemake.log"
    own = {"OMP_NUM_THREADS": str(params.execution.threads), "KERAS_BACKEND": params.model.backend}
    environment = start.environment() | own | slurm.found_commands(paths.work_dir(profile) / "slurm")
    if where == "slurm":
        environment |= slurm.plain_states(paths.work_dir(profile) / "slurm")
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(one_at_a_time(profile))
        if where == "local":
            environment |= stack.enter_context(start.run_folder(lock))
        if limits := load_execution(where, profile).slurm:
            watch = slurm.Watch(job_prefix(profile), limits.report_waiting_s, 60 * limits.give_up_minutes, tell)
            stack.enter_context(start.beside(watch.loop))
        undeclared = stages.undeclared()
        for name in undeclared:
            tell(f"{name}: {stages.UNDECLARED}; the report will not be complete")
        made_from = integrity.sources(params)
        # Who asks for some records alone is not to lose what is out of date elsewhere.
        lines = integrity.forget(params, profile, outdated=not targets)
        for line in (*lines, *integrity.settle_times(params, profile), *integrity.forget_pages(profile)):
            tell(line)
        if undeclared:
            # Whoever renders says that they are left out.
            paths.rendered(profile).unlink(missing_ok=True)
        absent = integrity.missing(params, profile)
        if targets or absent:
            more = () if params.data.is_given else warm.TRAINING_MODULES
            more += warm.CLIP_MODULES if params.clip.source else ()
            served = stack.enter_context(warm.server(environment, more)) if _may_fork(where) else environment
            whole = paths.rendered(profile).relative_to(paths.ROOT).as_posix()
            command = snakemake_command(profile, cores, list(targets) or [whole, *absent], where=where)
            status = _follow(command, served, log, functools.partial(remaining, params, profile, cores))
        else:
            status = render(profile)
        took = f"after {time.monotonic() - started:.0f} s"
        if status == 0:
            what = f"{len(targets)} record(s) are" if targets else f"report of profile {profile!r} is"
            tell(f"{what} up to date {took}")
            if not targets:
                integrity.keep_whole(params, profile, made_from)
                keep_times(params, profile)
                print(paths.report_dir(profile) / "index.html", flush=True)
        else:
            tell(f"\nthe report of profile {profile!r} is NOT complete ({took}):")
            _tell_unfinished(profile, log)
        return status


def _tell_unfinished(profile: str, log: Path) -> None:
    """Say why stages have no result, and render the pages of those that have one."""
    without_result = unfinished(profile)
    for line in (*slurm.refusals(log), *without_result):
        tell(f"  {line}")
    # Where every stage has a result, the pages were rendered, and what is wrong with them was said then.
    if without_result:
        render(profile)


def render(profile: str) -> int:
    """Render the pages here, where most of what that reads has been read; 0 where the report is whole."""
    return importlib.import_module("verdict.report.__main__").main(["--profile", profile])


def _is_up_to_date(params: Params, profile: str) -> bool:
    """Whether there is nothing to do, found without slow imports; waits for another report of the profile."""
    if not (paths.work_dir(profile) / integrity.WHOLE).is_file():
        return False
    with one_at_a_time(profile):
        return integrity.is_up_to_date(params, profile)


def _follow(command: list[str], environment: dict[str, str], log: Path, left: Callable[[], str]) -> int:
    """Run Snakemake; show what stages say, how many steps are done and how long is left, keep everything in a log."""
    told = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    process = subprocess.Popen(command, env=environment, cwd=paths.ROOT, **told)
    with process, log.open("wb", buffering=0) as file:
        try:
            for line in process.stderr or ():
                # The run goes on where the log's disk is full: what stopped a stage is said on the terminal too.
                with contextlib.suppress(OSError):
                    file.write(line.encode("utf-8"))
                if not NOISE.match(line):
                    tell(", ".join(filter(None, [line.rstrip(), left() if STEPS.match(line) else ""])))
        except BaseException:
            # It may take back what it has submitted.
            process.send_signal(start.STOP)
            start.wait_or_kill(process)
            raise
    return process.returncode


def unfinished(profile: str) -> list[str]:
    """For each stage without a result, how it ended, with what it left to read, or that it was not reached."""
    executions = stages.executions(load_params(profile))
    return [line for one in executions if not stages.finished(profile, *one) for line in _how_it_ended(profile, *one)]


def _how_it_ended(profile: str, name: str, trial: str | None) -> list[str]:
    """Why one stage has no result, with what it left to read."""
    label, page = stages.label(name, trial), stages.page(name, trial)
    kept, told = failure(profile, page), failure(profile, page, "txt")
    said = tail(told.read_text(encoding="utf-8")) if told.is_file() else []
    if kept.is_file():
        return [f"{label}: failed, see {artifacts.relative(kept)}", *said]
    log = slurm.newest_log(paths.work_dir(profile) / "slurm", name, trial)
    if log is not None:
        text = log.read_text(encoding="utf-8", errors="replace")
        return [f"{label}: killed or never started, see {artifacts.relative(log)}", *tail(text, 6, 200)]
    home = stages.folder(profile, name, trial)
    if was_killed(home):
        return [f"{label}: was killed while it ran, by hand or for want of memory"]
    if (home / TWIN).is_file():
        return [f"{label}: was killed as it ended; another run takes over what stands in {artifacts.relative(home)}"]
    return [f"{label}: failed", *said] if said else [f"{label}: not reached"]


def tail(text: str, n: int = ERROR_TAIL, width: int | None = None) -> list[str]:
    """The last lines that say something, indented and cut to a width."""
    return [f"    {line.rstrip()[:width]}" for line in text.splitlines() if line.strip()][-n:]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.workflow.pipeline", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="digits", help="profile in params/ (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=place.n_processors(), help="jobs at a time (default: %(default)s)")
    parser.add_argument("targets", nargs="*", help="records to make, such as work/digits/05_test/run.json")
    parser.add_argument("--where", choices=WHERES, default="local", help="where stages run (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if chosen.cores < 1:
        parser.error(f"at least one job runs at a time, got CORES={chosen.cores}")
    if reason := start.why_not() or (slurm.why_not() if chosen.where == "slurm" else ""):
        tell(f"nothing was run: {reason}")
        return 2
    try:
        if chosen.profile in paths.NO_PROFILES:
            raise ParamsError(f"params/{chosen.profile}.yaml is no profile; profiles are {paths.profiles()}")
        load_execution(chosen.where, chosen.profile)
        params = load_params(chosen.profile)
        if faults := stages.faults(params):
            raise ParamsError("; ".join(faults))
        if not chosen.targets and _is_up_to_date(params, chosen.profile):
            tell(f"report of profile {chosen.profile!r} is up to date: nothing to do")
            print(paths.report_dir(chosen.profile) / "index.html", flush=True)
            return 0
        check_notebooks(params)
        # What opens them takes long to import, and where pages alone are rendered again nothing reads them.
        if chosen.targets or not integrity.stand(params, chosen.profile):
            check_inputs(params)
    except (ValueError, OSError) as error:
        tell(f"nothing was run: {error}")
        return 2
    try:
        return report(chosen.profile, chosen.cores, chosen.where, chosen.targets)
    except KeyboardInterrupt:
        tell("stopped; what is done is kept, and the next run goes on from there")
        return 130
    except OSError as error:
        tell(f"stopped: {error}")
        return 2


if __name__ == "__main__":
    start.settle()
    sys.exit(main())
