"""Keras and keras-hub with the backend chosen, and without tensorflow where torch does the work.

Keras and keras-hub import tensorflow for `tf.data` pipelines, which are not used here; hiding it saves several
seconds in each of the many short processes of a report.
"""

from __future__ import annotations

import os
import sys

from verdict import start

os.environ.setdefault("KERAS_BACKEND", "torch")
# What a user has configured for Keras, such as half precision or channels first, is not for this package.
os.environ["KERAS_HOME"] = start.environment()["KERAS_HOME"]

if os.environ["KERAS_BACKEND"] == "torch":
    for _name in ("tensorflow", "tensorflow_text"):
        sys.modules.setdefault(_name, None)  # type: ignore[arg-type]

import keras
import keras_hub

__all__ = ["has_gpu", "keras", "keras_hub", "set_threads"]


def set_threads(n: int) -> None:
    """Set the number of threads of the numerical backend.

    Two busy processes with two threads each slow each other down.
    """
    os.environ["OMP_NUM_THREADS"] = str(n)
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(n)


def has_gpu() -> bool:
    """Whether the backend computes on a CUDA device."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))
