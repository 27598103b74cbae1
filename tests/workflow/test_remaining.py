"""How long a report still takes, from how long its stages took before."""

import pytest

from empty_project import make_project
from verdict.base import paths
from verdict.base.artifacts import write_json, write_run, write_text
from verdict.base.params import load_params
from verdict.workflow import stages
from verdict.workflow.remaining import TIMES, keep_times, longest_ways, remaining, times_of


@pytest.fixture
def params(tmp_path, monkeypatch):
    root = make_project(tmp_path, monkeypatch)
    monkeypatch.setattr(paths, "REPORTS", root / "reports")
    return load_params("smoke")


def finish(name, trial=None, *, elapsed_s):
    folder = stages.folder("smoke", name, trial)
    write_text(folder / "numbers.json", "{}")
    shared = {"stage": name, "trial": trial, "elapsed_s": elapsed_s}
    write_run(folder, outputs=[folder / "numbers.json"], inputs=[], **shared)


def test_nothing_is_said_where_nothing_is_known(params):
    assert remaining(params, "smoke", 2) == ""
    write_json(paths.published_dir("smoke") / TIMES, {"14_gone": 600.0})
    assert remaining(params, "smoke", 2) == ""


def test_what_is_left_is_weighed_by_the_pace_so_far(params):
    write_json(paths.published_dir("smoke") / TIMES, {"01_data": 10.0, "05_test": 240.0, "features": 30.0})
    assert remaining(params, "smoke", 2) == "about 2 min left"
    finish("01_data", elapsed_s=40.0)
    assert remaining(params, "smoke", 1) == "about 18 min left"
    finish("05_test", elapsed_s=240.0)
    assert remaining(params, "smoke", 1) == "less than a minute left"


def test_the_last_run_here_comes_before_the_copy_in_git(params):
    write_json(paths.published_dir("smoke") / TIMES, {"05_test": 6000.0})
    for name, trial in stages.executions(params):
        finish(name, trial, elapsed_s=60.0)
    keep_times(params, "smoke")
    (stages.folder("smoke", stages.TRIAL_STAGE, "text1") / "run.json").unlink()
    assert remaining(params, "smoke", 1) == "about 1 min left"
    runs = [{"stage": "a", "trial": None, "elapsed_s": 1.0}, {"stage": "b", "trial": "t", "elapsed_s": 2.0}]
    assert times_of(runs) == {"a": 1.0, "b t": 2.0}


@pytest.mark.parametrize("content", ["{", "[]", '{"05_test": "soon"}'])
def test_times_that_cannot_be_read_stop_no_run(params, content):
    write_text(paths.work_dir("smoke") / TIMES, content)
    assert remaining(params, "smoke", 1) == ""


def test_whoever_more_waits_for_goes_first(params):
    write_json(paths.published_dir("smoke") / TIMES, {"features": 30.0, "03_staged_unfreezing vision1_augmented": 90.0})
    ways = longest_ways(params, "smoke")
    assert ways.keys() == {stages.label(*execution) for execution in stages.executions(params)}
    # Selection and the four pages after it take a second each, as do the warm-up and the parent of the slowest trial.
    assert ways["13_reproducibility"] == 1.0
    after = ways["04_model_selection"]
    assert ways["03_staged_unfreezing vision1_augmented"] == 90.0 + after
    assert ways["03_staged_unfreezing image_only"] == 1.0 + after
    assert ways["03_staged_unfreezing frozen"] == 1.0 + 90.0 + after
    assert ways["01_data"] == 1.0 + ways["features"] == 1.0 + 30.0 + 1.0 + ways["03_staged_unfreezing frozen"]
    assert ways["10_clip_probes"] < ways["clip_embeddings"] < ways["features"]
