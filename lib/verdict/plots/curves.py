"""Lines: reliability, risk and coverage, training histories, likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.plots.style import MUTED, SERIES, check_columns, color_of, plain, unit_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        Drawn on.
    label : str
        For the legend.
    color : str
        Of line, bars and intervals.
    show_counts : bool
        Whether the share of rows in each bin is drawn as bars along the bottom.
    """
    check_columns(bins, ("confidence", "accuracy"), "a reliability diagram")
    full = bins[bins["accuracy"].notna() & bins["confidence"].notna()]
    x, y = full["confidence"].to_numpy(float), full["accuracy"].to_numpy(float)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if show_counts and "count" in full and full["count"].sum() > 0:
        share = full["count"].to_numpy(float) / full["count"].sum()
        ax.bar(x, share * 0.25, width=0.03, color=color, alpha=0.22, zorder=1.5)
    if {"low", "high"} <= set(full.columns):
        reach = np.clip(np.stack([y - full["low"].to_numpy(float), full["high"].to_numpy(float) - y]), 0, None)
        ax.errorbar(x, y, yerr=reach, fmt="none", ecolor=color, elinewidth=1.1, alpha=0.75)
    ax.plot(x, y, marker="o", color=color, label=plain(label) or None, zorder=3)
    unit_axes(ax, "Predicted confidence", "Observed accuracy")
    ax.set_aspect("equal")


def plot_risk_coverage(
    curves: Mapping[str, pd.DataFrame], *, ax: Axes, ylabel: str = "Error rate of the accepted"
) -> None:
    """Risk against coverage, one line a signal, with bands where there are intervals.

    Parameters
    ----------
    curves : mapping from name to DataFrame
        Columns `coverage` and `risk` in [0, 1]; optional `low`, `high`. Names keep the mapping's order and colours.
    ax : Axes
        Drawn on.
    ylabel : str
        What the risk is.
    """
    names = list(curves)
    top = 0.0
    for place, (name, curve) in enumerate(curves.items()):
        check_columns(curve, ("coverage", "risk"), f"the risk-coverage curve {name!r}")
        color = color_of(name, names)
        ax.plot(
            curve["coverage"],
            curve["risk"],
            color=color,
            label=plain(name),
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
    ax : Axes
        Drawn on.
    metric : str
        Name without `val_`.
    by : str, optional
        Column of names.
    best_epoch : int, optional
        Marked by a vertical line: the checkpoint that was kept.
    ylabel : str
        With unit; the metric's name by default.
    """
    shown = [name for name in (metric, f"val_{metric}") if name in history.columns]
    if not shown:
        raise ValueError(f"the history has neither {metric!r} nor 'val_{metric}'; columns are {list(history.columns)}")
    check_columns(history, ("epoch",), "a training history")
    groups = [("", history)] if by is None else list(history.groupby(by, sort=False))
    names = [str(name) for name, _ in groups]
    for name, part in groups:
        color = color_of(str(name), names)
        for column in shown:
            is_val = column.startswith("val_")
            words = " ".join(word for word in (plain(name), "validation" if is_val else "training") if word)
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


def plot_sweep(curve: pd.DataFrame, *, ax: Axes, chosen: float) -> None:
    """Macro-F1 against the threshold of the probability of contradiction.

    Parameters
    ----------
    curve : DataFrame
        Columns `threshold`, `macro_f1`, as `error_analysis.sweep` makes them.
    ax : Axes
        Drawn on.
    chosen : float
        The threshold with the largest score, marked.
    """
    check_columns(curve, ("threshold", "macro_f1"), "a sweep")
    ax.plot(curve["threshold"], curve["macro_f1"], color=SERIES[0], marker="o", markersize=4)
    ax.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="one half")
    ax.axvline(chosen, color=SERIES[1], label=f"largest, at {chosen:g}")
    ax.set(xlabel="Threshold on the probability of contradiction", ylabel="Macro-F1", xlim=(0, 1))
    ax.legend()


def plot_pole(curve: pd.DataFrame, path: pd.DataFrame, *, ax: Axes, top: float = 6.0) -> None:
    """NLL against T itself, on both sides of its pole at 0, and the places that an optimiser visits.

    Parameters
    ----------
    curve : DataFrame
        Columns `temperature` (both signs, increasing) and `nll` (nats).
    path : DataFrame
        Columns `temperature`, `nll` in the order of the visits.
    ax : Axes
        Drawn on; T on a scale that is logarithmic on both sides of zero.
    top : float
        Where the curve, which rises without bound at 0, is cut.
    """
    for frame, what in ((curve, "a likelihood curve"), (path, "a path")):
        check_columns(frame, ("temperature", "nll"), what)
    for is_side in (curve["temperature"] < 0, curve["temperature"] > 0):
        side = curve[is_side]
        ax.plot(side["temperature"], side["nll"], color=SERIES[0])
    ax.plot(
        path["temperature"],
        np.minimum(path["nll"], top),
        color=SERIES[1],
        marker="o",
        linestyle=(0, (3, 2)),
        linewidth=1,
        label=f"steps on T itself, {len(path) - 1}",
    )
    ax.plot(path["temperature"].iloc[-1], path["nll"].iloc[-1], marker="X", markersize=9, color=SERIES[1], label="end")
    best = curve.loc[curve["nll"].idxmin()]
    ax.plot(best["temperature"], best["nll"], marker="D", color=SERIES[2], linestyle="none", label="lowest")
    ax.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="pole at T = 0")
    ax.set_xscale("symlog", linthresh=2e-3)
    ax.set_xticks([-1e3, -1, -1e-2, 0, 1e-2, 1, 1e3])
    ax.set(xlabel="T", ylabel="NLL (nats)", ylim=(0, top))
    ax.legend()


def plot_lines(curves: Mapping[str, pd.DataFrame], *, ax: Axes, x: str, y: str, xlabel: str, ylabel: str) -> None:
    """Several curves over one quantity, with bands where there are intervals.

    Parameters
    ----------
    curves : mapping from name to DataFrame
        Columns `x`, `y`; optional `low`, `high`. Names keep the mapping's order and colours.
    ax : Axes
        Drawn on.
    x, y : str
        Columns.
    xlabel, ylabel : str
        Quantities and units.
    """
    names = list(curves)
    for place, (name, curve) in enumerate(curves.items()):
        check_columns(curve, (x, y), f"the curve {name!r}")
        color = color_of(name, names)
        style = ("-", "--", "-.", ":")[place % 4]
        ax.plot(curve[x], curve[y], color=color, linestyle=style, label=plain(name))
        if {"low", "high"} <= set(curve.columns):
            ax.fill_between(curve[x], curve["low"], curve["high"], color=color, alpha=0.16, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend()


def plot_beside(table: pd.DataFrame, names: Mapping[str, str], *, ax: Axes, x: str, xlabel: str, ylabel: str) -> None:
    """Several columns against one, with bands where there are intervals.

    Parameters
    ----------
    table : DataFrame
        The column `x`, the columns of `names`, and `<column>_low`, `<column>_high` for a band.
    names : mapping from column to words
        For the legend; the order decides colour and dash.
    ax : Axes
        Drawn on.
    x : str
        Column of the horizontal axis.
    xlabel, ylabel : str
        Quantities and units.
    """
    check_columns(table, (x, *names), "lines beside each other")
    for place, (column, words) in enumerate(names.items()):
        color, dash = SERIES[place % len(SERIES)], ("-", "--", "-.", ":")[place % 4]
        ax.plot(table[x], table[column], color=color, linestyle=dash, marker="o", markersize=3.5, label=plain(words))
        if {f"{column}_low", f"{column}_high"} <= set(table.columns):
            bounds = table[f"{column}_low"], table[f"{column}_high"]
            ax.fill_between(table[x], *bounds, color=color, alpha=0.16, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend()


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
    ax : Axes
        Drawn on.
    best : float, optional
        Fitted log T, marked.
    low, high : float, optional
        Interval of the fitted log T, shaded.
    """
    ax.plot(np.asarray(log_temperature), np.asarray(nll), color=SERIES[0])
    if low is not None and high is not None:
        ax.axvspan(low, high, color=SERIES[1], alpha=0.16, linewidth=0, label="interval")
    if best is not None:
        ax.axvline(best, color=SERIES[1], label=f"fitted, T = {math.exp(best):.3g}")
    ax.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="T = 1")
    ax.set(xlabel="log T", ylabel="NLL (nats)")
    ax.legend()
