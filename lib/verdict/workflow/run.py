"""Run one stage: `python -m verdict.workflow.run NAME --profile PROFILE [--trial TRIAL]`.

A notebook is executed by Papermill in a private folder, which is put in place when every cell has run and the record is
written. Only the exit code tells success: a notebook claims it even when its kernel was killed.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from verdict.base import artifacts, paths
from verdict.base.params import Params, load_params, non_default
from verdict.workflow import kernel, place, stages, start
from verdict.workflow.result_folder import failure, private_folder, publish, question, retire, stands
from verdict.workflow.stage_parameters import parameter_model
from verdict.workflow.start import tell

PROGRESS = ".progress"
EXECUTING = ".executing.ipynb"
KERNEL = {
    "argv": [sys.executable, "-m", "verdict.workflow.warm", start.KERNEL, "-f", "{connection_file}"],
    "display_name": "Python 3",
    "language": "python",
}
MAX_PAUSE_S = 60.0


@contextlib.contextmanager
def device_lease(wanted: str) -> Iterator[str]:
    """Hold a device while a stage runs: "cpu", or a free one of the GPUs that CUDA shows, by a file lock; a single one
    that the scheduler has chosen is taken as it is.
    """
    gpus = place.visible_gpus() if wanted != "cpu" else ()
    if wanted == "cuda" and not gpus:
        raise RuntimeError("execution.device is cuda, but no CUDA device is visible here; set it to auto or cpu")
    if not gpus:
        # Keras would use other devices, such as a Mac's GPU; their numbers have not been compared.
        os.environ.update(CUDA_VISIBLE_DEVICES="", KERAS_TORCH_DEVICE="cpu")
        yield "cpu"
        return
    is_chosen = len(gpus) == 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    with contextlib.nullcontext(gpus[0]) if is_chosen else _locked_gpu(gpus) as gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield f"cuda:{gpu}"


@contextlib.contextmanager
def _locked_gpu(gpus: Sequence[str]) -> Iterator[str]:
    # A job of a cluster counts its own GPUs from 0.
    locks, job = Path(tempfile.gettempdir()), os.environ.get("SLURM_JOB_ID", "")
    while True:
        for gpu in gpus:
            with (locks / f"verdict-gpu-{os.getuid()}-{job}-{gpu.replace('/', '-')}.lock").open("w") as file:
                if artifacts.try_lock(file):
                    yield gpu
                    return
        time.sleep(1.0)


@contextlib.contextmanager
def _followed(folder: Path, label: str, notebook: Path, begun: Sequence[Any]) -> Iterator[None]:
    """Tell, at growing intervals, what a stage reports of its progress, or else the section of its notebook."""
    started = time.monotonic()
    # Papermill adds one with the parameters.
    n_cells = len(artifacts.read_json(notebook)["cells"]) + 1 if notebook.is_file() else 0

    def follow(done: threading.Event) -> None:
        pause_s, is_last = 2.0, False
        n_read, last_told = 0, ""
        while not is_last:
            is_last = done.wait(pause_s)
            pause_s = min(1.5 * pause_s, MAX_PAUSE_S)
            reports = folder / PROGRESS
            lines = reports.read_text(encoding="utf-8").splitlines() if reports.is_file() else []
            text = lines[-1] if len(lines) > n_read else section(begun, n_cells)
            n_read = len(lines)
            if text and text != last_told:
                tell(f"{label}  {text}  ({time.monotonic() - started:.0f} s)")
                last_told = text

    with start.beside(follow):
        yield


def section(begun: Sequence[Any], n_cells: int) -> str:
    """The last heading of the cells that have begun, and how many of all they are; "" before the first."""
    firsts = [cell["source"].partition("\n")[0] for cell in begun if cell["cell_type"] == "markdown"]
    heading = next((first.lstrip("# ") for first in reversed(firsts) if first.startswith("#")), "")
    return f"{heading} (cell {len(begun)} of {n_cells})" if begun else ""


def _execute(notebook: Path, target: Path, values: dict[str, Any], begun: list[Any]) -> None:
    """Execute a notebook with Papermill in a kernel of its own, talking over sockets in a private folder; each cell is
    added to `begun` before it runs. The notebook is saved when all have run, or one has failed.
    """
    import papermill
    from traitlets.config import Config

    with start.scratch() as runtime:
        names = ("JUPYTER_RUNTIME_DIR", "JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
        os.environ.update(dict.fromkeys(names, str(runtime)))
        artifacts.write_json(runtime / "kernels" / kernel.KERNEL / "kernel.json", KERNEL)
        papermill.execute_notebook(
            # Papermill takes a path for a pattern that parameters fill in.
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, target)),
            parameters=values,
            kernel_name=kernel.KERNEL,
            language=kernel.LANGUAGE,
            cwd=str(paths.ROOT),
            progress_bar=False,
            log_output=False,
            # It would be written twice a cell, as large as it has become.
            request_save_on_cell_execute=False,
            on_cell_start=lambda cell, cell_index: begun.append(cell),
            # Everything is saved by then; kernels that are asked to end first print that they were interrupted.
            shutdown_kernel="immediate",
            config=Config({"KernelManager": {"transport": "ipc", "connection_file": f"{runtime}/kernel.json"}}),
        )


def run_stage(
    name: str, profile: str, trial: str | None = None, seed: int | None = None, shard: int | None = None, **given: str
) -> Path:
    """Run one stage to its end, and put its folder in place with its record.

    `shard` runs one of `execution.feature_shards` parts of the features, counted from 0; `seed` trains one seed of a
    trial ahead, whose job then finds its state; `given` are further parameters of its notebook. ValueError, KeyError if
    a stage, trial, shard or seed is unknown; nothing has been touched then.
    """
    params = load_params(profile)
    home, label, runner = _job(params, profile, name, trial, seed, shard)
    notebook, asked = paths.NOTEBOOKS / f"{stages.notebook_of(name)}.ipynb", question(name, params, trial)
    if stands(home, asked):
        tell(f"{label}  stands: this question was answered from these inputs before")
        return home
    retire(home)
    started, clock = time.time(), time.perf_counter()
    with private_folder(home) as folder, artifacts.told_when_full(folder / EXECUTING, folder):
        os.environ.update(VERDICT_STAGE_DIR=str(folder), VERDICT_PROGRESS=str(folder / PROGRESS))
        os.environ["OMP_NUM_THREADS"] = str(params.execution.threads)
        start.choose_backend(params.model.backend)
        begun: list[Any] = []
        with device_lease(params.execution.device) as device, _followed(folder, label, notebook, begun):
            if runner is not None:
                from verdict.workflow.stage import open_stage

                opened = open_stage(name, profile, trial=trial, seed=seed, shard=shard)
                getattr(importlib.import_module(runner[0]), runner[1])(opened)
            else:
                _run_notebook(name, profile, trial, folder, notebook, begun, **given)
        has_used_gpu = (folder / place.COMPUTED_ON_GPU).exists()
        run = {
            "device": device if has_used_gpu else "cpu",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "elapsed_s": round(time.perf_counter() - clock, 3),
        }
        _record(asked, params, folder, home, profile=profile, **run)
        is_first = publish(folder, home)
    failure(profile, stages.page(name, trial), "txt").unlink(missing_ok=True)
    after = "" if is_first else "; another run of it was done first, and its result stands"
    tell(f"{label}  done in {time.perf_counter() - clock:.0f} s{after}")
    return home


def _job(
    params: Params, profile: str, name: str, trial: str | None, seed: int | None, shard: int | None
) -> tuple[Path, str, tuple[str, str] | None]:
    """Folder and label of an execution, and the function that it calls, None for a notebook; errors as `run_stage`."""
    stages.spec(name, params)
    if trial is not None:
        params.trial(trial)
    n_shards = params.execution.feature_shards
    if shard is not None and not (name == stages.FEATURES and 0 <= shard < n_shards):
        raise ValueError(f"{name} has no shard {shard}; execution.feature_shards is {n_shards}, for features alone")
    if seed is not None and (trial is None or seed not in stages.seeds(params, trial)):
        raise ValueError(f"{stages.label(name, trial)} has no seed {seed}")
    if shard is not None:
        home = paths.stage_dir(profile, stages.shard_folder(shard, n_shards))
        return home, f"{name} {shard + 1} of {n_shards}", stages.RUNNERS[name]
    if seed is not None:
        home = paths.stage_dir(profile, stages.seed_folder(str(trial), seed))
        return home, f"{stages.label(name, trial)} seed {seed}", stages.SEED_RUNNER
    return stages.folder(profile, name, trial), stages.label(name, trial), stages.RUNNERS.get(name)


def _run_notebook(
    name: str, profile: str, trial: str | None, folder: Path, notebook: Path, begun: list[Any], **further: str
) -> None:
    model, given = parameter_model(notebook.stem), {"profile": profile, **further}
    if trial is not None:
        given["trial"] = trial
    if "source" in model.model_fields:
        given["source"] = stages.source_of(name)
    values = model(**given).model_dump()
    scratch = folder / EXECUTING
    kept = failure(profile, stages.page(name, trial))
    kernel.check_kernel(notebook)
    try:
        _execute(notebook, scratch, values, begun)
    except BaseException:
        if begun and not scratch.is_file():
            artifacts.write_json(scratch, {"cells": begun, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        if scratch.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(scratch, kept)
            label = stages.label(name, trial)
            tell(f"{label}  FAILED; the notebook as far as it ran is {artifacts.relative(kept)}")
        raise
    kept.unlink(missing_ok=True)
    os.replace(scratch, folder / "executed.ipynb")


def _record(asked: dict[str, Any], params: Params, folder: Path, home: Path, *, profile: str, **run: Any) -> None:
    """Write `run.json` with the hashes of whatever the stage has left, hidden files apart, which are removed."""
    for hidden in (PROGRESS, place.COMPUTED_ON_GPU):
        (folder / hidden).unlink(missing_ok=True)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "inputs.json"]
    outputs = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    artifacts.write_run(
        folder,
        home=home,
        outputs=outputs,
        inputs=[paths.ROOT / item for item in artifacts.read_json(folder / "inputs.json")],
        profile=profile,
        notebook=stages.notebook_of(asked["stage"]),
        params_hash=params.hash,
        non_default=non_default(params),
        host=place.here(),
        command=f"make {stages.MONITOR if asked['stage'] == stages.MONITOR else 'report'} PROFILE={profile}",
        is_smoke=params.is_smoke,
        **asked,
        **run,
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.workflow.run", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=stages.ALL_NAMES, help="stage to run")
    parser.add_argument("--profile", default="digits", help="profile in params/ (default: %(default)s)")
    parser.add_argument("--trial", help="trial to run (03_staged_unfreezing only)")
    parser.add_argument("--seed", type=int, help="train this seed of it ahead (default: all of them, and its page)")
    parser.add_argument("--shard", type=int, help="part of the features to encode, from 0 (default: all of them)")
    chosen = parser.parse_args(arguments)
    if (chosen.name == stages.TRIAL_STAGE) != (chosen.trial is not None):
        parser.error(f"--trial belongs to {stages.TRIAL_STAGE}, which needs it")
    told = failure(chosen.profile, stages.page(chosen.name, chosen.trial), "txt")
    # What an earlier run told is not this one's.
    told.unlink(missing_ok=True)
    try:
        run_stage(chosen.name, chosen.profile, chosen.trial, chosen.seed, chosen.shard)
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).strip()[-4000:]}"
        tell(f"{chosen.name}: {text}")
        with contextlib.suppress(OSError):
            artifacts.write_text(told, text + "\n")
        return 1
    return 0


if __name__ == "__main__":
    start.settle()
    sys.exit(main())
