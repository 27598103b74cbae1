"""Finished results and an Axes in, a drawing out. Nothing is computed here that a reader could mistake for a result."""

# ruff: noqa: F401
from verdict.report.plots.charts import (
    forest_rows,
    plot_confusion,
    plot_correlations,
    plot_decisions,
    plot_effective,
    plot_embedding,
    plot_forest,
    plot_histogram,
    plot_history,
    plot_lines,
    plot_models,
    plot_nll_curve,
    plot_pole,
    plot_reliability,
    plot_risk_coverage,
    plot_surface,
    plot_sweep,
)
from verdict.report.plots.pictures import draw_attention, draw_attributions, draw_gallery
from verdict.report.plots.style import GRID, INK, REFERENCE, SERIES, use_style
