"""What calibration fixed, and the signals that follow from the answers of a trial's models.

The policy's page and decisions on new cases use the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.base.labels import Label, Split, expected_columns
from verdict.decide import signals as known_signals
from verdict.decide.signals import COMPOSITE, CONFORMAL_CONFIDENCE, ENSEMBLE_STABILITY, MEAN_PROBABILITY, VIEW_STABILITY
from verdict.model.predict import answers_of, logits_of
from verdict.stats.scores import softmax
from verdict.workflow.stage import Stage
from verdict.workflow.stages import QUESTIONS


@dataclass(frozen=True)
class Calibrated:
    """What calibration fixed: one temperature for each seed of the kept trial, and the conformal threshold in use.

    `temperatures` > 0; `seed`: the kept seed; `qhat`: a class is in the set if 1 - its probability is at most this;
    `alpha` in (0, 1): level of the sets; `score`: the score that the policy goes by, one of `signals.SCORES`.
    """

    temperatures: Mapping[int, float]
    seed: int
    qhat: float
    alpha: float
    score: str = COMPOSITE

    @property
    def temperature(self) -> float:
        """Of the kept seed."""
        return self.temperatures[self.seed]

    @classmethod
    def load(cls, stage: Stage) -> Calibrated:
        """What the calibration stage fixed, with the level of sets that the policy's parameters ask for."""
        temperatures = pd.read_parquet(stage.upstream("07_calibration", "temperatures.parquet"))
        sets = pd.read_parquet(stage.upstream("07_calibration", "policy_sets.parquet")).iloc[0]
        kept = int(temperatures.loc[temperatures["is_kept"], "seed"].iloc[0])
        by_seed = {int(row.seed): float(row.temperature) for row in temperatures.itertuples()}
        return cls(by_seed, kept, float(sets["qhat"]), float(sets["alpha"]))

    def signals(
        self, tables: Mapping[int, pd.DataFrame], view_logits: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Probabilities (n, K), conformal sets (n, K) and signals (n,) of pairs, from the answers of each seed.

        Stability is the agreement of models trained from several seeds on the kept model's answer (Lakshminarayanan et
        al. 2017 train the ensemble in the same way), and their mean probability of it; with one seed there is neither
        and they are left out. So is that of views without `view_logits` (n_views, n, K): the kept model's answers to
        changed views of each image.
        ValueError if the tables do not hold the same pairs in the same order.
        """
        table = tables[self.seed]
        if any(not other["pair_id"].equals(table["pair_id"]) for other in tables.values()):
            raise ValueError("the models of several seeds do not answer the same pairs in the same order")
        by_seed = {seed: softmax(logits_of(other) / self.temperatures[seed]) for seed, other in tables.items()}
        probs = by_seed[self.seed]
        answer = answers_of(table)
        sets = 1 - probs <= self.qhat
        signals = known_signals.of_one_answer(probs, sets)
        # The order of signals decides the last bit of their mean: this one stands last.
        of_sets = signals.pop(CONFORMAL_CONFIDENCE)
        if len(by_seed) > 1:
            stacked = np.stack(list(by_seed.values()))
            signals[ENSEMBLE_STABILITY] = known_signals.ensemble_stability(stacked, answer)
            signals[MEAN_PROBABILITY] = stacked.mean(axis=0)[np.arange(len(table)), answer]
        if view_logits is not None:
            views = np.concatenate([probs[None], softmax(view_logits / self.temperature)])
            signals[VIEW_STABILITY] = known_signals.ensemble_stability(views, answer)
        return probs, sets, signals | {CONFORMAL_CONFIDENCE: of_sets}


def logits_of_views(asked: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Logits of each view of the pairs of a table, in its order, (n_views, n, K)."""
    by_view = {name: part.set_index("pair_id") for name, part in asked.groupby("view", sort=True)}
    return np.stack([logits_of(part.loc[table["pair_id"]]) for part in by_view.values()])


def usual_consistency(stage: Stage, trial: str, calibrated: Calibrated) -> float:
    """Mean consistency of the calibration split's pairs that have a question."""
    calib = stage.predictions(Split.CALIB, trial=trial, seed=calibrated.seed)
    asked = stage.answers(QUESTIONS, Split.CALIB)
    return float(np.nanmean(_known_consistency(asked, calib, calibrated, stage.classes)))


def pair_consistency(
    asked: pd.DataFrame, table: pd.DataFrame, calibrated: Calibrated, classes: Sequence[str], *, usual: float
) -> np.ndarray:
    """Consistency of the answers to questions with each pair of a table of one trial, (n,) in [0, 1]; `usual` for a
    pair without a question.
    """
    consistency = _known_consistency(asked, table, calibrated, classes)
    return np.where(np.isnan(consistency), usual, consistency)


def _known_consistency(
    asked: pd.DataFrame, table: pd.DataFrame, calibrated: Calibrated, classes: Sequence[str]
) -> np.ndarray:
    return known_signals.consistency_by_pair(
        softmax(logits_of(asked) / calibrated.temperature)[:, Label.ENTAILMENT],
        asked[expected_columns(classes)].to_numpy(dtype=float),
        pd.Index(table["pair_id"]).get_indexer(asked["pair_id"]),
        answers_of(table),
    )
