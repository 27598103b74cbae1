"""The study's wrapper for attention maps, on a trained network's own layers (D09).

It fuses words and image, and then gives the head the class token of the words from before the fusion: the image decides
the map, and nothing of the answer that is printed beside it. In the study every word asked for the image, not the class
token alone, which changes the maps and not the answers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from verdict.backend import keras
from verdict.defects.effects import Effect
from verdict.defects_model.rebuilt import Rebuilt, compared, rows_of
from verdict.evaluation import RAW
from verdict.labels import Split
from verdict.model import FreezePlan, Network, build_suffix
from verdict.numbers import EXACT
from verdict.predict import logits_of
from verdict.stage import Stage
from verdict.train import PREDICT_BATCH, Batches, Rows, two_class
from verdict.training import shuffle_images


def build_published_wrapper(network: Network, plan: FreezePlan) -> keras.Model:
    """The wrapper around a trained network.

    Inputs as `model.build_suffix`; outputs `logit` (b, 1), `attention` (b, heads, 1, n_tokens), the map, and
    `xattn_norm` (b, 1, d), the fused token, which the wrapper's head never sees.
    """
    watched = build_suffix(network, plan, watched=("take_cls_token", "attention", "xattn_norm"))
    states, head = dict(watched.output), network.head
    unfused = states.pop("take_cls_token")
    logit = head["logit"](head["drop_1"](head["mlp_1"](head["flatten_cls"](unfused))))
    return keras.Model(watched.input, {**states, "logit": logit}, name="published_wrapper")


def wrapper_logits(model: Rebuilt, wrapper: keras.Model, pairs: pd.DataFrame) -> np.ndarray:
    """Logits of the study's wrapper, (n,)."""
    batches = Batches(model.features, Rows.of(model.features, pairs), np.arange(len(pairs)), PREDICT_BATCH, blank=False)
    parts = [wrapper.predict_on_batch(batches[i][0])["logit"][:, 0] for i in range(len(batches))]
    return np.concatenate(parts).astype(np.float64)


def attention_effect(stage: Stage, model: Rebuilt, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """Macro-F1 of the kept model and of the answers that the study's wrapper would print beside its maps.

    Numbers `defect.attention.logit_change` and `.model_logit_change` (largest absolute change of a logit when each
    pair is shown another pair's image) and `.agreement` (share of pairs on which wrapper and model agree).
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
