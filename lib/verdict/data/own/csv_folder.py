"""Bring your own pairs: a table of sentences and a folder of images."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from verdict.base.artifacts import sha256_file
from verdict.base.files.images import write_folder_store
from verdict.base.files.picture_files import LEAVE_OUT, find_damaged, found_images, n_without_zeros, refuse_damaged
from verdict.base.labels import Label, Split
from verdict.data.own.pair_file import read_pair_file
from verdict.data.pairs import Dataset, check_pairs, with_pair_ids
from verdict.data.splits import merge_groups, split_groups

ORDER = ("pair_id", "image_id", "group_id", "hypothesis", "label", "split", "family", "premise")
# Of pairs that nobody has labelled: when each came, and where it stands.
UNLABELLED = ("date", "line")
# What every page needs: weights are fitted on train and chosen by val, half of calib fits T and half the sets.
NEEDED = (Split.TRAIN, Split.VAL, Split.CALIB, Split.TEST)
MIN_GROUPS = 4


def build(*, out: Path, table: Path, **asked: Any) -> Dataset:
    """Read a table of pairs as `read` does, and write the image store."""
    dataset, files, hashes = read(table=table, **asked)
    refuse_damaged(table, find_damaged(files))
    write_folder_store(out, files, hashes)
    return dataset


def read(
    *,
    table: Path,
    images: Path,
    fractions: Mapping[str, float] | None,
    seed: int,
    allow_missing_images: bool = False,
    labelled: bool = True,
    labels: Mapping[str, str] | None = None,
) -> tuple[Dataset, dict[str, Path], dict[str, str]]:
    """Read a table of pairs (see `pair_file`), find its images (see `resolve_images`) and split it: the pairs, and file
    and SHA-256 of each image.

    `fractions` are shares of the groups where the table has no split column; a split column always decides. A table
    that is not `labelled` needs no labels, is not split, and keeps `date` and `line`. FileNotFoundError if the table,
    the folder or (unless allowed, where its rows are left out and counted) an image is missing; ValueError if the
    table, an id, or the division cannot be used.
    """
    file = read_pair_file(table, labelled=labelled, labels=labels, dated=not labelled)
    rows = file.rows.assign(written=file.rows["image_id"])
    hint = LEAVE_OUT.format("data.csv") if labelled else ""
    found, missing = found_images(rows, table, images, allow_missing=allow_missing_images, hint=hint)
    pairs = rows[rows["image_id"].isin(found)].reset_index(drop=True)
    if pairs.empty:
        raise ValueError(f"{table}: no row has an image in {images}")
    hashes = {image_id: sha256_file(path) for image_id, path in found.items()}
    # Copies of one image under two names stay together.
    groups = pairs["group_id"] if "group_id" in pairs.columns else pairs["image_id"]
    groups = merge_groups(groups, pairs["image_id"], pairs["image_id"].map(hashes))
    pairs = with_pair_ids(pairs.assign(group_id=groups))
    if labelled and "split" not in pairs.columns:
        if not fractions:
            raise ValueError(f"{table}: there is no split column, and no fractions are given to split by")
        pairs["split"] = split_groups(pairs["group_id"], fractions, seed)
    called = {"group_id": f"the group of {file.called['image_id']}", **file.called}
    check_pairs(pairs, source=str(table), lines=pairs["line"].tolist(), called=called)
    facts: dict[str, int | float | str] = {
        "rows_read": len(rows),
        "rows_left_out_without_image": len(rows) - len(pairs),
        "images_missing": len(missing),
        "images": len(hashes),
        "images_with_a_copy": len(hashes) - len(set(hashes.values())),
        "groups": int(pairs["group_id"].nunique()),
        **file.facts,
        "columns_ignored": ", ".join(file.ignored),
        "split_by": "column" if "split" in rows.columns else "fractions",
    }
    if n_numbers := n_without_zeros(found):
        facts["ids_that_lost_their_zeros"] = n_numbers
    if "split" in pairs.columns:
        facts |= {f"rows_{split}": n for split, n in sorted(Counter(pairs["split"]).items())}
    order = ORDER if labelled else (*ORDER, *UNLABELLED)
    return Dataset(pairs[[name for name in order if name in pairs.columns]], "", facts), found, hashes


def check_splits(pairs: pd.DataFrame, source: str) -> None:
    """ValueError for pairs that make no report: a split or a label is not there, or images are too few."""
    for split in map(str, NEEDED):
        own = pairs[pairs["split"] == split]
        absent = [label.text for label in Label if label.text not in set(own["label"])]
        n_groups = own["group_id"].nunique()
        if own.empty:
            why = f"a report needs {', '.join(NEEDED)} (calib sets the temperature and the thresholds)"
            way = "give it images of train, or leave the column out"
            raise ValueError(f"{source}: no row has the split {split}; {why}: {way}")
        if absent:
            raise ValueError(
                f"{source}: no row of the split {split} has the label {absent[0]}; both are needed in each"
            )
        if n_groups < MIN_GROUPS:
            what = f"the split {split} has {n_groups} image groups, and at least {MIN_GROUPS} are needed"
            too_few = f"{pairs['group_id'].nunique()} in all are too few for these shares"
            raise ValueError(f"{source}: {what}; {too_few}")
