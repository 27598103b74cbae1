"""Tensorflow in the place of torch: the same tests of training and attributions hold, and a whole report runs."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from report_runs import PROFILE, copy_project, report
from verdict.base import paths
from verdict.base.artifacts import read_run
from verdict.base.numbers import Numbers
from verdict.workflow import start

pytestmark = pytest.mark.slow

# Steps, losses and stored states; resuming after a kill, to the bit; what stays frozen; gradients by input.
SHARED = (
    "tests/model/test_optimise.py",
    "tests/model/test_fit.py::test_a_killed_run_goes_on_to_the_same_bits[2-0]",
    "tests/model/test_fit.py::test_frozen_weights_do_not_change_by_a_bit[plan2]",
    "tests/model/test_integrated_gradients.py",
)
# Whatever the backend, these are of the same pairs and weights that were trained alike.
COMPARED = ("test.accuracy", "test.macro_f1", "test.nll")


def test_what_holds_on_torch_holds_on_tensorflow():
    search = os.pathsep.join([str(paths.LIBRARY.parent), str(paths.ROOT / "tests")])
    chosen = {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "--rootdir", str(paths.ROOT), *SHARED]
    environment = start.environment() | chosen
    done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_smoke_report_runs_on_tensorflow_and_scores_as_on_torch(tmp_path):
    root = copy_project(tmp_path / "other")
    profile = root / "params" / f"{PROFILE}.yaml"
    profile.write_text(profile.read_text(encoding="utf-8") + "\nmodel: {backend: tensorflow}\n", encoding="utf-8")
    done = report(root)
    assert done.returncode == 0, done.stderr[-4000:]
    work = root / "work" / PROFILE
    assert read_run(work / "02_warmup")["params"]["model"]["backend"] == "tensorflow"
    found = Numbers.load(work / "05_test" / "numbers.json")
    torch = pd.read_csv(paths.ROOT / "reports" / "verified" / "smoke.csv", keep_default_na=False)
    torch = torch[torch["stage"] == "05_test"].set_index("number")
    for name in COMPARED:
        # Backends draw their own dropout and first weights, which an interval over images does not cover.
        theirs = torch.loc[name]
        assert found[name].low <= float(theirs["high"]) and float(theirs["low"]) <= found[name].high, name
    largest = Numbers.load(work / "13_reproducibility" / "numbers.json")["repro.logit_difference"]
    assert largest.value < 1e-4
