"""CLIP's zero-shot answers as the tables that the pages on calibration and policy read.

A logit is a cosine times the encoder's own logit scale. Cosines themselves differ by hundredths, so that their softmax
is nearly even and any temperature that is fitted to them only finds the scale again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from verdict.base.labels import Split, expected_columns, logit_columns
from verdict.base.numbers import SETTING
from verdict.base.params import ClipPolicyParams
from verdict.clip.encoder.embeddings import EmbeddedPictures, open_embeddings
from verdict.clip.pictures.sources import Pictures
from verdict.clip.pictures.words import class_vectors
from verdict.clip.probes.zero_shot import scaled_logits
from verdict.model.changes import PICTURE_CHANGES
from verdict.stats.neighbours import neighbour_distance
from verdict.workflow.stage import Stage
from verdict.workflow.stages import CLIP_ANSWERS, DISTANCES, QUESTIONS, RECORDED_RUN, VIEWS

ASKED_SPLITS = (Split.CALIB, Split.TEST)
Encode = Callable[[Any], np.ndarray]


def expected_answers(questions: Mapping[str, Sequence[str]], class_names: Sequence[str]) -> np.ndarray:
    """What each class should answer to each question, (K, Q): 1 for yes, 0 for no.

    A question that names an unknown class, or to which all classes or none would answer yes, is a ValueError.
    """
    for question, names in questions.items():
        if unknown := sorted(set(names) - set(class_names)):
            raise ValueError(f"clip_policy.questions: {question!r} names {unknown}; classes are {list(class_names)}")
        if not 0 < len(set(names)) < len(class_names):
            raise ValueError(f"clip_policy.questions: {question!r} does not divide the classes {list(class_names)}")
    table = [[float(name in names) for names in questions.values()] for name in class_names]
    return np.array(table).reshape(len(class_names), len(questions))


def question_logits(
    images: np.ndarray, texts: Encode, class_names: Sequence[str], settings: ClipPolicyParams, logit_scale: float
) -> dict[str, np.ndarray]:
    """CLIP's answers to yes/no questions about unit image vectors (n, d): by question, logits of yes and no, (n, 2).

    A question with prompts of its own compares the two. Any other is answered by the classes that mean yes against the
    others, in other sentences than those of the classification: it asks whether CLIP says the same in other words. The
    softmax of its logits is the share of either group in that of the classes.
    """
    logits = scaled_logits(images, class_vectors(texts, class_names, settings.question_templates), logit_scale)
    found = {}
    for question, yes in zip(settings.questions, expected_answers(settings.questions, class_names).T, strict=True):
        if question in settings.question_prompts:
            found[question] = scaled_logits(images, texts(list(settings.question_prompts[question])), logit_scale)
        else:
            found[question] = np.stack([logsumexp(logits[:, yes == side], axis=1) for side in (1, 0)], axis=1)
    return found


def answer(stage: Stage) -> None:
    """The stage without a notebook: ask the dual encoder, and save what it answers."""
    study, settings = open_embeddings(stage), stage.params.clip_policy
    found = tables(study, settings) | {DISTANCES: distances(study.pictures, study.embeddings)}
    stage.number("clip.logit_scale", study.logit_scale, kind=SETTING)
    stage.counts("clip", {"n_views": len(settings.views), "n_questions": len(settings.questions)})
    stage.save(**found)


def distances(pictures: Pictures, embeddings: np.ndarray) -> pd.DataFrame:
    """How far pictures of val, calib and test lie from those of train in unit embeddings (n, d): pair_id, split,
    distance; no picture is compared with those of its own group.
    """
    own = np.concatenate([pictures.rows(split) for split in (Split.VAL, *ASKED_SPLITS)])
    known, vectors, groups = pictures.rows(Split.TRAIN), np.asarray(embeddings), pictures.table["group_id"].to_numpy()
    distance = neighbour_distance(vectors[own], vectors[known], (groups[own], groups[known]))
    told = pictures.table.iloc[own][["image_id", "split"]].rename(columns={"image_id": "pair_id"})
    return told.assign(distance=distance.round(6)).reset_index(drop=True)


def tables(study: EmbeddedPictures, settings: ClipPolicyParams) -> dict[str, pd.DataFrame]:
    """Everything that is asked of an encoder about the pictures of calib and test.

    `pairs` (pair_id, image_id, group_id, label, split), `predictions` (prediction table), `VIEWS` (pair_id, split,
    view, logits), `QUESTIONS` (pair_id, split, question, logits of yes and no, each class's answer), `classes`.
    """
    pictures, names, logit_scale = study.pictures, study.pictures.class_names, study.logit_scale
    rows = np.concatenate([pictures.rows(split) for split in ASKED_SPLITS])
    own, shown = pictures.table.iloc[rows].reset_index(drop=True), pictures.images[rows]
    classes, vectors = study.classes(), np.asarray(study.embeddings[rows])
    pairs = own[["image_id", "group_id", "split"]].copy()
    pairs.insert(0, "pair_id", own["image_id"])
    predictions = pairs.assign(stage=CLIP_ANSWERS, trial=RECORDED_RUN[0], seed=RECORDED_RUN[1], y_true=own["y"])
    asked, views = pairs[["pair_id", "split"]], []
    for name in settings.views:
        seen = np.asarray(study.cache.images(PICTURE_CHANGES[name](shown)))
        views.append(_beside(asked.assign(view=name), scaled_logits(seen, classes, logit_scale)))
    answers = question_logits(vectors, study.cache.texts, names, settings, logit_scale)
    expected = expected_answers(settings.questions, names)
    empty = pd.DataFrame(columns=["pair_id", "split", "question", *logit_columns(2), *expected_columns(names)])
    questions = [
        _beside(asked.assign(question=question), logits, dict(zip(expected_columns(names), wanted, strict=True)))
        for (question, logits), wanted in zip(answers.items(), expected.T, strict=True)
    ]
    return {
        "pairs": pairs.assign(label=np.array(names, dtype=object)[own["y"]]),
        "predictions": _beside(predictions, scaled_logits(vectors, classes, logit_scale)),
        VIEWS: pd.concat(views, ignore_index=True),
        QUESTIONS: pd.concat(questions, ignore_index=True) if questions else empty,
        "classes": pd.DataFrame({"name": list(names)}),
    }


def _beside(table: pd.DataFrame, logits: np.ndarray, same: Mapping[str, float] | None = None) -> pd.DataFrame:
    """A table with logits, and columns of one value, put beside it at once: there may be hundreds."""
    columns = pd.DataFrame(logits, columns=logit_columns(logits.shape[1]), index=table.index)
    return pd.concat([table, columns, pd.DataFrame(dict(same or {}), index=table.index)], axis=1)
