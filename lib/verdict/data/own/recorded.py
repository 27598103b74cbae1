"""Saved logits of anybody's classifier: one file a split, accepted as logits, labels and people's answers, or refused.

How a file is read is in `answer_files`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.labels import Split, logit_columns, vote_columns
from verdict.base.params import RecordedParams
from verdict.base.refusals import counted, listed, naming, refuse_rows, shown
from verdict.data.own import answer_files
from verdict.data.own.answer_files import FEATURES, HUMAN, LABELS, How, Saved
from verdict.data.own.answers import word_ids
from verdict.data.own.csv_folder import MIN_GROUPS
from verdict.data.splits import split_groups
from verdict.stats.scores import check_labels

TRIAL, SEED = "recorded", 0
HOW = "; give an .npz with `logits` (n, K) and `labels` (n,), or a CSV with the columns label, logit_<class> …"
JUDGED = ("val", "test")
MIN_ROWS = 20
SPLIT_OF = {"val": Split.CALIB, "test": Split.TEST, "independent": Split.INDEPENDENT}


@dataclass(frozen=True)
class Recorded:
    """One file as it was read: logits float64 (n, K), labels int64 (n,), how many people gave each answer (n, K),
    the independent unit of each row (n,), how the file looked, and what the model saw of each row float64 (n, d).
    """

    logits: np.ndarray
    y_true: np.ndarray
    human: np.ndarray | None
    groups: np.ndarray | None
    facts: dict[str, str | int | float]
    features: np.ndarray | None = None


@dataclass(frozen=True)
class RecordedSet:
    """All files of a profile as tables. `pairs`: pair_id, image_id, group_id, label (name of the true class), split,
    is_tuning (rows of test that tune the policy, where only test has people's answers) and, where these are
    known, votes_<class>, hypothesis and family. `files` has one row a file: what was read; `images` are file and
    SHA-256 of each image, `features` (n, d) what the model saw of each pair, where these are given; `places` say where
    the table first names each image.
    """

    pairs: pd.DataFrame
    predictions: pd.DataFrame
    files: pd.DataFrame
    images: dict[str, tuple[Path, str]] = field(default_factory=dict)
    features: np.ndarray | None = None
    places: dict[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> pd.DataFrame:
        """Predictions of the model that is judged, the first."""
        return self.predictions[self.predictions["seed"] == SEED].reset_index(drop=True)

    @property
    def has_groups(self) -> bool:
        """Whether any rows belong together."""
        return bool((self.predictions["group_id"] != self.predictions["pair_id"]).any())


def build(params: RecordedParams, *, seed: int) -> RecordedSet:
    """Read every file of the parameters and put them into tables; see `read_file` and `read_counts` for what is
    refused, and FileNotFoundError says which is not there. The seed is that of the division of test into tuning and
    reporting, needed where people's answers are known there only.
    """
    named = {name: wanted for name in (*SPLIT_OF, HUMAN) if (wanted := getattr(params, name))}
    found = {name: paths.needed(wanted, f"data.recorded.{name}", hint=HOW) for name, wanted in named.items()}
    parts, files = {}, []
    for name in SPLIT_OF:
        if name in found:
            parts[name] = read_file(found[name], params.class_names, group=params.group, allow_small=params.allow_small)
            files.append({"part": name, **parts[name].facts})
            if name in JUDGED:
                refuse_too_little(found[name], name, parts[name].y_true, parts[name].groups, params.class_names)
    if HUMAN in found:
        counts = read_counts(found[HUMAN], parts["test"].y_true, params.class_names)
        parts["test"] = replace(parts["test"], human=counts)
        facts = {"file": found[HUMAN].name, "rows": len(counts), "classes": counts.shape[1], "stored_as": "counts"}
        facts |= {"smallest": counts.min(), "largest": counts.max(), "sha256": sha256_file(found[HUMAN])[:12]}
        files.append({"part": "people, test", **facts})
    _refuse_shared_groups(parts)
    pairs = pd.concat([_pairs(SPLIT_OF[name], part, params) for name, part in parts.items()], ignore_index=True)
    pairs = with_tuning(pairs, params.class_names, params.tuning_share, seed)
    y_true = np.concatenate([part.y_true for part in parts.values()])
    logits = np.concatenate([part.logits for part in parts.values()])
    features = _joined_features({found[name]: part.features for name, part in parts.items()})
    return RecordedSet(pairs, predictions_of(pairs, y_true, logits), pd.DataFrame(files), features=features)


def with_tuning(pairs: pd.DataFrame, classes: Sequence[str], share: float, seed: int) -> pd.DataFrame:
    """Pairs with `is_tuning`: rows of test, drawn by group, that tune the policy where people answered test alone."""
    votes = [column for column in vote_columns(classes) if column in pairs]
    asked = set(pairs.loc[pairs[votes].notna().any(axis=1), "split"])
    pairs = pairs.assign(is_tuning=False)
    if str(Split.TEST) in asked and str(Split.CALIB) not in asked:
        groups = pairs.loc[pairs["split"] == str(Split.TEST), "group_id"]
        drawn = split_groups(groups, {Split.CALIB: share, Split.TEST: 1 - share}, seed)
        pairs.loc[groups.index, "is_tuning"] = drawn == str(Split.CALIB)
    return pairs


def predictions_of(pairs: pd.DataFrame, y_true: np.ndarray, logits: np.ndarray, seed: int = SEED) -> pd.DataFrame:
    """A prediction table of these pairs, in their order; the seed counts the models."""
    table = pairs[["pair_id", "image_id", "group_id", "split"]].assign(stage="recorded", trial=TRIAL, seed=seed)
    scores = pd.DataFrame(logits, columns=logit_columns(logits.shape[1]), index=table.index)
    return pd.concat([table.assign(y_true=y_true), scores], axis=1)


def read_file(path: Path, class_names: Sequence[str], *, group: str = "", allow_small: bool = False) -> Recorded:
    """Read one file (`.npz`, else a table; see `answer_files`): what the model said, as logits, and labels.

    `group` names the array or column of groups, "" where each row is independent. `allow_small` says that logits within
    [-1, 1] are meant; otherwise they are taken for cosines. ValueError names the file for whatever cannot be read, for
    shapes or labels that do not fit, and for features without a direction.
    """
    return of_saved(answer_files.read_saved(path, How(tuple(class_names), allow_small=allow_small)), group=group)


def of_saved(saved: Saved, *, group: str = "") -> Recorded:
    """As `read_file`, of a file that was read."""
    arrays, form, logits, class_names = saved.arrays, saved.form, saved.said.logits, saved.form.classes
    with naming(saved.path):
        if saved.table is not None and LABELS not in arrays:
            raise ValueError(f"no column says what is true; found {listed(saved.table.names)}: call it label")
        y_true = _class_ids(_wanted(arrays, LABELS), len(logits), class_names, saved)
        human = check_counts(arrays[HUMAN], y_true, len(class_names), saved.place) if HUMAN in arrays else None
        groups = _groups(_wanted(arrays, group), len(logits), saved.place) if group else None
        has_features = saved.table is None and FEATURES in arrays
        features = _features(arrays[FEATURES], len(logits), saved.place) if has_features else None
    counts = {name: n for name, n in saved.said.counts.items() if name != "n_rows"}
    # The answer is the last of all forms.
    others = ", ".join(form.others) + (f" (another one in {n} rows)" if (n := counts.pop("n_contrary", 0)) else "")
    facts: dict[str, str | int | float] = {
        "file": saved.path.name,
        "rows": len(logits),
        "classes": logits.shape[1],
        "form": form.kind,
        **({"also_there": others} if others else {}),
        "stored_as": saved.stored_as,
        "smallest": float(logits.min()),
        "largest": float(logits.max()),
        "ignored": ", ".join(sorted(set(arrays) - {LABELS, HUMAN, FEATURES, group})) or "nothing",
        "sha256": sha256_file(saved.path)[:12],
    }
    return Recorded(logits, y_true, human, groups, facts | counts, features)


def read_counts(path: Path, y_true: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """People's answers, (n, K) float64, of an npz or npy of one array, or a table; ValueError names the file."""
    counts, table = answer_files.read_numbers(path, class_names)
    with naming(path):
        return check_counts(counts, y_true, len(class_names), table.place if table else counted)


def check_counts(counts: np.ndarray, y_true: np.ndarray, n_classes: int, place: Callable[[int], str]) -> np.ndarray:
    """Refuse counts that are none, have rows without an answer, or agree with the labels no better than chance."""
    if counts.shape != (len(y_true), n_classes):
        raise ValueError(f"people's answers must have shape {(len(y_true), n_classes)}, got {counts.shape}")
    if counts.dtype.kind not in "fiub":
        raise ValueError(f"people's answers must be counts: whole numbers, got {counts.dtype}")
    counts = counts.astype(np.float64)
    if np.isfinite(counts).all() and np.abs(counts.sum(axis=1) - 1).max() < 1e-3 and (counts % 1).any():
        what = "people's answers must be counts, as in cifar10h-counts.npy, got shares that sum to 1"
        raise ValueError(f"{what}, which do not say how many people there were")
    is_count = np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))
    refuse_rows(~is_count.all(axis=1), place, "people's answers must be counts: whole numbers, none below 0")
    refuse_rows(counts.sum(axis=1) == 0, place, "rows have no answer of anybody")
    right = (counts[np.arange(len(y_true)), y_true] / counts.sum(axis=1)).mean()
    if right <= 1 / n_classes:
        what = f"people's answers agree with {right:.1%} of the labels, no better than chance"
        raise ValueError(f"{what}: are the rows in one order?")
    return counts


def _class_ids(labels: np.ndarray, n: int, class_names: Sequence[str], saved: Saved) -> np.ndarray:
    """Class ids of names or ids; names decide where every label is one, in any case where that is unambiguous."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ValueError(f"labels must be class ids (n,), got shape {labels.shape}; of one-hot rows save the argmax")
    labels, last = labels.ravel(), len(class_names) - 1
    if labels.dtype.kind in "US" and len(labels) == n:
        labels = _ids_of_words(labels.astype(str), class_names, saved.place)
    elif labels.dtype.kind == "f" and not (labels % 1).any() and np.isfinite(labels).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iu" and len(labels) == n:
        if labels.min() == 1 and labels.max() == last + 1:
            what = f"labels run from 1 to {last + 1}, and class ids count from 0 to {last}"
            raise ValueError(f"{what}: subtract 1, or write the names of the classes")
        what = f"labels must lie in 0 … {last}, got {labels.min()} … {labels.max()}"
        refuse_rows((labels < 0) | (labels > last), saved.place, what)
    return check_labels(labels, n, len(class_names))


def _ids_of_words(cells: np.ndarray, class_names: Sequence[str], place: Callable[[int], str]) -> np.ndarray:
    ids, folded = {name: k for k, name in enumerate(class_names)}, word_ids(class_names)
    words = np.char.strip(cells)
    for known, fold in ((ids, str), (folded, str.casefold)):
        if all(fold(word) in known for word in np.unique(words).tolist()):
            return np.array([known[fold(word)] for word in words.tolist()], dtype=np.int64)
    is_number = [bool(re.fullmatch(r"[0-9]{1,9}(\.0+)?", word)) for word in words.tolist()]
    if all(is_number) and "entailed" in folded:
        told = sorted(set(words.tolist()))[:5]
        raise ValueError(f"the labels are {told}: some count entailment first, others last: write yes, no")
    if not all(is_number):
        named = [row for row, fits in enumerate(is_number) if not fits]
        row = next((row for row in named if words[row].casefold() not in folded), None)
        if row is None:
            one, other = is_number.index(True), words[named[0]]
            raise ValueError(
                f"{place(one)}: label {shown(str(words[one]))} is a class id, and {shown(str(other))} a name"
            )
        hint = "" if words[row] else " (it is empty)"
        what = f"label {shown(str(words[row]))}{hint}"
        known = list(folded) if "entailed" in folded else class_names
        raise ValueError(f"{place(row)}: {what} is no class id and not one of {listed(known)}")
    return words.astype(np.float64).astype(np.int64)


def refuse_too_little(
    path: Path, split: str, y_true: np.ndarray, groups: ArrayLike | None, class_names: Sequence[str]
) -> None:
    """Refuse a split that no temperature can be fitted or judged on; without `groups` each row is one."""
    n_groups = len(y_true) if groups is None else len(np.unique(np.asarray(groups, dtype=str)))
    for n, noun, least in ((len(y_true), "row", MIN_ROWS), (n_groups, "group", MIN_GROUPS)):
        if n < least:
            what = f"the split {split} has {n} {noun}{'' if n == 1 else 's'}"
            raise ValueError(f"{path}: {what}; at least {least} are needed")
    if len(np.unique(y_true)) == 1:
        what = f"in the split {split} every label is {class_names[y_true[0]]!r}"
        raise ValueError(f"{path}: {what}; rows of one class alone can neither fit a temperature nor judge one")


def _wanted(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(answer_files.missing(name, arrays))
    return arrays[name]


def _groups(values: np.ndarray, n: int, place: Callable[[int], str]) -> np.ndarray:
    if values.shape != (n,) or values.dtype.kind not in "iuUS":
        raise ValueError(f"groups must be {n} names or whole numbers, got {values.dtype} of shape {values.shape}")
    names = values.astype(str)
    refuse_rows(np.char.strip(names) == "", place, "rows have no group")
    return names


def _features(values: np.ndarray, n: int, place: Callable[[int], str]) -> np.ndarray:
    """Features as float64 (n, d); each row has a direction."""
    if values.ndim != 2 or len(values) != n or values.dtype.kind not in "fiu":
        raise ValueError(f"features must be numbers of shape ({n}, d), got {values.dtype} of shape {values.shape}")
    values = values.astype(np.float64)
    is_direction = np.isfinite(values).all(axis=1) & values.any(axis=1)
    refuse_rows(~is_direction, place, "features must be finite and not all zero")
    return values


def read_features(path: Path, pairs: pd.DataFrame) -> np.ndarray:
    """Features (n, d) of `pairs` (pair_id, place), in their order, from an npz with `pair_id` and `features`; others
    are passed over. ValueError names the file, and the first pair that it lacks or has twice.
    """
    arrays = answer_files.read_arrays(path)
    with naming(path):
        ids = pd.Index(_wanted(arrays, "pair_id").ravel().astype(str))
        values = _features(_wanted(arrays, FEATURES), len(ids), counted)
        if (twice := ids.duplicated()).any():
            raise ValueError(f"{counted(int(twice.argmax()))}: the pair {shown(ids[twice][0])} comes twice")
        at = ids.get_indexer(pairs["pair_id"])
        of_table = ("the pair " + pairs["pair_id"] + ", " + pairs["place"] + " of the table").tolist()
        refuse_rows(at < 0, of_table.__getitem__, "pairs have no features")
    return values[at]


def _joined_features(by_file: Mapping[Path, np.ndarray | None]) -> np.ndarray | None:
    """Features of all files, or none where no file has any; ValueError where one lacks them, or they are others."""
    known = {path: values for path, values in by_file.items() if values is not None}
    if not known:
        return None
    if without := [path.name for path in by_file if path not in known]:
        raise ValueError(
            f"{next(iter(known))} holds features and {listed(without)} does not; save them in all, or none"
        )
    if len(widths := {values.shape[1] for values in known.values()}) > 1:
        raise ValueError(f"features of {listed([path.name for path in known])} differ in width: {sorted(widths)}")
    return np.concatenate(list(known.values()))


def _refuse_shared_groups(parts: Mapping[str, Recorded]) -> None:
    seen: dict[str, str] = {}
    for name, part in parts.items():
        for group in np.unique(part.groups).tolist() if part.groups is not None else ():
            if (other := seen.setdefault(group, name)) != name:
                raise ValueError(f"group {group!r} is in {other} and in {name}; one group may serve one split only")


def _pairs(split: Split, part: Recorded, params: RecordedParams) -> pd.DataFrame:
    n = len(part.y_true)
    ids = [f"{split}-{row:0{len(str(n - 1))}d}" for row in range(n)]
    names = np.array(params.class_names, dtype=object)
    pairs = pd.DataFrame({"pair_id": ids, "image_id": ids, "group_id": ids if part.groups is None else part.groups})
    pairs["label"], pairs["split"] = names[part.y_true], str(split)
    if part.human is not None:
        pairs[vote_columns(params.class_names)] = part.human
    return pairs
