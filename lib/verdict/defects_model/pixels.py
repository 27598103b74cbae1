"""Pixels in the study's range (D04): [0, 1], whatever range the vision encoder was trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from verdict.defects.effects import Effect
from verdict.defects_model.rebuilt import Rebuilt, compared, rows_of
from verdict.predict import logits_of
from verdict.stage import Stage


def zero_to_one(images: np.ndarray) -> np.ndarray:
    """The study's pixels, uint8 → [0, 1], whatever range the encoder was trained on. Wrong for its preset."""
    return images.astype(np.float32) / 255


def pixel_ranges(model: Rebuilt, pairs: pd.DataFrame) -> pd.DataFrame:
    """The range of what reaches the vision encoder, as the preset wants it and as the study gave it."""
    images = model.images.load(list(pd.unique(pairs["image_id"])), size=model.encoders.image_size)
    rows = []
    for name, to_pixels in (("the preset's own", model.encoders.pixels), ("zero to one", zero_to_one)):
        pixels = to_pixels(images)
        extremes = {"lowest": float(pixels.min()), "mean": float(pixels.mean()), "highest": float(pixels.max())}
        rows.append({"pixels": name, **extremes})
    return pd.DataFrame(rows)


def scale_effect(stage: Stage, model: Rebuilt, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """macro-F1 of the kept model as it is, and shown pixels in the study's range."""
    rows = rows_of(table, pairs)
    logit = model.logits(pairs, model.features_of(pairs["image_id"].to_numpy(), zero_to_one))
    return compared(stage, rows, logits_of(rows)[:, 1], logit)
