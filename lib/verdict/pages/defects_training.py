"""Defects of the published study in training, as far as tables and arithmetic show them.

A warm-up that holds images of the test split (D03): the study drew it from the corpus that its test images stem from,
100,000 of 353,482 pairs, so that the same share of its test pairs is expected to have been seen with their labels.
Trained parameters (D06): the study set a vision block free and then `trainable = True` on the encoder around it, which
frees every block and the last norm as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import EXACT
from verdict.workflow.stage import Stage

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
    train, and some of as many further groups, of train, or of those `judged` (see `draw_judged`). `logits` (n_fits,
    n_judged) by what was fitted, once it is.
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


@dataclass(frozen=True)
class Shape:
    """Sizes that decide how many parameters there are: two encoders, and the fusion head between them."""

    vision_blocks: int
    text_blocks: int
    vision_width: int
    text_width: int
    vision_mlp: int
    text_mlp: int
    heads: int
    key_dim: int
    mlp_dim: int

    @property
    def head(self) -> int:
        """Parameters of the fusion head: attention, norm, two dense layers."""
        text, inner = self.text_width, self.heads * self.key_dim
        attention = _dense(text, inner) + 2 * _dense(self.vision_width, inner) + _dense(inner, text)
        return attention + _norm(text) + _dense(text, self.mlp_dim) + _dense(self.mlp_dim, 1)

    def planned(self, vision_blocks: int, text_blocks: int) -> int:
        """Parameters that a freeze plan trains."""
        sizes = _block(self.vision_width, self.vision_mlp), _block(self.text_width, self.text_mlp)
        return self.head + vision_blocks * sizes[0] + text_blocks * sizes[1]

    def freed_by_parent(self, vision_blocks: int, text_blocks: int) -> int:
        """Parameters that train once the vision encoder as a whole is set free; without a vision block it is not."""
        if vision_blocks == 0:
            return self.planned(0, text_blocks)
        return self.planned(self.vision_blocks, text_blocks) + _norm(self.vision_width)


# ViT-B/16 and DistilBERT base under the study's head.
PUBLISHED = Shape(12, 6, 768, 768, 3072, 3072, heads=12, key_dim=64, mlp_dim=512)
# What the study meant to train: one block of vision, two of text.
PUBLISHED_PLAN = (1, 2)


def _dense(n_in: int, n_out: int) -> int:
    return n_in * n_out + n_out


def _norm(width: int) -> int:
    return 2 * width


def _block(width: int, mlp: int) -> int:
    return 4 * _dense(width, width) + 2 * _norm(width) + _dense(width, mlp) + _dense(mlp, width)


def size_table(shapes: Iterable[tuple[str, Shape]], plans: Iterable[tuple[int, int]]) -> pd.DataFrame:
    """Trained parameters by network and plan: network, vision_blocks, text_blocks, planned, with_defect, ratio."""
    plans, rows = list(plans), []
    for name, shape in shapes:
        for vision, text in plans:
            if vision <= shape.vision_blocks and text <= shape.text_blocks:
                planned, freed = shape.planned(vision, text), shape.freed_by_parent(vision, text)
                row = {"network": name, "vision_blocks": vision, "text_blocks": text}
                rows.append({**row, "planned": planned, "with_defect": freed, "ratio": freed / planned})
    return pd.DataFrame(rows)


def store_sizes(stage: Stage, own: Shape, vision_blocks: int, text_blocks: int) -> None:
    """Numbers `defect.parent.planned`, `.freed`, `.ratio` of a plan here, and the study's, `.published_…`."""
    cases = (("", own, (vision_blocks, text_blocks)), ("published_", PUBLISHED, PUBLISHED_PLAN))
    for prefix, shape, plan in cases:
        planned, freed = shape.planned(*plan), shape.freed_by_parent(*plan)
        stage.counts("defect.parent", {f"{prefix}planned": planned, f"{prefix}freed": freed})
        stage.number(f"defect.parent.{prefix}ratio", freed / planned, kind=EXACT)
