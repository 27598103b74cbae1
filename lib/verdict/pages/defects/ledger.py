"""The ledger of the study's defects, and the pair of runs behind its verdict on oversampling; both ship as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from verdict.base import paths
from verdict.base.numbers import Number
from verdict.pages.defects.choices import changed_keys

FOLDER = paths.LIBRARY / "pages" / "defects"
SEVERITIES = {
    "A": "invalidates a headline or a deliverable",
    "B": "biases numbers or overturns a stated conclusion",
    "C": "hazard to reproducibility or robustness",
    "D": "wording, small inconsistency",
}


def read_ledger() -> pd.DataFrame:
    """Defects by severity: id, severity, defect, check (tests, separated by "; "), quantity, number; "" for nothing."""
    return pd.read_csv(FOLDER / "ledger.csv", dtype=str, keep_default_na=False)


def ledger_table(numbers: Mapping[str, Number]) -> pd.DataFrame:
    """The ledger with what each defect measures in this report.

    `numbers`: of this page and of those before it. Returns id, severity, defect, check, quantity, here (a `Number`;
    None where nothing is measured, or it is not defined). KeyError if a number that the ledger names is not stored.
    """
    ledger = read_ledger()
    here = [numbers[name] if name else None for name in ledger["number"]]
    here = [number if number is not None and math.isfinite(number.value) else None for number in here]
    return ledger.drop(columns="number").assign(here=pd.Series(here, dtype=object))


def severity_table() -> pd.DataFrame:
    """Defects by severity: severity, meaning, n_defects, n_checked (with a test), n_measured (with a number here)."""
    ledger = read_ledger()
    told = ledger.assign(is_checked=ledger["check"] != "", is_measured=ledger["number"] != "").groupby("severity")
    counts = told.agg(n_defects=("id", "size"), n_checked=("is_checked", "sum"), n_measured=("is_measured", "sum"))
    meanings = pd.DataFrame(list(SEVERITIES.items()), columns=["severity", "meaning"])
    return meanings.join(counts, on="severity")


def published_ablation() -> pd.DataFrame:
    """Settings in which the study's run with oversampling differs from the one that it is compared with."""
    table = pd.read_csv(FOLDER / "oversampling.csv", dtype=str, keep_default_na=False)
    without, with_ = (dict(zip(table["setting"], table[name], strict=True)) for name in ("first", "second"))
    return changed_keys(without, with_).rename(columns={"first": "kept run", "second": "with oversampling"})
