"""Keras and keras-hub on the backend that KERAS_BACKEND names, torch or tensorflow, and what differs between the two.

Keras and keras-hub import TensorFlow and its texts for `tf.data` pipelines, which are not used here; what the backend
does not need is hidden, which saves several seconds in each of the many short processes of a report.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from verdict.workflow import start

os.environ.setdefault("KERAS_BACKEND", "torch")
# What a user has configured for Keras, such as half precision or channels first, is not for this package.
os.environ["KERAS_HOME"] = start.environment()["KERAS_HOME"]
if os.environ["KERAS_BACKEND"] == "torch":
    for _name in ("tensorflow", "tensorflow_text"):
        sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
    import torch
else:
    sys.modules.setdefault("tensorflow_text", None)  # type: ignore[arg-type]
    # A process takes the GPU memory that it needs, not all of it.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    import tensorflow

import keras
import keras_hub

IS_TORCH = keras.backend.backend() == "torch"
if not IS_TORCH:
    # A seed gives one result; and Keras leaves XLA aside, which compiles anew for every size of a batch.
    tensorflow.config.experimental.enable_op_determinism()

__all__ = ["gradients", "has_gpu", "keras", "keras_hub", "set_threads"]


def set_threads(n: int) -> None:
    """Set the number of threads; tensorflow heeds it until it has computed something.

    Two busy processes with two threads each slow each other down.
    """
    os.environ["OMP_NUM_THREADS"] = str(n)
    if IS_TORCH:
        torch.set_num_threads(n)
    else:
        with contextlib.suppress(RuntimeError):
            tensorflow.config.threading.set_intra_op_parallelism_threads(n)
            tensorflow.config.threading.set_inter_op_parallelism_threads(n)


def has_gpu() -> bool:
    """Whether the backend computes on a CUDA device."""
    return torch.cuda.is_available() if IS_TORCH else bool(tensorflow.config.list_physical_devices("GPU"))


def gradients(function: Callable[..., Any], points: Sequence[Any]) -> list[Any]:
    """Gradients of a function's value, a scalar tensor, by each of its arguments, which are tensors."""
    if IS_TORCH:
        leaves = [point.detach().requires_grad_() for point in points]
        return list(torch.autograd.grad(function(*leaves), leaves))
    with tensorflow.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(points)
        value = function(*points)
    return tape.gradient(value, list(points))
