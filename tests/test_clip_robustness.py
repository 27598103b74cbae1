"""Factors, corruption errors and cue conflicts: hand-computed cases, and intervals that keep their promise."""

import numpy as np
import pytest

from verdict.clip.robustness import corruption_errors, cue_conflict, error_ratio, factor_table, shape_bias, shares


def test_shares_by_hand():
    right = [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert shares(right).tolist() == [2 / 4, 1 / 4]
    assert shares(right, [[2, 0, 1, 1], [0, 3, 1, 0]]).tolist() == [[2 / 4, 2 / 4], [3 / 4, 0]]


def test_error_ratio_by_hand():
    assert error_ratio(0.4, 0.8) == pytest.approx(0.6 / 0.2)
    assert np.isnan(error_ratio(0.4, 1.0))


def test_a_factor_table_by_hand():
    reference, darker = [1, 1, 1, 0, 1], [0, 1, 0, 0, 1]
    table = factor_table(
        {"darker": darker, "same": reference}, reference, range(5), n_resamples=200, rng=np.random.default_rng(0)
    ).set_index("condition")
    assert table.loc["darker", ["accuracy", "change"]].tolist() == pytest.approx([2 / 5, 2 / 5 - 4 / 5])
    assert table.loc["darker", "error_ratio"] == pytest.approx((3 / 5) / (1 / 5))
    # The same answers on the same images differ by nothing in every resample: the comparison is paired.
    assert table.loc["same", ["change", "change_low", "change_high"]].tolist() == [0, 0, 0]
    assert table.loc["darker", "change_low"] <= -2 / 5 <= table.loc["darker", "change_high"]


def test_the_interval_of_a_change_covers_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        reference = rng.random(150) < 0.8
        changed = reference & (rng.random(150) < 0.7)
        row = factor_table({"x": changed}, reference, range(150), n_resamples=200, rng=rng).iloc[0]
        hits += row["change_low"] <= 0.8 * 0.7 - 0.8 <= row["change_high"]
    assert 0.89 <= hits / 200 <= 0.99


def test_corruption_errors_by_hand():
    clean, clean_reference = [1, 1, 1, 0], [1, 1, 0, 0]
    right, reference = [[1, 1, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]
    error, relative = corruption_errors(right, clean, reference, clean_reference)
    assert error == pytest.approx((2 / 4 + 3 / 4) / (3 / 4 + 4 / 4))
    assert relative == pytest.approx((1 / 4 + 2 / 4) / (1 / 4 + 2 / 4))


def test_shape_bias_by_hand():
    # Images 0-2 are answered by shape, 3 by texture, 4 by neither.
    shapes, textures, answers = [0, 1, 2, 0, 1], [1, 2, 0, 2, 0], [0, 1, 2, 2, 2]
    assert shape_bias(answers, shapes, textures) == 3 / 4
    found = cue_conflict(
        answers, shapes, textures, range(5), classes=["a", "b", "c"], n_resamples=300, rng=np.random.default_rng(0)
    )
    assert found.shape_bias.value == 3 / 4 and found.hit_rate.value == 4 / 5
    by_class = found.by_class.set_index("label")
    assert by_class["value"].tolist() == [1 / 2, 1, 1]
    assert by_class[["n_shape", "n_texture"]].to_numpy().tolist() == [[1, 1], [1, 0], [1, 0]]
    assert found.class_mean == pytest.approx(2.5 / 3)
    assert found.shape_bias.low < 3 / 4 < found.shape_bias.high


def test_swapping_the_cues_turns_the_bias_round():
    rng = np.random.default_rng(4)
    shapes = rng.integers(0, 5, 101)
    textures = (shapes + rng.integers(1, 5, 101)) % 5
    answers = rng.integers(0, 5, 101)
    assert shape_bias(answers, shapes, textures) == pytest.approx(1 - shape_bias(answers, textures, shapes))


def test_cues_that_agree_are_refused_and_no_hit_has_no_bias():
    with pytest.raises(ValueError, match="on 1 images they agree, first 1"):
        shape_bias([0, 1], [0, 1], [1, 1])
    assert np.isnan(shape_bias([2, 2], [0, 1], [1, 0]))
