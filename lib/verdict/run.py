"""Run one stage: `python -m verdict.run NAME --profile PROFILE [--trial TRIAL --seed SEED]`.

A notebook is executed by Papermill into a scratch file and copied into place only when every cell has run; the stage's
`run.json` is written last. A failed notebook is kept where the message says. Only the exit code tells success:
Papermill leaves a notebook that claims success even when its kernel was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from verdict import artifacts, kernel, paths, place, stages, start
from verdict.params import Params, load_params, non_default
from verdict.result_folder import private_folder, publish, question, retire, stands
from verdict.stage import open_stage, progress
from verdict.stage_parameters import parameter_model

PROGRESS = ".progress"
KERNEL = {
    "argv": [sys.executable, "-m", "verdict.warm", start.KERNEL, "-f", "{connection_file}"],
    "display_name": "Python 3",
    "language": "python",
}
MAX_PAUSE_S = 60.0
EXECUTING = ".executing.ipynb"
FULL = (errno.ENOSPC, errno.EDQUOT)
DERIVED = ("run.json", "executed.ipynb", "inputs.json")


@contextlib.contextmanager
def device_lease(wanted: str) -> Iterator[str]:
    """Hold a device while a stage runs: "cpu", or a free one of the GPUs that CUDA shows, by a file lock.

    A single GPU that the scheduler has chosen is taken as it is. A machine without a GPU gives "cpu" for "auto".
    """
    gpus = place.visible_gpus() if wanted != "cpu" else ()
    if wanted == "cuda" and not gpus:
        raise RuntimeError("execution.device is cuda, but no CUDA device is visible here; set it to auto or cpu")
    if not gpus:
        # Keras would take what else a machine has (a Mac's GPU), whose numbers nobody has compared.
        os.environ.update(CUDA_VISIBLE_DEVICES="", KERAS_TORCH_DEVICE="cpu")
        yield "cpu"
        return
    is_chosen = len(gpus) == 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    with contextlib.nullcontext(gpus[0]) if is_chosen else _locked_gpu(gpus) as gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield f"cuda:{gpu}"


@contextlib.contextmanager
def _locked_gpu(gpus: Sequence[str]) -> Iterator[str]:
    import fcntl

    # A job of a cluster counts its own GPUs from 0.
    locks, job = Path(tempfile.gettempdir()), os.environ.get("SLURM_JOB_ID", "")
    while True:
        for gpu in gpus:
            with (locks / f"verdict-gpu-{os.getuid()}-{job}-{gpu.replace('/', '-')}.lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield gpu
                return
        time.sleep(1.0)


class _Follow:
    """Print what a stage reports of its progress while it runs, or else which section of its notebook it is at."""

    def __init__(self, source: Path, label: str):
        self.source, self.label, self.started = source, label, time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> _Follow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _loop(self) -> None:
        """Show the newest report, first after two seconds and then ever more rarely, so that none floods the log."""
        position, pause_s, before = 0, 2.0, ""
        while True:
            last_round = self._done.wait(pause_s)
            pause_s = min(1.5 * pause_s, MAX_PAUSE_S)
            news = []
            if self.source.is_file():
                with self.source.open(encoding="utf-8") as file:
                    file.seek(position)
                    news = file.readlines()
                    position = file.tell()
            told = news[-1].rstrip() if news else section(self.source.with_name(EXECUTING))
            if told and told != before:
                say(f"{self.label}  {told}  ({time.monotonic() - self.started:.0f} s)")
                before = told
            if last_round:
                return


def section(notebook: Path) -> str:
    """Where the execution of a notebook is: the heading above its running cell, and which cell of how many it is.

    "" where none is running, or the file is not whole at this moment.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return ""
    heading = ""
    for number, cell in enumerate(cells, start=1):
        first = "".join(cell["source"]).partition("\n")[0]
        if cell["cell_type"] == "markdown" and first.startswith("#"):
            heading = first.lstrip("# ")
        if cell["metadata"].get("papermill", {}).get("status") == "running":
            return f"{heading} (cell {number} of {len(cells)})"
    return ""


def say(text: str) -> None:
    """Print a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def _execute(notebook: Path, target: Path, values: dict[str, Any]) -> None:
    """Execute a notebook with Papermill in a kernel of its own, talking over sockets in a private folder."""
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
            # Everything is saved by then; kernels that are asked to end first print that they were interrupted.
            shutdown_kernel="immediate",
            config=Config({"KernelManager": {"transport": "ipc", "connection_file": f"{runtime}/kernel.json"}}),
        )


def run_stage(
    name: str, profile: str, trial: str | None = None, seed: int | None = None, shard: int | None = None
) -> Path:
    """Run one stage to its end, in a folder of its own, and put it in place with its record.

    `shard` runs one of `execution.feature_shards` parts of the features, counted from 0.

    Returns
    -------
    Path
        The stage's folder.

    Raises
    ------
    ValueError, KeyError
        If a trial or seed is missing, not wanted, or unknown; nothing has been touched then.
    """
    if (name == stages.TRIAL_STAGE) != (trial is not None and seed is not None):
        raise ValueError(f"trial and seed belong to {stages.TRIAL_STAGE}, which needs both; got {trial!r}, {seed!r}")
    params = load_params(profile)
    stages.spec(name, params)
    if trial is not None:
        params.trial(trial)
    values = _values(name, profile, trial, seed)
    n_shards = params.execution.feature_shards
    if shard is not None and not (name == stages.FEATURES and 0 <= shard < n_shards):
        raise ValueError(f"{name} has no shard {shard}; execution.feature_shards is {n_shards}, for features alone")
    home = stages.folder(profile, name, trial, seed)
    label = f"{name} {stages.instance(trial, seed)}".strip()
    if shard is not None:
        home = paths.stage_dir(profile, stages.shard_folder(shard, n_shards))
        label = f"{name} {shard + 1} of {n_shards}"
    asked = question(name, params, trial, seed)
    if stands(home, asked):
        say(f"{label}  stands: this question was answered from these inputs before")
        return home
    retire(home)
    started, clock = time.time(), time.perf_counter()
    with private_folder(home) as folder:
        progress_file = folder / PROGRESS
        os.environ["OMP_NUM_THREADS"] = str(params.execution.threads)
        start.choose_backend(params.model.backend)
        os.environ.update(VERDICT_STAGE_DIR=str(folder), VERDICT_PROGRESS=str(progress_file))
        with _full_disk(folder), device_lease(params.execution.device) as device, _Follow(progress_file, label):
            if name == stages.FEATURES:
                _run_features(params, profile, folder, shard)
            elif name == stages.SIGNALS:
                _run_signals(profile)
            elif name in stages.RUNNERS:
                module, function = stages.RUNNERS[name]
                getattr(importlib.import_module(module), function)(open_stage(name, profile))
            else:
                _run_notebook(name, folder, values, label)
        progress_file.unlink(missing_ok=True)
        device = device if (folder / place.COMPUTED_ON_GPU).exists() else "cpu"
        (folder / place.COMPUTED_ON_GPU).unlink(missing_ok=True)
        times = {"started": _moment(started), "elapsed_s": round(time.perf_counter() - clock, 3)}
        with _full_disk(folder):
            _record(asked, params, folder, home, profile=profile, device=device, **times)
            is_first = publish(folder, home)
    failure(profile, stages.page(name, trial, seed), "txt").unlink(missing_ok=True)
    after = "" if is_first else "; another run of it was done first, and its result stands"
    say(f"{label}  done in {time.perf_counter() - clock:.0f} s{after}")
    return home


def failure(profile: str, page: str, ending: str = "ipynb") -> Path:
    """Where a failed stage leaves its notebook as far as it ran, or (`txt`) what stopped it; by the page's stem."""
    return paths.work_dir(profile) / "failed" / f"{page}.{ending}"


def _values(name: str, profile: str, trial: str | None, seed: int | None) -> dict[str, Any]:
    """What the `parameters` cell of the stage's notebook is given."""
    notebook, source = stages.notebook_of(name), stages.source_of(name)
    given: dict[str, Any] = {"profile": profile}
    given |= {"trial": trial, "seed": seed} if trial is not None else {}
    given |= {"source": source} if notebook in stages.JUDGING else {}
    return parameter_model(notebook)(**given).model_dump()


@contextlib.contextmanager
def _full_disk(home: Path) -> Iterator[None]:
    """Say which file, and how many bytes, where somebody else's write meets a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or "bytes are free" in str(error):
            raise
        written = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        raise artifacts.disk_full(error, Path(error.filename or home / EXECUTING), written) from error


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _run_notebook(name: str, home: Path, values: dict[str, Any], label: str) -> None:
    scratch = home / EXECUTING
    page = stages.page(name, values.get("trial"), values.get("seed"))
    kept = failure(values["profile"], page)
    kernel.check_kernel(paths.NOTEBOOKS / f"{stages.notebook_of(name)}.ipynb")
    try:
        _execute(paths.NOTEBOOKS / f"{stages.notebook_of(name)}.ipynb", scratch, values)
    except BaseException:
        if scratch.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(scratch, kept)
            say(f"{label}  FAILED; the notebook as far as it ran is {artifacts.relative(kept)}")
        raise
    kept.unlink(missing_ok=True)
    os.replace(scratch, home / "executed.ipynb")


def _run_features(params: Params, profile: str, home: Path, shard: int | None) -> None:
    """The stage without a notebook: encode every image and hypothesis of the pair table, or put its shards together."""
    import pandas as pd

    from verdict.backend import set_threads
    from verdict.data.images import ImageStore
    from verdict.features import encode, preset_hash
    from verdict.model import FreezePlan
    from verdict.numbers import Number

    set_threads(params.execution.threads)
    stage = open_stage(stages.FEATURES, profile)
    pairs = pd.read_parquet(stage.upstream("01_data", "pairs.parquet"))
    wanted = params.execution.decode_threads
    workers = place.n_processors() if wanted == "auto" else wanted
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent, workers=workers)
    plans = [FreezePlan(*plan) for plan in stages.plans(params)]
    n_shards = params.execution.feature_shards
    counts = encode(
        params.model,
        pairs,
        images,
        plans,
        home,
        batch=params.execution.feature_batch,
        precision=params.execution.precision,
        shard=(0, 1) if shard is None else (shard, n_shards),
        shards=stage.shards(n_shards) if shard is None else (),
        views=dict(stages.views(params)),
        photometric=params.training.photometric,
        progress=progress,
    )
    for key, value in counts.items():
        stage.numbers[f"features.{key}"] = Number(value, unit="count")
    artifacts.write_json(
        home / "presets.json",
        {name: preset_hash(name) for name in (params.model.vision_preset, params.model.text_preset)},
    )
    stage.save()


def _run_signals(profile: str) -> None:
    """The other stage without a notebook: ask the kept model about changed views and about questions."""
    from verdict.probe import probe

    stage = open_stage(stages.SIGNALS, profile)
    stage.save(**probe(stage))


def _record(asked: dict[str, Any], params: Params, folder: Path, home: Path, *, profile: str, **run: Any) -> None:
    name = asked["stage"]
    inputs = [paths.ROOT / item for item in artifacts.read_json(folder / "inputs.json")]
    outputs = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in DERIVED]
    outputs = [path for path in outputs if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if name not in stages.WITHOUT_NOTEBOOK:
        outputs.append(folder / "executed.ipynb")
    artifacts.write_run(
        folder,
        home=home,
        outputs=outputs,
        inputs=inputs,
        profile=profile,
        notebook=stages.notebook_of(name),
        params_hash=params.hash,
        non_default=non_default(params),
        host=place.here(),
        command=f"make report PROFILE={profile}",
        is_smoke=params.is_smoke,
        **{key: value for key, value in asked.items() if key != "versions"},
        **run,
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.run", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=stages.ALL_NAMES, help="stage to run")
    parser.add_argument("--profile", default="digits", help="profile in params/ (default: %(default)s)")
    parser.add_argument("--trial", help="trial to run (03_staged_unfreezing only)")
    parser.add_argument("--seed", type=int, help="seed to run it with")
    parser.add_argument("--shard", type=int, help="part of the features to encode, from 0 (default: all of them)")
    chosen = parser.parse_args(arguments)
    if (chosen.name == stages.TRIAL_STAGE) != (chosen.trial is not None and chosen.seed is not None):
        parser.error(f"--trial and --seed belong to {stages.TRIAL_STAGE}, which needs both")
    try:
        run_stage(chosen.name, chosen.profile, chosen.trial, chosen.seed, chosen.shard)
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).strip()[-4000:]}"
        say(f"{chosen.name}: {text}")
        page = stages.page(chosen.name, chosen.trial, chosen.seed)
        with contextlib.suppress(OSError):
            artifacts.write_text(failure(chosen.profile, page, "txt"), text + "\n")
        return 1
    return 0


if __name__ == "__main__":
    start.settle()
    sys.exit(main())
