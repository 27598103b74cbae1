"""Which trial and seed model selection kept."""

from dataclasses import dataclass, field

import pandas as pd

from verdict.base.numbers import Numbers
from verdict.workflow.stage import Stage
from verdict.workflow.stages import RECORDED_RUN


@dataclass(frozen=True)
class Selection:
    """The kept configuration, and the seed of the weights that later stages use.

    `unfrozen` is the trial that unfreezing is measured on (see `lineage.best_compared`); it is compared with `frozen`,
    which unfreezes nothing and whose training is nearest to its; "" where there is none.
    `reason` says why the trial is kept, as words that follow its name.
    """

    trial: str
    seed: int
    frozen: str
    unfrozen: str
    reason: str = ""
    numbers: Numbers = field(default_factory=Numbers)

    @property
    def table(self) -> pd.DataFrame:
        """The choice as a table of one row."""
        values = {"trial": self.trial, "seed": self.seed, "frozen": self.frozen, "unfrozen": self.unfrozen}
        return pd.DataFrame([values])


def load_selection(stage: Stage) -> Selection:
    """What model selection kept; where logits were saved, their only model."""
    if stage.is_recorded:
        return Selection(*RECORDED_RUN, RECORDED_RUN[0], RECORDED_RUN[0])
    row = pd.read_parquet(stage.upstream("04_model_selection", "selection.parquet")).iloc[0]
    return Selection(str(row["trial"]), int(row["seed"]), str(row["frozen"]), str(row["unfrozen"]))
