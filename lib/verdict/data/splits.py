"""Splits by group: no group, and so no image, serves two purposes."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from verdict.base.labels import EVALUATION_SPLITS, WARMUP_SPLITS, Split
from verdict.data.pairs import may_share_images


def split_sizes(n_groups: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers of groups per split that sum to `n_groups` (largest remainders), at least one each.

    `fractions` are positive and sum to 1, which the parameters see to. ValueError if there are too few groups.
    """
    if n_groups < len(fractions):
        raise ValueError(f"{n_groups} groups cannot fill {len(fractions)} splits {list(fractions)}")
    exact = {name: n_groups * fraction for name, fraction in fractions.items()}
    sizes = {name: max(1, int(np.floor(share + 1e-9))) for name, share in exact.items()}
    while sum(sizes.values()) != n_groups:
        step = 1 if sum(sizes.values()) < n_groups else -1
        able = [name for name in sizes if sizes[name] + step >= 1]
        sizes[max(able, key=lambda name: step * (exact[name] - sizes[name]))] += step
    return sizes


def split_groups(group_ids: Sequence[str] | pd.Series, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Splits of the rows, whole groups at random; the order of fractions, not of rows, decides which a split gets."""
    rows = pd.Series(group_ids, dtype="str")
    groups = np.unique(rows.to_numpy(dtype=object))
    sizes = split_sizes(len(groups), fractions)
    order = np.random.default_rng(seed).permutation(len(groups))
    names = np.repeat(np.array(list(sizes), dtype=object), list(sizes.values()))
    by_group = dict(zip(groups[order], (str(name) for name in names), strict=True))
    return rows.map(by_group).astype("str").rename("split")


def published_split(groups: Sequence[str] | pd.Series, seed: int = 42) -> pd.Series:
    """The study's recipe: a fifth of the groups held out, half of it to validate and half to test, none to
    calibrate; with its seed 19,573 images give 15,658 / 1,957 / 1,958.
    """
    # Imported here: it takes longer than all else that a look at the input needs.
    from sklearn.model_selection import GroupShuffleSplit

    rows = pd.Series(groups, dtype="str")
    names = np.full(len(rows), str(Split.TRAIN), dtype=object)
    keys = rows.to_numpy(dtype=object)
    _, held = next(GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(keys, groups=keys))
    val, test = next(GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(held, groups=keys[held]))
    names[held[val]], names[held[test]] = str(Split.VAL), str(Split.TEST)
    return pd.Series(names, index=rows.index, dtype="str", name="split")


def carve_split(split: pd.Series, groups: pd.Series, *, source: str, new: str, fraction: float, seed: int) -> pd.Series:
    """Give a share of the groups of the split `source` to a new split; every other row keeps its split."""
    gives = split == source
    part = split_groups(groups[gives], {source: 1 - fraction, new: fraction}, seed)
    return part.reindex(split.index).fillna(split).astype("str").rename("split")


def assert_disjoint(pairs: pd.DataFrame, shared: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the images and groups of every two splits that may not share any, and the parts in `shared`, as in a
    `Dataset`: unit ("image", "group", "part"), left, right, n_left, n_right, n_both; "warm-up" and "evaluation" are
    unions. ValueError with count and first ids of an image or a group on both sides; parts are counted alone.
    """
    rows, faults = [], []
    held = {unit: pairs[["split", f"{unit}_id"]].set_axis(["split", "id"], axis=1) for unit in ("image", "group")}
    if shared is not None and len(shared):
        splits = pairs[["image_id", "split"]].drop_duplicates()
        held["part"] = shared.merge(splits, on="image_id").rename(columns={"part": "id"})
    for unit, table in held.items():
        members = {str(name): set(found["id"]) for name, found in table.groupby("split", sort=False)}
        present = [split for split in map(str, Split) if split in members]
        compared = [(a, b) for a, b in combinations(present, 2) if not may_share_images(a, b)]
        for union, parts in (("warm-up", WARMUP_SPLITS), ("evaluation", EVALUATION_SPLITS)):
            members[union] = set().union(*(members.get(str(split), set()) for split in parts))
        for left, right in [*compared, ("warm-up", "evaluation")]:
            both = members[left] & members[right]
            rows.append((unit, left, right, len(members[left]), len(members[right]), len(both)))
            if both and unit != "part":
                faults.append(f"{len(both)} {unit}s are in {left} and in {right}, the first: {sorted(both)[:3]}")
    if faults:
        raise ValueError(f"splits are not disjoint: {'; '.join(faults)}")
    return pd.DataFrame(rows, columns=["unit", "left", "right", "n_left", "n_right", "n_both"])


def merge_groups(group_ids: pd.Series, *keys: pd.Series) -> pd.Series:
    """Join groups that share a key (a sentence, the content of an image), so that no key occurs in two groups; keys
    are compared within each series. The name is the smallest among the groups that were joined.
    """
    codes, names = pd.factorize(group_ids, sort=True)
    # A graph of groups and of what they share.
    shared, n = [], len(names)
    for key in keys:
        values, found = pd.factorize(key, use_na_sentinel=False)
        shared.append(n + values)
        n += len(found)
    ends = np.tile(codes, len(keys)), np.concatenate(shared)
    part = connected_components(csr_matrix((np.ones(len(ends[0])), ends), shape=(n, n)), directed=False)[1]
    first = pd.Series(names).groupby(part[: len(names)]).transform("first")
    return pd.Series(first.to_numpy()[codes], group_ids.index, dtype="str", name="group_id")
