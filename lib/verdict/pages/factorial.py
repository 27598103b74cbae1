"""Where a model breaks: pairs of which one half is new and one as in test, between test and the independent set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import POINTS
from verdict.model.predict import DecisionRule, logits_of
from verdict.stats.uncertainty import Interval, with_bounds
from verdict.stats.weighted import weighted_mean
from verdict.workflow.stage import Stage

# Whose images and whose sentences a split holds.
HALVES: Mapping[Split, tuple[str, str]] = MappingProxyType(
    {
        Split.TEST: ("as in test", "as in test"),
        Split.INDEPENDENT_IMAGES: ("new", "as in test"),
        Split.INDEPENDENT_SENTENCES: ("as in test", "new"),
        Split.INDEPENDENT: ("new", "new"),
    }
)


def cell_table(tables: Mapping[str, pd.DataFrame], sources: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The four cells side by side: images, sentences, n, and each value of `sources` with its interval.

    `tables`: prediction tables by split; `sources`: the table of one row a split that a value stands in, by its name.
    No rows where a cell is missing.
    """
    if not set(HALVES) <= set(tables):
        return pd.DataFrame()
    rows = []
    for split, (images, sentences) in HALVES.items():
        row: dict[str, object] = {"images": images, "sentences": sentences, "n": len(tables[split])}
        for name, source in sources.items():
            own = source[source["split"] == split].iloc[0].fillna(np.nan)  # None where nothing went out alone
            row |= with_bounds(name, Interval.from_columns(own, name))
        rows.append(row)
    return pd.DataFrame(rows)


def store_contrasts(stage: Stage, tables: Mapping[str, pd.DataFrame]) -> None:
    """What the two halves do to accuracy, where there are all cells.

    Numbers `independent.images_minus_sentences`: accuracy with new images alone minus that with new sentences alone;
    `independent.interaction`: by how much both lose less (above zero) or more (below) than the two losses together.
    """
    if not set(HALVES) <= set(tables):
        return
    value, drawn = {}, {}
    for split in HALVES:
        table = tables[split]
        hit = (DecisionRule().decide(logits_of(table)) == table["y_true"].to_numpy()).astype(float)
        draws = stage.resampler(table["group_id"])
        value[split], drawn[split] = hit.mean(), draws.replicates(partial(weighted_mean, hit))
    old, images, sentences, both = HALVES
    signs = {
        "images_minus_sentences": {images: 1, sentences: -1},
        "interaction": {both: 1, images: -1, sentences: -1, old: 1},
    }
    for name, sign in signs.items():
        mean, replicates = (sum(by * of[split] for split, by in sign.items()) for of in (value, drawn))
        found = draws.around(float(mean), np.asarray(replicates))
        stage.numbers[f"independent.{name}"] = found.number(
            n=sum(len(tables[split]) for split in sign), split=Split.INDEPENDENT, unit=POINTS
        )
