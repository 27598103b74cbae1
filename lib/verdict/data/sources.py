"""From parameters to a data set: which source is asked for what."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.files.hub import check_asked
from verdict.base.files.picture_files import LOOK_S, find_damaged, refuse_damaged
from verdict.base.labels import Split, vote_columns
from verdict.base.numbers import EXACT, Number, Numbers
from verdict.base.params import DataParams, Params
from verdict.data.digits import digits
from verdict.data.nlvr import corpus, nlvr
from verdict.data.own import answer_table, csv_folder, recorded
from verdict.data.own.pair_file import read_pair_file
from verdict.data.pairs import Dataset
from verdict.data.photos import a2, snli_ve, snli_ve_corpus

ELSE = "kind: parametric"


def build_dataset(params: DataParams, images: Path, *, progress: Callable[[str], None] = lambda text: None) -> Dataset:
    """Build the pair table and write the image store (folder `images`) of the source that the parameters name."""
    progress(f"reading {params.source}")
    if params.source == "digits":
        return digits.build(**dict(params.digits), seed=params.seed, out=images)
    if params.source == "nlvr":
        return nlvr.build(params.nlvr, seed=params.seed, out=images)
    if params.source == "a2":
        corpus_of = partial(snli_ve.draw, **dict(params.snli_ve), seed=params.seed, progress=progress)
        warmup = corpus_of if params.a2.warmup else None
        return a2.build(params.a2, seed=params.seed, out=images, warmup=warmup, progress=progress)
    return csv_folder.build(**own_pairs(params), out=images)


def read_given(params: DataParams, ask: answer_table.Ask | None = None) -> recorded.RecordedSet:
    """What somebody's model said, of a source where that is given: `recorded.build` or `answer_table.build`."""
    if params.source == "answers":
        return answer_table.build(params.answers, params.classes, seed=params.seed, ask=ask)
    return recorded.build(params.recorded, seed=params.seed)


def own_pairs(params: DataParams) -> dict[str, Any]:
    """What `csv_folder.read` is asked for the user's own pairs; FileNotFoundError names the parameter and where its
    file or folder was looked for.
    """
    table = paths.needed(params.csv.table, "data.csv.table")
    images = paths.needed(params.csv.images, "data.csv.images", is_folder=True)
    return {**dict(params.csv), "table": table, "images": images, "seed": params.seed}


def check_inputs(params: Params) -> None:
    """Open what a profile with a source of its own names, as its first stage will; nothing is downloaded.
    FileNotFoundError, ConnectionError, ValueError for what cannot be used: file and line, or parameter, and cause.
    """
    data, is_asking = params.data, params.policy.human.kind == "votes"
    if data.is_given:
        check_asked(data)
        found = read_given(data)
        if is_asking and not set(vote_columns(data.classes)) <= set(found.pairs):
            ways = "name one in data.recorded.human_counts, give a table of answers the column human or votes_<class>"
            raise ValueError(f"policy.human.kind is votes, but no file holds people's answers: {ways}, or write {ELSE}")
        files = {name: file for name, (file, _) in found.images.items()}
        damaged = find_damaged(files, limit_s=LOOK_S)
        placed = {name: f"{found.places[name]}: {cause}" for name, cause in damaged.items()}
        refuse_damaged(paths.data_file(data.answers.table), placed)
        return
    if data.source == "csv":
        asked = own_pairs(data)
        dataset, files, _ = csv_folder.read(**asked)
        csv_folder.check_splits(dataset.pairs, str(asked["table"]))
        refuse_damaged(asked["table"], find_damaged(files, limit_s=LOOK_S))
    elif data.source == "nlvr" and not data.nlvr.sha256:
        corpus.locate_corpus(url=data.nlvr.url, sha256="")
    elif data.source == "a2":
        table, _, other = a2.locate(data.a2.table, data.a2.images, data.a2.independent)
        read_pair_file(table)
        if other is not None:
            read_pair_file(other / a2.INDEPENDENT_TABLE, by_part=True)
        shards = data.snli_ve.shards
        if data.a2.warmup == "snli_ve" and not (shards and all(shard.sha256 for shard in shards)):
            snli_ve_corpus.locate(shards)
    if is_asking and data.source != "nlvr":
        raise ValueError(f"policy.human.kind is votes, and {data.source} has none: write {ELSE}")
    for name in ("vision_preset", "text_preset"):
        # What can only be a folder.
        if (preset := getattr(params.model, name)).startswith((".", "~", "/")):
            paths.needed(preset, f"model.{name}", is_folder=True)


def export_predictions(params: DataParams, predictions: pd.DataFrame, folder: Path) -> list[Path]:
    """Write predictions of the test split, one trial and seed, in the source's own format, for its own scripts: for the
    NLVR corpus `predictions.csv` of `<image file>,true|false`, no header, a tie being true; nothing for other sources.
    """
    if params.source != "nlvr":
        return []
    answers = (predictions["logit_0"] >= predictions["logit_1"]).map({True: "true", False: "false"})
    lines = sorted(predictions["image_id"] + ".png," + answers + "\n")
    path = folder / "predictions.csv"
    write_text(path, "".join(lines))
    return [path]


def composition(dataset: Dataset, numbers: Numbers) -> pd.DataFrame:
    """Pairs, images, groups, parts and share of entailment by split, and the same as numbers `data.<split>.…`."""
    pairs = dataset.pairs
    names = {"pairs": "pair_id", "images": "image_id", "groups": "group_id", "hypotheses": "hypothesis"}
    counts = pairs.groupby("split")[list(names.values())].nunique().set_axis(list(names), axis=1)
    counts["entailment_share"] = (pairs["label"] == "entailment").groupby(pairs["split"]).mean()
    if len(dataset.shared):
        splits = dataset.shared["image_id"].map(pairs.drop_duplicates("image_id").set_index("image_id")["split"])
        counts["parts"] = dataset.shared.groupby(splits)["part"].nunique().astype("Int64")
        for split, n in counts["parts"].dropna().items():
            numbers[f"data.{split}.n_parts"] = Number(int(n), unit="count", split=str(split))
    table = counts.loc[[split.value for split in Split if split.value in counts.index]].reset_index()
    for row in table.itertuples():
        share = Number(row.entailment_share, n=row.pairs, unit="%", split=row.split, kind=EXACT)
        numbers[f"data.{row.split}.n_pairs"] = Number(row.pairs, unit="count", split=row.split)
        numbers[f"data.{row.split}.entailment_share"] = share
    numbers["data.n_pairs"] = Number(len(pairs), unit="count")
    numbers["data.n_images"] = Number(pairs["image_id"].nunique(), unit="count")
    return table


def exclusions(dataset: Dataset, numbers: Numbers) -> pd.DataFrame:
    """What was kept out of the warm-up because it shows an evaluation image, by split; no row where it is made apart.

    Numbers `data.excluded.<evaluation split>.n_images` and `.n_rows`, over both warm-up splits, and
    `data.n_excluded_images`, `.n_excluded_rows`.
    """
    table = dataset.excluded
    if table.empty:
        return table
    for split, rows in table.groupby("evaluation"):
        for name in ("n_images", "n_rows"):
            numbers[f"data.excluded.{split}.{name}"] = Number(int(rows[name].sum()), unit="count", split=str(split))
    numbers["data.n_excluded_images"] = Number(int(table["n_images"].sum()), unit="count")
    numbers["data.n_excluded_rows"] = Number(int(table["n_rows"].sum()), unit="count")
    return table


def facts_table(dataset: Dataset) -> pd.DataFrame:
    """What the source says of itself, its licence's attribution included, as names and values."""
    facts = {**dataset.facts, **({"attribution": dataset.attribution} if dataset.attribution else {})}
    return pd.DataFrame({"fact": list(facts), "value": [str(value) for value in facts.values()]})
