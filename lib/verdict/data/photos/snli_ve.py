"""SNLI-VE as a warm-up that has seen no evaluation image of the target: what is left out is counted by split.

Images are the same where their Flickr30k id is, or where their files have the same bytes. That an id means the same
picture on both sides is not taken on trust: a sample of shared ids is looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from verdict.base.artifacts import sha256_file
from verdict.base.files.embedded import hash_embedded
from verdict.base.files.images import read_at, read_image
from verdict.base.files.picture_files import resolve_images
from verdict.base.labels import EVALUATION_SPLITS, Label, Split
from verdict.base.params import ShardParams
from verdict.base.refusals import N_LISTED
from verdict.data.pairs import EXCLUDED_COLUMNS, Dataset, with_pair_ids
from verdict.data.photos.snli_ve_corpus import IMAGES, TRAIN, VALIDATION, Facts, locate, read_split

ATTRIBUTION = (
    "SNLI-VE, Ning Xie, Farley Lai, Derek Doran and Asim Kadav, Visual Entailment: A Novel Task for Fine-Grained Image "
    "Understanding, arXiv:1901.06706, 2019, BSD 3-clause; its photographs are those of Flickr30k (Young, Lai, Hodosh "
    "and Hockenmaier, TACL 2014), for research."
)
N_COMPARED = 24
SAME_SHARE = 0.9
MAX_DIFFERENCE = 24.0
MIN_REPEATED = 20
_SPLIT_OF = {TRAIN: str(Split.WARMUP_TRAIN), VALIDATION: str(Split.WARMUP_VAL)}


@dataclass(frozen=True)
class Target:
    """What the warm-up must keep away from, and may share: image_id, hypothesis, label and split of every row; images
    that evaluate with their split, copies of them that were left out included; hash and path of every image file.
    """

    pairs: pd.DataFrame
    evaluation: Mapping[str, str]
    hashes: Mapping[str, str]
    files: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Warmup(Dataset):
    """Both warm-up splits, and the images that the target has not (image_id, file, row, sha256: the row of a shard, or
    -1 for files of their own).
    """

    images: pd.DataFrame


def draw(
    target: Target,
    *,
    n_train: int,
    n_val: int | None,
    seed: int,
    shards: Sequence[ShardParams] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Warmup:
    """Draw the warm-up from the corpus: entailment and contradiction in equal numbers, no evaluation image.

    `n_val` None takes all; `shards` are downloaded where VERDICT_DATA has no copy. ValueError, FileNotFoundError or
    ConnectionError if the corpus is absent or damaged, has fewer rows than are asked for, calls other pictures by the
    target's ids, or contradicts the target's labels.
    """
    root, found = locate(shards)
    parts, excluded, facts = [], [], {}
    for name, n_rows in ((TRAIN, n_train), (VALIDATION, n_val)):
        progress(f"reading the {name} split of SNLI-VE")
        rows, counted = read_split(found[name])
        images = _first_rows(rows, root)
        if name == TRAIN:
            facts |= _compare_pictures(images, target, np.random.default_rng([seed, 4]))
        progress(f"comparing {len(images)} images of the {name} split with the target's")
        rows = _marked(rows, images, target)
        _refuse_exchanged_labels(rows)
        usable, left_out = _without_repeats(rows[rows["evaluation"].isna()])
        counted |= {"images": len(images)} | left_out
        facts |= {f"{_SPLIT_OF[name]}_{fact}": n for fact, n in counted.items()}
        excluded.append(_excluded(rows, target).assign(warmup=_SPLIT_OF[name]))
        chosen = usable if n_rows is None else balanced(usable, n_rows, np.random.default_rng([seed, 5]))
        parts.append((_pairs(chosen, _SPLIT_OF[name], images), images))
    pairs = pd.concat([part for part, _ in parts], ignore_index=True)
    images = pd.concat([images for _, images in parts], ignore_index=True).drop_duplicates("image_id")
    # An image of the target is read from the target's file.
    own = images[images["image_id"].isin(pairs["image_id"]) & ~images["image_id"].isin(list(target.files))]
    facts |= {"images_read_from_the_target": pairs["image_id"].nunique() - len(own)}
    left_out = pd.concat(excluded, ignore_index=True)[list(EXCLUDED_COLUMNS)]
    return Warmup(pairs, ATTRIBUTION, facts, left_out, images=own.reset_index(drop=True))


def balanced(rows: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw n rows, an even number, without replacement, half of either label; the order of `rows` changes nothing.
    ValueError if a label has fewer than n / 2 rows.
    """
    ordered = rows.sort_values(["image_id", "hypothesis"], kind="stable")
    parts = []
    for label in Label:
        members = ordered[ordered["label"] == label.text]
        if len(members) < n // 2:
            raise ValueError(f"{n // 2} rows of {label.text} are asked for, SNLI-VE has {len(members)} left")
        parts.append(members.iloc[rng.choice(len(members), size=n // 2, replace=False)])
    return pd.concat(parts)


def normalised(hypotheses: pd.Series) -> pd.Series:
    """Sentences as they are compared: without case, outer blanks and repeated blanks."""
    return hypotheses.str.split().str.join(" ").str.casefold()


def _first_rows(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    """One row an image, in the order of the files: image_id, file, row and sha256 of the first that shows it."""
    images = rows.drop_duplicates("image_id")[["image_id", "file", "row"]].astype({"file": "str"})
    images = images.reset_index(drop=True)
    if (images["row"] < 0).any():
        files, missing = resolve_images(images["image_id"].tolist(), root / IMAGES)
        if missing:
            what = f"{len(missing)} images of SNLI-VE are not in {root / IMAGES}"
            raise FileNotFoundError(f"{what}, the first: {missing[:N_LISTED]}")
        images["file"] = [str(files[image_id]) for image_id in images["image_id"]]
        return images.assign(sha256=[sha256_file(files[image_id]) for image_id in images["image_id"]])
    hashes = {file: hash_embedded(Path(file), part["row"].tolist()) for file, part in images.groupby("file")}
    found = [hashes[file][row] for file, row in zip(images["file"], images["row"], strict=True)]
    return images.assign(sha256=found)


def _marked(rows: pd.DataFrame, images: pd.DataFrame, target: Target) -> pd.DataFrame:
    """The rows with `sentence` (as compared), `evaluation`, the split of the target that shows the row's image, and
    `theirs`, the label that the target gives the very row; NaN where there is none.
    """
    of_content = {target.hashes[i]: split for i, split in target.evaluation.items() if i in target.hashes}
    same_bytes = images.set_index("image_id")["sha256"].map(of_content).dropna()
    seen = same_bytes.to_dict() | {i: target.evaluation[i] for i in images["image_id"] if i in target.evaluation}
    rows = rows.assign(sentence=normalised(rows["hypothesis"]), evaluation=rows["image_id"].map(seen))
    key = ["image_id", "sentence"]
    known = target.pairs.assign(sentence=normalised(target.pairs["hypothesis"])).drop_duplicates(key)
    labels = known.set_index(key)["label"].reindex(pd.MultiIndex.from_frame(rows[key]))
    return rows.assign(theirs=labels.to_numpy(dtype=object))


def _excluded(rows: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Images and rows that evaluation splits of the target keep out, and how many of these are its very rows."""
    left_out = []
    for split in map(str, EVALUATION_SPLITS):
        if split in set(target.evaluation.values()):
            part = rows[rows["evaluation"] == split]
            left_out.append((split, part["image_id"].nunique(), len(part), int(part["theirs"].notna().sum())))
    return pd.DataFrame(left_out, columns=["evaluation", "n_images", "n_rows", "n_rows_of_target"])


def _without_repeats(rows: pd.DataFrame) -> tuple[pd.DataFrame, Facts]:
    """Rows that are no row of the target and stand once; and how many were not."""
    new = rows[rows["theirs"].isna()]
    # One image and sentence with two labels teaches nothing; with one label it counts once.
    has_two = new.groupby(["image_id", "sentence"])["label"].transform("nunique") > 1
    kept = new[~has_two].drop_duplicates(["image_id", "sentence"])
    n_two = int(has_two.sum())
    left_out = {"rows_equal_to_target": len(rows) - len(new), "rows_of_two_labels": n_two}
    return kept, left_out | {"rows_repeated": len(new) - n_two - len(kept)}


def _refuse_exchanged_labels(rows: pd.DataFrame) -> None:
    shared = rows[rows["theirs"].notna()]
    n_same = int((shared["label"].astype(object) == shared["theirs"]).sum())
    if len(shared) >= MIN_REPEATED and n_same < len(shared) / 2:
        what = f"of {len(shared)} rows that SNLI-VE shares with the target only {n_same} have the same label"
        raise ValueError(f"{what}; are the labels of one of them exchanged?")


def _compare_pictures(images: pd.DataFrame, target: Target, rng: np.random.Generator) -> Facts:
    """Look at a sample of the ids that both sides have; refuse if they name other pictures."""
    shared = images[images["image_id"].isin(list(target.files))]
    n = min(N_COMPARED, len(shared))
    sample = shared.iloc[np.sort(rng.choice(len(shared), size=n, replace=False))] if n else shared
    others = [
        row.image_id
        for row in sample.itertuples()
        if not same_picture(read_at(row.file, row.row), read_image(target.files[row.image_id]))
    ]
    if n - len(others) < SAME_SHARE * n:
        what = f"{len(others)} of {n} image ids name another picture in SNLI-VE than in the target"
        raise ValueError(f"{what}, the first: {others[:N_LISTED]}; images cannot be excluded by such ids")
    return {"shared_images": len(shared), "shared_images_compared": n, "shared_images_same_picture": n - len(others)}


def same_picture(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images are one picture, saved at whatever size and quality: small grey copies differ by a few of 255
    levels on average, those of two photographs by several dozen.
    """
    small = [np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), float) for image in (one, other)]
    return bool(np.abs(small[0] - small[1]).mean() < MAX_DIFFERENCE)


def _pairs(rows: pd.DataFrame, split: str, images: pd.DataFrame) -> pd.DataFrame:
    """Pair table in the order in which the images lie in their files, so that they are read once and in passing."""
    place = pd.Series(np.arange(len(images)), index=images["image_id"])
    ordered = rows.assign(place=rows["image_id"].map(place)).sort_values(["place", "hypothesis"], kind="stable")
    table = with_pair_ids(ordered.assign(group_id=ordered["image_id"], split=split))
    return table[["pair_id", "group_id", "image_id", "hypothesis", "label", "split"]].astype("str")
