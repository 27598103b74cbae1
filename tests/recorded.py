"""Recorded logits that tests read where they are present; see the data folder's own notes for source and licence."""

import os
from pathlib import Path

import numpy as np
import pytest


def recorded_logits(split):
    """Logits (n, 10) and class ids (n,) of a ResNet-50 on CIFAR-10, "val" or "test"."""
    folder = os.environ.get("VERDICT_DATA")
    path = Path(folder or ".") / "recorded_cifar10" / f"resnet50_{split}_logits.npz"
    if not folder or not path.is_file():
        pytest.skip(
            f"recorded logits are absent: set VERDICT_DATA to the folder that holds recorded_cifar10/{path.name}"
        )
    with np.load(path) as content:
        return content["logits"].astype(np.float64), content["labels"].ravel().astype(np.int64)
