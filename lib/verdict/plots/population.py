"""Models of a population, and where one of them stands beside their line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.ticker
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.plots.style import MUTED, SERIES, check_columns, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EDGE = 0.02


def plot_effective(
    population: ArrayLike, line: pd.DataFrame, models: Mapping[str, pd.Series], *, ax: Axes, title: str = ""
) -> None:
    """Accuracy under a shift against accuracy before it, on logit axes.

    Parameters
    ----------
    population : array (n_models, 2)
        Accuracies before and under the shift.
    line : DataFrame
        Columns `before`, `expected`: the line that was fitted to the population.
    models : mapping from name to Series
        `before`, `after`, and `after_low`, `after_high`: the models that stand beside the line.
    ax : Axes
        Drawn on; accuracies within 2 % of 0 or 1 are drawn there.
    title : str
        The shift.
    """
    check_columns(line, ("before", "expected"), "the line of a population")
    before, after = np.clip(np.asarray(population, dtype=float), _EDGE, 1 - _EDGE).T
    ax.scatter(before, after, s=16, color=MUTED, alpha=0.8, label="small models")
    ax.plot(*(np.clip(line[name], _EDGE, 1 - _EDGE) for name in ("before", "expected")), color=MUTED, linewidth=1.2)
    ends = np.array([_EDGE, 1 - _EDGE])
    ax.plot(ends, ends, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for place, (name, one) in enumerate(models.items()):
        x, y, low, high = (
            float(np.clip(one[k], _EDGE, 1 - _EDGE)) for k in ("before", "after", "after_low", "after_high")
        )
        ax.plot([x, x], [low, high], color=SERIES[place], linewidth=1.6)
        ax.plot(x, y, marker="o", color=SERIES[place], markersize=6, linestyle="none", label=plain(name))
    ax.set_xscale("logit")
    ax.set_yscale("logit")
    shown = (0.05, 0.2, 0.5, 0.8, 0.95)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib.ticker.FixedLocator(shown))
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set(
        xlim=(_EDGE, 1 - _EDGE), ylim=(_EDGE, 1 - _EDGE), title=plain(title), xlabel="Before", ylabel="Under the shift"
    )
