"""One style and one palette for every figure of the report."""

from collections.abc import Iterable

import matplotlib
import seaborn as sns

from verdict.base.labels import in_words

# INK and GRID are replaced by the page's colours when a figure is displayed, so that it can be read on light and dark.
INK = "#22272e"
GRID = "#d9dde3"
MUTED = "#7d8691"
CLASS_COLORS = {"entailment": "#2f7fb8", "contradiction": "#cf6a2e"}
DECISION_COLORS = {"auto": "#2f9468", "clarify": "#d19a1b", "human": "#8a6bbf"}
SERIES = ("#2f7fb8", "#cf6a2e", "#2f9468", "#b0508e", "#8a6bbf", "#d19a1b", "#5b8c99", "#a3614f")
WIDTH = 6.6
# Beside an answer, and on a phone, a figure is drawn at four fifths of its size: at least 9 pt are left.
FONT_PT = 11.25
# Of a line that something is compared with.
REFERENCE = {"color": MUTED, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 0}

_STYLE = {
    "figure.figsize": (WIDTH, 3.7),
    "figure.dpi": 96,
    "figure.constrained_layout.use": True,
    "font.sans-serif": matplotlib.rcParamsDefault["font.sans-serif"],
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), FONT_PT),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), FONT_PT),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.7,
}


def use_style() -> None:
    """Set the one style of the report, whatever was set before; drawings become equal bytes for equal data."""
    matplotlib.rcdefaults()
    sns.set_theme(context="paper", style="ticks", palette=SERIES, rc=_STYLE)


def palette_of(names: Iterable[str]) -> dict[str, str]:
    """The colour of each name: classes, decisions and chance keep theirs in every figure, others take one by place."""
    fixed = CLASS_COLORS | DECISION_COLORS | dict.fromkeys(("random order", "promised"), MUTED)
    return {name: fixed.get(name, SERIES[place % len(SERIES)]) for place, name in enumerate(names)}


def plain(text: object) -> str:
    """Text of strangers: a dollar sign starts no formula; a name is called as in tables."""
    return in_words(text).replace("$", r"\$")


def tick(label: object) -> str:
    """A tick label: floats with three significant digits."""
    return f"{label:.3g}" if isinstance(label, float) else plain(label)
