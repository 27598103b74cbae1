"""The bench of the whole schedule, on the CPU and small: it goes on where it stopped, and measures what it says."""

import dataclasses
import json

import numpy as np
import pytest
from tests.bench import gpu
from tests.bench.gpu import Run, Setting, measure

from bench_subject import MODEL, small_encoders
from verdict.model.backend import set_threads

SCHEDULE = (
    Run("warm-up", 0, 0, 300, 40, 2),
    Run("text", 0, 2, 200, 40, 1),
    Run("vision", 1, 3, 200, 40, 1),
)
SETTING = Setting(n_images=7, n_distinct=3, share=0.1, batch=8, feature_batch=4, decode_threads=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    set_threads(1)
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def first(home):
    """Stopped before the first run."""
    told = []
    found = measure(
        SETTING, encoders=small_encoders, model=MODEL, schedule=SCHEDULE, home=home, limit_s=-1.0, progress=told.append
    )
    return found, told


def run(home, **changes):
    setting = dataclasses.replace(SETTING, **changes)
    return measure(setting, encoders=small_encoders, model=MODEL, schedule=SCHEDULE, home=home)


def test_out_of_time_it_leaves_runs_for_later(first):
    found, told = first
    assert found["runs"] == []
    assert not found["schedule"]["is_whole"]
    assert told[-1] == "warm-up and what follows is left for the next start"


def test_it_goes_on_with_what_is_missing(first, home):
    found = run(home)
    assert [done["name"] for done in found["runs"]] == ["warm-up", "text", "vision"]
    assert found["prefix"] == first[0]["prefix"]
    assert found["schedule"]["is_whole"]
    assert found["schedule"]["epochs"] == 2 + 1 + 1
    assert found["schedule"]["elapsed_s"] == pytest.approx(
        found["prefix"]["elapsed_s"] + sum(done["elapsed_s"] for done in found["runs"])
    )
    assert run(home)["runs"] == found["runs"]


def test_it_runs_the_share_of_pairs_that_it_is_asked_for(home):
    runs = run(home)["runs"]
    assert [(done["n_train"], done["n_val"]) for done in runs] == [(30, 4), (20, 4), (20, 4)]
    for done in runs:
        assert done["pairs_per_s"] == pytest.approx(done["epochs"] * done["n_train"] / done["fit_s"])
        assert done["fit_s"] < done["elapsed_s"]


def test_files_are_many_and_few_differ(first, home):
    files = sorted((home / "jpeg").iterdir())
    contents = [file.read_bytes() for file in files]
    assert (len(files), len(set(contents))) == (7, 3)
    assert first[0]["prefix"]["mean_bytes"] == pytest.approx(np.mean([len(content) for content in contents]))


def test_the_prefix_is_half_precision_and_stored_so(first, home):
    assert first[0]["prefix"]["precision"] == "bfloat16"
    tokens = np.load(home / "features-0" / "image_tokens_0.npy")
    assert (tokens.dtype, tokens.shape) == (np.float16, (7, 7, 10))
    assert np.load(home / "features-1" / "hidden_3.npy").dtype == np.float16
    rates = ("images_per_s", "decoded_per_s", "network_per_s", "share_of_peak", "network_share_of_peak", "peak_tflops")
    assert all(first[0]["prefix"][name] > 0 for name in rates)


def test_by_default_it_is_the_published_size_in_a_folder_of_its_setting(monkeypatch, tmp_path):
    setting = gpu.default_setting()
    assert (setting.n_images, setting.share, setting.batch) == (31_783, 1.0, 32)
    monkeypatch.setattr(gpu.paths, "work_dir", lambda name: tmp_path / name)
    measure(SETTING, encoders=small_encoders, model=MODEL, schedule=SCHEDULE[:1])
    (folder,) = (tmp_path / "bench").iterdir()
    assert json.loads((folder / "prefix.json").read_text())["n_images"] == 7
