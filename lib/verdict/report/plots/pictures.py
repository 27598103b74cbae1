"""Pictures with what a network attends to, what carried its answers, and galleries; seaborn draws no images."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from verdict.report.plots.style import FONT_PT, MUTED, SERIES, WIDTH, plain

_INK = "#1b2127"


def _picture(ax: Axes, image: ArrayLike, title: str, over: np.ndarray | None = None, **options: Any) -> None:
    """An image with sharp pixels and a small title, and a map of patches of the same extent over it."""
    ax.set_axis_off()
    # A place given keeps matplotlib from measuring the ticks that are off, which takes longer than all drawing.
    ax.set_title(title, y=1.0, fontweight="normal", color=_INK, **({"fontsize": 9} | options.pop("words", {})))
    image = np.asarray(image)
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if over is not None:
        height, width = image.shape[:2]
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        ax.imshow(over, extent=extent, interpolation="nearest", **options)


def draw_attention(
    images: Sequence[np.ndarray], maps: Sequence[np.ndarray], shares: Sequence[np.ndarray], titles: Sequence[str]
) -> Figure:
    """Pictures with the attention that they get: the image, the mean over heads, and each head.

    Within a pair all maps have one scale, from zero (dark) to the largest weight of a patch in any head; the mean has
    its own.

    Images are uint8 (H, W, 3), maps the weights of patches (n_heads, rows, columns), and shares (n_heads,) the weight
    of the tokens without a place, written above each map. A ValueError if the sequences differ in length.
    """
    if not len(images) == len(maps) == len(shares) == len(titles):
        sizes = [len(part) for part in (images, maps, shares, titles)]
        raise ValueError(f"expected images, maps, shares and titles of the same pairs, got {sizes}")
    aspect = images[0].shape[0] / images[0].shape[1]
    n_rows = 2 if aspect > 0.6 else 4
    n_columns = 1 + math.ceil(maps[0].shape[0] / n_rows)
    height = n_rows * (WIDTH / n_columns * aspect + 0.25) + 0.4
    figure = plt.figure(figsize=(WIDTH, height * len(images)))
    parts = np.atleast_1d(figure.subfigures(len(images), 1, hspace=0.02))
    for part, image, heads, share, title in zip(parts, images, maps, shares, titles, strict=True):
        part.suptitle(textwrap.fill(plain(title), 90), fontsize=9.5, x=0.01, ha="left", color=_INK)
        places = part.subplots(n_rows, n_columns)
        for ax in places.flat:
            ax.set_axis_off()
        grey, mean = image.mean(axis=2), heads.mean(axis=0)
        look = {"cmap": "inferno", "vmin": 0, "alpha": 0.62, "words": {"loc": "center", "pad": 1.5, "fontsize": 9}}
        _picture(places[0, 0], image, "image", words=look["words"])
        _picture(places[1, 0], grey, f"mean ({share.mean():.0%})", mean, vmax=mean.max() or 1.0, **look)
        for k, (ax, head) in enumerate(zip(places[:, 1:].flat, heads, strict=False)):
            _picture(ax, grey, f"{k + 1} ({share[k]:.0%})", head, vmax=heads.max() or 1.0, **look)
    return figure


def draw_attributions(
    images: Sequence[ArrayLike],
    patches: Sequence[ArrayLike],
    words: Sequence[Sequence[tuple[str, float]]],
    titles: Sequence[str],
) -> Figure:
    """What carried some answers: image, image with its patches tinted, and a bar for each token.

    Images are uint8 (H, W, 3), patches (rows, columns), words pairs of token and attribution. Blue speaks for the
    answer, red against it; each row has a scale of its own, shared by patches and bars.
    """
    heights = [max(1.75, 0.4 + 0.16 * len(bars)) for bars in words]
    ratios = {"width_ratios": (1, 1, 1.6), "height_ratios": heights}
    figure, axes = plt.subplots(len(images), 3, figsize=(WIDTH, sum(heights)), squeeze=False, **ratios)
    for (first, second, third), image, patch, bars, title in zip(axes, images, patches, words, titles, strict=True):
        tokens, values = zip(*bars, strict=True)
        top = max(float(np.abs(patch).max()), float(np.abs(values).max()), 1e-12)
        strength = np.clip(np.abs(np.asarray(patch, dtype=float)) / top, 0.0, 1.0)
        _picture(first, image, plain(title))
        _picture(second, image, "", patch, cmap="RdBu", vmin=-top, vmax=top, alpha=0.8 * strength)
        places = range(len(bars))
        colors = [SERIES[0] if value >= 0 else SERIES[7] for value in values]
        sns.barplot(x=values, y=places, hue=places, palette=colors, saturation=1, legend=False, orient="y", ax=third)
        third.axvline(0, color=MUTED, linewidth=0.8)
        third.set_yticks(places, map(plain, tokens), fontsize=9)
        third.set(xlim=(-top, top))
        third.grid(False, axis="y")
    axes[-1, 2].set_xlabel("Attribution (logits)")
    return figure


def draw_gallery(images: Sequence[Any], titles: Sequence[str], *, columns: int = 4) -> Figure:
    """A grid of images with titles, at most so many columns.

    Images are arrays (H, W, 3) or PIL's, drawn without smoothing; titles are plain text, and their lines are wrapped.
    """
    columns = min(columns, len(images))
    rows, width = math.ceil(len(images) / columns), WIDTH / columns
    room = max(10, round(width * 10))
    lines = ["\n".join(textwrap.fill(line, room) for line in plain(title).split("\n")) for title in titles]
    depth = max(line.count("\n") for line in lines) + 1
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * (width + 0.21 * depth)), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, line in zip(axes.flat, images, lines, strict=False):
        _picture(ax, image, line, words={"fontsize": FONT_PT})
    return figure
