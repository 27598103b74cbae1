"""Numbers of trained parameters by arithmetic (D06): what a plan trains, and what freeing the parent layer trains.

The study set a vision block free and then `trainable = True` on the encoder around it, which frees every block and the
last norm as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from verdict.base.numbers import EXACT
from verdict.workflow.stage import Stage


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
