"""The study's own set, "A2": JSON lines about photographs, its published split, and its ten hand-made images.

Val and test are those of the published recipe, drawn over all image ids of the table. The study had no calibration
split; calib is a share of the images of its train split.
"""

from collections.abc import Callable
from pathlib import Path, PurePath

import pandas as pd

from verdict.base import paths
from verdict.base.artifacts import sha256_file
from verdict.base.files.images import write_folder_store
from verdict.base.files.picture_files import EXTENSIONS, LEAVE_OUT, find_damaged, found_images
from verdict.base.labels import EVALUATION_SPLITS, Split
from verdict.base.params import A2Params
from verdict.base.refusals import N_LISTED
from verdict.data.own.pair_file import read_pair_file
from verdict.data.pairs import Dataset, check_pairs, with_pair_ids
from verdict.data.photos.snli_ve import Facts, Target, Warmup
from verdict.data.splits import carve_split, merge_groups, published_split

FOLDER = "a2"
INDEPENDENT_TABLE = "hyp.csv"
# The premise, a caption of the photograph, is left where it is: an answer must come from the image.
COLUMNS = ["pair_id", "image_id", "group_id", "hypothesis", "label", "split"]
# Of copies of one image the one in the later split stays, so that val and test keep what the recipe gave them.
RANK = {str(s): k for k, s in enumerate((Split.TRAIN, Split.CALIB, Split.VAL, Split.TEST, Split.INDEPENDENT_HAND))}


def build(
    params: A2Params,
    *,
    seed: int,
    out: Path,
    warmup: Callable[[Target], Warmup] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """Read the set, split it as published, add a warm-up that has not seen its evaluation images, write the store.

    `table` is JSON lines (Image_ID, Hypothesis, Label, perhaps Premise), `images` the folder of `<Image_ID>.jpg` or
    `.png`, `independent` that of `hyp.csv` and its images, which become the split independent_hand. What is allowed is
    left out and counted instead of refused. FileNotFoundError and ValueError name file, row and cause.
    """
    own, folder, other = locate(params.table, params.images, params.independent)
    rows = _read(own)
    # Every row has a split before any is left out.
    split = published_split(rows["image_id"], seed)
    shares = {"source": str(Split.TRAIN), "new": str(Split.CALIB), "fraction": params.calib_fraction, "seed": seed}
    rows["split"] = carve_split(split, rows["image_id"], **shares)
    parts = [_usable(rows, own, folder, progress, params)]
    if other is not None:
        hand = other / INDEPENDENT_TABLE
        rows = _read(hand, by_part=True).assign(split=str(Split.INDEPENDENT_HAND))
        parts.append(_usable(rows, hand, other, progress, params))
    pairs, target, facts = _join(parts)
    table, elsewhere, of_warmup = params.table, None, {}
    if warmup is not None:
        proxy = warmup(target)
        table, elsewhere = f"{table} with its warm-up", proxy.images
        pairs = pd.concat([proxy.pairs, pairs], ignore_index=True)
        of_warmup = {"attribution": proxy.attribution, "excluded": proxy.excluded}
        facts |= proxy.facts
    check_pairs(pairs, source=table)
    write_folder_store(out, target.files, target.hashes, elsewhere)
    for split, members in pairs.groupby("split", sort=True):
        facts |= {f"rows_{split}": len(members), f"images_{split}": int(members["image_id"].nunique())}
    return Dataset(pairs, facts=facts, **of_warmup)


def locate(table: str, images: str, independent: str | None) -> tuple[Path, Path, Path | None]:
    """The table, the folder of its images, and that of the independent set where one is named: names inside
    `$VERDICT_DATA/a2`, or paths by `paths.data_file`. FileNotFoundError names the parameter and places looked at.
    """
    rule = {"within": FOLDER}
    rule["hint"] = f"; set VERDICT_DATA to a folder that holds the set as {FOLDER}/, or write whole paths"
    return (
        paths.needed(table, "data.a2.table", **rule),
        paths.needed(images, "data.a2.images", is_folder=True, **rule),
        independent and paths.needed(independent, "data.a2.independent", is_folder=True, **rule),
    )


def _read(table: Path, **how: bool) -> pd.DataFrame:
    """Rows with ids as SNLI-VE names its photographs, without the ending of a file name; `written` is with it."""
    rows = read_pair_file(table, **how).rows.rename(columns={"image_id": "written"})
    plain = {
        name: PurePath(name).stem if PurePath(name).suffix.lower() in EXTENSIONS else name for name in rows["written"]
    }
    first: dict[str, str] = {}
    for name, image_id in plain.items():
        if (other := first.setdefault(image_id, name)) != name:
            raise ValueError(f"{table}: {other!r} and {name!r} would be one image {image_id!r}; write one")
    ids = rows["written"].map(plain).astype("str")
    rows = with_pair_ids(rows.assign(image_id=ids, group_id=ids))
    return rows.drop(columns=["split", "family"], errors="ignore")


def _usable(
    rows: pd.DataFrame, table: Path, images: Path, progress: Callable[[str], None], allowed: A2Params
) -> tuple[pd.DataFrame, dict[str, Path], Facts]:
    """Check the rows and find, read and check every image once: usable rows, files by image id, and what was left out;
    one image is in memory at a time.
    """
    check_pairs(rows, source=str(table), lines=rows["line"], allow_repeats=allowed.allow_repeats)
    # Rows that stand once; of one pair with two labels, none.
    has_two = rows.groupby("pair_id")["label"].transform("nunique") > 1
    single = rows[~has_two].drop_duplicates("pair_id")
    hint = LEAVE_OUT.format("data.a2")
    files, lost = found_images(single, table, images, allow_missing=allowed.allow_missing_images, hint=hint)
    unread = find_damaged(files, progress=progress)
    if unread and not allowed.allow_damaged_images:
        what = f"{len(unread)} images cannot be read, the first: {list(unread.values())[:N_LISTED]}"
        raise ValueError(f"{table}: {what}; set data.a2.allow_damaged_images to leave their rows out")
    files = {image_id: path for image_id, path in files.items() if image_id not in unread}
    kept = single[single["image_id"].isin(list(files))].reset_index(drop=True)
    if kept.empty:
        raise ValueError(f"{table}: no row has an image in {images}")
    facts: Facts = {"rows_read": len(rows), "rows_left_out_repeated": len(rows) - len(single)}
    facts |= {"images_missing": len(lost), "images_damaged": len(unread)}
    return kept, files, facts | {"rows_left_out_without_image": len(single) - len(kept)}


def _join(parts: list[tuple[pd.DataFrame, dict[str, Path], Facts]]) -> tuple[pd.DataFrame, Target, Facts]:
    """One table of all sets in which copies of an image are together, and what a warm-up must keep away from."""
    rows = pd.concat([part for part, _, _ in parts], ignore_index=True)
    files = {image_id: path for _, part, _ in parts for image_id, path in part.items()}
    if len(files) != sum(len(part) for _, part, _ in parts):
        both = sorted(set(parts[0][1]) & set(parts[-1][1]))
        raise ValueError(f"the independent set and the main set both have images {both[:N_LISTED]}; rename them")
    hashes = {image_id: sha256_file(path) for image_id, path in files.items()}
    rows["group_id"] = merge_groups(rows["image_id"], rows["image_id"].map(hashes))
    rank = rows["split"].map(RANK)
    last = rank.groupby(rows["group_id"]).transform("max")
    where = dict(zip(rows["image_id"], last.map(dict(enumerate(RANK))), strict=True))
    evaluation = {image_id: split for image_id, split in where.items() if split in list(map(str, EVALUATION_SPLITS))}
    kept = rows[rank == last].reset_index(drop=True)
    facts: Facts = {name: sum(part[name] for _, _, part in parts) for name in parts[0][2]}
    facts |= {"images_with_a_copy": len(hashes) - len(set(hashes.values()))}
    facts |= {"rows_left_out_copy_in_later_split": len(rows) - len(kept)}
    shown = set(kept["image_id"])
    return kept[COLUMNS], Target(rows, evaluation, hashes, {i: path for i, path in files.items() if i in shown}), facts
