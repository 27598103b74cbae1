"""The prediction table and the one decision function.

The table is all that evaluation, calibration, policy, figures and exports consume.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.base.labels import Label, logit_columns
from verdict.stats.scores import softmax, top_class


def prediction_table(pairs: pd.DataFrame, logit: np.ndarray, *, stage: str, trial: str, seed: int) -> pd.DataFrame:
    """Pairs with their logits z of CONTRADICTION, float (n,), stored as the rows (0, z)."""
    if not np.isfinite(logit).all():
        raise ValueError(f"{int((~np.isfinite(logit)).sum())} of {len(logit)} logits are not finite")
    table = pairs[["pair_id", "image_id", "group_id", "split"]].reset_index(drop=True).copy()
    table["stage"], table["trial"], table["seed"] = stage, trial, seed
    table["y_true"] = [int(Label.parse(label)) for label in pairs["label"]]
    table["logit_0"], table["logit_1"] = 0.0, np.asarray(logit, dtype=np.float64)
    return table


def logits_of(table: pd.DataFrame) -> np.ndarray:
    """The logits of a prediction table, float64 (n, n_classes)."""
    n_classes = sum(str(column).startswith("logit_") for column in table.columns)
    return table[logit_columns(n_classes)].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class DecisionRule:
    """The one way from logits to an answer; validation, test, export, independent set and figures all use it.

    `temperature` divides the logits. Of two classes, `label` is the answer where its calibrated probability lies above
    `threshold`; at one half that is `scores.top_class`, ties included.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    label: Label = Label.CONTRADICTION

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold is a probability in (0, 1), got {self.threshold}; did you pass a logit?")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, (n, n_classes)."""
        return softmax(np.asarray(logits) / self.temperature)

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """Answers as class ids, (n,); with three classes or more the most probable one, whatever the threshold."""
        logits = np.asarray(logits, dtype=np.float64)
        if logits.shape[1] > len(Label) or self.threshold == 0.5:
            return top_class(logits)
        other = next(label for label in Label if label != self.label)
        chosen = self.probabilities(logits)[:, self.label] > self.threshold
        return np.where(chosen, int(self.label), int(other))


# Nothing fitted: the more probable class.
RAW = DecisionRule()


def answers_of(table: pd.DataFrame) -> np.ndarray:
    """What the rows of a prediction table answer where nothing is fitted, class ids (n,)."""
    return RAW.decide(logits_of(table))


def right_of(table: pd.DataFrame) -> np.ndarray:
    """Which rows of a prediction table are then answered rightly, bool (n,)."""
    return answers_of(table) == table["y_true"].to_numpy()


def two_class(logit: np.ndarray) -> np.ndarray:
    """A binary logit z as the rows (0, z): (n,) → (n, 2)."""
    return np.stack([np.zeros_like(logit), logit], axis=1)
