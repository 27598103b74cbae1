"""What all pages share: rows with bounds, intervals and counts stored as numbers, and what is said of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.numbers import Number
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, bounded
from verdict.workflow.stage import Stage

SHARE = (0.0, 1.0)
GAP = (-1.0, 1.0)


def columns_of(*names: str) -> list[str]:
    """The columns that `bounded` makes of these names."""
    return list(bounded(dict.fromkeys(names, NOTHING)))


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


def about(stage: Stage, table: pd.DataFrame) -> dict[str, Any]:
    """What a number says of its prediction table: n, split and seeds; predictions that are given have none."""
    seeds = () if stage.given else tuple(sorted(map(int, set(table["seed"]))))
    return {"n": len(table), "split": str(table["split"].iloc[0]), "seeds": seeds}


def store(
    stage: Stage, prefix: str, found: Mapping[str, Interval], units: Mapping[str, str] | None = None, **shared: Any
) -> None:
    """Store intervals as numbers `<prefix>.<name>`; `units` by name, `shared` are other fields of all."""
    for name, interval in found.items():
        stage.numbers[f"{prefix}.{name}"] = interval.number(unit=(units or {}).get(name, ""), **shared)


def store_counts(stage: Stage, prefix: str, counts: Mapping[str, float], **shared: Any) -> list[Number]:
    """Store counts as numbers `<prefix>.<name>`."""
    return [stage.number(f"{prefix}.{name}", n, unit="count", **shared) for name, n in counts.items()]
