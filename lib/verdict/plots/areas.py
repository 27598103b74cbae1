"""Intervals, counts, shares, surfaces and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.plots.style import MUTED, SERIES, WIDTH, check_columns, color_of, plain, tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lines of a forest plot; of more the first and the last are drawn.
MAX_LINES = 40
# Numbers are written into a confusion matrix of so many classes; more could not be read.
MAX_WRITTEN = 20


def plot_forest(
    table: pd.DataFrame, *, ax: Axes, xlabel: str, reference: float | None = None, color: str = SERIES[0]
) -> None:
    """Estimates with their intervals, one a line, the first row on top.

    Of more than `MAX_LINES` rows those at both ends are drawn, a line between them says how many are not, and the
    figure is cut to its lines.

    Parameters
    ----------
    table : DataFrame
        Columns `label`, `value`, `low`, `high`; optional `group`, which colours the rows.
    ax : Axes
        Drawn on.
    xlabel : str
        Quantity and unit.
    reference : float, optional
        A vertical line, such as zero or a target.
    color : str
        Of rows without groups.
    """
    check_columns(table, ("label", "value", "low", "high"), "a forest plot")
    if len(table) > MAX_LINES:
        table = _ends(table)
        ax.figure.set_size_inches(ax.figure.get_figwidth(), 0.34 * len(table) + 1.0)
    places = np.arange(len(table))[::-1]
    groups = list(dict.fromkeys(table["group"])) if "group" in table else []
    colors = [color_of(str(g), groups) for g in table["group"]] if groups else [color] * len(table)
    for place, row, tint in zip(places, table.to_dict("records"), colors, strict=True):
        ax.plot([row["low"], row["high"]], [place, place], color=tint, linewidth=2, solid_capstyle="butt")
        ax.plot(row["value"], place, marker="o", color=tint, markersize=6)
    if reference is not None:
        ax.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    for group in groups:
        ax.plot([], [], marker="o", color=color_of(str(group), groups), label=plain(group))
    if groups:
        ax.legend()
    ax.set_yticks(places, [plain(label) for label in table["label"]])
    ax.set(xlabel=xlabel, ylim=(-0.6, len(table) - 0.4))
    ax.grid(False, axis="y")


def _ends(table: pd.DataFrame) -> pd.DataFrame:
    """The first and the last rows, and between them one without a value that counts the others."""
    half = MAX_LINES // 2
    first, last = table.head(half), table.tail(half)
    between = first.tail(1).assign(label=f"… {len(table) - 2 * half:,} more …", value=np.nan, low=np.nan, high=np.nan)
    return pd.concat([first, between, last], ignore_index=True)


def plot_models(table: pd.DataFrame, *, ax: Axes, x: str, y: str, xlabel: str, ylabel: str) -> None:
    """Models by two measures, a point with two intervals each.

    Parameters
    ----------
    table : DataFrame
        Columns `model`, `x`, `y`, and `<x>_low`, `<x>_high`, `<y>_low`, `<y>_high`; rows keep their order and colours.
    ax : Axes
        Drawn on.
    x, y : str
        Columns of the two axes.
    xlabel, ylabel : str
        Quantities and units.
    """
    check_columns(table, ("model", *(f"{name}{end}" for name in (x, y) for end in ("", "_low", "_high"))), "models")
    names = [str(name) for name in table["model"]]
    for row in table.to_dict("records"):
        color = color_of(str(row["model"]), names)
        ax.plot([row[f"{x}_low"], row[f"{x}_high"]], [row[y], row[y]], color=color, linewidth=1.2)
        ax.plot([row[x], row[x]], [row[f"{y}_low"], row[f"{y}_high"]], color=color, linewidth=1.2)
        ax.plot(row[x], row[y], marker="o", linestyle="none", color=color, markersize=7, label=plain(row["model"]))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)


def plot_confusion(counts: ArrayLike, names: Sequence[str], *, ax: Axes) -> None:
    """Counts of true against predicted classes, shaded by the share of the row; many classes are shaded alone.

    Parameters
    ----------
    counts : array (n_classes, n_classes) of int
        Rows are the true class.
    names : sequence of str
        Classes in the order of rows and columns.
    ax : Axes
        Drawn on.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"expected counts of shape {(len(names), len(names))}, got {counts.shape}")
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    is_written = len(names) <= MAX_WRITTEN
    for (row, column), value in np.ndenumerate(counts) if is_written else ():
        tint = "#ffffff" if share[row, column] > 0.55 else "#1b2127"
        ax.text(column, row, f"{value:,}\n{share[row, column]:.1%}", ha="center", va="center", color=tint)
    words = [plain(name) for name in names]
    ax.set_xticks(range(len(names)), words)
    ax.set_yticks(range(len(names)), words)
    if not is_written:
        ax.tick_params(labelsize=5)
        ax.tick_params(axis="x", labelrotation=90)
    ax.set(xlabel="Predicted", ylabel="True")
    ax.grid(False)


def plot_correlations(table: pd.DataFrame, *, ax: Axes) -> None:
    """A square table of correlations as a heat map with its values written in.

    Parameters
    ----------
    table : DataFrame (n, n)
        In [-1, 1], with names as index and columns; NaN is written as a dash.
    ax : Axes
        Drawn on.
    """
    values = table.to_numpy(dtype=float)
    if values.shape[0] != values.shape[1]:
        raise ValueError(f"expected a square table of correlations, got shape {values.shape}")
    ax.imshow(np.nan_to_num(values), cmap="RdBu", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        tint = "#ffffff" if abs(value) > 0.6 else "#1b2127"
        text = "–" if np.isnan(value) else f"{value:.2f}"
        ax.text(column, row, text, ha="center", va="center", color=tint, fontsize=9)
    words = [plain(name) for name in table.columns]
    ax.set_xticks(range(len(words)), words, rotation=30, ha="right")
    ax.set_yticks(range(len(words)), words)
    ax.grid(False)


def plot_histogram(
    values: Mapping[str, ArrayLike],
    *,
    ax: Axes,
    bins: ArrayLike | int,
    xlabel: str,
    is_density: bool = False,
    limit: float | None = None,
) -> None:
    """Values of several groups over common bins, as outlines that do not hide each other.

    Parameters
    ----------
    values : mapping from group to array (n,)
        Unbinned.
    ax : Axes
        Drawn on.
    bins : int or array
        Number of bins over the common range, or edges.
    xlabel : str
        Quantity and unit.
    is_density : bool
        Whether each group's area is one.
    limit : float, optional
        A vertical line: the largest value that is within reach.
    """
    arrays = {name: np.asarray(array, dtype=float) for name, array in values.items()}
    edges = np.histogram_bin_edges(np.concatenate([*arrays.values()]), bins) if np.isscalar(bins) else np.asarray(bins)
    names = list(arrays)
    for name, array in arrays.items():
        color = color_of(name, names)
        ax.hist(array, bins=edges, density=is_density, color=color, alpha=0.18)
        ax.hist(
            array,
            bins=edges,
            density=is_density,
            histtype="step",
            color=color,
            linewidth=1.5,
            label=f"{plain(name)} (n = {len(array):,})",
        )
    if limit is not None:
        ax.axvline(limit, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"within reach up to {limit:.3g}")
    ax.set(xlabel=xlabel, ylabel="Density" if is_density else "Count")
    ax.legend()


def plot_surface(
    grid: ArrayLike,
    *,
    ax: Axes,
    x: Sequence[object],
    y: Sequence[object],
    xlabel: str,
    ylabel: str,
    zlabel: str,
    best: tuple[int, int] | None = None,
) -> None:
    """A heat map of costs.

    Parameters
    ----------
    grid : array (len(y), len(x))
        Row k belongs to y[k]; row 0 is drawn at the bottom.
    ax : Axes
        Drawn on.
    x, y : sequences
        Tick labels of columns and rows.
    xlabel, ylabel : str
        Quantities and units of the axes.
    zlabel : str
        Quantity and unit of the colour bar.
    best : (row, column), optional
        The cell that was chosen.
    """
    grid = np.asarray(grid, dtype=float)
    if grid.shape != (len(y), len(x)):
        raise ValueError(f"expected a grid of shape (len(y), len(x)) = {(len(y), len(x))}, got {grid.shape}")
    picture = ax.imshow(grid, cmap="viridis_r", origin="lower", aspect="auto")
    bar = ax.figure.colorbar(picture, ax=ax, label=zlabel)
    bar.outline.set_visible(False)
    for axis, labels in ((ax.xaxis, x), (ax.yaxis, y)):
        step = max(1, math.ceil(len(labels) / 8))
        axis.set_ticks(range(0, len(labels), step), [tick(label) for label in labels[::step]])
    if best is not None:
        ax.plot(
            best[1],
            best[0],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor="#ffffff",
            markeredgewidth=4,
        )
        ax.plot(
            best[1],
            best[0],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor="#c0392b",
            markeredgewidth=2,
        )
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(False)


def plot_decisions(shares: pd.DataFrame, *, ax: Axes) -> None:
    """Shares of auto, clarify and human, one horizontal bar a row, the first row on top.

    Parameters
    ----------
    shares : DataFrame (n_rows, n_decisions)
        Index: labels; columns: decisions; rows sum to one.
    ax : Axes
        Drawn on.
    """
    sums = shares.sum(axis=1).to_numpy(float)
    if not np.allclose(sums, 1.0, atol=1e-6):
        raise ValueError(f"shares of a row must sum to 1, got sums {np.round(sums, 4).tolist()}")
    places = np.arange(len(shares))[::-1]
    left = np.zeros(len(shares))
    for name in shares.columns:
        width = shares[name].to_numpy(float)
        ax.barh(
            places,
            width,
            left=left,
            color=color_of(str(name), list(map(str, shares.columns))),
            label=plain(name),
            height=0.62,
        )
        for place, start, size in zip(places, left, width, strict=True):
            if size >= 0.07:
                ax.text(start + size / 2, place, f"{size:.0%}", ha="center", va="center", color="#ffffff", fontsize=9)
        left = left + width
    ax.set_yticks(places, [plain(label) for label in shares.index])
    ax.set(xlim=(0, 1), xlabel="Share of cases")
    ax.grid(False, axis="y")
    ax.legend(ncols=len(shares.columns), loc="lower left", bbox_to_anchor=(0, 1))


def draw_attributions(
    images: Sequence[ArrayLike],
    patches: Sequence[ArrayLike],
    words: Sequence[Sequence[tuple[str, float]]],
    titles: Sequence[str],
) -> Figure:
    """What carried some answers: image, image with its patches tinted, and a bar for each token.

    Parameters
    ----------
    images : sequence of uint8 arrays (H, W, 3)
    patches : sequence of float arrays (rows, columns)
        Blue speaks for the answer, red against it; each row has a scale of its own, shared by patches and bars.
    words : sequence of (token, attribution) lists
    titles : sequence of str
    """
    n = len(images)
    figure, axes = plt.subplots(n, 3, figsize=(WIDTH, 1.75 * n), squeeze=False, width_ratios=(1, 1, 1.6))
    for row, (image, patch, bars, title) in enumerate(zip(images, patches, words, titles, strict=True)):
        shown, values = np.asarray(image), np.asarray([value for _, value in bars])
        top = max(float(np.abs(patch).max()), float(np.abs(values).max()), 1e-12)
        for ax in axes[row, :2]:
            ax.imshow(shown, interpolation="nearest")
            ax.set_axis_off()
        extent = (-0.5, shown.shape[1] - 0.5, shown.shape[0] - 0.5, -0.5)
        strength = np.clip(np.abs(np.asarray(patch, dtype=float)) / top, 0.0, 1.0)
        axes[row, 1].imshow(
            patch, cmap="RdBu", vmin=-top, vmax=top, alpha=0.8 * strength, extent=extent, interpolation="nearest"
        )
        axes[row, 0].set_title(plain(title), fontsize=8.5, fontweight="normal", color="#1b2127")
        places = np.arange(len(bars))[::-1]
        axes[row, 2].barh(places, values, color=[SERIES[0] if value >= 0 else SERIES[7] for value in values])
        axes[row, 2].axvline(0, color=MUTED, linewidth=0.8)
        axes[row, 2].set_yticks(places, [plain(token) for token, _ in bars], fontsize=7.5)
        axes[row, 2].set(xlim=(-top, top))
        axes[row, 2].grid(False, axis="y")
    axes[-1, 2].set_xlabel("Attribution (logits)")
    return figure


def draw_gallery(images: Sequence[Any], titles: Sequence[str], *, columns: int = 4) -> Figure:
    """A grid of images with titles.

    Parameters
    ----------
    images : sequence of arrays (H, W, 3) or PIL images
        Drawn without smoothing.
    titles : sequence of str
        Wrapped, drawn as plain text.
    columns : int
        Images in a row, at most.
    """
    import textwrap

    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    width = WIDTH / columns
    lines = [textwrap.fill(plain(title), max(10, round(width * 13))) for title in titles]
    depth = max(line.count("\n") for line in lines) + 1
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * (width + 0.17 * depth)), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, line in zip(axes.flat, images, lines, strict=False):
        ax.imshow(np.asarray(image), interpolation="nearest")
        ax.set_title(line, fontsize=8.5, fontweight="normal", loc="left", color="#1b2127")
    return figure
