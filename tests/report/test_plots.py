"""Drawings show what they are given and compute nothing."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from verdict.base.labels import class_names
from verdict.report import plots
from verdict.report.plots import style


@pytest.fixture(autouse=True)
def axes():
    with matplotlib.rc_context():
        plots.use_style()
        figure, ax = plt.subplots()
        yield ax
        figure.draw_without_rendering()
        plt.close("all")


def lines(ax):
    """Lines that are drawn; those of a legend have no points."""
    return [line for line in ax.lines if len(line.get_xdata())]


def words(texts):
    return [text.get_text() for text in texts]


def in_legend(ax):
    return words(ax.get_legend().get_texts())


def test_models_have_a_point_and_two_intervals_each(axes):
    ends = {f"{name}{end}": [0.1, 0.4] for name in ("accuracy", "auc") for end in ("", "_low", "_high")}
    table = pd.DataFrame({"model": ["a", "b"], **ends})
    plots.plot_models(table, ax=axes, x="accuracy", y="auc", xlabel="Accuracy", ylabel="AUC")
    assert [len(part.get_segments()) for part in axes.collections[:2]] == [2, 2]
    assert in_legend(axes) == ["a", "b"]


def test_colours_are_constant_and_cover_the_classes():
    assert set(style.CLASS_COLORS) == set(class_names())
    assert len({*style.CLASS_COLORS.values(), *style.DECISION_COLORS.values()}) == 2 + 3
    assert style.palette_of(["human", "b"]) == {"human": style.DECISION_COLORS["human"], "b": plots.SERIES[1]}


def test_reliability_draws_full_bins_only(axes):
    centre = np.linspace(0.05, 0.95, 7)
    bounds = {"low": centre**2 - 0.01, "high": centre**2 + 0.02}
    table = pd.DataFrame({"confidence": centre, "accuracy": centre**2, "count": range(7), **bounds})
    table.loc[0, "accuracy"] = np.nan
    plots.plot_reliability(table, ax=axes)
    np.testing.assert_allclose(lines(axes)[-1].get_xydata(), table[["confidence", "accuracy"]][1:])
    assert axes.get_xlim() == (0, 1) and axes.get_ylim() == (0, 1)
    assert max(bar.get_height() for bar in axes.patches) == pytest.approx(0.25 * 6 / (1 + 2 + 3 + 4 + 5 + 6))


def test_risk_coverage_has_a_line_and_a_band_a_signal(axes):
    bounds = {"low": [0.0, 0.05, 0.1], "high": [0.1, 0.2, 0.3]}
    curve = pd.DataFrame({"coverage": [0.1, 0.5, 1.0], "risk": [0.0, 0.1, 0.2], **bounds})
    plots.plot_risk_coverage({"entropy": curve, "margin": curve[["coverage", "risk"]]}, ax=axes)
    band, absent = axes.collections
    assert len(lines(axes)) == 2 and not np.isfinite(absent.get_datalim(axes.transData)).all()
    assert band.get_datalim(axes.transData).extents == pytest.approx([0.1, 0.0, 1.0, 0.3])
    assert axes.get_ylim() == pytest.approx((0, 0.3 * 1.08))
    plots.plot_risk_coverage({"entropy": curve}, ax=axes, promise=0.05)
    assert lines(axes)[-1].get_ydata().tolist() == [0.05, 0.05]
    (name,) = (text for text in axes.texts if text.get_text() == "promised")
    assert name.xy[0] > 1, "beside the axes, where no curve is"


def test_history_has_a_line_a_seed_and_marks_its_kept_epoch(axes):
    history = pd.DataFrame({"epoch": [1, 2, 3] * 2, "seed": [11] * 3 + [23] * 3, "f1": [0.4, 0.6, 0.5, 0.3, 0.2, 0.1]})
    plots.plot_history(history.assign(is_kept=np.ones(6) == [0, 1, 0, 1, 0, 0]), ax=axes, y="f1", ylabel="F1")
    np.testing.assert_array_equal([line.get_ydata() for line in lines(axes)[:2]], [[0.4, 0.6, 0.5], [0.3, 0.2, 0.1]])
    assert axes.collections[-1].get_offsets().tolist() == [[2, 0.6], [1, 0.3]]
    assert words(axes.get_legend().get_texts()) == ["11", "23", "kept"]
    axes.clear()
    # More seeds than colours.
    many = pd.DataFrame({"epoch": 1, "seed": range(11), "f1": 0.5, "is_kept": True})
    plots.plot_history(many, ax=axes, y="f1", ylabel="F1")
    assert len(axes.get_legend().get_texts()) == 11 + 1
    axes.clear()
    once = history[history["epoch"] == 1].assign(is_kept=True)
    plots.plot_history(once, ax=axes, y="f1", ylabel="F1")
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_confusion_writes_counts_and_shares_of_few_classes_and_shades_many(axes):
    plots.plot_confusion([[3, 1], [0, 0]], class_names(), ax=axes)
    assert words(axes.texts) == ["3\n75.0%", "1\n25.0%", "0\n0.0%", "0\n0.0%"]
    axes.clear()
    names = [f"kind_{k}" for k in range(21)]
    plots.plot_confusion(np.eye(21, dtype=int), names, ax=axes)
    assert not axes.texts and np.array_equal(axes.collections[0].get_array(), np.eye(21))
    assert words(axes.get_yticklabels()) == names and axes.get_xticklabels()[0].get_fontsize() == 5


def test_a_choice_is_marked_on_its_curve(axes):
    curve = pd.DataFrame({"threshold": [0.3, 0.5, 0.7], "macro_f1": [0.6, 0.7, 0.8]})
    plots.plot_sweep(curve, ax=axes, chosen=0.7)
    assert in_legend(axes) == ["one half", "largest, at 0.7"] and axes.get_xlim() == (0, 1)
    np.testing.assert_array_equal(lines(axes)[0].get_ydata(), curve["macro_f1"])
    axes.clear()
    curve = pd.DataFrame({"log_t": [-1, 0, 1], "nll": [0.7, 0.5, 0.6]})
    plots.plot_nll_curve(curve, ax=axes, best=0.0, low=-0.1, high=0.1)
    assert in_legend(axes) == ["interval", "fitted, T = 1", "T = 1"]


def test_histogram_shares_its_edges(axes):
    values = {"entailment": [0.0, 1.0, 1.0], "contradiction": [5.0], "none": []}
    plots.plot_histogram(values, ax=axes, bins=5, xlabel="Logit", limit=0.9)
    assert in_legend(axes) == ["entailment (n = 3)", "contradiction (n = 1)", "none (n = 0)"]
    heights = [part.get_paths()[0].vertices for part in axes.collections]
    assert sorted(points[:, 1].max() for points in heights) == [1, 2]
    assert all(set(points[:, 0]) <= {0, 1, 2, 3, 4, 5} for points in heights)
    assert lines(axes)[-1].get_xdata() == [0.9, 0.9] and words(axes.texts) == ["within reach up to 0.9"]


def test_surface_keeps_its_orientation(axes):
    grid = pd.DataFrame(np.arange(15.0).reshape(3, 5), index=list("abc"), columns=[0.1, 0.2, 0.3, 0.4, 0.5])
    plots.plot_surface(grid, ax=axes, xlabel="x", ylabel="y", zlabel="Cost", best=(2, 4))
    np.testing.assert_array_equal(axes.collections[0].get_array(), grid)
    assert axes.get_ylim() == (0, 3)
    assert [circle.get_offsets().tolist() for circle in axes.collections[1:]] == [[[4.5, 2.5]]] * 2


@pytest.mark.parametrize(("top", "written"), [(0.73, "0.00"), (2.2, "0.00"), (37.0, "0.0"), (0.004, "0.0018")])
def test_all_values_of_a_surface_have_the_decimals_of_its_largest(axes, top, written):
    grid = pd.DataFrame([[0.0018, top]])
    plots.plot_surface(grid, ax=axes, xlabel="x", ylabel="y", zlabel="Share")
    assert words(axes.texts)[0] == written


def test_decisions_fill_the_bar_or_are_refused(axes):
    shares = pd.DataFrame(
        {"auto": [0.5, 0.25], "clarify": [0.25, 0.25], "human": [0.25, 0.5]}, index=["test", "independent"]
    )
    plots.plot_decisions(shares, ax=axes)
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert max(ends) == pytest.approx(1.0) and len(axes.patches) == 2 * 3
    assert [label.get_text() for label in axes.get_yticklabels()] == ["independent set", "test"]
    with pytest.raises(ValueError, match="must sum to 1"):
        plots.plot_decisions(shares * 2, ax=axes)


def test_lines_take_colours_in_turn_and_the_bounds_of_their_own_column(axes):
    table = pd.DataFrame({"t": [0.1, 0.5], "a": [0.2, 0.3], "a_low": [0.1, 0.2], "a_high": [0.3, 0.4], "b": [0.5, 0.1]})
    for y in ("b", "a"):
        plots.plot_lines(table, ax=axes, x="t", y=y, label=f"{y} $5", xlabel="threshold", ylabel="score")
    np.testing.assert_allclose([line.get_ydata() for line in lines(axes)], [table["b"], table["a"]])
    assert [matplotlib.colors.to_hex(line.get_color()) for line in lines(axes)] == list(plots.SERIES[:2])
    assert len(axes.collections) == 1


def test_lines_are_split_by_a_column(axes):
    table = pd.DataFrame({"order": ["a $5", "a $5", "b", "b"], "x": [0, 0.5, 0, 0.5], "prob": [0.9, 0.6, 0.9, 0.8]})
    table = table.assign(prob_low=table["prob"] - 0.05, prob_high=table["prob"] + 0.05)
    plots.plot_lines(table, ax=axes, x="x", y="prob", hue="order", xlabel="", ylabel="")
    assert words(axes.texts) == [r"a \$5", "b"] and axes.get_legend() is None
    assert [text.xy[1] for text in axes.texts] == pytest.approx([0.6, 0.8])
    assert [text.get_color() for text in axes.texts] == list(plots.SERIES[:2])

    assert len(lines(axes)) == 2 and len(axes.collections) == 2
    np.testing.assert_allclose(lines(axes)[1].get_ydata(), [0.9, 0.8])
    np.testing.assert_allclose(axes.collections[0].get_datalim(axes.transData).extents, [0, 0.55, 0.5, 0.95])


def test_names_of_lines_that_end_together_do_not_touch(axes):
    ends = {"a": 0.5, "b": 0.5, "c": 0.51, "d": 0.99, "e": 1.0}
    curves = {name: pd.DataFrame({"x": [0, 1], "y": [0.1, end]}) for name, end in ends.items()}
    plots.plot_lines(curves, ax=axes, x="x", y="y", xlabel="", ylabel="", ylim=(0, 1))
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert words(axes.texts) == list("abcde") and axes.get_ylim() == (0, 1)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))
    assert axes.texts[0].xy[1] == 0.5 and boxes[-1].y1 <= axes.bbox.y1 + 1, "no name is cut off"


def test_a_forest_shows_what_its_means_are_made_of(axes):
    table = pd.DataFrame({"label": ["a", "b"], "value": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8]})
    parts = pd.DataFrame({"label": ["b", "a", "b"], "value": [0.65, 0.5, 0.75]})
    plots.plot_forest(table, ax=axes, xlabel="", parts=parts)
    assert axes.collections[-1].get_offsets().tolist() == [[0.65, 1], [0.5, 0], [0.75, 1]]


def test_an_embedding_names_classes_and_crosses_mistakes(axes):
    points = pd.DataFrame(np.arange(10.0).reshape(5, 2), columns=["x", "y"])
    labels = ["entailment", "contradiction", "entailment", "contradiction", "entailment"]
    points = points.assign(label=labels, is_right=[True, True, False, True, True])
    plots.plot_embedding(points, ax=axes, names=class_names())
    ways = {"entailment": ("rightly (2)", "wrongly (1)"), "contradiction": ("rightly (2)", "wrongly (0)")}
    assert in_legend(axes) == [f"{name}, answered {way}" for name in class_names() for way in ways[name]]
    drawn = axes.collections[0]
    assert drawn.get_offsets().tolist() == points[["x", "y"]].to_numpy().tolist()
    assert [matplotlib.colors.to_hex(c) for c in drawn.get_facecolor()] == [style.CLASS_COLORS[n] for n in labels]
    assert len({path.vertices.shape for path in drawn.get_paths()}) == 2


def test_a_pole_splits_the_curve_and_the_path_is_cut(axes):
    curve = pd.DataFrame({"temperature": [-10.0, -0.1, 0.1, 10.0], "nll": [2.3, 4.0, 1.0, 2.2]})
    path = pd.DataFrame({"temperature": [1.0, -0.05, -500.0], "nll": [2.0, 80.0, 2.3]})
    plots.plot_pole(curve, path, ax=axes, top=6.0)
    negative, positive, steps, end, lowest = lines(axes)[:5]
    assert negative.get_xdata().max() < 0 < positive.get_xdata().min()
    assert steps.get_ydata().tolist() == [2.0, 6.0, 2.3]
    assert (end.get_xdata().tolist(), lowest.get_xdata().tolist()) == ([-500.0], [0.1])


def test_correlations_are_written_in_and_missing_ones_are_dashes(axes):
    table = pd.DataFrame([[1.0, np.nan], [np.nan, 1.0]], index=["a", "b"], columns=["a", "b"])
    plots.plot_correlations(table, ax=axes)
    assert words(axes.texts) == ["1.00", "–", "–", "1.00"]


def test_a_population_is_drawn_on_logit_axes_with_its_line_and_the_models_beside_it(axes):
    line = pd.DataFrame({"before": [0.1, 0.9], "expected": [0.05, 0.8]})
    one = pd.Series({"before": 0.9, "after": 0.7, "after_low": 0.6, "after_high": 0.75})
    plots.plot_effective([[0.3, 0.2], [0.999, 0.5]], line, {"encoder": one}, ax=axes, title="turn")
    assert axes.get_xscale() == axes.get_yscale() == "logit"
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[0.3, 0.2], [0.98, 0.5]])
    assert {line.get_label(): line.get_xydata().tolist() for line in lines(axes)}["encoder"] == [[0.9, 0.7]]


def forest(n):
    table = pd.DataFrame({"label": [f"<c{k}>" for k in range(n)], "value": np.arange(float(n))})
    return table.assign(low=table["value"] - 1, high=table["value"] + 1)


def test_a_forest_puts_the_first_row_on_top(axes):
    table = forest(3)
    plots.plot_forest(table, ax=axes, xlabel="Gain (points)", reference=0.0)
    assert words(axes.get_yticklabels()) == ["<c0>", "<c1>", "<c2>"]
    assert list(axes.get_yticks()) == [0, 1, 2] and axes.yaxis.get_inverted()
    np.testing.assert_allclose(lines(axes)[0].get_xdata(), table["value"])
    np.testing.assert_allclose([line.get_xdata() for line in lines(axes)[1:4]], table[["low", "high"]])


def test_a_forest_says_a_label_once_and_wraps_a_long_one(axes):
    table = forest(3).assign(label=["a label of more than two words", "one", "one"], group=["a", "a", "b"])
    plots.plot_forest(table, ax=axes, xlabel="x")
    assert words(axes.get_yticklabels()) == ["a label of more than\ntwo words", "one", ""]
    axes.clear()
    axes.figure.set_size_inches(6.8, 2)
    plots.plot_forest(pd.concat([table] * 3), ax=axes, xlabel="x")
    assert words(axes.get_yticklabels())[0] == "a label of more than two words"


def test_a_forest_may_be_empty(axes):
    plots.plot_forest(forest(0), ax=axes, xlabel="x")
    assert not axes.get_yticklabels()


def test_a_forest_of_a_thousand_lines_shows_both_ends(axes):
    axes.figure.set_size_inches(6.8, 33)
    plots.plot_forest(forest(40), ax=axes, xlabel="x")
    assert len(axes.get_yticklabels()) == 40 and axes.figure.get_figheight() == 33
    axes.clear()
    plots.plot_forest(forest(1000), ax=axes, xlabel="x")
    labels = words(axes.get_yticklabels())
    assert labels[:2] == ["<c0>", "<c1>"] and labels[-1] == "<c999>" and len(labels) == 41
    assert labels[20] == "… 960 more …" and axes.figure.get_figheight() < 16


def test_gallery_leaves_spare_places_empty():
    titles = ["a long title about $5 and $6 " * 3] * 5
    figure = plots.draw_gallery([np.zeros((5, 7, 3), np.uint8)] * 5, titles, columns=3)
    assert len(figure.axes) == 2 * 3 and sum(bool(ax.images) for ax in figure.axes) == 5
    figure.draw_without_rendering()
    (ax,) = plots.draw_gallery([np.zeros((5, 7, 3), np.uint8)], ["one\ntwo"]).axes
    assert ax.get_title(loc="left") == "one\ntwo"


@pytest.mark.parametrize(
    ("n", "shape", "grid", "n_heads"), [(2, (16, 24), (2, 3), 5), (1, (64, 256), (4, 16), 16), (1, (20, 20), (2, 2), 1)]
)
def test_attention_draws_the_image_the_mean_and_every_head(n, shape, grid, n_heads):
    rng = np.random.default_rng(1)
    image, maps = rng.integers(0, 256, (*shape, 3)).astype(np.uint8), rng.random((n_heads, *grid)) / 9
    shares, titles = [np.full(n_heads, 0.25)] * n, ["a $5 title", "another " * 20][:n]
    figure = plots.draw_attention([image] * n, [maps] * n, shares, titles)
    parts = figure.subfigs
    assert len(parts) == n
    drawn = [ax for ax in parts[0].axes if ax.images]
    large = [next(ax for ax in drawn if ax.get_title().startswith(word)) for word in ("image", "mean")]
    small = sorted((ax for ax in drawn if ax not in large), key=lambda ax: int(ax.get_title().split()[0]))
    assert (large[0].images[0].get_array() == image).all()
    np.testing.assert_allclose(large[1].images[1].get_array(), maps.mean(axis=0))
    for ax, head in zip(small, maps, strict=True):
        np.testing.assert_allclose(ax.images[1].get_array(), head)
        assert ax.images[1].get_clim() == pytest.approx((0, maps.max()))
        assert tuple(ax.images[1].get_extent()) == (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
        assert "25%" in ax.get_title()


def test_attention_of_unequal_lists_is_refused():
    with pytest.raises(ValueError, match=r"of the same pairs, got \[1, 1, 1, 2\]"):
        plots.draw_attention([np.zeros((4, 4, 3))], [np.zeros((1, 2, 2))], [np.zeros(1)], ["a", "b"])


def test_attributions_are_drawn_row_by_row():
    image, bars = np.zeros((6, 8, 3), np.uint8), [("a", 0.5), ("$b", -3.0)]
    figure = plots.draw_attributions([image] * 2, [np.array([[1.0, -2.0]])] * 2, [bars] * 2, ["x", "y"])
    assert len(figure.axes) == 6
    drawn = figure.axes[2].patches
    assert [bar.get_width() for bar in drawn] == [0.5, -3.0]
    assert drawn[0].get_facecolor() != drawn[1].get_facecolor()
    # Patches and bars share the scale of their row, so that they can be compared.
    assert figure.axes[1].images[1].get_clim() == figure.axes[2].get_xlim() == (-3.0, 3.0)
    long = plots.draw_attributions([image], [np.ones((1, 2))], [bars * 10], ["x"])
    assert long.get_figheight() > 20 * 9 / 72 > figure.get_figheight() / 2, "a line of 9 points for each token"
