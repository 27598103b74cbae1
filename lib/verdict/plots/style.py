"""One style and one palette for every figure of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# INK and GRID are replaced by the page's colours when a figure is displayed, so that it can be read on light and dark.
INK = "#22272e"
GRID = "#d9dde3"
MUTED = "#7d8691"
CLASS_COLORS = {"entailment": "#2f7fb8", "contradiction": "#cf6a2e"}
DECISION_COLORS = {"auto": "#2f9468", "clarify": "#d19a1b", "human": "#8a6bbf"}
SERIES = ("#2f7fb8", "#cf6a2e", "#2f9468", "#b0508e", "#8a6bbf", "#d19a1b", "#5b8c99", "#a3614f")
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
    """Set the one style of the report, whatever was set before; drawings become equal bytes for equal data."""
    matplotlib.rcdefaults()
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


def check_columns(table: pd.DataFrame, needed: Sequence[str], what: str) -> None:
    """Refuse a table that lacks columns, by name."""
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(f"{what} needs the columns {list(needed)}; {missing} are missing from {list(table.columns)}")


def plain(text: object) -> str:
    """Text of strangers: a dollar sign starts no formula."""
    return str(text).replace("$", r"\$")


def tick(label: object) -> str:
    """A tick label: floats with three significant digits."""
    return f"{label:.3g}" if isinstance(label, float) else plain(label)


def unit_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Both axes from 0 to 1, for probabilities."""
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel=xlabel, ylabel=ylabel)
