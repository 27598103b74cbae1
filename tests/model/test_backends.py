"""Tensorflow in the place of torch: the same pixels and logits, and the same tests of training and attributions hold.

A whole report runs on it in `tests/test_end_to_end.py`.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

import tiny_network as tiny
from tiny_presets import SIZE, save_presets
from verdict.base import paths
from verdict.model.backend import keras
from verdict.model.features import load_encoders
from verdict.workflow import start

pytestmark = pytest.mark.slow

# Steps, losses and stored states; resuming after a kill, to the bit; what stays frozen; gradients by input.
SHARED = (
    "tests/model/test_optimise.py",
    "tests/model/test_fit.py::test_a_killed_run_goes_on_to_the_same_bits[2-0]",
    "tests/model/test_fit.py::test_frozen_weights_do_not_change_by_a_bit[plan1]",
    "tests/model/test_integrated_gradients.py::test_attributions_sum_to_the_change_of_the_margin",
    "tests/model/test_integrated_gradients.py::test_a_path_of_pixels_alone_ends_where_the_whole_network_does",
)
PLANS = [(0, 0), (0, 2), (1, 2), (3, 3)]
IMAGES, TEXTS = np.array([0, 2, 2, 1, 0, 2, 1]), np.array([4, 0, 3, 3, 1, 2, 4])
# Logits of given weights and inputs, pixels of given images; then the shared tests, in the same process.
OTHER_BACKEND = """
import sys
import numpy as np
import pytest
import tiny_network as tiny
from verdict.model.backend import keras, keras_hub
from verdict.model.network import FreezePlan
from verdict.model.fit import load_weights

assert keras.backend.backend() == "tensorflow"
stored = dict(np.load(sys.argv[1]))
take = lambda kind: {name.split(":", 1)[1]: array for name, array in stored.items() if name.startswith(kind + ":")}
network = tiny.tiny_network(seed=99)
load_weights(network, take("weight"))
rows = stored["images"], stored["texts"]
found = {"whole": tiny.whole(network, take("input"), *rows)}
for plan in stored["plans"].tolist():
    found["_".join(map(str, plan))] = tiny.in_two_steps(network, FreezePlan(*plan), take("input"), *rows)
found["pixels"] = np.asarray(keras_hub.layers.ImageConverter.from_preset(sys.argv[3])(stored["shown"]))
np.savez(sys.argv[2], **found)
sys.exit(pytest.main(sys.argv[4:]))
"""


@pytest.fixture(scope="module")
def network():
    return tiny.scatter(tiny.tiny_network())


@pytest.fixture(scope="module")
def inputs(network):
    return tiny.random_inputs(network, 5)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    return save_presets(tmp_path_factory.mktemp("vision"), tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def other_backend(network, inputs, presets, images, tmp_path_factory):
    """How a process with tensorflow ended, and the logits and pixels that it gave."""
    folder = tmp_path_factory.mktemp("backend")
    weights = {f"weight:{name}": array for name, array in tiny.weights_of(network).items()}
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    rows = {"images": IMAGES, "texts": TEXTS, "plans": np.array(PLANS), "shown": images}
    np.savez(folder / "in.npz", **rows, **weights, **arrays)
    search = os.pathsep.join([str(paths.LIBRARY.parent), str(paths.ROOT / "tests")])
    chosen = {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", OTHER_BACKEND, str(folder / "in.npz"), str(folder / "out.npz")]
    command += [presets.vision_preset, "--rootdir", str(paths.ROOT), *SHARED]
    environment = start.environment() | chosen
    done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (folder / "out.npz").is_file(), done.stderr[-3000:]
    return done, dict(np.load(folder / "out.npz"))


def test_what_holds_on_torch_holds_on_tensorflow(other_backend):
    done, _ = other_backend
    assert done.returncode == 0, done.stdout[-4000:]


def test_both_backends_give_the_same_logits_and_split_exactly(network, inputs, other_backend):
    _, found = other_backend
    assert keras.backend.backend() == "torch"
    assert found["whole"] == pytest.approx(tiny.whole(network, inputs, IMAGES, TEXTS), abs=1e-5)
    for plan in PLANS:
        assert found["_".join(map(str, plan))] == pytest.approx(found["whole"], abs=1e-5), plan


def test_pixels_equal_the_converters_own_call(presets, images, other_backend):
    """The converter needs TensorFlow, which the report does not import for one product and one sum."""
    assert load_encoders(presets).pixels(images) == pytest.approx(other_backend[1]["pixels"], abs=1e-6)
