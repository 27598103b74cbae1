"""What else the kept model is asked: the same pairs with changed views of the image, and questions about each pair.

Both reuse stored features: a view needs the images anew, a question only its words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from verdict.backend import set_threads
from verdict.data.grammar_questions import question_table
from verdict.data.images import ImageStore
from verdict.evaluation import Selection, load_selection
from verdict.features import Encoders, Features, load_encoders, load_network
from verdict.labels import EVALUATION_SPLITS, Split, expected_columns, logit_columns
from verdict.model import FreezePlan, Network, build_prefix, build_suffix
from verdict.params import DataParams
from verdict.stage import Stage
from verdict.stages import FEATURES, QUESTIONS, TRIAL_STAGE, VIEWS
from verdict.train import Rows, load_weights, predict_logits, read_weights, two_class
from verdict.views import VIEW_OF

PROBED_SPLITS = tuple(split for split in EVALUATION_SPLITS if split != Split.VAL)
IMAGES_AT_A_TIME = 256


@dataclass(frozen=True)
class KeptModel:
    """The kept model with its weights, and what it reads with."""

    network: Network
    encoders: Encoders
    plan: FreezePlan


def load_kept_model(stage: Stage, kept: Selection) -> KeptModel:
    """Load the kept model of a stage that declares `model` and needs the trial's weights."""
    set_threads(stage.threads)
    trial = stage.all_params.trial(kept.trial)
    encoders = load_encoders(stage.params.model)
    network = load_network(stage.params.model, dropout=0.0, seed=0, encoders=encoders)
    load_weights(network, read_weights(stage.upstream(TRIAL_STAGE, "weights.npz", kept.trial, kept.seed)))
    return KeptModel(network, encoders, FreezePlan(trial.vision_blocks, trial.text_blocks))


def probe(stage: Stage) -> None:
    """The stage without a notebook: ask the kept model about views and questions of every evaluation split but val.

    Saves the tables `VIEWS` (pair_id, split, view, logits) and `QUESTIONS` (pair_id, split, question, logits, what each
    class should answer); the second has no rows for a source without a grammar.
    """
    kept = load_selection(stage)
    model = load_kept_model(stage, kept)
    features = Features.open(stage.upstream_folder(FEATURES), model.plan)
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    pairs = stage.pairs(*PROBED_SPLITS)
    tables = {VIEWS: answer_views(model, features, images, pairs, progress=stage.progress)}
    stage.progress("questions")
    tables[QUESTIONS] = answer_questions(model, features, pairs, questions_about(stage.params.data, pairs))
    stage.number("signals.n_views", len(VIEW_OF), unit="count")
    stage.number("signals.n_questions", len(tables[QUESTIONS]), unit="count")
    stage.save(**tables)


def questions_about(params: DataParams, pairs: pd.DataFrame) -> pd.DataFrame:
    """`question_table` of the hypotheses, without rows for a source that has no grammar to make questions from."""
    return question_table(pd.unique(pairs["hypothesis"]) if params.source == "digits" else [])


def answer_views(
    model: KeptModel, features: Features, images: ImageStore, pairs: pd.DataFrame, *, progress: Any = lambda text: None
) -> pd.DataFrame:
    """The model's answers to each view of the pairs' images; a few hundred images are in memory at a time."""
    vision, _ = build_prefix(model.network, model.plan)
    suffix = build_suffix(model.network, model.plan)
    image_ids = pd.unique(pairs["image_id"])
    parts = []
    for start in range(0, len(image_ids), IMAGES_AT_A_TIME):
        chosen = image_ids[start : start + IMAGES_AT_A_TIME]
        shown = images.load(list(chosen), size=model.encoders.image_size)
        own = pairs[pairs["image_id"].isin(chosen)]
        for name, change in VIEW_OF.items():
            tokens = vision.predict_on_batch(model.encoders.pixels(change(shown)))
            rows = pd.Series(np.arange(len(chosen)), index=chosen)
            seen = replace(features, image_rows=rows, image_tokens=np.asarray(tokens, dtype=np.float32))
            logit = predict_logits(suffix, seen, _rows(seen, own))
            parts.append(_answers(own[["pair_id", "split"]].assign(view=name), logit))
        progress(f"views of images {min(start + IMAGES_AT_A_TIME, len(image_ids)):,}/{len(image_ids):,}")
    return pd.concat(parts, ignore_index=True)


def answer_questions(
    model: KeptModel, features: Features, pairs: pd.DataFrame, questions: pd.DataFrame
) -> pd.DataFrame:
    """The model's answers to the questions about each pair's hypothesis, put to the pair's image.

    Parameters
    ----------
    questions : DataFrame
        hypothesis, question, what each class should answer.
    """
    asked = pairs[["pair_id", "image_id", "split", "hypothesis"]].merge(questions, on="hypothesis")
    asked = asked.drop(columns="hypothesis")
    if not len(asked):
        return _answers(asked[["pair_id", "split", "question", *expected_columns()]], np.empty(0))
    _, text = build_prefix(model.network, model.plan)
    texts = pd.unique(asked["question"])
    token_ids, padding_mask = model.encoders.tokens(list(texts))
    hidden = [
        text.predict_on_batch({"token_ids": token_ids[part], "padding_mask": padding_mask[part]})
        for part in (slice(start, start + IMAGES_AT_A_TIME) for start in range(0, len(texts), IMAGES_AT_A_TIME))
    ]
    read = replace(
        features,
        text_rows=pd.Series(np.arange(len(texts)), index=texts),
        hidden=np.concatenate(hidden).astype(np.float32),
        padding_mask=padding_mask,
    )
    rows = _rows(read, asked.rename(columns={"question": "hypothesis"}))
    logit = predict_logits(build_suffix(model.network, model.plan), read, rows)
    return _answers(asked[["pair_id", "split", "question", *expected_columns()]], logit)


def _rows(features: Features, pairs: pd.DataFrame) -> Rows:
    """Where pairs stand in stored features; labels play no part in answers."""
    image, text = features.rows(pairs)
    return Rows(image, text, np.zeros(len(image), dtype=np.int64))


def _answers(asked: pd.DataFrame, logit: np.ndarray) -> pd.DataFrame:
    logits = two_class(logit)
    return asked.assign(**dict(zip(logit_columns(logits.shape[1]), logits.T, strict=True)))
