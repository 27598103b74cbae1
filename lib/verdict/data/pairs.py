"""The pair table: an image, a sentence about it, and what the sentence is to the image."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from verdict.base.labels import WARMUP_SPLITS, Split
from verdict.base.refusals import first_of

TEXT_COLUMNS = ("pair_id", "image_id", "group_id", "hypothesis", "label", "split")
EXCLUDED_COLUMNS = ("warmup", "evaluation", "n_images", "n_rows", "n_rows_of_target")
VOTE_COLUMNS = ("votes_entailment", "votes_contradiction")
MAX_HYPOTHESIS_CHARACTERS = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Problem = tuple[int, str]


@dataclass(frozen=True)
class Dataset:
    """What a source of pairs returns: a table of all splits, as `check_pairs` accepts it.

    `attribution` is what the source's licence asks to be said; `facts` are counts and choices that a report states.
    `excluded` was kept out of a warm-up because it shows an evaluation image: warmup, evaluation (splits), n_images,
    n_rows, and n_rows_of_target, those that are the target's very rows. `shared` are the parts of which images
    are put together, where several hold the same one: image_id, part.
    """

    pairs: pd.DataFrame
    attribution: str = ""
    facts: dict[str, int | float | str] = field(default_factory=dict)
    excluded: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EXCLUDED_COLUMNS)))
    shared: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"image_id": [], "part": []}))


def make_pair_id(image_id: str, hypothesis: str) -> str:
    """Sixteen hexadecimal digits that depend on the image's id and the sentence alone."""
    return hashlib.sha256(f"{image_id}\x1f{hypothesis}".encode()).hexdigest()[:16]


def with_pair_ids(pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column pair_id (see `make_pair_id`)."""
    ids = map(make_pair_id, pairs["image_id"], pairs["hypothesis"])
    return pairs.assign(pair_id=pd.Series(list(ids), index=pairs.index, dtype="str"))


def may_share_images(left: str, right: str) -> bool:
    """Whether two splits may show the same image: only warm-up and training, which both fit weights."""
    return left == right or (Split.TRAIN in (left, right) and bool({left, right} & set(WARMUP_SPLITS)))


def check_pairs(
    pairs: pd.DataFrame,
    *,
    source: str = "pairs",
    lines: Sequence[int] | None = None,
    allow_repeats: bool = False,
    called: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return the table unchanged if every row can be used; else ValueError with the source, the rows and causes of the
    first few faults and the number of all.

    Label and split may be absent. Messages name `lines` of the rows in their file, without it rows counted from 1, and
    what columns are `called` there, by our names.
    """
    called = called or {}
    places = [f"row {row}" for row in range(1, len(pairs) + 1)] if lines is None else [f"line {n}" for n in lines]
    problems = list(text_problems(pairs, called))
    if not problems and not allow_repeats:
        problems = list(_repeat_problems(pairs, places))
    if problems:
        noun = "fault" if len(problems) == 1 else "faults"
        listed = first_of([f"{places[row]}: {cause}" for row, cause in sorted(problems)])
        raise ValueError(f"{source}: {len(problems)} {noun}: {listed}")
    if "split" in pairs.columns:
        for column in ("image_id", "group_id"):
            refuse_shared(pairs, column, source, places, noun=called.get(column))
    return pairs


def text_problems(pairs: pd.DataFrame, called: Mapping[str, str]) -> Iterator[Problem]:
    """Cells that are not usable text; `called`: what the person's columns are called, by ours."""
    for ours in pairs.columns.intersection(TEXT_COLUMNS):
        column = called.get(ours, ours)
        for row, value in enumerate(pairs[ours].tolist()):
            if not isinstance(value, str):
                yield row, f"{column} is {value!r}, expected text"
            elif found := _CONTROL.search(value):
                yield row, f"{column} holds the control character U+{ord(found[0]):04X}"
            elif not any(char.isprintable() and not char.isspace() for char in value):
                yield row, f"{column} is empty"
            elif ours == "hypothesis" and len(value) > MAX_HYPOTHESIS_CHARACTERS:
                yield row, f"{column} has {len(value):,} characters, at most {MAX_HYPOTHESIS_CHARACTERS:,} are read"


def _repeat_problems(pairs: pd.DataFrame, places: Sequence[str]) -> Iterator[Problem]:
    """Pairs that occur twice; two labels for one pair are said to be that."""
    keys = [pairs["image_id"], pairs["hypothesis"]]
    first = pd.Series(range(len(pairs)), pairs.index).groupby(keys).transform("first").to_numpy()
    for row in np.flatnonzero(first != np.arange(len(pairs))):
        pair, earlier = pairs.iloc[row], pairs.iloc[first[row]]
        other = " with another label" if pair.get("label") != earlier.get("label") else ""
        what = f"image {pair['image_id']!r}, hypothesis {pair['hypothesis']!r}"
        yield int(row), f"repeats {places[first[row]]}{other} ({what})"


def refuse_shared(
    pairs: pd.DataFrame, column: str, source: str, places: Sequence[str], *, noun: str | None = None
) -> None:
    """Raise if one value of a column, an image or a group, lies in two splits that may not share it."""
    seen = pairs[[column, "split"]].assign(place=places).drop_duplicates([column, "split"])
    several = seen[seen[column].duplicated(keep=False)]
    faults = []
    for name, rows in several.sort_values("split").groupby(column, sort=True):
        if not all(may_share_images(a, b) for a, b in combinations(rows["split"], 2)):
            where = f"{noun or column} {name!r} is in the splits {rows['split'].tolist()}"
            faults.append(f"{where} ({' and '.join(rows['place'])})")
    if faults:
        raise ValueError(f"{source}: {first_of(faults)}; one image may serve one split only")
