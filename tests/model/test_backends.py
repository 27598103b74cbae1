"""Tensorflow in the place of torch: the same tests of training and attributions hold.

A whole report runs on it in `tests/test_end_to_end_sources.py`.
"""

import os
import subprocess
import sys

import pytest

from verdict.base import paths
from verdict.workflow import start

pytestmark = pytest.mark.slow

# Steps, losses and stored states; resuming after a kill, to the bit; what stays frozen; gradients by input.
SHARED = (
    "tests/model/test_optimise.py",
    "tests/model/test_fit.py::test_a_killed_run_goes_on_to_the_same_bits[2-0]",
    "tests/model/test_fit.py::test_frozen_weights_do_not_change_by_a_bit[plan2]",
    "tests/model/test_integrated_gradients.py",
)


def test_what_holds_on_torch_holds_on_tensorflow():
    search = os.pathsep.join([str(paths.LIBRARY.parent), str(paths.ROOT / "tests")])
    chosen = {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "--rootdir", str(paths.ROOT), *SHARED]
    environment = start.environment() | chosen
    done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
