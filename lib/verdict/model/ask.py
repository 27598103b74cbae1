"""Further answers about each pair: those of the kept model to views and questions, and the distance from train.

Stored features are reused: a view encodes images anew, a question only its words.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.files.images import ImageStore
from verdict.base.labels import EVALUATION_SPLITS, Split, expected_columns, logit_columns
from verdict.base.params import DataParams, Params
from verdict.data.digits.questions import question_table
from verdict.model.changes import CHANGES
from verdict.model.distance import Reference, distances_from, pair_distances
from verdict.model.export.model import Kept
from verdict.model.features import Features, encode, load_encoders
from verdict.model.fit import load_weights, read_weights
from verdict.model.kept import KeptModel, load_model, open_model
from verdict.model.network import FreezePlan
from verdict.model.predict import two_class
from verdict.model.selection import load_selection
from verdict.workflow.stage import Stage
from verdict.workflow.stages import DISTANCES, QUESTIONS, VIEWS

PROBED_SPLITS = tuple(split for split in EVALUATION_SPLITS if split != Split.VAL)


def probe(stage: Stage) -> None:
    """The stage without a notebook: ask the kept model about views and questions of every evaluation split but val.

    Saves the tables `VIEWS` (pair_id, split, view, logits), `QUESTIONS` (pair_id, split, question, logits, what each
    class should answer), which has no rows for a source without a grammar, and `DISTANCES`, see `pair_distances`.
    """
    model = load_model(stage, load_selection(stage))
    pairs = stage.pairs(*PROBED_SPLITS)
    tables = {VIEWS: answer_changed(model, pairs, progress=stage.progress)}
    stage.progress("questions")
    folder = stage.upstream_folder("features")
    frozen = Features.open(folder, FreezePlan(0, 0))
    tables[DISTANCES] = pair_distances(frozen, frozen.means(folder), stage.pairs())
    tables[QUESTIONS] = answer_questions(model, pairs, questions_about(stage.params.data, pairs))
    stage.counts("signals", {"n_views": len(CHANGES), "n_questions": len(tables[QUESTIONS])})
    stage.save(**tables)


class Examiner:
    """The models of a kept trial, asked about pairs that no stage has seen, as the stages ask them about their own.

    `weights`: file of each seed, the kept one last; `reference`: see `fit_reference`.
    """

    def __init__(
        self, params: Params, kept: Kept, weights: Mapping[int, Path], images: ImageStore, reference: Reference
    ):
        self._params, self._kept, self._reference = params, kept, reference
        # Prefixes are those of presets that nothing has trained.
        self._encoders = load_encoders(kept.params, precision=params.execution.precision)
        batch = params.execution.feature_batch
        self._model = open_model(kept.params, kept.plan, kept.weights, images=images, batch=batch)
        self._weights = {seed: read_weights(path) for seed, path in weights.items()}

    def ask(self, pairs: pd.DataFrame) -> dict[str | int, pd.DataFrame]:
        """Logits of each seed, and the tables of `probe`, of pairs (pair_id, image_id, hypothesis, split)."""
        model, run = self._model, self._params.execution
        tables: dict[str | int, pd.DataFrame] = {}
        with TemporaryDirectory(prefix="verdict-") as name:
            folder = Path(name)
            options = {"batch": run.feature_batch, "precision": run.precision, "encoders": self._encoders}
            encode(self._kept.params, pairs, model.images, (self._kept.plan, FreezePlan()), folder, **options)
            features, frozen = Features.open(folder, self._kept.plan), Features.open(folder, FreezePlan())
            for seed, weights in self._weights.items():
                load_weights(model.network, weights)
                tables[seed] = _answers(pairs[["pair_id", "split"]], model.logits(pairs, features))
            tables[VIEWS] = answer_changed(model, pairs, features)
            tables[QUESTIONS] = answer_questions(model, pairs, questions_about(self._params.data, pairs), features)
            tables[DISTANCES] = distances_from(self._reference, frozen, frozen.means(folder), pairs)
        return tables


def questions_about(params: DataParams, pairs: pd.DataFrame) -> pd.DataFrame:
    """`question_table` of the hypotheses, without rows for a source that has no grammar to make questions from."""
    return question_table(pd.unique(pairs["hypothesis"]) if params.source == "digits" else [])


def answer_changed(
    model: KeptModel, pairs: pd.DataFrame, features: Features | None = None, *, progress: Any = lambda text: None
) -> pd.DataFrame:
    """The model's answers to each view of the pairs' images; a few hundred images are in memory at a time."""
    image_ids = pd.unique(pairs["image_id"])
    n_done, answers = 0, []
    for chosen in model.parts(image_ids):
        images = model.pictures(chosen)
        about = pairs[pairs["image_id"].isin(chosen)]
        views = (change(images) for change in CHANGES.values())
        for name, logit in zip(CHANGES, model.answers(about, chosen, views, features), strict=True):
            answers.append(_answers(about[["pair_id", "split"]].assign(view=name), logit))
        n_done += len(chosen)
        progress(f"views of images {n_done:,}/{len(image_ids):,}")
    return pd.concat(answers, ignore_index=True)


def answer_questions(
    model: KeptModel, pairs: pd.DataFrame, questions: pd.DataFrame, features: Features | None = None
) -> pd.DataFrame:
    """Answers to the questions about each pair's hypothesis, put to its image; `questions` is keyed by hypothesis."""
    asked = pairs[["pair_id", "image_id", "split", "hypothesis"]].merge(questions, on="hypothesis")
    logit = np.empty(0)
    if len(asked):
        put = asked.assign(hypothesis=asked["question"])
        logit = model.logits(put, model.read(pd.unique(put["hypothesis"]), features))
    return _answers(asked[["pair_id", "split", "question", *expected_columns()]], logit)


def _answers(asked: pd.DataFrame, logit: np.ndarray) -> pd.DataFrame:
    logits = two_class(logit)
    return asked.assign(**dict(zip(logit_columns(logits.shape[1]), logits.T, strict=True)))
