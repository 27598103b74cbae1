"""One table of what models said of pairs, with image, sentence, label and what else it has, as prediction tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.labels import Split, class_names, vote_columns
from verdict.base.params import AnswersParams
from verdict.data.own.answer_files import HUMAN, MAX_BYTES, How, of_table
from verdict.data.own.answers import ANSWER, LOG_PROBS, Form, made_of, word_ids, worth_of
from verdict.data.own.pair_file import ALIASES, DATE
from verdict.data.own.picture_files import found_images
from verdict.data.own.recorded import (
    Recorded,
    RecordedSet,
    check_counts,
    of_saved,
    predictions_of,
    read_features,
    refuse_too_little,
    with_tuning,
)
from verdict.data.own.tables import Table, find_columns, listed, read_table, shown
from verdict.data.pairs import first_of, make_pair_id, refuse_shared, text_problems
from verdict.data.splits import carve_split, merge_groups, split_groups

HOW = "; give a CSV, JSON lines or Parquet with image, hypothesis, label and what a model said: logprob_yes, prob_yes …"
COLUMNS = {name: ALIASES[name] for name in ("image_id", "hypothesis", "split", "group_id")} | {
    **{"question": ("question",), "answer": ("answer",), **DATE},
    **{"pair_id": ("pair_id", "id"), "human": ("human", "human_label", "human_answer")},
    **{"family": (*ALIASES["family"], "source", "category", "type"), "model": ("model", "model_name")},
}
USED = (Split.CALIB, Split.TEST, Split.INDEPENDENT)
# Log-probabilities of yes and no, (n, 2), of pairs with image_id, hypothesis and place, and the images' files.
Ask = Callable[[pd.DataFrame, Mapping[str, tuple[Path, str]]], np.ndarray]


def build(params: AnswersParams, classes: Sequence[str], *, seed: int, ask: Ask | None = None) -> RecordedSet:
    """Read the table of the parameters: pairs, predictions of each model (the seed counts them), images and features.

    Bare answers get the logit that they are worth by their class, as rows of val say, which do nothing else. `ask` asks
    the model that the parameters name about the pairs that pages read; without it, what can be refused is, and all
    logits of that model are 0.

    FileNotFoundError, ValueError for what cannot be used: file, row, column and cause. Rows that no page reads are
    counted.
    """
    path = paths.needed(params.table, "data.answers.table", hint=HOW)
    table = _renamed(read_table(path, max_bytes=MAX_BYTES, may_nest=True), params.columns)
    names = find_columns(table, COLUMNS, ())
    kind = "" if params.form == "auto" else params.form
    how = How(tuple(classes), kind, params.allow_small, params.smallest_prob, True, bool(params.model.hub))
    saved = of_table(table, how)
    counts = saved.arrays.pop(HUMAN, None)
    read = of_saved(saved)
    rows = pd.DataFrame({ours: table.column(name) for ours, name in names.items()}, index=range(len(table.lines)))
    rows = rows.astype("str").assign(line=table.lines, place=[table.place(k) for k in range(len(table.lines))])
    rows["label"] = np.array(list(classes), dtype=object)[read.y_true]
    rows[vote_columns(classes)] = _votes(rows, counts, read.y_true, classes, path)
    rows = _identified(rows, path)
    if params.model.hub and "hypothesis" not in rows:
        raise ValueError(f"{path}: no column hypothesis or question to ask about; found {listed(table.names)}")
    images = _images(rows, path, params)
    parts = _by_model(rows, path, params.models)
    is_bare = saved.form.kind == ANSWER
    pairs, left_out = _split(_grouped(parts[0], images), params, path, seed, is_bare=is_bare)
    for split in USED[:2]:
        own = pairs[pairs["split"] == str(split)]
        refuse_too_little(path, read.y_true[own.index], classes)
    for column in ("group_id", "image_id") if "image_id" in names else ("group_id",):
        refuse_shared(pairs, column, str(path), pairs["place"].tolist())
    pairs = with_tuning(pairs, classes, params.tuning_share, seed)
    if ask is not None and params.model.hub:
        read = _asked(read, pairs, images, params, ask)
    tables = []
    for k, part in enumerate(parts):
        place = part.set_index("pair_id").index.get_indexer(pairs["pair_id"])
        at, tells = part.index[place], (pairs["split"] == str(Split.VAL)).to_numpy()
        worth = worth_of(read.logits[at[tells]], read.y_true[at[tells]]) if is_bare else 1.0
        tables.append(predictions_of(pairs, read.y_true[at], read.logits[at] * worth, k))
    features = None
    if params.features:
        features = read_features(paths.needed(params.features, "data.answers.features"), pairs)
    facts = _facts(read, saved.form.names, saved.said.sd, table) | left_out
    if n_others := len(rows) - sum(map(len, parts)):
        facts["left_out_models"] = n_others
    if params.images:
        facts |= {"images": len(images), "rows_without_image": int((~pairs["image_id"].isin(images)).sum())}
    kept = [name for name in ("pair_id", "image_id", "group_id", "hypothesis", "family", "date") if name in pairs]
    pairs = pairs[[*kept, "label", "split", "is_tuning", *vote_columns(classes)]].dropna(axis="columns", how="all")
    files = pd.DataFrame([{"part": "answers", **facts}])
    predictions = pd.concat(tables, ignore_index=True)
    return RecordedSet(pairs.reset_index(drop=True), predictions, files, images, features)


def _asked(
    read: Recorded, pairs: pd.DataFrame, images: dict[str, tuple[Path, str]], params: AnswersParams, ask: Ask
) -> Recorded:
    """What was read, with what the model says of these pairs."""
    asked, folder, logits = params.model, paths.preset_folder(params.model.hub), read.logits.copy()
    form = Form(LOG_PROBS, (), class_names(), params.smallest_prob)
    said = made_of(form, ask(pairs, images), pairs["place"].tolist().__getitem__)
    logits[pairs.index] = said.logits
    told = {"stored_as": "asked", "smallest": float(said.logits.min()), "largest": float(said.logits.max())}
    model = (
        {"model": folder.name, "revision": "a folder"} if folder else {"model": asked.hub, "revision": asked.revision}
    )
    told |= model | {"prompt": asked.prompt}
    told |= {name: n for name, n in said.counts.items() if name != "n_rows"}
    return replace(read, logits=logits, facts=read.facts | told)


def _renamed(table: Table, columns: dict[str, str]) -> Table:
    """The table under the names that are known, where the parameters say what it calls them."""
    if absent := sorted(set(columns.values()) - set(table.names)):
        raise ValueError(f"{table.path}: data.answers.columns names {absent}, found {listed(table.names)}")
    ours = {theirs: name for name, theirs in columns.items()}
    names = [ours.get(name, f"{name} (of the table)" if name in columns else name) for name in table.names]
    return replace(table, names=names)


def _votes(
    rows: pd.DataFrame, counts: np.ndarray | None, y_true: np.ndarray, classes: Sequence[str], path: Path
) -> np.ndarray:
    """People's answers, (n, K), NaN where nobody was asked; of one person a one in the class that he named."""
    if counts is None and "human" in rows:
        ids = word_ids(classes)
        words = rows["human"].str.casefold().tolist()
        for k in (k for k, word in enumerate(words) if word and word not in ids):
            where = f"{path}, {rows['place'][k]}, column 'human'"
            raise ValueError(f"{where}: {shown(words[k])} is none of {listed(list(ids))}")
        counts = np.array(
            [np.eye(len(classes))[ids[word]] if word else np.full(len(classes), np.nan) for word in words]
        )
    if counts is None:
        return np.full((len(rows), len(classes)), np.nan)
    asked = ~np.isnan(counts).all(axis=1)
    places = rows["place"][asked].tolist()
    try:
        counts[asked] = check_counts(counts[asked], y_true[asked], len(classes), places.__getitem__)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return counts


def _identified(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows with hypothesis (of a question, that and the answer that it is about), pair_id and image_id."""
    if "hypothesis" not in rows and "question" in rows:
        answers = rows.get("answer", "")
        rows = rows.assign(hypothesis=(rows["question"] + " " + answers).str.strip())
    if faults := [
        f"{rows['place'][row]}: {cause}" for row, cause in text_problems(rows.drop(columns="split", errors="ignore"))
    ]:
        raise ValueError(f"{path}: {first_of(faults)}")
    if "pair_id" not in rows:
        own = [rows[name] for name in ("image_id", "hypothesis") if name in rows]
        ids = list(map(make_pair_id, *own)) if len(own) == 2 else own[0] if own else [f"row-{k}" for k in rows.index]
        rows = rows.assign(pair_id=pd.Series(ids, index=rows.index, dtype="str"))
    return rows if "image_id" in rows else rows.assign(image_id=rows["pair_id"])


def _images(rows: pd.DataFrame, path: Path, params: AnswersParams) -> dict[str, tuple[Path, str]]:
    """File and SHA-256 of each image, none where no folder is named."""
    if not params.images:
        return {}
    folder = paths.needed(params.images, "data.answers.images", is_folder=True)
    named = rows.assign(written=rows["image_id"])
    found, _ = found_images(named, path, folder, allow_missing=params.allow_missing_images)
    return {image_id: (file, sha256_file(file)) for image_id, file in found.items()}


def _by_model(rows: pd.DataFrame, path: Path, models: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of each model, the judged one first; each must speak of the same pairs, with the same labels, once."""
    there = list(dict.fromkeys(rows["model"])) if "model" in rows else []
    if "" in there:
        raise ValueError(f"{path}, {rows['place'][rows['model'] == ''].iloc[0]}, column 'model': is empty")
    if (len(there) > 1 and not models) or set(models) - set(there):
        raise ValueError(
            f"{path}: the column model names {listed(there)}; name those that are wanted in data.answers.models, first "
            f"the one that is judged, got {list(models)}"
        )
    parts = [rows[rows["model"] == model] for model in models] or [rows]
    first = parts[0].set_index("pair_id")
    for part in parts:
        twice = part["pair_id"].duplicated()
        if twice.any():
            row = part[twice].iloc[0]
            earlier = part["place"][part["pair_id"] == row["pair_id"]].iloc[0]
            raise ValueError(f"{path}, {row['place']}: repeats {earlier}, the same pair")
        own = part.set_index("pair_id")
        if apart := sorted(set(own.index) ^ set(first.index)):
            row = (own if apart[0] in own.index else first).loc[apart[0]]
            raise ValueError(f"{path}: {len(apart)} pairs are not answered by every model, the first is {row['place']}")
        if (other := own["label"].reindex(first.index) != first["label"]).any():
            raise ValueError(f"{path}: two labels for one pair, {own['place'][first.index[other][0]]}")
    return parts


def _grouped(rows: pd.DataFrame, images: dict[str, tuple[Path, str]]) -> pd.DataFrame:
    """Rows of one image, and of copies of it under two names, stay together."""
    groups = rows["group_id"] if "group_id" in rows else rows["image_id"]
    contents = pd.Series([images.get(name, ("", name))[1] for name in rows["image_id"]], rows.index)
    return rows.assign(group_id=merge_groups(groups, rows["image_id"], contents))


def _split(
    rows: pd.DataFrame, params: AnswersParams, path: Path, seed: int, *, is_bare: bool
) -> tuple[pd.DataFrame, dict[str, int | str]]:
    """Rows that pages read, with their split, and how many others there are.

    A column decides, in which `val` calibrates where nothing else does; else the groups are drawn. Bare answers need
    val: where there is none, a part of calib's groups is drawn for it.
    """
    if "split" in rows:
        split = pd.Series([_parsed(*row, path) for row in rows[["place", "split"]].itertuples(index=False)], rows.index)
        if str(Split.CALIB) not in set(split):
            split = split.replace(str(Split.VAL), str(Split.CALIB))
    else:
        later = _later(rows, params, path)
        split = pd.Series(str(Split.INDEPENDENT), rows.index, dtype="str")
        split[~later] = split_groups(rows.loc[~later, "group_id"], params.fractions, seed)
    told = {"split_by": "column" if "split" in rows else "groups"}
    if lacking := [str(name) for name in USED[:2] if str(name) not in set(split)]:
        raise ValueError(f"{path}: no row has the split {lacking[0]}; found {dict(Counter(split))}")
    used = (Split.VAL, *USED) if is_bare else USED
    if is_bare and str(Split.VAL) not in set(split):
        cut = {"source": Split.CALIB, "new": Split.VAL, "fraction": params.worth_share, "seed": seed}
        split = carve_split(split, rows["group_id"], **cut)
    rows = rows.assign(split=split)
    others = Counter(split[~split.isin(used)])
    return rows[split.isin(used)], told | {f"left_out_{name}": n for name, n in sorted(others.items())}


def _parsed(place: str, text: str, path: Path) -> str:
    try:
        return str(Split.parse(text))
    except ValueError as error:
        raise ValueError(f"{path}, {place}, column 'split': {error}") from None


def _later(rows: pd.DataFrame, params: AnswersParams, path: Path) -> pd.Series:
    """Which rows are of the date, or later, from which another distribution is said to begin."""
    if not params.independent_from:
        return pd.Series(data=False, index=rows.index)
    if "date" not in rows:
        raise ValueError(f"{path}: data.answers.independent_from is given, and there is no column date")
    dates = pd.to_datetime(rows["date"], errors="coerce", format="ISO8601", utc=True)
    if (bad := dates.isna()).any():
        row = rows[bad].iloc[0]
        raise ValueError(f"{path}, {row['place']}, column 'date': {shown(row['date'])} is no date like 2026-03-31")
    return dates >= pd.Timestamp(params.independent_from, tz="UTC")


def _facts(read: Recorded, columns: Sequence[str], sd: np.ndarray | None, table: Table) -> dict[str, str | int | float]:
    facts = read.facts | {"columns": ", ".join(columns[:5]) + (f" … {len(columns)}" if len(columns) > 5 else "")}
    used = {*columns, *find_columns(table, COLUMNS, ()).values()}
    ignored = [name for name in str(facts["ignored"]).split(", ") if name not in used]
    return (
        facts | {"ignored": ", ".join(ignored) or "nothing"} | ({} if sd is None else {"sampling_sd": float(sd.mean())})
    )
