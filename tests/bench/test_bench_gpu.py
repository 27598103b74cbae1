"""The bench of the whole schedule, on the CPU and small: it goes on where it stopped, and measures what it says."""

import numpy as np
import pytest
from tests.bench import gpu
from tests.bench.gpu import Run, Setting, measure
from tests.bench.limits import Machine
from tests.bench.records import page, provenance

from bench_subject import MODEL, small_encoders
from verdict.model.backend import set_threads

SCHEDULE = (
    Run("warm-up", 0, 0, 300, 40, 2),
    Run("text", 0, 2, 200, 40, 1),
    Run("vision", 1, 3, 200, 40, 1),
)
SETTING = Setting(n_images=7, n_distinct=3, share=0.1, batch=8, feature_batch=4, decode_threads=2)
SMALL = {"encoders": small_encoders, "model": MODEL, "schedule": SCHEDULE}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Stopped before the first run: what was found and told, and the folder of its setting."""
    set_threads(1)
    work, told = tmp_path_factory.mktemp("work"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu.paths, "work_dir", lambda name: work / name)
        # Half precision is slow where no processor has it: its products would take longer than all else.
        patch.setattr(gpu, "measure_machine", lambda **_: Machine(1e12, 1e11))
        found = measure(SETTING, limit_s=-1.0, progress=told.append, **SMALL)
    (home,) = (work / "bench").iterdir()
    return found, told, home


@pytest.fixture(scope="module")
def home(first):
    return first[2]


@pytest.fixture(scope="module")
def whole(home):
    return measure(SETTING, home=home, **SMALL)


def test_by_default_it_is_the_published_size():
    setting = gpu.default_setting()
    assert (setting.n_images, setting.share, setting.batch) == (31_783, 1.0, 32)


def test_out_of_time_it_leaves_runs_for_later(first):
    found, told, _ = first
    assert found["runs"] == []
    assert not found["schedule"]["is_whole"]
    assert told[-1] == "warm-up and what follows is left for the next start"
    text = page({"gpu": {"results": found, "provenance": provenance("x", 1, 0.0)}})
    assert "runs are missing" in text and "7 synthetic JPEG files" in text


def test_it_goes_on_with_what_is_missing(first, home, whole):
    assert [done["name"] for done in whole["runs"]] == ["warm-up", "text", "vision"]
    assert whole["prefix"] == first[0]["prefix"]
    assert whole["schedule"]["is_whole"]
    assert whole["schedule"]["epochs"] == 2 + 1 + 1
    elapsed = whole["prefix"]["elapsed_s"] + sum(done["elapsed_s"] for done in whole["runs"])
    assert whole["schedule"]["elapsed_s"] == pytest.approx(elapsed)
    assert measure(SETTING, home=home, **SMALL)["runs"] == whole["runs"]
    whole["schedule"]["elapsed_s"] = 360.0
    text = page({"gpu": {"results": whole, "provenance": provenance("x", 1, 0.0)}})
    assert "| vision | 1 image block and 3 text blocks trained | 20 | 1 |" in text
    assert "360 s; published: about 10 h on a T4, 100 times as long" in text


def test_it_runs_the_share_of_pairs_that_it_is_asked_for(whole):
    assert [(done["n_train"], done["n_val"]) for done in whole["runs"]] == [(30, 4), (20, 4), (20, 4)]
    for done in whole["runs"]:
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
