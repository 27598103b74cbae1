"""What a defect does to a score: the value without it, the value with it, and their paired difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from verdict.base.numbers import ESTIMATE, Number
from verdict.pages.tables import GAP, bounded, store
from verdict.stats.metrics import macro_f1
from verdict.stats.uncertainty import Interval, Statistic
from verdict.workflow.stage import Stage


@dataclass(frozen=True)
class Effect:
    """A score as it is, the same score with a defect switched on, and the difference, defect minus ours.

    The intervals resample the same groups of images, which makes the difference a paired one.
    """

    ours: Interval
    defect: Interval
    difference: Interval
    n: int
    split: str

    def row(self, **words: object) -> dict[str, object]:
        """One row of a table: the words, n, and the three intervals as columns `x`, `x_low`, `x_high`."""
        return {**words, "n": self.n} | bounded(self._found)

    def store(self, stage: Stage, prefix: str, seeds: tuple[int, ...] = ()) -> None:
        """Store `<prefix>.ours`, `<prefix>.defect` and `<prefix>.difference` among the stage's numbers."""
        store(stage, prefix, self._found, n=self.n, split=self.split, seeds=seeds)

    @property
    def _found(self) -> dict[str, Interval]:
        return {"ours": self.ours, "defect": self.defect, "difference": self.difference}


def measure(stage: Stage, table: pd.DataFrame, ours: Statistic, defect: Statistic) -> Effect:
    """Compare two statistics of the same rows.

    Where no resample shows a difference, its interval is that of a mean without spread (see `Resampler.mean`).

    `table`: columns group_id and split; `ours`, `defect`: as in `Resampler.replicates`.
    """
    resampler = stage.resampler(table["group_id"].to_numpy())
    drawn = [resampler.replicates(statistic) for statistic in (ours, defect)]
    values = [float(statistic(None)) for statistic in (ours, defect)]
    found = [resampler.around(value, part) for value, part in zip(values, drawn, strict=True)]
    paired = resampler.around(values[1] - values[0], drawn[1] - drawn[0])
    if not np.any(drawn[1] - drawn[0]):
        paired = resampler.mean(np.zeros(len(table)), span=GAP)
    return Effect(*found, paired, len(table), str(table["split"].iloc[0]))


def f1_of(y_true: np.ndarray, answer: np.ndarray) -> Statistic:
    """Macro-F1 of answers as a function of row weights."""
    return partial(macro_f1, y_true, answer, 2)


def not_measured(stage: Stage, *names: str) -> None:
    """Store numbers that this profile cannot give, so that prose which names them says "not defined"."""
    for name in names:
        stage.numbers[name] = Number(float("nan"), kind=ESTIMATE)


def effect_table(effects: Mapping[str, Effect]) -> pd.DataFrame:
    """Effects beside each other: defect (its words), n, and ours, defect's and difference with their intervals."""
    rows = [effect.row(switched_on=words) for words, effect in effects.items()]
    return pd.DataFrame(rows).rename(columns=lambda name: name.replace("defect", "with_defect"))


def as_forest(table: pd.DataFrame) -> pd.DataFrame:
    """An effect table as `plots.plot_forest` takes it: the differences."""
    names = {"switched_on": "label", "difference": "value", "difference_low": "low", "difference_high": "high"}
    return table.rename(columns=names)[list(names.values())]
