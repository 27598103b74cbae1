"""The whole published schedule on one machine, at full size, on synthetic photographs: made for a GPU.

Every image and hypothesis goes once through its frozen prefixes (bfloat16 on a GPU), then every run of the study trains
its suffix for as many epochs on as many pairs as it did. What is done is kept under `work/`, so that a bench that was
cut off goes on with the runs that are missing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tests.bench.limits import blank_inputs, counted, measure_machine
from tests.bench.subjects import PUBLISHED, fitted, full_size_encoders, network_on, random_pairs, write_photographs

from verdict.base import paths
from verdict.base.artifacts import content_hash, read_json, sha256_file, write_json
from verdict.base.files.images import ImageStore, write_folder_store
from verdict.base.params import FitParams, ModelParams
from verdict.model.backend import has_gpu, keras
from verdict.model.features import Encoders, Features, encode
from verdict.model.fit import Rows, predict_logits
from verdict.model.network import FreezePlan, build_suffix, vision_prefix
from verdict.workflow import place

PUBLISHED_S = 10 * 3600.0
# Training and validation pairs of A2, of its oversampled training set, and of SNLI-VE's balanced subset.
A2, A2_VAL, OVERSAMPLED, SNLI_VE, SNLI_VE_VAL = 31_340, 3_922, 36_265, 100_000, 11_898


@dataclass(frozen=True)
class Run:
    """One of the study's training runs: what trained, on how many pairs, for how many epochs."""

    name: str
    vision_blocks: int
    text_blocks: int
    n_train: int
    n_val: int
    epochs: int

    @property
    def plan(self) -> FreezePlan:
        """What trains."""
        return FreezePlan(self.vision_blocks, self.text_blocks)


# One warm-up and twelve trials, 37 epochs. Vision trials train one block, which the study meant to.
SCHEDULE = (
    Run("warm-up", 0, 0, SNLI_VE, SNLI_VE_VAL, 5),
    Run("frozen", 0, 0, A2, A2_VAL, 5),
    Run("two text blocks", 0, 2, A2, A2_VAL, 6),
    *(Run(f"search, two text blocks, {k}", 0, 2, A2, A2_VAL, 2) for k in (1, 2, 3)),
    *(Run(f"search, three text blocks, {k}", 0, 3, A2, A2_VAL, 2) for k in (1, 2, 3)),
    *(Run(f"search, vision, two text blocks, {k}", 1, 2, A2, A2_VAL, 2) for k in (1, 2)),
    Run("search, vision, three text blocks", 1, 3, A2, A2_VAL, 2),
    Run("oversampled", 0, 3, OVERSAMPLED, A2_VAL, 3),
)


@dataclass(frozen=True)
class Setting:
    """How large everything is.

    Attributes
    ----------
    n_images : int
        JPEG files; `n_distinct` of them differ, the others are copies.
    share : float in (0, 1]
        Of the schedule's pairs.
    precision : {"bfloat16", "float32"}
        Of the prefixes.
    """

    n_images: int = 31_783
    n_distinct: int = 2_048
    share: float = 1.0
    batch: int = 32
    feature_batch: int = 256
    precision: str = "bfloat16"
    decode_threads: int = 1


FIT = FitParams(learning_rate=5e-5, weight_decay=1e-5, dropout=0.15, epochs=1, patience=1, schedule="constant")


def default_setting() -> Setting:
    """The published size, with every core decoding; float32 where there is no GPU."""
    return Setting(precision="bfloat16" if has_gpu() else "float32", decode_threads=place.n_processors())


@dataclass(frozen=True)
class Bench:
    """A schedule at a setting, with a folder that keeps its features and results.

    Attributes
    ----------
    encoders : callable
        Takes a Keras dtype policy as `dtype`; gives fresh backbones with random weights.
    """

    setting: Setting
    encoders: Callable[..., Encoders]
    model: ModelParams
    schedule: tuple[Run, ...]
    home: Path
    progress: Callable[[str], None]

    def n_pairs(self, run: Run) -> tuple[int, int]:
        """Training and validation pairs of a run."""
        return tuple(max(2, int(n * self.setting.share)) for n in (run.n_train, run.n_val))

    def pairs(self) -> pd.DataFrame:
        """As many pairs as the largest run needs, training and validation together, hypotheses all distinct."""
        image_ids = [f"photo-{k:05d}" for k in range(self.setting.n_images)]
        n = max(self.setting.n_images, *(sum(self.n_pairs(run)) for run in self.schedule))
        return random_pairs(image_ids, n, rng=np.random.default_rng(0)).assign(split="train")

    def store(self) -> ImageStore:
        """Synthetic JPEG files, as they are or made."""
        setting, home = self.setting, self.home
        if not (home / "store" / "images.parquet").is_file():
            self.progress(f"writing {setting.n_images:,} JPEG files")
            how = {"seed": 0, "n_distinct": setting.n_distinct, "threads": setting.decode_threads}
            files = write_photographs(home / "jpeg", setting.n_images, **how)
            write_folder_store(home / "store", files, {name: sha256_file(path) for name, path in files.items()})
        return ImageStore.open(home / "store", workers=setting.decode_threads)

    def prefix(self, pairs: pd.DataFrame, store: ImageStore) -> dict[str, Any]:
        """Encode everything once for each depth of vision; rates of the whole, of decoding and of the network alone."""
        setting, spans, began = self.setting, [], time.perf_counter()
        used = self.encoders(dtype="mixed_bfloat16" if setting.precision == "bfloat16" else "float32")
        for depth in sorted({run.vision_blocks for run in self.schedule}):
            plans = [run.plan for run in self.schedule if run.vision_blocks == depth]
            started, last = time.perf_counter(), [0.0]

            def told(text: str, last: list[float] = last) -> None:
                if text.startswith("images"):
                    last[0] = time.perf_counter()
                self.progress(text)

            folder, batch = self.home / f"features-{depth}", setting.feature_batch
            encode(self.model, pairs, store, plans, folder, batch=batch, encoders=used, progress=told)
            spans.append(last[0] - started)
        elapsed, network = time.perf_counter() - began, network_on(used, self.model, dropout=FIT.dropout)
        whole = vision_prefix(network, [0])
        flops = counted(lambda: whole(blank_inputs(network)["pixels"], training=False))
        alone = _network_rate(whole, used, setting.feature_batch)
        peak = measure_machine(device="cuda" if has_gpu() else "cpu", dtype=setting.precision).flops_per_s
        return {
            "n_images": len(store.ids),
            "mean_bytes": float(np.mean([path.stat().st_size for path in (self.home / "jpeg").iterdir()])),
            "precision": setting.precision,
            "elapsed_s": elapsed,
            "images_per_s": len(store.ids) / spans[0],
            "decoded_per_s": _decoding_rate(store, used),
            "network_per_s": alone,
            "peak_tflops": peak / 1e12,
            "share_of_peak": flops * len(store.ids) / spans[0] / peak,
            "network_share_of_peak": flops * alone / peak,
        }

    def train(self, run: Run, pairs: pd.DataFrame) -> dict[str, Any]:
        """One run from building its network to the predictions of its kept epoch."""
        started = time.perf_counter()
        keras.utils.set_random_seed(0)
        network = network_on(self.encoders(dtype="float32"), self.model, dropout=FIT.dropout)
        features = Features.open(self.home / f"features-{run.vision_blocks}", run.plan)
        n_train, n_val = self.n_pairs(run)
        train, val = (Rows.of(features, part) for part in (pairs[:n_train], pairs[-n_val:]))
        (self.home / "state.npz").unlink(missing_ok=True)
        fitting = time.perf_counter()
        chosen = FIT.model_copy(update={"epochs": run.epochs, "patience": run.epochs})
        fitted(network, run.plan, features, train, val, chosen, seed=0, batch=self.setting.batch, folder=self.home)
        fit_s = time.perf_counter() - fitting
        predict_logits(build_suffix(network, run.plan), features, val)
        elapsed = time.perf_counter() - started
        del network
        gc.collect()
        asked = {**asdict(run), "n_train": n_train, "n_val": n_val}
        return {**asked, "elapsed_s": elapsed, "fit_s": fit_s, "pairs_per_s": run.epochs * n_train / fit_s}


def measure(
    setting: Setting,
    *,
    encoders: Callable[..., Encoders] = full_size_encoders,
    model: ModelParams = PUBLISHED,
    schedule: tuple[Run, ...] = SCHEDULE,
    home: Path | None = None,
    limit_s: float = float("inf"),
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run what is missing, and sum up all that is done.

    Parameters
    ----------
    home : Path, optional
        Where features and results are kept; by default a folder under `work/` that belongs to the setting.
    limit_s : float
        No further run begins after so many seconds.
    """
    began = time.perf_counter()
    asked = content_hash([asdict(setting), model.model_dump(), [asdict(run) for run in schedule]])
    home = home or paths.work_dir("bench") / f"gpu-{asked[:12]}"
    model = model.model_copy(update={"feature_dtype": "float16"})
    bench = Bench(setting, encoders, model, schedule, home, progress)
    pairs, store = bench.pairs(), bench.store()
    prefix = _once(home / "prefix.json", lambda: bench.prefix(pairs, store))
    done = []
    for run in schedule:
        path = home / "runs" / f"{content_hash(asdict(run))[:12]}.json"
        if not path.is_file() and time.perf_counter() - began > limit_s:
            progress(f"{run.name} and what follows is left for the next start")
            break
        done.append(_once(path, lambda run=run: bench.train(run, pairs)))
        progress(f"{run.name}: {done[-1]['elapsed_s']:.1f} s, {done[-1]['pairs_per_s']:,.0f} pairs/s")
    whole = {
        "elapsed_s": prefix["elapsed_s"] + sum(run["elapsed_s"] for run in done),
        "epochs": sum(run["epochs"] for run in done),
        "n_runs": len(done),
        "is_whole": len(done) == len(schedule),
        "published_s": PUBLISHED_S,
    }
    device = torch.cuda.get_device_name() if has_gpu() else "a CPU"
    return {"device": device, "setting": asdict(setting), "prefix": prefix, "runs": done, "schedule": whole}


def _once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result that was kept, or else computed and kept."""
    if not path.is_file():
        write_json(path, compute())
    return read_json(path)


def _decoding_rate(store: ImageStore, encoders: Encoders, n: int = 1024) -> float:
    """Images a second from JPEG files to arrays of the encoder's size."""
    chosen, started = list(store.ids)[:n], time.perf_counter()
    store.load(chosen, size=encoders.image_size)
    return len(chosen) / (time.perf_counter() - started)


def _network_rate(prefix: keras.Model, encoders: Encoders, batch: int, n_batches: int = 10) -> float:
    """Images a second through the vision prefix alone, pixels and outputs staying on the device."""
    wait = torch.cuda.synchronize if has_gpu() else lambda: None
    pixels = keras.ops.convert_to_tensor(np.zeros((batch, *encoders.image_size, 3), dtype=np.float32))
    with torch.no_grad():
        for number in range(n_batches + 2):
            if number == 2:
                wait()
                started = time.perf_counter()
            prefix(pixels, training=False)
        wait()
    return n_batches * batch / (time.perf_counter() - started)
