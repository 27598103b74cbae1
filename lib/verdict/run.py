"""Run one stage: `python -m verdict.run NAME --profile PROFILE [--trial TRIAL --seed SEED]`.

A notebook is executed by Papermill into a scratch file and copied into place only when every cell has run; the stage's
`run.json` is written last. A failed notebook is kept where the message says. Only the exit code tells success:
Papermill leaves a notebook that claims success even when its kernel was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verdict import artifacts, paths
from verdict import stage as stages
from verdict.params import Params, load_params, non_default

DERIVED = ("run.json", "executed.ipynb", "inputs.json")


@contextlib.contextmanager
def device_lease(wanted: str) -> Iterator[str]:
    """Hold a device while a stage runs: "cpu", or a free GPU's index by a file lock.

    Where the scheduler has set CUDA_VISIBLE_DEVICES, its choice stands. A machine without a GPU gives "cpu" for "auto".
    """
    count = gpu_count() if wanted != "cpu" else 0
    if wanted == "cuda" and count == 0:
        raise RuntimeError("execution.device is cuda, but no CUDA device is visible here; set it to auto or cpu")
    if count == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield "cpu"
        return
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        yield f"cuda:{os.environ['CUDA_VISIBLE_DEVICES']}"
        return
    with _locked_gpu(count) as index:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(index)
        yield f"cuda:{index}"


def gpu_count() -> int:
    """GPUs that this process may use, found without importing a framework."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return 0
    devices = list(Path("/dev").glob("nvidia[0-9]*"))
    return len(visible.split(",")) if visible else len(devices)


@contextlib.contextmanager
def _locked_gpu(count: int) -> Iterator[int]:
    import fcntl

    locks = Path(tempfile.gettempdir())
    while True:
        for index in range(count):
            with (locks / f"verdict-gpu-{os.getuid()}-{index}.lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield index
                return
        time.sleep(1.0)


class _Follow:
    """Print what a stage reports of its progress while it runs."""

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
        """Show the newest report every two seconds, so that fast stages do not flood the terminal."""
        position = 0
        while True:
            last_round = self._done.wait(2.0)
            if self.source.is_file():
                with self.source.open(encoding="utf-8") as file:
                    file.seek(position)
                    news = file.readlines()
                    position = file.tell()
                if news:
                    say(f"{self.label}  {news[-1].rstrip()}  ({time.monotonic() - self.started:.0f} s)")
            if last_round:
                return


def say(text: str) -> None:
    """Print a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def _execute(notebook: Path, target: Path, values: dict[str, Any]) -> None:
    """Execute a notebook with Papermill in a kernel of its own, talking over sockets in a private folder."""
    import papermill
    from traitlets.config import Config

    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(paths.LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    with tempfile.TemporaryDirectory(prefix="verdict-") as runtime:
        os.environ["JUPYTER_RUNTIME_DIR"] = runtime
        os.environ["IPYTHONDIR"] = str(Path(runtime) / "ipython")
        papermill.execute_notebook(
            str(notebook),
            str(target),
            parameters=values,
            kernel_name="python3",
            cwd=str(paths.ROOT),
            progress_bar=False,
            log_output=False,
            config=Config({"KernelManager": {"transport": "ipc", "connection_file": f"{runtime}/kernel.json"}}),
        )


def run_stage(name: str, profile: str, trial: str | None = None, seed: int | None = None) -> Path:
    """Run one stage to its end and write its record.

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
    home = stages.folder(profile, name, trial, seed)
    home.mkdir(parents=True, exist_ok=True)
    label = f"{name} {stages.instance(trial, seed)}".strip()
    _clear(home)
    started, clock = time.time(), time.perf_counter()
    progress_file = home / ".progress"
    os.environ["OMP_NUM_THREADS"] = str(params.execution.threads)
    os.environ.update(VERDICT_STAGE_DIR=str(home), VERDICT_PROGRESS=str(progress_file), OMP_WAIT_POLICY="PASSIVE")
    with device_lease(params.execution.device) as device, _Follow(progress_file, label):
        if name == stages.FEATURES:
            _run_features(params, profile, home)
        elif name == stages.SIGNALS:
            _run_signals(profile)
        elif name in stages.RUNNERS:
            module, function = stages.RUNNERS[name]
            getattr(importlib.import_module(module), function)(stages.open_stage(name, profile))
        else:
            _run_notebook(name, home, values, label)
    progress_file.unlink(missing_ok=True)
    _record(name, params, home, values, device, started, time.perf_counter() - clock)
    say(f"{label}  done in {time.perf_counter() - clock:.0f} s")
    return home


def _values(name: str, profile: str, trial: str | None, seed: int | None) -> dict[str, Any]:
    """What the `parameters` cell of the stage's notebook is given."""
    notebook, source = stages.notebook_of(name), stages.source_of(name)
    given: dict[str, Any] = {"profile": profile}
    given |= {"trial": trial, "seed": seed} if trial is not None else {}
    given |= {"source": source} if notebook in stages.JUDGING else {}
    return stages.parameter_model(notebook)(**given).model_dump()


def _clear(home: Path) -> None:
    """Remove what an earlier execution left, record first, so that nothing of it can pass for this one's output."""
    for stale in sorted(home.iterdir(), key=lambda path: path.name != "run.json"):
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink(missing_ok=True)


def _run_notebook(name: str, home: Path, values: dict[str, Any], label: str) -> None:
    scratch = home / ".executing.ipynb"
    try:
        _execute(paths.NOTEBOOKS / f"{stages.notebook_of(name)}.ipynb", scratch, values)
    except BaseException:
        kept = paths.work_dir(values["profile"]) / "failed" / f"{label.replace(' ', '-')}.ipynb"
        if scratch.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(scratch, kept)
            say(f"{label}  FAILED; the notebook as far as it ran is {artifacts.relative(kept)}")
        raise
    for leftover in (paths.work_dir(values["profile"]) / "failed").glob(f"{label.replace(' ', '-')}.ipynb"):
        leftover.unlink()
    os.replace(scratch, home / "executed.ipynb")


def _run_features(params: Params, profile: str, home: Path) -> None:
    """The stage without a notebook: encode every image and hypothesis of the pair table."""
    import pandas as pd

    from verdict.backend import set_threads
    from verdict.data.images import ImageStore
    from verdict.features import encode, preset_hash
    from verdict.model import FreezePlan
    from verdict.numbers import Number

    set_threads(params.execution.threads)
    stage = stages.open_stage(stages.FEATURES, profile)
    pairs = pd.read_parquet(stage.upstream("01_data", "pairs.parquet"))
    wanted = params.execution.decode_threads
    workers = len(os.sched_getaffinity(0)) if wanted == "auto" else wanted
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent, workers=workers)
    plans = [FreezePlan(*plan) for plan in stages.plans(params)]
    counts = encode(
        params.model,
        pairs,
        images,
        plans,
        home,
        batch=params.execution.feature_batch,
        precision=params.execution.precision,
        views=dict(stages.views(params)),
        photometric=params.training.photometric,
        progress=stages.progress,
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

    stage = stages.open_stage(stages.SIGNALS, profile)
    stage.save(**probe(stage))


def _record(
    name: str, params: Params, home: Path, values: dict[str, Any], device: str, started: float, elapsed_s: float
) -> None:
    inputs = [paths.ROOT / item for item in artifacts.read_json(home / "inputs.json")]
    outputs = [path for path in sorted(home.rglob("*")) if path.is_file() and path.name not in DERIVED]
    outputs = [path for path in outputs if not any(part.startswith(".") for part in path.relative_to(home).parts)]
    if name not in stages.WITHOUT_NOTEBOOK:
        outputs.append(home / "executed.ipynb")
    trial, seed = values.get("trial"), values.get("seed")
    artifacts.write_run(
        home,
        outputs=outputs,
        inputs=inputs,
        profile=values["profile"],
        stage=name,
        notebook=stages.notebook_of(name),
        trial=trial,
        seed=seed,
        params=stages.resolved(params, name, trial, seed),
        params_hash=params.hash,
        code=stages.code_digest(name),
        non_default=non_default(params),
        device=device,
        host={"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        elapsed_s=round(elapsed_s, 3),
        command=f"make report PROFILE={values['profile']}",
        is_smoke=params.is_smoke,
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m verdict.run", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=stages.ALL_NAMES, help="stage to run")
    parser.add_argument("--profile", default="digits", help="profile in params/ (default: %(default)s)")
    parser.add_argument("--trial", help="trial to run (03_staged_unfreezing only)")
    parser.add_argument("--seed", type=int, help="seed to run it with")
    chosen = parser.parse_args(arguments)
    if (chosen.name == stages.TRIAL_STAGE) != (chosen.trial is not None and chosen.seed is not None):
        parser.error(f"--trial and --seed belong to {stages.TRIAL_STAGE}, which needs both")
    try:
        run_stage(chosen.name, chosen.profile, chosen.trial, chosen.seed)
    except Exception as error:
        text = str(error).strip()
        say(f"{chosen.name}: {type(error).__name__}: {text[-4000:]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
