"""Lines, intervals, counts, shares and surfaces: seaborn's calls on tidy tables, with intervals that are given."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.ticker
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from verdict.report.plots.style import MUTED, REFERENCE, SERIES, palette_of, plain, tick

# Lines of a forest plot; of more the first and the last are drawn.
MAX_LINES = 40
# Letters of a label beside its line.
WRAPPED = 22
# Numbers are written into a confusion matrix of up to so many classes; of more they could not be read.
MAX_WRITTEN = 20
# Nearer to 0 or 1 than this, an accuracy on a logit axis is drawn here.
_EDGE = 0.02
# How seaborn reads a table that `_with_bounds` made: it estimates nothing.
_GIVEN: dict[str, Any] = {
    "estimator": lambda values: values.iloc[0],
    "errorbar": lambda values: (values.iloc[1], values.iloc[2]),
}


def _with_bounds(table: pd.DataFrame, value: str, low: str = "low", high: str = "high") -> pd.DataFrame:
    """Rows of estimates, then again with their low and high bounds in the place of the value, where both are known."""
    known = table.dropna(subset=[value])
    bounded = known.dropna(subset=[low, high])
    return pd.concat([known, *(bounded.assign(**{value: bounded[side]}) for side in (low, high))], ignore_index=True)


def plot_lines(
    curves: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    ax: Axes,
    x: str,
    y: str,
    xlabel: str,
    ylabel: str,
    hue: str = "curve",
    **options: Any,
) -> None:
    """One line for each value of the column `hue`, named at its right end, with bands where there are intervals.

    The table, or one a name, has columns `x`, `y`, perhaps `hue`, and bounds `low`, `high` or `<y>_low`, `<y>_high`;
    its order decides the colours. Options are `ylim`, which places the names, and those of `seaborn.lineplot`.
    """
    ylim = options.pop("ylim", None)
    table = curves if isinstance(curves, pd.DataFrame) else pd.concat(curves, names=[hue]).reset_index(hue)
    known = [(low, high) for low, high in (("low", "high"), (f"{y}_low", f"{y}_high")) if {low, high} <= {*table}]
    names = list(dict.fromkeys(table[hue].map(plain))) if hue in table else []
    if names:
        options |= {"hue": hue, "style": hue, "hue_order": names, "style_order": names, "palette": palette_of(names)}
        table = table.assign(**{hue: table[hue].map(plain)})
    drawn = table
    if known:
        drawn = _with_bounds(table, y, *known[0])
        options |= _GIVEN | {"err_kws": {"alpha": 0.16, "lw": 0}}
    else:
        options["estimator"] = None
    sns.lineplot(drawn, x=x, y=y, ax=ax, sort=False, markeredgewidth=0, **options)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
    if names and ax.get_legend():
        ax.get_legend().remove()
        ends = table.dropna(subset=[x, y]).sort_values(x, kind="stable").drop_duplicates(hue, keep="last")
        _name_ends(ax, ends.set_index(hue)[y].sort_values(), palette_of(names))


def _name_ends(ax: Axes, ends: pd.Series, colors: Mapping[str, str]) -> None:
    """The name of each line beside its right end, the lowest first; names that would touch are moved apart."""
    low, high = ax.get_ylim()
    lines_of_text = ax.get_position().height * ax.figure.get_figheight() * 72 / (1.2 * matplotlib.rcParams["font.size"])
    step = (high - low) / lines_of_text
    steps = step * np.arange(len(ends))
    places = np.minimum(np.maximum.accumulate(ends - steps) + steps, high - step / 2 - steps[::-1])
    for name, place in zip(ends.index, places, strict=True):
        where = {"xycoords": ("axes fraction", "data"), "va": "center"}
        ax.annotate(name, (1.02, place), color=colors[name], annotation_clip=False, **where)


def _legend_aside(ax: Axes) -> None:
    sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), title=None)


def plot_reliability(bins: pd.DataFrame, *, ax: Axes) -> None:
    """Observed accuracy against predicted confidence; bars along the bottom are the share of rows in each bin.

    One row a bin: `confidence`, `accuracy`, its bounds `low` and `high`, and `count`; empty bins are left out.
    """
    full = bins.dropna(subset=["confidence", "accuracy"])
    ax.axline((0, 0), (1, 1), **REFERENCE)
    ax.bar(full["confidence"], 0.25 * full["count"] / full["count"].sum(), width=0.03, color=SERIES[0], alpha=0.22)
    ax.vlines(full["confidence"], full["low"], full["high"], color=SERIES[0], linewidth=1.1, alpha=0.75)
    axes = {"x": "confidence", "y": "accuracy", "ax": ax, "estimator": None}
    sns.lineplot(full, marker="o", markeredgewidth=0, color=SERIES[0], **axes)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="Predicted confidence", ylabel="Observed accuracy", aspect="equal")


def plot_risk_coverage(curves: Mapping[str, pd.DataFrame], *, ax: Axes, promise: float | None = None) -> None:
    """Risk against coverage, one line a signal and one, named beside it too, at the error rate that is promised.

    A curve has columns `coverage` and `risk` in [0, 1], and perhaps `low`, `high`.
    """
    words = {"xlabel": "Coverage (share decided automatically)", "ylabel": "Error rate of the accepted"}
    top = max(float(curve[name].max()) for curve in curves.values() for name in {"risk", "high"} & {*curve})
    if promise is not None:
        curves = {**curves, "promised": pd.DataFrame({"coverage": [0.0, 1.0], "risk": promise})}
    plot_lines(curves, ax=ax, x="coverage", y="risk", ylim=(0, min(1.0, top * 1.08) or 1.0), **words)
    ax.set(xlim=(0, 1))


def plot_history(history: pd.DataFrame, *, ax: Axes, y: str, ylabel: str) -> None:
    """A score over epochs, a line a seed, kept epochs marked: columns epoch (from 1), seed, is_kept and the score."""
    seeds = [str(seed) for seed in history["seed"]]
    options = {"marker": "o", "markeredgewidth": 0, "palette": palette_of(dict.fromkeys(seeds))}
    sns.lineplot(history, x="epoch", y=y, hue=seeds, estimator=None, ax=ax, **options)
    kept = history[history["is_kept"]]
    ax.scatter(kept["epoch"], kept[y], s=90, facecolors="none", edgecolors=MUTED, zorder=3, label="kept")
    ax.legend(title="seed")
    ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(xlabel="Epoch", ylabel=ylabel)


def plot_sweep(curve: pd.DataFrame, *, ax: Axes, chosen: float) -> None:
    """Macro-F1 against the threshold of the probability of contradiction; the chosen threshold is marked.

    The curve has columns `threshold` and `macro_f1`, as `error_analysis.sweep` makes them.
    """
    words = {"xlabel": "Threshold on the probability of contradiction", "ylabel": "Macro-F1"}
    plot_lines(curve, ax=ax, x="threshold", y="macro_f1", marker="o", **words)
    ax.axvline(0.5, label="one half", **REFERENCE)
    ax.axvline(chosen, color=SERIES[1], label=f"largest, at {chosen:g}")
    ax.set(xlim=(0, 1))
    ax.legend()


def plot_nll_curve(curve: pd.DataFrame, *, ax: Axes, best: float, low: float, high: float) -> None:
    """Negative log-likelihood of the calibration split against log T, with the fitted log T and its interval.

    The curve has columns `log_t` and `nll` (nats).
    """
    plot_lines(curve, ax=ax, x="log_t", y="nll", xlabel="log T", ylabel="NLL (nats)")
    ax.axvspan(low, high, color=SERIES[1], alpha=0.16, linewidth=0, label="interval")
    ax.axvline(best, color=SERIES[1], label=f"fitted, T = {math.exp(best):.3g}")
    ax.axvline(0, label="T = 1", **REFERENCE)
    ax.legend()


def plot_pole(curve: pd.DataFrame, path: pd.DataFrame, *, ax: Axes, top: float = 6.0) -> None:
    """NLL against T itself, on both sides of its pole at 0, and the places that an optimiser visits.

    The curve has `temperature` (both signs, increasing) and `nll` (nats), the path the same in the order of the visits.
    T has a scale that is logarithmic on both sides of zero; the curve, which rises without bound at 0, is cut at `top`.
    """
    axes = {"x": "temperature", "y": "nll", "ax": ax, "estimator": None}
    sns.lineplot(curve, units=curve["temperature"] > 0, color=SERIES[0], **axes)
    steps = {"marker": "o", "linestyle": (0, (3, 2)), "linewidth": 1, "label": f"steps on T itself, {len(path) - 1}"}
    sns.lineplot(path.assign(nll=path["nll"].clip(upper=top)), sort=False, color=SERIES[1], **steps, **axes)
    marks = {"end": (path.iloc[-1], "X", SERIES[1]), "lowest": (curve.loc[curve["nll"].idxmin()], "D", SERIES[2])}
    for label, (at, marker, color) in marks.items():
        ax.plot(at["temperature"], at["nll"], marker=marker, color=color, markersize=7, linestyle="none", label=label)
    ax.axvline(0, label="pole at T = 0", **REFERENCE)
    ax.set_xscale("symlog", linthresh=2e-3)
    ax.set(xticks=[-1e3, -1, -1e-2, 0, 1e-2, 1, 1e3], xlabel="T", ylabel="NLL (nats)", ylim=(0, top))
    ax.legend()


def forest_rows(table: pd.DataFrame, label: str, value: str, group: str | None = None) -> pd.DataFrame:
    """A table's columns, `value` with its bounds, as `plot_forest` names them."""
    names = {label: "label", value: "value", f"{value}_low": "low", f"{value}_high": "high"}
    names |= {} if group is None else {group: "group"}
    return table[list(names)].set_axis(list(names.values()), axis=1).reset_index(drop=True)


def plot_forest(
    table: pd.DataFrame, *, ax: Axes, xlabel: str, reference: float | None = None, parts: pd.DataFrame | None = None
) -> None:
    """Estimates with their intervals, one a line, the first row on top.

    Of more than `MAX_LINES` rows those at both ends are drawn, and a line between them says how many are not. The table
    has `label`, `value`, `low`, `high`, and perhaps `group`, which colours the rows. A label that rows share stands at
    the first of them; a long one is wrapped. The reference is a vertical line, such as zero or a target. Parts, `label`
    and `value`, are what the estimates are means of, such as seeds, as small rings.
    """
    if len(table) > MAX_LINES:
        first, last = table.head(MAX_LINES // 2), table.tail(MAX_LINES // 2)
        words = f"… {len(table) - len(first) - len(last):,} more …"
        between = first.tail(1).assign(label=words, value=np.nan, low=np.nan, high=np.nan)
        table = pd.concat([first, between, last])
        ax.figure.set_size_inches(ax.figure.get_figwidth(), 0.34 * len(table) + 1.0)
    places = range(len(table))
    options: dict[str, Any] = {"color": SERIES[0]}
    if "group" in table:
        table = table.assign(group=table["group"].map(plain))
        options = {"hue": "group", "palette": palette_of(dict.fromkeys(table["group"]))}
    shown = {"order": places, "orient": "y", "linestyle": "none", "markersize": 5, "err_kws": {"linewidth": 2}}
    drawn = _with_bounds(table.assign(place=places), "value")
    sns.pointplot(drawn, x="value", y="place", ax=ax, **shown, **options, **_GIVEN)
    if reference is not None:
        ax.axvline(reference, **REFERENCE)
    if parts is not None:
        place = {label: at for at, label in enumerate(table["label"])}
        ax.scatter(parts["value"], parts["label"].map(place), s=22, facecolors="none", edgecolors=MUTED, zorder=3)
    names = table["label"].map(plain)
    if ax.figure.get_figheight() > 0.4 * len(table) + 1.0:
        names = names.map(lambda name: textwrap.fill(name, WRAPPED))
    ax.set_yticks(places, names.where(names != names.shift(), ""))
    ax.set(xlabel=xlabel, ylabel="")
    ax.grid(False, axis="y")
    if ax.get_legend():
        # A legend wider than its axes would make them narrow.
        fitting = 56 // (6 + max(map(len, options["palette"]), default=0))
        sns.move_legend(ax, "lower left", bbox_to_anchor=(0, 1), ncols=min(4, max(1, fitting)), title=None)


def plot_models(table: pd.DataFrame, *, ax: Axes, x: str, y: str, xlabel: str, ylabel: str) -> None:
    """Models by two measures, a point of its own shape and colour with two intervals each.

    The table has columns `model`, `x`, `y`, and `<x>_low`, `<x>_high`, `<y>_low`, `<y>_high`; rows keep their order.
    """
    table = table.assign(model=table["model"].map(plain))
    colors = palette_of(table["model"])
    ax.hlines(table[y], table[f"{x}_low"], table[f"{x}_high"], colors=colors.values(), linewidth=1.2)
    ax.vlines(table[x], table[f"{y}_low"], table[f"{y}_high"], colors=colors.values(), linewidth=1.2)
    sns.scatterplot(table, x=x, y=y, hue="model", style="model", palette=colors, s=60, ax=ax)
    _legend_aside(ax)
    ax.set(xlabel=xlabel, ylabel=ylabel)


def plot_effective(
    population: ArrayLike, line: pd.DataFrame, models: Mapping[str, pd.Series], *, ax: Axes, title: str
) -> None:
    """Accuracy under a shift against accuracy before it, on logit axes.

    The population is (n_models, 2), before and under the shift; the line that was fitted to it has `before`,
    `expected`; the models beside it have `before`, `after`, `after_low`, `after_high`. Accuracies within 2 % of 0 or 1
    are drawn there.
    """
    ends = (_EDGE, 1 - _EDGE)
    ax.set(xscale="logit", yscale="logit", xlim=ends, ylim=ends, title=plain(title))
    small = pd.DataFrame(population, columns=["before", "after"]).clip(*ends)
    sns.scatterplot(small, x="before", y="after", s=16, color=MUTED, alpha=0.8, label="small models", ax=ax)
    line = line.clip(*ends)
    ax.plot(line["before"], line["expected"], color=MUTED, linewidth=1.2)
    ax.plot(ends, ends, **REFERENCE)
    named = pd.DataFrame(dict(models)).loc[["before", "after", "after_low", "after_high"]].astype(float).clip(*ends)
    for name, color in palette_of(named).items():
        at = named[name]
        ax.vlines(at["before"], at["after_low"], at["after_high"], colors=color, linewidth=1.6)
        ax.plot(at["before"], at["after"], marker="o", color=color, markersize=6, linestyle="none", label=plain(name))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib.ticker.FixedLocator((0.05, 0.2, 0.5, 0.8, 0.95)))
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
        axis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
    ax.set(xlabel="Before", ylabel="Under the shift")
    ax.get_legend().remove()


def plot_histogram(
    values: Mapping[str, ArrayLike], *, ax: Axes, bins: Any, xlabel: str, limit: float | None = None
) -> None:
    """Values of several groups over common bins, as outlines that do not hide each other.

    Bins are as seaborn's; the limit is a vertical line at the largest value within reach.
    """
    labels = {name: f"{plain(name)} (n = {len(array):,})" for name, array in values.items()}
    parts = [pd.DataFrame({"value": np.asarray(array), "group": labels[name]}) for name, array in values.items()]
    colors = dict(zip(labels.values(), palette_of(values).values(), strict=True))
    look = {"hue_order": [*colors], "palette": colors, "element": "step", "alpha": 0.18, "linewidth": 1.5}
    ax.margins(y=0.3)  # for the words
    sns.histplot(pd.concat(parts, ignore_index=True), x="value", hue="group", bins=bins, ax=ax, **look)
    ax.get_legend().set_title(None)
    if limit is not None:
        ax.axvline(limit, **REFERENCE)
        corner = {"xycoords": ("data", "axes fraction"), "xytext": (-3, -12), "textcoords": "offset points"}
        ax.annotate(f"within reach up to {limit:.3g}", (limit, 1), ha="right", **corner)
    ax.set(xlabel=xlabel, ylabel="Count")


def _heat(values: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
    """A heat map of a labelled table; one of many cells is kept as a picture within the drawing."""
    values = values.rename(index=tick, columns=tick)
    sns.heatmap(values, ax=ax, rasterized=values.size > MAX_WRITTEN**2, **options)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelrotation=0)
    ax.grid(False)


def plot_confusion(counts: ArrayLike, names: Sequence[str], *, ax: Axes) -> None:
    """Counts of true against predicted classes, shaded by the share of the row; many classes are shaded alone.

    Rows of the counts (n_classes, n_classes) are the true class, in the order of the names.
    """
    table = pd.DataFrame(counts, index=names, columns=names)
    share = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    is_written = len(names) <= MAX_WRITTEN
    text = table.map("{:,}".format) + "\n" + share.map("{:.1%}".format) if is_written else False
    every = {"xticklabels": 1, "yticklabels": 1}
    _heat(share, ax=ax, annot=text, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, **every)
    if not is_written:
        ax.tick_params(labelsize=5)
        ax.tick_params(axis="x", labelrotation=90)
    ax.set(xlabel="Predicted", ylabel="True")


def plot_correlations(table: pd.DataFrame, *, ax: Axes) -> None:
    """A square table of correlations as a heat map with its values written in; an undefined one is a dash."""
    text = table.map(lambda value: "–" if np.isnan(value) else f"{value:.2f}")
    _heat(table.fillna(0), ax=ax, annot=text, fmt="", cmap="RdBu", vmin=-1, vmax=1, cbar=False, square=True)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=30, ha="right")


def plot_surface(
    grid: pd.DataFrame, *, ax: Axes, xlabel: str, ylabel: str, zlabel: str, best: tuple[int, int] | None = None
) -> None:
    """A heat map of costs, or of another function of two quantities; few cells have their values written in.

    Index and columns are the two quantities; the first row is drawn at the bottom. `zlabel` is quantity and unit of the
    colour bar, and `best` the (row, column) that was chosen.
    """
    shown = {"xticklabels": math.ceil(grid.shape[1] / 8), "yticklabels": math.ceil(grid.shape[0] / 8)}
    is_written = grid.size <= 2 * MAX_WRITTEN
    if is_written:
        top = float(np.nanmax(np.abs(grid))) or 1.0
        shown |= {"vmin": 0, "vmax": top} if grid.stack().nunique() == 1 else {}
        shown |= {"annot": True, "fmt": f".{max(0, (1 if top < 1 else 2) - math.floor(math.log10(top)))}f"}
    # Seaborn draws the whole figure, with each of its panels, to see whether labels overlap and are to be turned.
    ax.get_figure().set_visible(False)
    _heat(grid, ax=ax, cmap="viridis_r", cbar_kws={"label": zlabel}, **shown)
    ax.get_figure().set_visible(True)
    ax.tick_params(axis="x", labelrotation=0)
    ax.invert_yaxis()
    if best is not None:
        for color, width in (("#ffffff", 4), ("#c0392b", 2)):
            shape = {"s": 1200 if is_written else 120, "facecolors": "none", "edgecolors": color, "linewidths": width}
            ax.scatter(best[1] + 0.5, best[0] + 0.5, **shape)
    ax.set(xlabel=xlabel, ylabel=ylabel)


def plot_decisions(shares: pd.DataFrame, *, ax: Axes) -> None:
    """Shares of auto, clarify and human, one horizontal bar a row, the first row on top.

    The index of the shares are labels, the columns decisions; rows sum to one.
    """
    sums = shares.sum(axis=1).to_numpy(float)
    if not np.allclose(sums, 1.0, atol=1e-6):
        raise ValueError(f"shares of a row must sum to 1, got sums {np.round(sums, 4).tolist()}")
    shares.rename(index=plain)[::-1].plot.barh(stacked=True, color=palette_of(shares), width=0.62, ax=ax)
    for bars in ax.containers:
        written = [f"{bar.get_width():.0%}" if bar.get_width() >= 0.07 else "" for bar in bars]
        ax.bar_label(bars, written, label_type="center", color="#ffffff")
    ax.set(xlim=(0, 1), xlabel="Share of cases", ylabel="")
    ax.grid(False, axis="y")
    ax.legend(ncols=len(shares.columns), loc="lower left", bbox_to_anchor=(0, 1))


def plot_embedding(points: pd.DataFrame, *, ax: Axes, names: Sequence[str]) -> None:
    """Points of two dimensions by class; wrong answers are crosses.

    `x` and `y` have no units, so that the axes carry no ticks; `label` is the true class, and `names` the classes in
    the order of the legend.
    """
    palette, markers = {}, {}
    kind = pd.Series("", index=points.index)
    for (name, color), is_right in itertools.product(palette_of(names).items(), (True, False)):
        chosen = (points["label"] == name) & (points["is_right"] == is_right)
        words = f"{plain(name)}, answered {'rightly' if is_right else 'wrongly'} ({chosen.sum():,})"
        kind[chosen] = words
        palette[words] = color
        markers[words] = "o" if is_right else "X"
    looks = {"palette": palette, "markers": markers, "hue_order": [*palette], "style_order": [*palette]}
    shown = points.assign(kind=kind)
    sns.scatterplot(shown, x="x", y="y", hue="kind", style="kind", s=24, linewidth=0, alpha=0.7, ax=ax, **looks)
    ax.set(xticks=[], yticks=[], xlabel="", ylabel="", aspect="equal")
    sns.despine(ax=ax, left=True, bottom=True)
    ax.grid(False)
    _legend_aside(ax)
