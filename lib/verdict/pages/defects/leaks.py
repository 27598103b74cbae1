"""A warm-up that holds images of the test split (D03): how it comes about, and who has been seen.

The study drew its warm-up from the corpus that its test images stem from: 100,000 of 353,482 pairs, so that the same
share of its test pairs is expected to have been seen with their labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from verdict.base.labels import Split

PUBLISHED_SHARE = 100_000 / 353_482
PAIR, IMAGE, NOT = "the pair, with its label", "the image, with other sentences", "not seen"


def draw_groups(pairs: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """All pairs of n groups drawn at random, or of all if there are fewer, in the order of the table."""
    groups = np.sort(pairs["group_id"].unique())
    chosen = rng.choice(groups, size=min(n, len(groups)), replace=False)
    return pairs[pairs["group_id"].isin(set(chosen))].reset_index(drop=True)


def draw_judged(train: pd.DataFrame, test: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """All pairs of up to n groups of test: few enough that train, of two groups at least (else a ValueError), can put
    as many others beside them.
    """
    n_train = train["group_id"].nunique()
    if n_train < 2:
        raise ValueError(f"a fit needs at least two groups of train, got {n_train}")
    return draw_groups(test, min(n, n_train // 2), rng)


@dataclass(frozen=True)
class Fits:
    """Two training tables that differ in nothing but whose images a share of their pairs shows: the same pairs of
    train, and some of as many further groups, of train, or of those `judged` (see `draw_judged`). `logits` (n_judged,)
    by what was fitted, once it is.
    """

    clean: pd.DataFrame
    leaked: pd.DataFrame
    judged: pd.DataFrame
    logits: dict[str, np.ndarray] = field(default_factory=dict)


def make_fits(train: pd.DataFrame, judged: pd.DataFrame, n: int, *, share: float, rng: np.random.Generator) -> Fits:
    """Draw what both fits have in common, at most n groups of train, and the share of pairs in which they differ, in
    [0, 1] of those of the further groups; 0 switches the defect off.
    """
    further = draw_groups(train, judged["group_id"].nunique(), rng)
    common = draw_groups(train[~train["group_id"].isin(set(further["group_id"]))], n, rng)
    clean, leaked = (pd.concat([common, _share_of(rows, share, rng)], ignore_index=True) for rows in (further, judged))
    return Fits(clean, leaked, judged)


def _share_of(pairs: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    return pairs.iloc[np.sort(rng.choice(len(pairs), round(share * len(pairs)), replace=False))]


def shared_with(training: pd.DataFrame, evaluation: pd.DataFrame) -> dict[str, int]:
    """Images and pairs (image and hypothesis) of an evaluation table that were also trained on."""
    images = set(training["image_id"]) & set(evaluation["image_id"])
    pairs = set(training["pair_id"]) & set(evaluation["pair_id"])
    return {"n_images": evaluation["image_id"].nunique(), "n_images_seen": len(images), "n_pairs_seen": len(pairs)}


def reported(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of splits on which something is reported or set: all but those that train or validate a warm-up."""
    trained = (Split.WARMUP_TRAIN, Split.WARMUP_VAL, Split.TRAIN)
    return pairs[~pairs["split"].isin([str(split) for split in trained])]


def exposure(training: pd.DataFrame, evaluation: pd.DataFrame) -> np.ndarray:
    """What training has seen of each evaluation pair, (n,): the pair, its image only, or nothing."""
    seen_pair = evaluation["pair_id"].isin(set(training["pair_id"])).to_numpy()
    seen_image = evaluation["image_id"].isin(set(training["image_id"])).to_numpy()
    return np.where(seen_pair, PAIR, np.where(seen_image, IMAGE, NOT))
