"""What all pages share: means by part of the rows, and what a number says of its table."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from verdict.stats.uncertainty import Resampler, bounded
from verdict.workflow.stage import Stage

SHARE = (0.0, 1.0)
GAP = (-1.0, 1.0)


def by_part(
    draws: Resampler, parts: Mapping[str, np.ndarray], columns: Mapping[str, tuple], what: str = "cases"
) -> pd.DataFrame:
    """Mean of each column (values, span) over the rows of each part (n,) bool, with intervals: `what`, n, columns."""
    values, spans = np.column_stack([column for column, _ in columns.values()]), [span for _, span in columns.values()]
    rows = []
    for name, chosen in parts.items():
        found = dict(zip(columns, draws.of(chosen).means(values[chosen], spans), strict=True))
        rows.append({what: name, "n": int(chosen.sum())} | bounded(found))
    return pd.DataFrame(rows)


def merged(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with one row for those that are equal in all but their name, which has all their names."""
    values = [column for column in table if column != name]
    return table.groupby(values, sort=False, dropna=False, as_index=False)[name].agg(", ".join)[[*table]]


def about(stage: Stage, table: pd.DataFrame) -> dict:
    """What a number says of its prediction table: n, split and seeds; predictions that are given have none."""
    seeds = () if stage.given else tuple(sorted(map(int, set(table["seed"]))))
    return {"n": len(table), "split": str(table["split"].iloc[0]), "seeds": seeds}
