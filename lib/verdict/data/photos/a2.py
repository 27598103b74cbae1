"""The study's own set, "A2": JSON lines about photographs, its published split, and its ten hand-made images.

Val and test are those of the published recipe, drawn over all image ids of the table. The study had no calibration
split; calib is a share of the images of its train split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.labels import EVALUATION_SPLITS, Split
from verdict.data.images import write_folder_store
from verdict.data.own.pair_file import read_pair_file
from verdict.data.own.picture_files import EXTENSIONS, find_damaged, found_images
from verdict.data.pairs import N_LISTED, Dataset, check_pairs, make_pair_id
from verdict.data.photos.snli_ve import ATTRIBUTION, Facts, Target, Warmup
from verdict.data.splits import carve_split, merge_groups, published_split

FOLDER = "a2"
INDEPENDENT_TABLE = "hyp.csv"
# The premise, a caption of the photograph, is left where it is: an answer must come from the image.
COLUMNS = ["pair_id", "image_id", "group_id", "hypothesis", "label", "split"]
# Of copies of one image the one in the later split stays, so that val and test keep what the recipe gave them.
RANK = {str(s): k for k, s in enumerate((Split.TRAIN, Split.CALIB, Split.VAL, Split.TEST, Split.INDEPENDENT_HAND))}


@dataclass(frozen=True)
class Allowed:
    """What is left out and counted instead of refused."""

    missing_images: bool = False
    damaged_images: bool = False
    repeats: bool = False


@dataclass
class _Set:
    """One table with its images: rows of the pair table, and the file of each image."""

    rows: pd.DataFrame
    files: dict[str, Path]
    facts: Facts = field(default_factory=dict)


def build(
    *,
    table: str,
    images: str,
    independent: str | None,
    calib_fraction: float,
    seed: int,
    out: Path,
    allowed: Allowed | None = None,
    warmup: Callable[[Target], Warmup] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """Read the set, split it as published, add a warm-up that has not seen its evaluation images, write the store.

    `table` is JSON lines (Image_ID, Hypothesis, Label, perhaps Premise), `images` the folder of `<Image_ID>.jpg` or
    `.png`, `independent` that of `hyp.csv` and its images, which become the split independent_hand; see `locate`.
    `calib_fraction` of the images of the published train split calibrate instead; the study's seed is 42.
    FileNotFoundError and ValueError name file, row and cause.
    """
    allowed = allowed or Allowed()
    own, folder, other = locate(table, images, independent)
    rows, names = _plain_ids(read_pair_file(own).rows, own)
    # Every row has a split before any is left out.
    split = published_split(rows["image_id"], seed)
    shares = {"source": str(Split.TRAIN), "new": str(Split.CALIB), "fraction": calib_fraction, "seed": seed}
    rows["split"] = carve_split(split, rows["image_id"], **shares)
    sets = [_usable(rows, names, own, folder, allowed, progress)]
    if other is not None:
        hand = other / INDEPENDENT_TABLE
        rows, names = _plain_ids(read_pair_file(hand, by_part=True).rows, hand)
        rows["split"] = str(Split.INDEPENDENT_HAND)
        sets.append(_usable(rows, names, hand, other, allowed, progress))
    pairs, target, facts = _join(sets)
    if warmup is None:
        check_pairs(pairs, source=table)
        write_folder_store(out, target.files, hashes=target.hashes)
        return Dataset(pairs, "", facts | _sizes(pairs))
    proxy = warmup(target)
    pairs = check_pairs(pd.concat([proxy.pairs, pairs], ignore_index=True), source=f"{table} with its warm-up")
    hashes = {**target.hashes, **proxy.hashes}
    write_folder_store(out, {**target.files, **proxy.files}, hashes=hashes, embedded=proxy.embedded)
    return Dataset(pairs, ATTRIBUTION, facts | proxy.facts | _sizes(pairs), proxy.excluded)


def locate(table: str, images: str, independent: str | None) -> tuple[Path, Path, Path | None]:
    """The table, the folder of its images, and that of the independent set where one is named: names inside
    `$VERDICT_DATA/a2`, or paths by the rule of `paths.data_file`. FileNotFoundError names the parameter and the
    places that were looked at.
    """
    rule = {"within": FOLDER}
    rule["hint"] = f"; set VERDICT_DATA to a folder that holds the set as {FOLDER}/, or write whole paths"
    return (
        paths.needed(table, "data.a2.table", **rule),
        paths.needed(images, "data.a2.images", is_folder=True, **rule),
        independent and paths.needed(independent, "data.a2.independent", is_folder=True, **rule),
    )


def _plain_ids(rows: pd.DataFrame, table: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Ids without the ending of a file name, as SNLI-VE names its photographs; and the names as they were written."""
    written = rows["image_id"].drop_duplicates()
    plain = {name: PurePath(name).stem if PurePath(name).suffix.lower() in EXTENSIONS else name for name in written}
    names: dict[str, str] = {}
    for name, image_id in plain.items():
        if names.setdefault(image_id, name) != name:
            raise ValueError(f"{table}: {names[image_id]!r} and {name!r} would be one image {image_id!r}; write one")
    rows = rows.assign(image_id=rows["image_id"].map(plain).astype("str"))
    return rows.drop(columns=[name for name in ("split", "group_id", "family") if name in rows.columns]), names


def _usable(
    rows: pd.DataFrame,
    names: dict[str, str],
    table: Path,
    images: Path,
    allowed: Allowed,
    progress: Callable[[str], None],
) -> _Set:
    """Check the rows and find, read and check every image once; one image is in memory at a time."""
    facts: Facts = {"rows_read": len(rows)}
    ids = [make_pair_id(i, h) for i, h in zip(rows["image_id"], rows["hypothesis"], strict=True)]
    rows = rows.assign(pair_id=pd.Series(ids, index=rows.index, dtype="str"), group_id=rows["image_id"])
    check_pairs(rows, source=str(table), lines=rows["line"], allow_repeats=allowed.repeats)
    rows, facts["rows_left_out_repeated"] = _without_repeats(rows) if allowed.repeats else (rows, 0)
    files, missing = found_images(rows, names, table, images, allow_missing=allowed.missing_images)
    damaged = find_damaged(files, progress=progress)
    if damaged and not allowed.damaged_images:
        raise ValueError(
            f"{table}: {len(damaged)} images cannot be read, the first: {list(damaged.values())[:N_LISTED]}; "
            "set allow_damaged_images to leave their rows out"
        )
    files = {image_id: path for image_id, path in files.items() if image_id not in damaged}
    kept = rows[rows["image_id"].isin(list(files))].reset_index(drop=True)
    if kept.empty:
        raise ValueError(f"{table}: no row has an image in {images}")
    facts |= {"images_missing": len(missing), "images_damaged": len(damaged)}
    return _Set(kept, files, facts | {"rows_left_out_without_image": len(rows) - len(kept)})


def _without_repeats(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows that stand once; of one pair with two labels, none."""
    has_two = rows.groupby("pair_id")["label"].transform("nunique") > 1
    kept = rows[~has_two].drop_duplicates("pair_id")
    return kept, len(rows) - len(kept)


def _join(sets: list[_Set]) -> tuple[pd.DataFrame, Target, Facts]:
    """One table of all sets in which copies of an image are together, and what a warm-up must keep away from."""
    rows = pd.concat([part.rows for part in sets], ignore_index=True)
    files = {image_id: path for part in sets for image_id, path in part.files.items()}
    if len(files) != sum(len(part.files) for part in sets):
        both = sorted(set(sets[0].files) & set(sets[-1].files))
        raise ValueError(f"the independent set and the main set both have images {both[:N_LISTED]}; rename them")
    hashes = {image_id: sha256_file(path) for image_id, path in files.items()}
    rows["group_id"] = merge_groups(rows["image_id"], rows["image_id"].map(hashes))
    rank = rows["split"].map(RANK)
    last = rank.groupby(rows["group_id"]).transform("max")
    where = dict(zip(rows["image_id"], last.map(dict(enumerate(RANK))), strict=True))
    evaluation = {image_id: split for image_id, split in where.items() if split in list(map(str, EVALUATION_SPLITS))}
    kept = rows[rank == last].reset_index(drop=True)
    facts: Facts = {}
    for part in sets:
        for name, value in part.facts.items():
            facts[name] = facts.get(name, 0) + value
    facts |= {"images_with_a_copy": len(hashes) - len(set(hashes.values()))}
    facts |= {"rows_left_out_copy_in_later_split": len(rows) - len(kept)}
    shown = set(kept["image_id"])
    return kept[COLUMNS], Target(rows, evaluation, hashes, {i: path for i, path in files.items() if i in shown}), facts


def _sizes(pairs: pd.DataFrame) -> Facts:
    """Rows and images of every split."""
    facts: Facts = {}
    for split, members in pairs.groupby("split", sort=True):
        facts |= {f"rows_{split}": len(members), f"images_{split}": int(members["image_id"].nunique())}
    return facts
