"""Finished results and an Axes in, a drawing out. Nothing is computed here that a reader could mistake for a result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# INK and GRID are replaced by the page's colours when a figure is displayed, so that it can be read on light and dark.
INK = "#22272e"
GRID = "#d9dde3"
MUTED = "#7d8691"
CLASS_COLORS = {"entailment": "#2f7fb8", "contradiction": "#cf6a2e"}
DECISION_COLORS = {"auto": "#2f9468", "clarify": "#d19a1b", "human": "#8a6bbf"}
SERIES = ("#2f7fb8", "#cf6a2e", "#2f9468", "#b0508e", "#8a6bbf", "#d19a1b", "#5b8c99", "#a3614f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
WIDTH = 6.6

_STYLE: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.7),
    "figure.dpi": 96,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=SERIES),
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "verdict",
}


def use_style() -> None:
    """Set the one style of the report; drawings become equal bytes for equal data."""
    matplotlib.rcParams.update(_STYLE)


def color_of(name: str, order: Sequence[str] = ()) -> str:
    """The colour that a class, a decision or a model keeps in every figure.

    Parameters
    ----------
    name : str
        A class or decision has its own colour; anything else takes one by its place in `order`.
    order : sequence of str
        All names of the same kind, in an order that does not change between figures.
    """
    fixed = CLASS_COLORS | DECISION_COLORS
    if name in fixed:
        return fixed[name]
    return SERIES[list(order).index(name) % len(SERIES)] if name in order else SERIES[0]


def _check_columns(table: pd.DataFrame, needed: Sequence[str], what: str) -> None:
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(f"{what} needs the columns {list(needed)}; {missing} are missing from {list(table.columns)}")


def _plain(text: object) -> str:
    """Text of strangers: a dollar sign starts no formula."""
    return str(text).replace("$", r"\$")


def plot_reliability(
    bins: pd.DataFrame, *, ax: Axes, label: str = "", color: str = SERIES[0], show_counts: bool = True
) -> None:
    """Observed accuracy against predicted confidence.

    Parameters
    ----------
    bins : DataFrame
        One row a bin: `confidence`, `accuracy` in [0, 1]; optional `low`, `high` (interval of accuracy) and `count`.
        Rows with an undefined accuracy (empty bins) are left out.
    ax : Axes
    label : str
        For the legend.
    color : str
    show_counts : bool
        Whether the share of rows in each bin is drawn as bars along the bottom.
    """
    _check_columns(bins, ("confidence", "accuracy"), "a reliability diagram")
    full = bins[bins["accuracy"].notna() & bins["confidence"].notna()]
    x, y = full["confidence"].to_numpy(float), full["accuracy"].to_numpy(float)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if show_counts and "count" in full and full["count"].sum() > 0:
        share = full["count"].to_numpy(float) / full["count"].sum()
        ax.bar(x, share * 0.25, width=0.03, color=color, alpha=0.22, zorder=1.5)
    if {"low", "high"} <= set(full.columns):
        reach = np.clip(np.stack([y - full["low"].to_numpy(float), full["high"].to_numpy(float) - y]), 0, None)
        ax.errorbar(x, y, yerr=reach, fmt="none", ecolor=color, elinewidth=1.1, alpha=0.75)
    ax.plot(x, y, marker="o", color=color, label=_plain(label) or None, zorder=3)
    _unit_axes(ax, "Predicted confidence", "Observed accuracy")
    ax.set_aspect("equal")


def _unit_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel=xlabel, ylabel=ylabel)


def plot_risk_coverage(
    curves: Mapping[str, pd.DataFrame], *, ax: Axes, ylabel: str = "Error rate of the accepted"
) -> None:
    """Risk against coverage, one line a signal, with bands where there are intervals.

    Parameters
    ----------
    curves : mapping from name to DataFrame
        Columns `coverage` and `risk` in [0, 1]; optional `low`, `high`. Names keep the mapping's order and colours.
    """
    names = list(curves)
    top = 0.0
    for place, (name, curve) in enumerate(curves.items()):
        _check_columns(curve, ("coverage", "risk"), f"the risk-coverage curve {name!r}")
        color = color_of(name, names)
        ax.plot(
            curve["coverage"],
            curve["risk"],
            color=color,
            label=_plain(name),
            linestyle=("-", "--", "-.", ":")[place % 4],
        )
        if {"low", "high"} <= set(curve.columns):
            ax.fill_between(curve["coverage"], curve["low"], curve["high"], color=color, alpha=0.16, linewidth=0)
            top = max(top, float(curve["high"].max()))
        top = max(top, float(curve["risk"].max()))
    ax.set(
        xlim=(0, 1),
        ylim=(0, min(1.0, top * 1.08) or 1.0),
        xlabel="Coverage (share decided automatically)",
        ylabel=ylabel,
    )
    ax.legend(loc="upper left")


def plot_history(
    history: pd.DataFrame,
    *,
    ax: Axes,
    metric: str,
    by: str | None = None,
    best_epoch: int | None = None,
    ylabel: str = "",
) -> None:
    """A training metric over epochs, training dashed and validation solid.

    Parameters
    ----------
    history : DataFrame
        Columns `epoch` (from 1), and `<metric>` and/or `val_<metric>`; with `by` a column of names, one pair of lines
        a name.
    metric : str
    by : str, optional
    best_epoch : int, optional
        Marked by a vertical line: the checkpoint that was kept.
    ylabel : str
        With unit; the metric's name by default.
    """
    shown = [name for name in (metric, f"val_{metric}") if name in history.columns]
    if not shown:
        raise ValueError(f"the history has neither {metric!r} nor 'val_{metric}'; columns are {list(history.columns)}")
    _check_columns(history, ("epoch",), "a training history")
    groups = [("", history)] if by is None else list(history.groupby(by, sort=False))
    names = [str(name) for name, _ in groups]
    for name, part in groups:
        color = color_of(str(name), names)
        for column in shown:
            is_val = column.startswith("val_")
            words = " ".join(word for word in (_plain(name), "validation" if is_val else "training") if word)
            ax.plot(
                part["epoch"],
                part[column],
                color=color,
                label=words,
                linestyle="-" if is_val else (0, (4, 2)),
                marker="o",
                markersize=3.5,
            )
    if best_epoch is not None:
        ax.axvline(best_epoch, color=MUTED, linewidth=1)
        ax.annotate(
            "kept",
            (best_epoch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=8.5,
        )
    ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    ax.set(xlabel="Epoch", ylabel=ylabel or metric.replace("_", " "))
    ax.legend()


def plot_forest(
    table: pd.DataFrame, *, ax: Axes, xlabel: str, reference: float | None = None, color: str = SERIES[0]
) -> None:
    """Estimates with their intervals, one a line, the first row on top.

    Parameters
    ----------
    table : DataFrame
        Columns `label`, `value`, `low`, `high`; optional `group`, which colours the rows.
    xlabel : str
        Quantity and unit.
    reference : float, optional
        A vertical line, such as zero or a target.
    """
    _check_columns(table, ("label", "value", "low", "high"), "a forest plot")
    places = np.arange(len(table))[::-1]
    groups = list(dict.fromkeys(table["group"])) if "group" in table else []
    colors = [color_of(str(g), groups) for g in table["group"]] if groups else [color] * len(table)
    for place, row, tint in zip(places, table.to_dict("records"), colors, strict=True):
        ax.plot([row["low"], row["high"]], [place, place], color=tint, linewidth=2, solid_capstyle="butt")
        ax.plot(row["value"], place, marker="o", color=tint, markersize=6)
    if reference is not None:
        ax.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    for k, group in enumerate(groups):
        ax.plot([], [], marker="o", color=color_of(str(group), groups), label=_plain(group))
    if groups:
        ax.legend()
    ax.set_yticks(places, [_plain(label) for label in table["label"]])
    ax.set(xlabel=xlabel, ylim=(-0.6, len(table) - 0.4))
    ax.grid(False, axis="y")


def plot_confusion(counts: ArrayLike, names: Sequence[str], *, ax: Axes) -> None:
    """Counts of true against predicted classes, shaded by the share of the row.

    Parameters
    ----------
    counts : array (n_classes, n_classes) of int
        Rows are the true class.
    names : sequence of str
        Classes in the order of rows and columns.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"expected counts of shape {(len(names), len(names))}, got {counts.shape}")
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(counts):
        tint = "#ffffff" if share[row, column] > 0.55 else "#1b2127"
        ax.text(column, row, f"{value:,}\n{share[row, column]:.1%}", ha="center", va="center", color=tint)
    words = [_plain(name) for name in names]
    ax.set_xticks(range(len(names)), words)
    ax.set_yticks(range(len(names)), words)
    ax.set(xlabel="Predicted", ylabel="True")
    ax.grid(False)


def plot_nll_curve(
    log_temperature: ArrayLike,
    nll: ArrayLike,
    *,
    ax: Axes,
    best: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Negative log-likelihood of the calibration split against log T.

    Parameters
    ----------
    log_temperature, nll : arrays (n_points,)
        NLL in nats.
    best : float, optional
        Fitted log T, marked.
    low, high : float, optional
        Interval of the fitted log T, shaded.
    """
    ax.plot(np.asarray(log_temperature), np.asarray(nll), color=SERIES[0])
    if low is not None and high is not None:
        ax.axvspan(low, high, color=SERIES[1], alpha=0.16, linewidth=0, label="95 % interval")
    if best is not None:
        ax.axvline(best, color=SERIES[1], label=f"fitted, T = {math.exp(best):.3g}")
    ax.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="T = 1")
    ax.set(xlabel="log T", ylabel="NLL (nats)")
    ax.legend()


def plot_histogram(
    values: Mapping[str, ArrayLike], *, ax: Axes, bins: ArrayLike | int, xlabel: str, is_density: bool = False
) -> None:
    """Values of several groups over common bins, as outlines that do not hide each other.

    Parameters
    ----------
    values : mapping from group to array (n,)
    bins : int or array
        Number of bins over the common range, or edges.
    is_density : bool
        Whether each group's area is one.
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
            label=f"{_plain(name)} (n = {len(array):,})",
        )
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
    x, y : sequences
        Tick labels of columns and rows.
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
        axis.set_ticks(range(0, len(labels), step), [_tick(label) for label in labels[::step]])
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


def _tick(label: object) -> str:
    return f"{label:.3g}" if isinstance(label, float) else _plain(label)


def plot_decisions(shares: pd.DataFrame, *, ax: Axes) -> None:
    """Shares of auto, clarify and human, one horizontal bar a row, the first row on top.

    Parameters
    ----------
    shares : DataFrame (n_rows, n_decisions)
        Index: labels; columns: decisions; rows sum to one.
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
            label=_plain(name),
            height=0.62,
        )
        for place, start, size in zip(places, left, width, strict=True):
            if size >= 0.07:
                ax.text(start + size / 2, place, f"{size:.0%}", ha="center", va="center", color="#ffffff", fontsize=9)
        left = left + width
    ax.set_yticks(places, [_plain(label) for label in shares.index])
    ax.set(xlim=(0, 1), xlabel="Share of pairs")
    ax.grid(False, axis="y")
    ax.legend(ncols=len(shares.columns), loc="lower left", bbox_to_anchor=(0, 1))


def draw_gallery(images: Sequence[Any], titles: Sequence[str], *, columns: int = 4) -> Figure:
    """A grid of images with titles.

    Parameters
    ----------
    images : sequence of arrays (H, W, 3) or PIL images
    titles : sequence of str
        Wrapped, drawn as plain text.
    """
    import textwrap

    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    width = WIDTH / columns
    lines = [textwrap.fill(_plain(title), max(10, round(width * 13))) for title in titles]
    depth = max(line.count("\n") for line in lines) + 1
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * (width + 0.17 * depth)), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, line in zip(axes.flat, images, lines, strict=False):
        ax.imshow(np.asarray(image), interpolation="nearest")
        ax.set_title(line, fontsize=8.5, fontweight="normal", loc="left", color="#1b2127")
    return figure
