"""The exported file: its columns, and reading it back against labels; text survives spreadsheets (`spreadsheet`)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.artifacts import read_json, sha256_bytes, write_bytes, write_json
from verdict.base.files.tables import MAX_FILE_BYTES, read_table
from verdict.base.labels import Label, prob_columns
from verdict.base.params import StatisticsParams
from verdict.base.refusals import N_LISTED
from verdict.base.spreadsheet import neutralise, restore
from verdict.data.own.pair_file import read_pair_file
from verdict.model.predict import DecisionRule
from verdict.stats.metrics import macro_f1_of
from verdict.stats.uncertainty import Interval, Resampler

COLUMNS = ("Image_ID", "Hypothesis", "Label", *prob_columns())
SCHEMA = 1
# Probabilities are written to the last bit, but their logarithms, from which the answer is checked, are rounded.
_ROUNDING = 1e-9
# What is exported of a file of pairs can be read again: label and probabilities make a row of 4 bytes one of 66.
_MAX_BYTES = 20 * MAX_FILE_BYTES


def rule_path(path: Path) -> Path:
    """Where the decision rule of an exported file stands: `predictions.csv` has `predictions_rule.json` beside it."""
    return path.with_name(f"{path.stem}_rule.json")


def refuse_to_replace(path: Path, pairs: Path) -> None:
    """ValueError where predictions, or the rule beside them, would take the place of anything but earlier ones."""
    for taken in (path, rule_path(path)):
        if taken.exists() and pairs.exists() and taken.samefile(pairs):
            raise ValueError(f"{taken} is the table of pairs, and would be overwritten: name another OUT")
        if taken.exists() and not _is_rule(rule_path(path)):
            what = "table" if taken == path else "rule"
            raise ValueError(f"{taken} exists and is no {what} of predictions: name another OUT")


def _is_rule(path: Path) -> bool:
    try:
        return {"schema", "threshold", "sha256"} <= set(read_json(path))
    except (OSError, ValueError, TypeError):
        return False


def answers(pairs: pd.DataFrame, logits: np.ndarray, rule: DecisionRule) -> pd.DataFrame:
    """The exported table, `COLUMNS`, of pairs (image_id, hypothesis) with their logits (n, 2), in their order."""
    probs = rule.probabilities(logits)
    table = pd.DataFrame({"Image_ID": pairs["image_id"].tolist(), "Hypothesis": pairs["hypothesis"].tolist()})
    table["Label"] = [Label(int(answer)).text for answer in rule.decide(logits)]
    return table.assign(**{name: probs[:, label] for label, name in enumerate(prob_columns())})


def write(path: Path, table: pd.DataFrame, rule: DecisionRule, details: dict[str, Any]) -> None:
    """Write predictions and, first, the rule behind them; each file appears whole or not at all.

    The CSV file is UTF-8, the rule goes to `rule_path(path)`; `details` are further entries of the rule's file.
    """
    safe = {name: table[name].map(neutralise) for name in ("Image_ID", "Hypothesis")}
    content = table.assign(**safe).to_csv(columns=list(COLUMNS), index=False, lineterminator="\n").encode("utf-8")
    fixed = {
        "schema": SCHEMA,
        "temperature": rule.temperature,
        "threshold": rule.threshold,
        "label": rule.label.text,
        "scale": "probability",
        "meaning": f"Label is {rule.label.text} where prob_{rule.label.text} is above the threshold",
        "text": "one leading apostrophe is not part of Image_ID or Hypothesis",
        "n_rows": len(table),
        "n_by_label": {label.text: int((table["Label"] == label.text).sum()) for label in Label},
        "sha256": sha256_bytes(content),
    }
    write_json(rule_path(path), {**details, **fixed})
    write_bytes(path, content)


def read(path: Path) -> tuple[pd.DataFrame, Callable[[int], str]]:
    """Read an exported file back: its rows, and where each stands in it.

    A ValueError names file and line where columns are not `COLUMNS`, a label is unknown, or probabilities are none or
    do not sum to 1.
    """
    table = read_table(path, max_bytes=_MAX_BYTES)
    if tuple(table.names) != COLUMNS:
        raise ValueError(f"{path}: expected the columns {list(COLUMNS)}, got {table.names}; is it an exported file?")
    cells = zip(*map(table.column, COLUMNS), strict=True)
    rows = [_row(row, f"{path}, {table.place(k)}") for k, row in enumerate(cells)]
    return pd.DataFrame(rows, columns=list(COLUMNS)), table.place


def _row(cells: tuple[str, ...], place: str) -> tuple[str, str, str, *tuple[float, ...]]:
    try:
        label, probs = Label.parse(cells[2]).text, tuple(map(float, cells[3:]))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if not all(0 <= prob <= 1 for prob in probs) or abs(sum(probs) - 1) > 1e-6:
        raise ValueError(f"{place}: expected probabilities that sum to 1, got {cells[3:]}")
    return restore(cells[0]), restore(cells[1]), label, *probs


@dataclass(frozen=True)
class Score:
    """How exported predictions fare against labels; intervals are over images."""

    accuracy: Interval
    macro_f1: Interval
    n: int
    n_without_label: int
    is_unchanged: bool | None


def score(path: Path, labels: Path, statistics: StatisticsParams) -> Score:
    """Read exported predictions again and compare them with labels: CSV or JSON lines with image, hypothesis and label.

    If a rule stands beside the exported file, every label must be what it makes of the probabilities; `is_unchanged` is
    None where there is none. FileNotFoundError or ValueError if a file cannot be read, a labelled pair has no
    prediction, or one pair has two answers.
    """
    (table, place), truth = read(path), read_pair_file(labels).rows
    is_unchanged = _follows_rule(path, table, place)
    predicted: dict[tuple[str, str], str] = {}
    for *pair, label in table[["Image_ID", "Hypothesis", "Label"]].itertuples(index=False, name=None):
        known = predicted.setdefault(tuple(pair), label)
        if known != label:
            raise ValueError(f"{path}: the pair {tuple(pair)} has two answers, {known!r} and {label!r}")
    keys = list(zip(truth["image_id"], truth["hypothesis"], strict=True))
    if missing := [key for key in keys if key not in predicted]:
        what = f"{len(missing)} labelled pairs of {labels} have no prediction: {missing[:N_LISTED]}"
        raise ValueError(f"{path}: {what}; names of images must be as they were exported, with ending and folder")
    y_true = np.array([Label.parse(label) for label in truth["label"]], dtype=np.int64)
    y_pred = np.array([Label.parse(predicted[key]) for key in keys], dtype=np.int64)
    images = Resampler(truth["image_id"].to_numpy(), statistics.n_resamples, statistics.level, statistics.seed)
    return Score(
        images.mean(y_pred == y_true, span=(0.0, 1.0)),
        images.interval(macro_f1_of(y_true, y_pred, len(Label))),
        n=len(keys),
        n_without_label=len(predicted.keys() - set(keys)),
        is_unchanged=is_unchanged,
    )


def _follows_rule(path: Path, table: pd.DataFrame, place: Callable[[int], str]) -> bool | None:
    """Whether the file is as it was written; None if its rule is not there. Labels that break the rule are refused."""
    if not rule_path(path).is_file():
        return None
    stored = read_json(rule_path(path))
    probs = table[list(prob_columns())].to_numpy(dtype=np.float64)
    stored_labels = np.array([Label.parse(label) for label in table["Label"]], dtype=np.int64)
    is_broken = np.ones(len(table), dtype=bool)
    for rounding in (-_ROUNDING, _ROUNDING):
        # The stored probabilities are calibrated already: their logarithms are logits at temperature 1.
        rule = DecisionRule(threshold=stored["threshold"] + rounding, label=Label.parse(stored["label"]))
        with np.errstate(divide="ignore"):
            is_broken &= rule.decide(np.log(probs)) != stored_labels
    broken = np.flatnonzero(is_broken)
    if broken.size:
        raise ValueError(
            f"{path}: {broken.size} labels are not what {rule_path(path).name} makes of their probabilities, the first "
            f"in {place(int(broken[0]))}: were labels or columns exchanged?"
        )
    return sha256_bytes(path.read_bytes()) == stored["sha256"]
