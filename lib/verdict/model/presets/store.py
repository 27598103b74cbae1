"""From what was taught to a preset's folder: weights in 16 bits, model card; the command that makes presets."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.model.backend import set_threads
from verdict.workflow.start import tell


@dataclass(frozen=True)
class Made:
    """What a preset's card says: accuracy by task on data drawn afresh, what it is, was taught and has not seen."""

    scores: dict[str, float]
    about: str
    heading: str
    more: str = ""


# Called with the name of a preset, a folder that is not there yet, and `seed`: teaches it and writes it there.
Maker = Callable[..., Made]


def make(name: str, maker: Maker, out: Path, *, seed: int) -> dict[str, float]:
    """Make one preset and put its folder, with a model card, into `out` whole; gives its scores."""
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=".part", dir=out) as scratch:
        folder = Path(scratch) / name
        made = maker(name, folder, seed=seed)
        write_text(folder / "README.md", card(name, made, seed, time.perf_counter() - started))
        shutil.rmtree(out / name, ignore_errors=True)
        folder.rename(out / name)
    return made.scores


def halve(folder: Path) -> None:
    """Store weights in 16 bits: half the size in the repository; loading widens them again."""
    for path in folder.glob("*.weights.h5"):
        with h5py.File(path, "r") as source, h5py.File(path.with_suffix(".small"), "w", track_order=True) as target:

            def copy(name: str, item: h5py.Group | h5py.Dataset, target: h5py.File = target) -> None:
                if isinstance(item, h5py.Dataset):
                    data = item[()].astype(np.float16) if item.dtype == np.float32 else item[()]
                    target.create_dataset(name, data=data)
                else:
                    target.require_group(name)
                for key, value in item.attrs.items():
                    target[name].attrs[key] = value

            source.visititems(copy)
            for key, value in source.attrs.items():
                target.attrs[key] = value
        path.with_suffix(".small").replace(path)


def card(name: str, made: Made, seed: int, elapsed_s: float) -> str:
    """The preset's README: what it is, what it was taught, what it has not seen, how well it learnt."""
    rows = "\n".join(f"| {task} | {score:.4f} |" for task, score in made.scores.items())
    return (
        f"# {name}\n\n{made.about}\n\nMade by `make presets` (seed {seed}, {elapsed_s:.0f} s on one CPU thread).\n\n"
        f"| {made.heading} |\n|---|---|\n{rows}\n\n"
        f"For tests and demonstrations of this project only: it knows nothing of natural images or of English at "
        f"large.{made.more}\n"
    )


def main(presets: Mapping[str, Maker], arguments: list[str] | None = None) -> int:
    """Command line: make the chosen presets, or all of them."""
    parser = argparse.ArgumentParser(description="Make the tiny presets that the package ships.")
    parser.add_argument("--only", action="append", choices=list(presets), help="make this preset only (repeatable)")
    parser.add_argument("--out", type=Path, default=paths.PRESETS, help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    set_threads(chosen.threads)
    for name in chosen.only or presets:
        scores = make(name, presets[name], chosen.out, seed=chosen.seed)
        tell(f"{name}: " + ", ".join(f"{task} {score:.4f}" for task, score in scores.items()))
    return 0
