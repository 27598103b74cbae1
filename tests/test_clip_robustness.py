"""Factors, corruption errors and cue conflicts: hand-computed cases, and intervals that keep their promise."""

import numpy as np
import pytest

from verdict.clip.robustness import corruption_errors, cue_conflict, error_ratio, factor_table, shares
from verdict.uncertainty import Resampler, holm, sign_flip_test


def over(groups, n_resamples=200, seed=0):
    return Resampler(np.asarray(groups), n_resamples, 0.95, seed)


def test_shares_by_hand():
    right = [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert shares(right).tolist() == [2 / 4, 1 / 4]
    assert shares(right, [[2, 0, 1, 1], [0, 3, 1, 0]]).tolist() == [[2 / 4, 2 / 4], [3 / 4, 0]]


def test_error_ratio_by_hand():
    assert error_ratio(0.4, 0.8) == pytest.approx(0.6 / 0.2)
    assert np.isnan(error_ratio(0.4, 1.0))


def test_a_factor_table_by_hand():
    reference, darker = [1, 1, 1, 0, 1], [0, 1, 0, 0, 1]
    table = factor_table({"darker": darker, "same": reference}, reference, over(range(5))).set_index("condition")
    assert table.loc["darker", ["accuracy", "change"]].tolist() == pytest.approx([2 / 5, 2 / 5 - 4 / 5])
    assert table.loc["darker", "error_ratio"] == pytest.approx((3 / 5) / (1 / 5))
    # The same answers on the same images differ by nothing, which five images do not say of others.
    assert table.loc["same", "change_low"] < table.loc["same", "change"] == 0 < table.loc["same", "change_high"]
    assert table.loc["darker", "change_low"] <= -2 / 5 <= table.loc["darker", "change_high"]
    # Two of five lost: 2 / 4 by signs; two conditions were looked at.
    assert table["p_holm"].tolist() == [1.0, 1.0]


def test_a_setting_is_adjusted_for_those_beside_it():
    """Of thirty settings that change nothing one in twenty is below 0.05 alone; after Holm hardly any set has one."""
    rng = np.random.default_rng(3)
    reference, groups = rng.random(120) < 0.8, np.arange(120) // 2
    alone = found = 0
    for _ in range(40):
        right = {str(k): np.where(rng.random(120) < 0.7, reference, rng.random(120) < 0.8) for k in range(30)}
        p_values = factor_table(right, reference, over(groups, 20))["p_holm"]
        raw = [sign_flip_test(reference, one, groups) for one in right.values()]
        assert p_values.tolist() == pytest.approx(holm(raw).tolist())
        alone, found = alone + (min(raw) < 0.05), found + (p_values < 0.05).any()
    assert alone >= 15 and found <= 6


def test_the_interval_of_a_change_covers_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for k in range(200):
        reference = rng.random(150) < 0.8
        changed = reference & (rng.random(150) < 0.7)
        row = factor_table({"x": changed}, reference, over(range(150), seed=k)).iloc[0]
        hits += row["change_low"] <= 0.8 * 0.7 - 0.8 <= row["change_high"]
    assert 0.89 <= hits / 200 <= 0.99


def test_corruption_errors_by_hand():
    clean, clean_reference = [1, 1, 1, 0], [1, 1, 0, 0]
    right, reference = [[1, 1, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]
    found = corruption_errors(right, clean, reference, clean_reference)
    assert found["error_ratio"] == pytest.approx((2 / 4 + 3 / 4) / (3 / 4 + 4 / 4))
    assert found["added_error_ratio"] == pytest.approx((1 / 4 + 2 / 4) / (1 / 4 + 2 / 4))
    weighted = corruption_errors(right, clean, reference, clean_reference, np.array([[1, 1, 1, 1], [0, 2, 1, 1]]))
    assert weighted["error_ratio"] == pytest.approx([5 / 7, (2 / 4 + 4 / 4) / 2])


def test_shape_bias_by_hand():
    # Images 0-2 are answered by shape, 3 by texture, 4 by neither.
    shapes, textures, answers = [0, 1, 2, 0, 1], [1, 2, 0, 2, 0], [0, 1, 2, 2, 2]
    found = cue_conflict(answers, shapes, textures, over(range(5)))
    assert found["shape_bias"].value == 3 / 4 and found["hit_rate"].value == 4 / 5
    assert found["shape_bias"].low < 3 / 4 < found["shape_bias"].high
    # Nobody follows the texture: the interval says how many groups say so.
    sure = cue_conflict(shapes, shapes, textures, over(range(5)))["shape_bias"]
    assert sure.value == sure.high == 1 > sure.low > 0


def test_swapping_the_cues_turns_the_bias_round():
    rng = np.random.default_rng(4)
    shapes = rng.integers(0, 5, 101)
    textures = (shapes + rng.integers(1, 5, 101)) % 5
    answers = rng.integers(0, 5, 101)
    one, other = (cue_conflict(answers, *cues, over(range(101))) for cues in ((shapes, textures), (textures, shapes)))
    assert one["shape_bias"].value == pytest.approx(1 - other["shape_bias"].value)
    assert one["shape_bias"].low == pytest.approx(1 - other["shape_bias"].high)


def test_cues_that_agree_are_refused_and_no_hit_has_no_bias():
    with pytest.raises(ValueError, match="on 1 images they agree, first 1"):
        cue_conflict([0, 1], [0, 1], [1, 1], over(range(2)))
    assert np.isnan(cue_conflict([2, 2], [0, 1], [1, 0], over(range(2)))["shape_bias"].value)
