"""The kept model's answers: given again, to pixels in the study's range (D04), and beside the study's maps (D09).

The study's wrapper for attention maps fuses words and image, and then gives the head the class token of the words from
before the fusion: the image decides the map, and nothing of the answer that is printed beside it. In the study every
word asked for the image, not the class token alone, which changes the maps and not the answers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import EXACT
from verdict.model.backend import keras
from verdict.model.features import Features
from verdict.model.kept import KeptModel
from verdict.model.network import FreezePlan, Network, build_suffix
from verdict.model.predict import RAW, logits_of, two_class
from verdict.model.trials import shuffle_images
from verdict.pages.defects.answers import Effect, f1_of, measure
from verdict.pages.reproducibility import compare_again
from verdict.workflow.stage import Stage


def features_of(model: KeptModel, image_ids: np.ndarray, to_pixels: Callable[[np.ndarray], np.ndarray]) -> Features:
    """The stored features with the tokens of these images, any number of times each, computed again by `to_pixels`."""
    names = pd.unique(np.asarray(image_ids, dtype=object))
    return model.seen(names, (to_pixels(model.pictures(part)) for part in model.parts(names)))


def again(stage: Stage, model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """`reproducibility.compare_again` of pairs, answered from their pixels on; a few hundred images are in memory at a
    time.
    """
    names, logit, done = pd.unique(pairs["image_id"]), np.empty(len(pairs)), 0
    for shown in model.parts(names):
        rows = np.flatnonzero(pairs["image_id"].isin(set(shown)))
        logit[rows] = model.logits(pairs.iloc[rows], features_of(model, shown, model.encoders.pixels))
        done += len(shown)
        stage.progress(f"answered again {done:,}/{len(names):,} images")
    return compare_again(stage, two_class(logit), logits_of(rows_of(table, pairs)))


def rows_of(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Predictions of some pairs, in their order."""
    return table.set_index("pair_id", drop=False).loc[pairs["pair_id"]].reset_index(drop=True)


def compared(stage: Stage, rows: pd.DataFrame, ours: np.ndarray, defect: np.ndarray) -> Effect:
    """Macro-F1 of two sets of logits of CONTRADICTION, (n,), for the same rows of a prediction table."""
    y_true = rows["y_true"].to_numpy()
    return measure(stage, rows, *(f1_of(y_true, RAW.decide(two_class(logit))) for logit in (ours, defect)))


def zero_to_one(images: np.ndarray) -> np.ndarray:
    """The study's pixels, uint8 → [0, 1], whatever range the encoder was trained on. Wrong for its preset."""
    return images.astype(np.float32) / 255


def pixel_ranges(model: KeptModel, pairs: pd.DataFrame) -> pd.DataFrame:
    """The range of what reaches the vision encoder, as the preset wants it and as the study gave it."""
    images, rows = model.pictures(pd.unique(pairs["image_id"])), []
    for name, to_pixels in (("the preset's own", model.encoders.pixels), ("zero to one", zero_to_one)):
        pixels = to_pixels(images)
        extremes = {"lowest": float(pixels.min()), "mean": float(pixels.mean()), "highest": float(pixels.max())}
        rows.append({"pixels": name, **extremes})
    return pd.DataFrame(rows)


def scale_effect(stage: Stage, model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """Macro-F1 of the kept model as it is, and shown pixels in the study's range."""
    rows = rows_of(table, pairs)
    logit = model.logits(pairs, features_of(model, pairs["image_id"].to_numpy(), zero_to_one))
    return compared(stage, rows, logits_of(rows)[:, 1], logit)


def build_published_wrapper(network: Network, plan: FreezePlan) -> keras.Model:
    """The study's wrapper around a trained network; inputs as `model.build_suffix`, outputs `logit` (b, 1), `attention`
    (b, heads, 1, n_tokens), and `xattn_norm` (b, 1, d), the fused token, which the wrapper's head never sees.
    """
    watched = build_suffix(network, plan, watched=("take_cls_token", "attention", "xattn_norm"))
    states, head = dict(watched.output), network.head
    unfused = states.pop("take_cls_token")
    logit = head["logit"](head["drop_1"](head["mlp_1"](head["flatten_cls"](unfused))))
    return keras.Model(watched.input, {**states, "logit": logit}, name="published_wrapper")


def wrapper_logits(model: KeptModel, wrapper: keras.Model, pairs: pd.DataFrame) -> np.ndarray:
    """Logits of the study's wrapper, (n,)."""
    return model.outputs(wrapper, pairs)["logit"][:, 0].astype(np.float64)


def attention_effect(stage: Stage, model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """Macro-F1 of the kept model and of the answers that the study's wrapper would print beside its maps.

    Numbers `defect.attention.logit_change` and `.model_logit_change` (largest absolute change of a logit when each pair
    is shown another pair's image) and `.agreement` (share of pairs on which wrapper and model agree).
    """
    wrapper = build_published_wrapper(model.network, model.plan)
    other = shuffle_images(pairs, stage.rng("defects.shuffle"))
    rows, shared = rows_of(table, pairs), {"n": len(pairs), "split": str(Split.TEST)}
    shown, model_shown = wrapper_logits(model, wrapper, pairs), logits_of(rows)[:, 1]
    moved = np.abs(shown - wrapper_logits(model, wrapper, other)).max()
    stage.number("defect.attention.logit_change", moved, kind=EXACT, **shared)
    moved = np.abs(model_shown - model.logits(other)).max()
    stage.number("defect.attention.model_logit_change", moved, kind=EXACT, **shared)
    agree = RAW.decide(two_class(shown)) == RAW.decide(two_class(model_shown))
    share = stage.resampler(rows["group_id"].to_numpy()).mean(agree, span=(0, 1))
    stage.numbers["defect.attention.agreement"] = share.number(unit="%", **shared)
    return compared(stage, rows, model_shown, shown)
