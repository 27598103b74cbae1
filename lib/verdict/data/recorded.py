"""Saved logits of anybody's classifier: one file a split, accepted as logits, labels and people's answers, or refused.

How files are read is in `recorded_files`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from verdict import paths
from verdict.artifacts import sha256_file
from verdict.data.recorded_files import HUMAN, LABELS, LOGITS, read_arrays, read_npz, read_number_table
from verdict.data.splits import split_groups
from verdict.labels import Split, logit_columns, vote_columns
from verdict.params import RecordedParams
from verdict.scores import check_labels, check_logits

TRIAL, SEED = "recorded", 0
HOW = (
    "give an .npz with `logits` (n, K) and `labels` (n,), or a CSV with the columns label, logit_<class> …; "
    "a relative path is looked up below $VERDICT_DATA, then below the project"
)
SPLIT_OF = {"val": Split.CALIB, "test": Split.TEST, "independent": Split.INDEPENDENT}


@dataclass(frozen=True)
class Recorded:
    """One file as it was read.

    Attributes
    ----------
    logits : ndarray of float64, (n, K)
    y_true : ndarray of int64, (n,)
    human : ndarray of float64, (n, K), or None
        How many people gave each answer.
    groups : ndarray of str, (n,), or None
        The independent unit of each row.
    facts : dict
        File name, format, rows, classes, stored type, smallest and largest logit, ignored arrays, hash.
    """

    logits: np.ndarray
    y_true: np.ndarray
    human: np.ndarray | None
    groups: np.ndarray | None
    facts: dict[str, str | int | float]


@dataclass(frozen=True)
class RecordedSet:
    """All files of a profile as tables.

    Attributes
    ----------
    pairs : DataFrame
        pair_id, image_id, group_id, label (name of the true class), split, is_tuning (rows of test that tune the
        policy, where only test has people's answers) and, where these are known, votes_<class>.
    predictions : prediction table
    files : DataFrame
        One row a file: what was read.
    """

    pairs: pd.DataFrame
    predictions: pd.DataFrame
    files: pd.DataFrame


def locate(params: RecordedParams) -> dict[str, Path]:
    """The files that the parameters name, by parameter.

    Raises
    ------
    FileNotFoundError
        If one is not there; the message says which, where it was looked for and what to give.
    """
    found = {}
    for name in (*SPLIT_OF, HUMAN):
        if wanted := getattr(params, name):
            path = paths.data_file(wanted)
            if path is None:
                where = " and ".join(str(folder) for folder in paths.data_folders())
                raise FileNotFoundError(f"data.recorded.{name}: {wanted} is not in {where}; {HOW}")
            found[name] = path
    return found


def build(params: RecordedParams, *, seed: int) -> RecordedSet:
    """Read every file of the parameters and put them into tables.

    Parameters
    ----------
    params : RecordedParams
    seed : int
        Of the division of test into tuning and reporting, which is needed where people's answers are known there only.

    Raises
    ------
    FileNotFoundError, ValueError
        Naming file and cause; see `read_file` and `read_counts`.
    """
    found = locate(params)
    parts, files = {}, []
    for name in SPLIT_OF:
        if name in found:
            parts[name] = read_file(found[name], params.class_names, group=params.group, allow_small=params.allow_small)
            files.append({"part": name, **parts[name].facts})
    human = {name: part.human for name, part in parts.items()}
    if HUMAN in found:
        human["test"] = read_counts(found[HUMAN], parts["test"].y_true, len(params.class_names))
        counts = human["test"]
        facts = {"file": found[HUMAN].name, "rows": len(counts), "classes": counts.shape[1], "stored_as": "counts"}
        facts |= {"smallest": counts.min(), "largest": counts.max(), "sha256": sha256_file(found[HUMAN])[:12]}
        files.append({"part": "people, test", **facts})
    _refuse_shared_groups(parts)
    pairs = pd.concat([_pairs(name, part, human[name], params) for name, part in parts.items()], ignore_index=True)
    pairs["is_tuning"] = _tuning_rows(pairs, human, params.tuning_share, seed)
    predictions = pairs[["pair_id", "image_id", "group_id", "split"]].assign(stage="recorded", trial=TRIAL, seed=SEED)
    predictions["y_true"] = np.concatenate([part.y_true for part in parts.values()])
    logits = np.concatenate([part.logits for part in parts.values()])
    for k, column in enumerate(logit_columns(logits.shape[1])):
        predictions[column] = logits[:, k]
    return RecordedSet(pairs, predictions, pd.DataFrame(files))


def read_file(path: Path, class_names: Sequence[str], *, group: str = "", allow_small: bool = False) -> Recorded:
    """Read one file of logits and labels.

    Parameters
    ----------
    path : Path
        `.npz`, else CSV (comma, semicolon or tab).
    class_names : sequence of str, (K,)
        In the order of the columns of `logits`.
    group : str
        Name of the array or column of groups; "" where each row is independent of the others.
    allow_small : bool
        Says that logits within [-1, 1] are meant; otherwise they are taken for cosines.

    Raises
    ------
    ValueError
        For a pickle, arrays of objects, a missing array or column, probabilities, cosines, values that are not finite,
        and shapes or labels that do not fit, always naming the file.
    """
    arrays = read_arrays(path, class_names)
    try:
        logits = _checked_logits(_wanted(arrays, LOGITS), allow_small=allow_small)
        if logits.shape[1] != len(class_names):
            raise ValueError(f"logits have {logits.shape[1]} columns for {len(class_names)} class names")
        y_true = check_labels(_one_column(_wanted(arrays, LABELS)), len(logits), len(class_names))
        human = check_counts(arrays[HUMAN], y_true, len(class_names)) if HUMAN in arrays else None
        groups = _groups(_wanted(arrays, group), len(logits)) if group else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    used = {LOGITS, LABELS, HUMAN, group}
    facts: dict[str, str | int | float] = {
        "file": path.name,
        "rows": len(logits),
        "classes": logits.shape[1],
        "stored_as": str(np.asarray(arrays[LOGITS]).dtype),
        "smallest": float(logits.min()),
        "largest": float(logits.max()),
        "ignored": ", ".join(sorted(set(arrays) - used)) or "nothing",
        "sha256": sha256_file(path)[:12],
    }
    return Recorded(logits, y_true, human, groups, facts)


def read_counts(path: Path, y_true: np.ndarray, n_classes: int) -> np.ndarray:
    """Read people's answers, (n, K) float64, from an npz with one array or a CSV of counts.

    Raises
    ------
    ValueError
        If the file is not of that kind, or the counts do not fit the labels; the message names the file.
    """
    arrays = read_npz(path) if path.suffix == ".npz" else {HUMAN: read_number_table(path)}
    name = HUMAN if HUMAN in arrays else next(iter(arrays), "")
    if len(arrays) != 1 and name != HUMAN:
        raise ValueError(f"{path}: expected one array, or one called {HUMAN}, found {sorted(arrays)}")
    try:
        return check_counts(arrays[name], y_true, n_classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_counts(counts: np.ndarray, y_true: np.ndarray, n_classes: int) -> np.ndarray:
    """Refuse counts that are none, have rows without an answer, or agree with the labels no better than chance."""
    counts = np.asarray(counts)
    if counts.shape != (len(y_true), n_classes):
        raise ValueError(f"people's answers must have shape {(len(y_true), n_classes)}, got {counts.shape}")
    if counts.dtype.kind not in "fiub":
        raise ValueError(f"people's answers must be counts: whole numbers, got {counts.dtype}")
    counts = counts.astype(np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.floor(counts)).any():
        raise ValueError("people's answers must be counts: whole numbers, none below 0")
    if (silent := np.flatnonzero(counts.sum(axis=1) == 0)).size:
        raise ValueError(f"{silent.size} rows have no answer of anybody, the first is row {silent[0]}")
    right = (counts[np.arange(len(y_true)), y_true] / counts.sum(axis=1)).mean()
    if right <= 1 / n_classes:
        raise ValueError(
            f"people's answers agree with {right:.1%} of the labels, no better than chance: are the rows in one order?"
        )
    return counts


def shared_rows(predictions: pd.DataFrame) -> int:
    """Rows of other splits whose logits also stand, to the last bit, in the calibration split."""
    columns = [name for name in predictions if str(name).startswith("logit_")]
    is_calib = predictions["split"] == str(Split.CALIB)
    known = {row.tobytes() for row in predictions.loc[is_calib, columns].to_numpy()}
    return sum(row.tobytes() in known for row in predictions.loc[~is_calib, columns].to_numpy())


def _checked_logits(values: np.ndarray, *, allow_small: bool) -> np.ndarray:
    """`check_logits`, and what it must let pass for the rows (0, z) of a binary model but no file may hold."""
    values = np.asarray(values)
    is_table = values.ndim == 2 and values.dtype.kind in "fiu" and values.size and np.isfinite(values).all()
    total = values.sum(axis=1, dtype=np.float64) if is_table else np.empty(0)
    if is_table and values.min() >= 0 and np.abs(total - 1).max() > 1e-5 and np.ptp(total) <= 0.05 * total.mean():
        raise ValueError(
            f"expected logits, got rows that are not negative and all sum to about {total.mean():.4g}: these are "
            "shares or rounded probabilities"
        )
    logits = check_logits(values, allow_small=allow_small)
    if not allow_small and logits[:, 0].any() and np.abs(logits).max() <= 1:
        raise ValueError(
            "expected logits, got values within [-1, 1]: these look like cosines or probabilities; "
            "set data.recorded.allow_small if they are logits"
        )
    return logits


def _wanted(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        near = difflib.get_close_matches(name, arrays, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no {name!r} among {sorted(arrays)}{hint}")
    return arrays[name]


def _one_column(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ValueError(f"labels must be class ids (n,), got shape {labels.shape}; did you pass one-hot rows?")
    return labels.ravel()


def _groups(values: np.ndarray, n: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,) or values.dtype.kind not in "iuUS":
        raise ValueError(f"groups must be {n} names or whole numbers, got {values.dtype} of shape {values.shape}")
    return values.astype(str)


def _refuse_shared_groups(parts: Mapping[str, Recorded]) -> None:
    seen: dict[str, str] = {}
    for name, part in parts.items():
        for group in np.unique(part.groups).tolist() if part.groups is not None else ():
            if (other := seen.setdefault(group, name)) != name:
                raise ValueError(f"group {group!r} is in {other} and in {name}; one group may serve one split only")


def _pairs(name: str, part: Recorded, human: np.ndarray | None, params: RecordedParams) -> pd.DataFrame:
    split, n = SPLIT_OF[name], len(part.y_true)
    ids = [f"{split}-{row:0{len(str(n - 1))}d}" for row in range(n)]
    names = np.array(params.class_names, dtype=object)
    pairs = pd.DataFrame({"pair_id": ids, "image_id": ids, "group_id": ids if part.groups is None else part.groups})
    pairs["label"], pairs["split"] = names[part.y_true], str(split)
    if human is not None:
        pairs[vote_columns(params.class_names)] = human
    return pairs


def _tuning_rows(pairs: pd.DataFrame, human: Mapping[str, np.ndarray | None], share: float, seed: int) -> np.ndarray:
    """Rows of test that tune the policy, drawn by group, where people's answers are known for test only."""
    is_test = (pairs["split"] == str(Split.TEST)).to_numpy()
    chosen = np.zeros(len(pairs), dtype=bool)
    if human["test"] is not None and human["val"] is None:
        parts = split_groups(pairs.loc[is_test, "group_id"], {Split.CALIB: share, Split.TEST: 1 - share}, seed)
        chosen[is_test] = (parts == str(Split.CALIB)).to_numpy()
    return chosen
