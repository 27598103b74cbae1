"""CLIP's zero-shot answers as the tables that the pages on calibration and policy read.

A logit is a cosine times the encoder's own logit scale. Cosines themselves differ by hundredths, so that their softmax
is nearly even and any temperature that is fitted to them only finds the scale again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from verdict.clip.pictures import Pictures
from verdict.clip.study import open_study
from verdict.clip.words import class_vectors, prompts
from verdict.clip.zero_shot import scaled_logits
from verdict.labels import Split, expected_columns, logit_columns
from verdict.numbers import SETTING
from verdict.params import ClipPolicyParams
from verdict.stages import CLIP_ANSWERS, QUESTIONS, RECORDED_RUN, VIEWS
from verdict.views import PICTURE_VIEWS

if TYPE_CHECKING:
    from verdict.stage import Stage

ASKED_SPLITS = (Split.CALIB, Split.TEST)
Encode = Callable[[Any], np.ndarray]


def expected_answers(questions: Mapping[str, Sequence[str]], class_names: Sequence[str]) -> np.ndarray:
    """What each class should answer to each question, (K, Q): 1 for yes, 0 for no.

    Raises
    ------
    ValueError
        If a question names an unknown class, or all classes or none would answer yes.
    """
    for question, names in questions.items():
        if unknown := sorted(set(names) - set(class_names)):
            raise ValueError(f"clip_policy.questions: {question!r} names {unknown}; classes are {list(class_names)}")
        if not 0 < len(set(names)) < len(class_names):
            raise ValueError(f"clip_policy.questions: {question!r} does not divide the classes {list(class_names)}")
    table = [[float(name in names) for names in questions.values()] for name in class_names]
    return np.array(table).reshape(len(class_names), len(questions))


def yes_no_logits(logits: np.ndarray, yes: np.ndarray) -> np.ndarray:
    """Logits (n, 2) of yes and no from those of the answers that mean yes and of the others.

    Parameters
    ----------
    logits : (n, K)
    yes : bool, (K,)
        At least one of each.

    Returns
    -------
    ndarray (n, 2)
        Their softmax is the share of either group in the softmax of `logits`.
    """
    yes = np.asarray(yes, dtype=bool)
    return np.stack([logsumexp(logits[:, yes], axis=1), logsumexp(logits[:, ~yes], axis=1)], axis=1)


def question_logits(
    images: np.ndarray, texts: Encode, class_names: Sequence[str], settings: ClipPolicyParams, logit_scale: float
) -> dict[str, np.ndarray]:
    """CLIP's answers to yes/no questions about unit image vectors (n, d): by question, logits of yes and no, (n, 2).

    A question with prompts of its own compares the two. Any other is answered by the classes that mean yes against the
    others, in other sentences than those of the classification: it asks whether CLIP says the same in other words.
    """
    other_words = _class_vectors(texts, class_names, settings.question_templates)
    logits = scaled_logits(images, other_words, logit_scale)
    expected = expected_answers(settings.questions, class_names)
    found = {}
    for question, is_yes in zip(settings.questions, expected.T.astype(bool), strict=True):
        if question in settings.question_prompts:
            found[question] = scaled_logits(images, texts(list(settings.question_prompts[question])), logit_scale)
        else:
            found[question] = yes_no_logits(logits, is_yes)
    return found


def answer(stage: Stage) -> None:
    """The stage without a notebook: ask the dual encoder, and save what it answers.

    Raises
    ------
    ValueError
        If a question of the parameters does not divide the classes.
    """
    study = open_study(stage)
    settings = stage.params.clip_policy
    towers = (study.embeddings, study.cache.images, study.cache.texts)
    found = tables(study.pictures, *towers, settings, study.logit_scale)
    stage.number("clip.logit_scale", study.logit_scale, kind=SETTING)
    stage.number("clip.n_views", len(settings.views), unit="count")
    stage.number("clip.n_questions", len(settings.questions), unit="count")
    stage.save(**found)


def tables(
    pictures: Pictures,
    embeddings: np.ndarray,
    images: Encode,
    texts: Encode,
    settings: ClipPolicyParams,
    logit_scale: float,
) -> dict[str, pd.DataFrame]:
    """Everything that is asked of an encoder about the pictures of calib and test.

    Parameters
    ----------
    pictures : Pictures
    embeddings : (n, d)
        Unit vectors of all pictures; `images` encodes their changed views.
    images, texts : functions to unit vectors (m, d)
    settings : ClipPolicyParams
    logit_scale : float

    Returns
    -------
    dict
        `pairs` (pair_id, image_id, group_id, label, split), `predictions` (a prediction table), `VIEWS` (pair_id,
        split, view, logits), `QUESTIONS` (pair_id, split, question, logits of yes and no, what each class should
        answer) and `classes` (name, in the order of ids).
    """
    rows = np.concatenate([pictures.rows(split) for split in ASKED_SPLITS])
    own, shown = pictures.table.iloc[rows].reset_index(drop=True), pictures.images[rows]
    classes = _class_vectors(texts, pictures.class_names, pictures.templates)
    vectors = np.asarray(embeddings[rows])
    pairs = pd.DataFrame(
        {"pair_id": own["image_id"], **{name: own[name] for name in ("image_id", "group_id", "split")}}
    )
    predictions = pairs.assign(stage=CLIP_ANSWERS, trial=RECORDED_RUN[0], seed=RECORDED_RUN[1], y_true=own["y"])
    views = [
        _with_logits(
            pairs[["pair_id", "split"]].assign(view=name), scaled_logits(np.asarray(images(view)), classes, logit_scale)
        )
        for name, view in ((name, PICTURE_VIEWS[name](shown)) for name in settings.views)
    ]
    return {
        "pairs": pairs.assign(label=np.array(pictures.class_names, dtype=object)[own["y"]]),
        "predictions": _with_logits(predictions, scaled_logits(vectors, classes, logit_scale)),
        VIEWS: pd.concat(views, ignore_index=True),
        QUESTIONS: _question_table(pairs, vectors, texts, pictures.class_names, settings, logit_scale),
        "classes": pd.DataFrame({"name": list(pictures.class_names)}),
    }


def _question_table(
    pairs: pd.DataFrame,
    vectors: np.ndarray,
    texts: Encode,
    class_names: Sequence[str],
    settings: ClipPolicyParams,
    logit_scale: float,
) -> pd.DataFrame:
    expected = expected_answers(settings.questions, class_names)
    answers = question_logits(vectors, texts, class_names, settings, logit_scale)
    parts = [
        _beside(
            _with_logits(pairs[["pair_id", "split"]].assign(question=question), logits),
            expected_columns(class_names),
            np.tile(wanted, (len(pairs), 1)),
        )
        for (question, logits), wanted in zip(answers.items(), expected.T, strict=True)
    ]
    empty = pd.DataFrame(columns=["pair_id", "split", "question", *logit_columns(2), *expected_columns(class_names)])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _class_vectors(texts: Encode, class_names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    return class_vectors(texts(prompts(class_names, templates)), len(templates))


def _with_logits(table: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    return _beside(table, logit_columns(logits.shape[1]), logits)


def _beside(table: pd.DataFrame, names: Sequence[str], values: np.ndarray) -> pd.DataFrame:
    """A table with further columns, all put beside it at once: there may be hundreds."""
    return pd.concat([table, pd.DataFrame(values, columns=list(names), index=table.index)], axis=1)
