"""One table of what models said of pairs, with image, sentence, label and what else it has, as prediction tables."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.files.picture_files import found_images
from verdict.base.files.tables import Table, find_columns, read_table
from verdict.base.labels import Split, class_names, vote_columns
from verdict.base.parameter_files import nearest
from verdict.base.params import AnswersParams
from verdict.base.refusals import first_of, listed, naming, shown
from verdict.data.own import recorded
from verdict.data.own.answer_files import HUMAN, MAX_BYTES, How, Saved, of_table
from verdict.data.own.answers import ANSWER, LOG_PROBS, Form, made_of, word_ids, worth_of
from verdict.data.own.pair_file import ALIASES, DATE
from verdict.data.own.recorded import Recorded, RecordedSet
from verdict.data.pairs import make_pair_id, refuse_shared, text_problems
from verdict.data.splits import carve_split, merge_groups, split_groups

HOW = "; give a CSV, JSON lines or Parquet with image, hypothesis, label and what a model said: logprob_yes, prob_yes …"
WITHOUT = "; set data.answers.allow_missing_images to keep their rows, which are then judged without a picture"
COLUMNS = {name: ALIASES[name] for name in ("image_id", "hypothesis", "split", "group_id")} | {
    **{"question": ("question",), "answer": ("answer",), **DATE},
    **{"pair_id": ("pair_id", "id"), "human": ("human", "human_label", "human_answer")},
    **{"family": (*ALIASES["family"], "source", "category", "type"), "model": ("model", "model_name")},
}
KEPT = ("pair_id", "image_id", "group_id", "hypothesis", "family", "date", "label", "split", "is_tuning")
# What is said of a pair and not of an answer; so is the date, where it decides something.
ABOUT = ("label", "split", "group_id", "image_id", "family")
USED = (Split.CALIB, Split.TEST, Split.INDEPENDENT)
# Log-probabilities of yes and no, (n, 2), of pairs with image_id, hypothesis and place, and the images' files.
Ask = Callable[[pd.DataFrame, Mapping[str, tuple[Path, str]]], np.ndarray]


def build(params: AnswersParams, classes: Sequence[str], *, seed: int, ask: Ask | None = None) -> RecordedSet:
    """Read the table of the parameters: pairs, predictions of each model (the seed counts them), images and features.

    Bare answers get the logit that they are worth by their class, as rows of val say, which do nothing else. `ask` asks
    the model that the parameters name about the pairs that pages read; without it, what can be refused is, and all
    logits of that model are 0.

    FileNotFoundError, ValueError for the unusable: file, row, column and cause. Rows that no page reads are counted.
    """
    path = paths.needed(params.table, "data.answers.table", hint=HOW)
    table = _renamed(read_table(path, max_bytes=MAX_BYTES, may_nest=True), params.columns)
    kind = "" if params.form == "auto" else params.form
    how = How(tuple(classes), kind, params.allow_small, params.smallest_prob, True, bool(params.model.hub))
    saved = of_table(table, how)
    counts, is_bare = saved.arrays.pop(HUMAN, None), saved.form.kind == ANSWER
    read = recorded.of_saved(saved)
    found = find_columns(table, COLUMNS, ())
    facts = _facts(read, saved, found)
    if unread := sorted(set(params.columns) & set(facts["ignored"].split(", "))):
        known = [name for names in COLUMNS.values() for name in names]
        what = f"data.answers.columns names {unread}, which nothing here reads{nearest(unread[0], known)}"
        raise ValueError(f"{path}: {what}; what the model said is read from {saved.form.names}")
    if facts.get("n_undecided") == facts["rows"]:
        raise ValueError(f"{path}: no row says anything of {listed(list(classes))}, in {saved.form.names}")
    called = {ours: params.columns.get(name, name) for ours, name in found.items()}
    rows = _identified(_rows(table, read.y_true, counts, classes, found), path, called)
    if params.model.hub and "hypothesis" not in rows:
        raise ValueError(f"{path}: no column hypothesis or question to ask about; found {listed(table.names)}")
    images = _images(rows, path, params)
    parts = _by_model(rows, path, params.models)
    about = (*ABOUT, *vote_columns(classes), *(["date"] if params.independent_from else []))
    parts[0] = _described(parts, [name for name in about if name in rows], path, called)
    pairs, left_out = _split(_grouped(parts[0], images), params, path, seed, is_bare=is_bare)
    for split in map(str, USED[:2]):
        own = pairs[pairs["split"] == split]
        recorded.refuse_too_little(path, split, read.y_true[own.index], own["group_id"], classes)
    for column in ("group_id", "image_id"):
        refuse_shared(pairs, column, str(path), pairs["place"].tolist(), noun=called.get(column))
    with naming(path):
        pairs = recorded.with_tuning(pairs, classes, params.tuning_share, seed)
    if ask is not None and params.model.hub:
        read = _asked(read, pairs, images, params, ask)
    features = None
    if params.features:
        features = recorded.read_features(paths.needed(params.features, "data.answers.features"), pairs)
    facts |= _facts(read, saved, found) | left_out
    if n_others := len(rows) - sum(map(len, parts)):
        facts["left_out_models"] = n_others
    if params.images:
        facts |= {"images": len(images), "rows_without_image": int((~pairs["image_id"].isin(images)).sum())}
    predictions = pd.concat([_predicted(part, pairs, read, k, is_bare) for k, part in enumerate(parts)])
    pairs = pairs[[name for name in (*KEPT, *vote_columns(classes)) if name in pairs]].reset_index(drop=True)
    files = pd.DataFrame([{"part": "answers", **facts}])
    pairs = pairs.dropna(axis="columns", how="all")
    places = dict(rows.drop_duplicates("image_id")[["image_id", "place"]].itertuples(index=False))
    return RecordedSet(pairs, predictions.reset_index(drop=True), files, images, features, places)


def _rows(
    table: Table, y_true: np.ndarray, counts: np.ndarray | None, classes: Sequence[str], found: Mapping[str, str]
) -> pd.DataFrame:
    """The table's rows by our names, with line, place, label and, where somebody was asked, votes_<class>; `found`: the
    table's names by ours.
    """
    columns = {ours: table.column(name) for ours, name in found.items()}
    rows = pd.DataFrame(columns, index=range(len(table.lines)), dtype="str")
    rows = rows.assign(line=table.lines, place=[table.place(k) for k in rows.index])
    rows["label"] = np.array(list(classes), dtype=object)[y_true]
    if counts is None and "human" in rows:
        counts = _named_by_one(rows, classes, table.path)
    if counts is not None:
        asked = ~np.isnan(counts).all(axis=1)
        places = rows["place"][asked].tolist()
        with naming(table.path):
            counts[asked] = recorded.check_counts(counts[asked], y_true[asked], len(classes), places.__getitem__)
        rows = pd.concat([rows, pd.DataFrame(counts, rows.index, vote_columns(classes))], axis=1)
    return rows


def _predicted(part: pd.DataFrame, pairs: pd.DataFrame, read: Recorded, k: int, is_bare: bool) -> pd.DataFrame:
    """Predictions of the k-th model, of its rows: of bare answers the logits that they are worth."""
    at = part.index[pd.Index(part["pair_id"]).get_indexer(pairs["pair_id"])]
    logits, y_true = read.logits[at], read.y_true[at]
    if is_bare:
        tells = (pairs["split"] == str(Split.VAL)).to_numpy()
        logits = logits * worth_of(logits[tells], y_true[tells])
    return recorded.predictions_of(pairs, y_true, logits, k)


def _asked(
    read: Recorded, pairs: pd.DataFrame, images: dict[str, tuple[Path, str]], params: AnswersParams, ask: Ask
) -> Recorded:
    """What was read, with what the model says of these pairs."""
    asked, folder, logits = params.model, paths.preset_folder(params.model.hub), read.logits.copy()
    form = Form(LOG_PROBS, (), class_names(), params.smallest_prob)
    placed = pairs.assign(place=read.facts["file"] + ", " + pairs["place"])
    said = made_of(form, ask(placed, images), pairs["place"].tolist().__getitem__)
    logits[pairs.index] = said.logits
    told = {"stored_as": "asked", "smallest": float(said.logits.min()), "largest": float(said.logits.max())}
    name, revision = (folder.name, "a folder") if folder else (asked.hub, asked.revision)
    told |= {"model": name, "revision": revision, "prompt": asked.prompt}
    told |= {name: n for name, n in said.counts.items() if name != "n_rows"}
    return replace(read, logits=logits, facts=read.facts | told)


def _renamed(table: Table, columns: dict[str, str]) -> Table:
    """The table under the names that are known, where the parameters say what it calls them."""
    if absent := sorted(set(columns.values()) - set(table.names)):
        raise ValueError(f"{table.path}: data.answers.columns names {absent}, found {listed(table.names)}")
    ours = {theirs: name for name, theirs in columns.items()}
    own = {name: ours.get(name, f"{name} (of the table)" if name in columns else name) for name in table.names}
    return replace(table, columns={own[name]: cells for name, cells in table.columns.items()})


def _named_by_one(rows: pd.DataFrame, classes: Sequence[str], path: Path) -> np.ndarray:
    """What one person answered, as counts (n, K), NaN where nobody was asked."""
    ids, words = word_ids(classes), rows["human"].str.casefold()
    if (unknown := ~words.isin([*ids, ""])).any():
        first = rows[unknown].iloc[0]
        where = f"{path}, {first['place']}, column 'human'"
        raise ValueError(f"{where}: {shown(first['human'].casefold())} is none of {listed(list(ids))}")
    of_class = np.vstack([np.eye(len(classes)), np.full(len(classes), np.nan)])
    return of_class[words.map(ids).fillna(-1).astype(int)]


def _identified(rows: pd.DataFrame, path: Path, called: Mapping[str, str]) -> pd.DataFrame:
    """The rows with hypothesis (of a question, that and the answer that it is about), pair_id and image_id."""
    if "hypothesis" not in rows and "question" in rows:
        answers = rows.get("answer", "")
        rows = rows.assign(hypothesis=(rows["question"] + " " + answers).str.strip())
    problems = text_problems(rows.drop(columns="split", errors="ignore"), called)
    if faults := [f"{rows['place'][row]}: {cause}" for row, cause in problems]:
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
    written = rows.assign(written=rows["image_id"])
    # A model that is asked needs every picture.
    hint = "" if params.model.hub else WITHOUT
    found, _ = found_images(written, path, folder, allow_missing=params.allow_missing_images, hint=hint)
    return {image_id: (file, sha256_file(file)) for image_id, file in found.items()}


def _by_model(rows: pd.DataFrame, path: Path, models: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of each model, the judged one first; each must speak of the same pairs, once."""
    there = list(dict.fromkeys(rows["model"])) if "model" in rows else []
    if "" in there:
        raise ValueError(f"{path}, {rows['place'][rows['model'] == ''].iloc[0]}, column 'model': is empty")
    if (len(there) > 1 and not models) or set(models) - set(there):
        wanted = f"name those that are wanted in data.answers.models, first the one that is judged, got {list(models)}"
        raise ValueError(f"{path}: the column model names {listed(there)}; {wanted}")
    parts = [rows[rows["model"] == model] for model in models] or [rows]
    first = parts[0].set_index("pair_id")
    for part in parts:
        twice = part["pair_id"].duplicated()
        if twice.any():
            row = part[twice].iloc[0]
            earlier = part["place"][part["pair_id"] == row["pair_id"]].iloc[0]
            how = "" if "hypothesis" in rows else ": no column hypothesis or question tells them apart"
            raise ValueError(f"{path}, {row['place']}: repeats {earlier}, the same pair{how}")
        own = part.set_index("pair_id")
        if apart := sorted(set(own.index) ^ set(first.index)):
            row = (own if apart[0] in own.index else first).loc[apart[0]]
            raise ValueError(f"{path}: {len(apart)} pairs are not answered by every model, the first is {row['place']}")
    return parts


def _described(
    parts: Sequence[pd.DataFrame], about: Sequence[str], path: Path, called: Mapping[str, str]
) -> pd.DataFrame:
    """The first model's rows, with what only other models' rows say of a pair; ValueError where two differ."""
    first = parts[0].set_index("pair_id")
    for part in parts[1:]:
        own = part.set_index("pair_id").loc[first.index]
        for name in about:
            ours, theirs = (one[name].replace("", None) for one in (first, own))
            other = ours.notna() & theirs.notna() & (ours != theirs)
            if other.any():
                pair = other.idxmax()
                where = f"{path}, {own['place'][pair]}, column {called.get(name, name)!r}"
                said = f"{shown(str(theirs[pair]))}, and {shown(str(ours[pair]))} in another model's row of the pair"
                raise ValueError(f"{where}: {said}, the first of which is {first['place'][pair]}")
            first[name] = first[name].where(ours.notna(), own[name])
    return parts[0].assign(**{name: first[name].to_numpy() for name in about})


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
        if params.independent_from:
            raise ValueError(f"{path}: data.answers.independent_from is given, and the column split decides already")
        meaning = {}
        for place, text in rows.drop_duplicates("split")[["place", "split"]].itertuples(index=False):
            with naming(f"{path}, {place}, column 'split'"):
                meaning[text] = str(Split.parse(text))
        split = rows["split"].map(meaning)
        if str(Split.CALIB) not in set(split):
            split = split.replace(str(Split.VAL), str(Split.CALIB))
    else:
        later = _later(rows, params, path)
        split = pd.Series(str(Split.INDEPENDENT), rows.index, dtype="str")
        with naming(path):
            split[~later] = split_groups(rows.loc[~later, "group_id"], params.fractions, seed)
    told = {"split_by": "column" if "split" in rows else "groups"}
    if lacking := [str(name) for name in USED[:2] if str(name) not in set(split)]:
        raise ValueError(f"{path}: no row has the split {lacking[0]}; found {dict(Counter(split))}")
    used = (Split.VAL, *USED) if is_bare else USED
    if is_bare and str(Split.VAL) not in set(split):
        cut = {"source": Split.CALIB, "new": Split.VAL, "fraction": params.worth_share, "seed": seed}
        with naming(path):
            split = carve_split(split, rows["group_id"], **cut)
    rows = rows.assign(split=split)
    others = Counter(split[~split.isin(used)])
    return rows[split.isin(used)], told | {f"left_out_{name}": n for name, n in sorted(others.items())}


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
    later = dates >= pd.Timestamp(params.independent_from, tz="UTC")
    if later.all() or not later.any():
        which = f"{'every' if later.all() else 'no'} row is dated data.answers.independent_from"
        raise ValueError(f"{path}: {which}, {params.independent_from}, or later")
    return later


def _facts(read: Recorded, saved: Saved, found: Mapping[str, str]) -> dict[str, str | int | float]:
    columns, sd = saved.form.names, saved.said.sd
    facts = read.facts | {"columns": ", ".join(columns[:5]) + (f" … {len(columns)}" if len(columns) > 5 else "")}
    used = {*columns, *found.values()}
    ignored = [name for name in str(facts["ignored"]).split(", ") if name not in used]
    facts["ignored"] = ", ".join(ignored) or "nothing"
    return facts if sd is None else facts | {"sampling_sd": float(sd.mean())}
