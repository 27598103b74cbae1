"""What a network attends to, what masking does to its answers, and where its states lie."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.plots.style import WIDTH, check_columns, color_of, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_INK = "#1b2127"
_HEADS_WIDTH, _SMALL = 4.4, 6.0


def draw_attention(
    images: Sequence[np.ndarray], maps: Sequence[np.ndarray], shares: Sequence[np.ndarray], titles: Sequence[str]
) -> Figure:
    """Pictures with the attention that they get: the image, the mean over heads, and each head.

    Within a pair all maps have one scale, from zero (dark) to the largest weight of a patch in any head; the mean has
    its own.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8
    maps : sequence of (n_heads, rows, columns) float
        Weights of patches, row by row from the top left.
    shares : sequence of (n_heads,) float
        Weight of the tokens without a place, written above each map.
    titles : sequence of str
        One a pair; drawn as plain text.

    Raises
    ------
    ValueError
        If the sequences differ in length.
    """
    if not len(images) == len(maps) == len(shares) == len(titles):
        sizes = [len(part) for part in (images, maps, shares, titles)]
        raise ValueError(f"expected images, maps, shares and titles of the same pairs, got {sizes}")
    aspect = images[0].shape[0] / images[0].shape[1]
    n_rows, n_columns = _layout(maps[0].shape[0], aspect)
    height = n_rows * (_HEADS_WIDTH / n_columns * aspect + 0.16) + 0.34
    height = max(height, (WIDTH - _HEADS_WIDTH) * aspect / (1 if aspect > 0.6 else 0.5) / 2 + 0.6)
    figure = plt.figure(figsize=(WIDTH, height * len(images)))
    parts = np.atleast_1d(figure.subfigures(len(images), 1, hspace=0.02))
    for part, image, heads, share, title in zip(parts, images, maps, shares, titles, strict=True):
        part.suptitle(textwrap.fill(plain(title), 110), fontsize=8.5, x=0.01, ha="left", color=_INK)
        _draw_pair(part, image, heads, share, (n_rows, n_columns))
    return figure


def _layout(n_heads: int, aspect: float) -> tuple[int, int]:
    """Rows and columns of the maps of heads: wide images stand in fewer columns, and few places stay empty."""
    wanted = math.ceil(math.sqrt(n_heads * 2 * min(aspect, 1.0)))
    near = range(max(1, wanted - 1), min(n_heads, wanted + 2) + 1)
    n_columns = min(near, key=lambda columns: (-n_heads % columns, abs(columns - wanted)))
    return math.ceil(n_heads / n_columns), n_columns


def _draw_pair(
    part: SubFigure, image: np.ndarray, heads: np.ndarray, share: np.ndarray, shape: tuple[int, int]
) -> None:
    left, right = part.subfigures(1, 2, width_ratios=[WIDTH - _HEADS_WIDTH, _HEADS_WIDTH])
    is_wide = image.shape[0] < 0.6 * image.shape[1]
    large = left.subplots(*((2, 1) if is_wide else (1, 2)))
    _overlay(large[0], image, None, 1.0, "image", 7)
    mean = heads.mean(axis=0)
    _overlay(large[1], image, mean, mean.max(), f"mean (class {share.mean():.0%})", 7)
    small = np.atleast_1d(right.subplots(*shape, squeeze=False)).ravel()
    for ax in small:
        ax.set_axis_off()
    for k, (ax, head) in enumerate(zip(small, heads, strict=False)):
        _overlay(ax, image, head, heads.max(), f"{k + 1} ({share[k]:.0%})", _SMALL)


def _overlay(ax: Axes, image: np.ndarray, weights: np.ndarray | None, top: float, title: str, size: float) -> None:
    """An image, or its grey copy under a map of patches of the same extent."""
    ax.set_axis_off()
    ax.set_title(plain(title), fontsize=size, fontweight="normal", loc="center", pad=1.5, color=_INK)
    if weights is None:
        ax.imshow(image, interpolation="nearest")
        return
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.imshow(weights, cmap="inferno", vmin=0, vmax=top or 1.0, alpha=0.62, extent=extent, interpolation="nearest")


def plot_deletion(curves: pd.DataFrame, *, ax: Axes, value: str, ylabel: str) -> None:
    """An outcome against the share of patches masked, one line an order, with bands.

    Parameters
    ----------
    curves : DataFrame
        Columns `order`, `share_masked`, `<value>`, `<value>_low`, `<value>_high`.
    ax : Axes
        Drawn on.
    value : str
        Name of the outcome's column.
    ylabel : str
        Quantity and unit.
    """
    check_columns(curves, ("order", "share_masked", value, f"{value}_low", f"{value}_high"), "a deletion curve")
    orders = list(dict.fromkeys(curves["order"]))
    for place, order in enumerate(orders):
        part, color = curves[curves["order"] == order], color_of(order, orders)
        ax.fill_between(
            part["share_masked"], part[f"{value}_low"], part[f"{value}_high"], color=color, alpha=0.14, lw=0
        )
        style = ("-", "--", "-.", ":")[place % 4]
        ax.plot(part["share_masked"], part[value], color=color, linestyle=style, marker="o", ms=3.5, label=plain(order))
    ax.set(xlabel="Share of patches masked", ylabel=ylabel, xlim=(0, None), ylim=(0, None))
    ax.legend()


def plot_embedding(points: ArrayLike, labels: Sequence[str], is_right: ArrayLike, *, ax: Axes, names: Any) -> None:
    """Points of two dimensions by class; wrong answers are crosses.

    Parameters
    ----------
    points : (n, 2) float
        Without units: the axes carry no ticks.
    labels : sequence of str, length n
        True class of each point.
    is_right : (n,) bool
        Whether the model answered it rightly.
    ax : Axes
        Drawn on.
    names : sequence of str
        Classes in the order of the legend.
    """
    points, labels, is_right = np.asarray(points), np.asarray(labels), np.asarray(is_right, dtype=bool)
    for name in names:
        for right, marker, size in ((True, "o", 9), (False, "x", 16)):
            chosen = (labels == name) & (is_right == right)
            words = f"{plain(name)}, answered {'rightly' if right else 'wrongly'} ({chosen.sum():,})"
            edge = {"linewidths": 0} if right else {"linewidths": 1.1}
            color = color_of(name, list(names))
            ax.scatter(*points[chosen].T, s=size, marker=marker, color=color, alpha=0.7, label=words, **edge)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.grid(False)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
