"""The study's wrapper for attention maps, on a trained network's own layers (D09).

It fuses words and image, and then gives the head the class token of the words from before the fusion: the image decides
the map, and nothing of the answer that is printed beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from verdict.backend import keras
from verdict.defects.effects import Effect
from verdict.defects_model.rebuilt import Rebuilt, compared, rows_of
from verdict.evaluation import RAW, mean_interval
from verdict.labels import Split
from verdict.model import FreezePlan, Network, TakeRows, build_suffix
from verdict.predict import logits_of
from verdict.stage import Stage
from verdict.train import Batches, Rows, two_class
from verdict.training import shuffle_images

STREAM = {"shuffle": 95, "share": 96}
BATCH = 256


@keras.saving.register_keras_serializable("verdict")
class EveryTokenAsks(keras.layers.Layer):
    """a trained attention layer asked by every word, though only the class token asked in training."""

    def __init__(self, attention: keras.layers.MultiHeadAttention | None = None, **settings: Any):
        super().__init__(**settings)
        self.attention = attention

    def call(self, words, image_tokens):  # noqa: D102
        return keras.layers.MultiHeadAttention.call(self.attention, words, image_tokens, return_attention_scores=True)


def build_published_wrapper(network: Network, plan: FreezePlan) -> keras.Model:
    """The wrapper around a trained network.

    Inputs as `model.build_suffix`; outputs `logit` (b, 1), `fused` (b, n_words, d), which no answer uses, and `scores`
    (b, heads, n_words, n_tokens). Without trained text blocks the only stored word is the class token.
    """
    suffix, head = build_suffix(network, plan), network.head
    inputs = dict(suffix.input)
    tokens, words = inputs["image_tokens"], inputs["hidden"]
    for block in network.vision_layers[len(network.vision_layers) - plan.vision_blocks :]:
        tokens = block(tokens)
    if plan.vision_blocks:
        tokens = network.vision.get_layer("vit_encoder").layer_norm(tokens)
    for block in network.text_layers[len(network.text_layers) - plan.text_blocks :]:
        words = block(words, padding_mask=inputs["padding_mask"])
    words = TakeRows(name="words_of_pair")(words, inputs["a_text_rows"])
    tokens = TakeRows(name="tokens_of_pair")(tokens, inputs["a_image_rows"])
    attended, scores = EveryTokenAsks(head["xattn"], name="every_token_asks")(words, tokens)
    fused = head["xattn_norm"](head["xattn_residual"]([words, attended]))
    query = head["take_cls_token"](words)
    logit = head["logit"](head["drop_1"](head["mlp_1"](head["flatten_cls"](query))))
    return keras.Model(inputs, {"logit": logit, "fused": fused, "scores": scores}, name="published_wrapper")


def wrapper_logits(model: Rebuilt, wrapper: keras.Model, pairs: pd.DataFrame) -> np.ndarray:
    """Logits of the study's wrapper, (n,)."""
    batches = Batches(model.features, Rows.of(model.features, pairs), np.arange(len(pairs)), BATCH, blank=False)
    parts = [wrapper.predict_on_batch(batches[i][0])["logit"][:, 0] for i in range(len(batches))]
    return np.concatenate(parts).astype(np.float64)


def attention_effect(stage: Stage, model: Rebuilt, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """macro-F1 of the kept model and of the answers that the study's wrapper would print beside its maps.

    Numbers `defect.attention.logit_change` and `.model_logit_change` (largest absolute change of a logit when each
    pair is shown another pair's image) and `.agreement` (share of pairs on which wrapper and model agree).
    """
    wrapper = build_published_wrapper(model.network, model.plan)
    other = shuffle_images(pairs, stage.rng(STREAM["shuffle"]))
    rows, n, split = rows_of(table, pairs), len(pairs), str(Split.TEST)
    shown, model_shown = wrapper_logits(model, wrapper, pairs), logits_of(rows)[:, 1]
    moved = np.abs(shown - wrapper_logits(model, wrapper, other)).max()
    stage.number("defect.attention.logit_change", moved, n=n, split=split)
    moved = np.abs(model_shown - model.logits(other)).max()
    stage.number("defect.attention.model_logit_change", moved, n=n, split=split)
    agree = RAW.decide(two_class(shown)) == RAW.decide(two_class(model_shown))
    settings, groups = stage.params.statistics, rows["group_id"].to_numpy()
    rng = stage.rng(STREAM["share"])
    share = mean_interval(agree.astype(float), groups, n_resamples=settings.n_resamples, rng=rng, level=settings.level)
    stage.numbers["defect.attention.agreement"] = share.number(n=n, split=split, unit="%")
    return compared(stage, rows, model_shown, shown)
