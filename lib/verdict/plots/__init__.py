"""Finished results and an Axes in, a drawing out. Nothing is computed here that a reader could mistake for a result."""

from verdict.plots.areas import (
    draw_attributions,
    draw_gallery,
    plot_confusion,
    plot_correlations,
    plot_decisions,
    plot_forest,
    plot_histogram,
    plot_models,
    plot_surface,
)
from verdict.plots.curves import (
    plot_beside,
    plot_history,
    plot_lines,
    plot_nll_curve,
    plot_pole,
    plot_reliability,
    plot_risk_coverage,
    plot_sweep,
)
from verdict.plots.inside import draw_attention, plot_deletion, plot_embedding
from verdict.plots.population import plot_effective
from verdict.plots.style import CLASS_COLORS, DECISION_COLORS, GRID, INK, MUTED, SERIES, WIDTH, color_of, use_style

__all__ = [
    "CLASS_COLORS",
    "DECISION_COLORS",
    "GRID",
    "INK",
    "MUTED",
    "SERIES",
    "WIDTH",
    "color_of",
    "draw_attention",
    "draw_attributions",
    "draw_gallery",
    "plot_beside",
    "plot_confusion",
    "plot_correlations",
    "plot_decisions",
    "plot_deletion",
    "plot_effective",
    "plot_embedding",
    "plot_forest",
    "plot_histogram",
    "plot_history",
    "plot_lines",
    "plot_models",
    "plot_nll_curve",
    "plot_pole",
    "plot_reliability",
    "plot_risk_coverage",
    "plot_surface",
    "plot_sweep",
    "use_style",
]
