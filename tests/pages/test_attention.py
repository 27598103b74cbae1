"""Attention as arrays: shares, entropies, masks and what masking does, by hand and on simulated answers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from page_text import told
from simulated_stage import make_stage, simulated_table
from verdict.model import predict
from verdict.pages import interpretation as attention
from verdict.pages.interpretation import ATTENDED, CONTRAST, LEAST, RANDOM, Deletion

GRID = (2, 3)


@pytest.fixture
def stage(tmp_path):
    return make_stage("06_interpretation", tmp_path)


def test_tokens_without_a_place_stand_apart():
    weights = np.array([[0.4, 0.1, 0.2, 0.3]])
    share, patches = attention.split_tokens(weights, 3)
    assert share.tolist() == [0.4]
    assert patches.tolist() == [[0.1, 0.2, 0.3]]
    assert attention.split_tokens(weights, 4)[0].tolist() == [0.0]
    with pytest.raises(ValueError, match="expected at least 5 tokens, one a patch, got 4"):
        attention.split_tokens(weights, 5)


def test_entropy_by_hand():
    found = attention.relative_entropy(np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.1, 0.1, 0, 0]]))
    assert found == pytest.approx([1, 0, np.log(2) / np.log(4), np.log(2) / np.log(4)])
    assert np.isnan(attention.relative_entropy(np.zeros((1, 3)))).all()


def test_heads_are_averaged_after_their_own_statistic(stage):
    """One head looks at the class token and one patch, the other evenly at six patches."""
    heads = np.array([[0.8, 0.2, 0, 0, 0, 0, 0], [0, *[1 / 6] * 6]])
    table = attention.head_statistics(np.tile(heads, (31, 1, 1)), 6, np.arange(31) // 2, stage=stage).set_index("head")
    assert table["class_token"].to_dict() == pytest.approx({"all heads": 0.4, "head 1": 0.8, "head 2": 0.0})
    assert table["entropy"].to_dict() == pytest.approx({"all heads": 0.5, "head 1": 0.0, "head 2": 1.0}, abs=1e-12)
    assert (table["entropy_low"] < table["entropy_high"]).all(), "16 equal groups do not say that all others are equal"


def test_intervals_of_heads_resample_groups(stage):
    """Rows that repeat within groups widen the interval by the square root of their number."""
    rng = np.random.default_rng(1)
    rows = rng.dirichlet(np.ones(7), (101, 1))
    once = attention.head_statistics(rows, 6, np.arange(101), stage=stage)
    other = dataclasses.replace(stage, numbers=type(stage.numbers)())
    repeated = attention.head_statistics(np.repeat(rows, 9, axis=0), 6, np.arange(101).repeat(9), stage=other)
    widths = [float((table["class_token_high"] - table["class_token_low"]).iloc[0]) for table in (once, repeated)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_the_gap_of_logits_is_relative_above_one():
    table = pd.DataFrame({"logit_1": [0.5, -20.0]})
    assert attention.logit_gap(table, np.array([0.5, -20.2])) == pytest.approx(0.2 / 20)
    assert attention.logit_gap(table, np.array([0.6, -20.0])) == pytest.approx(0.1)
    assert attention.logit_gap(table, table["logit_1"].to_numpy()) == 0


@pytest.mark.parametrize(("moved", "holds"), [(0.0, False), (0.5, False), (5.0, True)])
def test_a_model_that_hardly_minds_the_image_does_not_hold_the_claim(tmp_path, moved, holds):
    """Any change of a logit, however small, has a mean above zero; the share of answers that change can fall short."""
    stage = make_stage("06_interpretation", tmp_path)
    table = stage.tables["test", 11]
    logit = table["logit_1"].to_numpy()
    shown = attention.drawn_checks(stage, table, logit, logit + moved)
    claim = stage.claim("a", "It sees the image", "attention.image_flips", ">", 0.1)
    assert stage.numbers["attention.image_effect"].value == pytest.approx(moved)
    assert stage.numbers["attention.image_flips"].value == pytest.approx(np.mean((logit <= 0) & (logit + moved > 0)))
    assert claim.holds == holds
    assert stage.numbers["attention.logit_gap"].kind == "exact" and stage.numbers["attention.logit_gap"].value == 0
    flips = stage.numbers["attention.image_flips"]
    assert shown.iloc[-1, 1:].tolist() == [flips.value, flips.low, flips.high]


@pytest.mark.parametrize("seed", [1, 2])
def test_examples_are_the_first_by_id_whatever_the_order(seed):
    table = simulated_table("test", n=211, seed=3)
    found = attention.example_pairs(table)
    right = predict.right_of(table)
    for row in found.itertuples():
        alike = table[(table["y_true"] == row.y_true) & (right == row.is_right)]
        assert row.pair_id == alike["pair_id"].min()
        assert table["pair_id"].iloc[row.row] == row.pair_id
    assert found[["y_true", "is_right"]].to_numpy().tolist() == [[0, True], [0, False], [1, True], [1, False]]
    shuffled = attention.example_pairs(table.sample(frac=1, random_state=seed))
    assert shuffled["pair_id"].tolist() == found["pair_id"].tolist()


def test_a_kind_of_answer_that_does_not_occur_is_left_out():
    table = pd.DataFrame({"pair_id": ["b", "a"], "y_true": [1, 1], "logit_0": 0.0, "logit_1": [2.0, 1.0]})
    found = attention.example_pairs(table)
    assert found["pair_id"].tolist() == ["a"]
    assert found["row"].tolist() == [1]


def test_shares_become_whole_numbers_once():
    assert attention.patch_counts([0.5, 0.0625, 0.125, 0.25], 16) == [1, 2, 4, 8]
    assert attention.patch_counts([0.01, 0.02, 0.5], 6) == [1, 3]
    assert attention.patch_counts([0.0625, 0.5], 196) == [12, 98]


def pictures(n=5):
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (n, 4, 9, 3)).astype(np.uint8), rng.integers(0, 256, (4, 9, 3)).astype(np.uint8)


def test_a_patch_is_where_the_encoder_cuts_it():
    """Patch 4 of a grid of 2 x 3 is the lower middle one: rows 2 and 3, columns 3 to 5 of a 4 x 9 image."""
    images, fill = pictures()
    chosen = np.zeros((5, 6), dtype=bool)
    chosen[1, 4] = True
    found = attention.mask_patches(images, chosen, fill, GRID)
    expected = images.copy()
    expected[1, 2:4, 3:6] = fill[2:4, 3:6]
    assert found.dtype == np.uint8
    assert (found == expected).all()
    assert not (expected == images).all()


def test_masks_of_another_shape_and_odd_grids_are_refused():
    images, fill = pictures()
    with pytest.raises(ValueError, match=r"expected choices of shape \(5, 6\), got \(5, 7\)"):
        attention.mask_patches(images, np.ones((5, 7), bool), fill, GRID)
    with pytest.raises(ValueError, match="an image of 4 x 9 pixels is not a grid of 3 x 3 patches"):
        attention.patch_contrast(images, fill, (3, 3))


def test_contrast_is_the_distance_from_the_fill():
    images, fill = pictures()
    images[:] = fill
    images[3, :2, 6:] = 255 - (255 - fill[:2, 6:]) // 2
    found = attention.patch_contrast(images, fill, GRID)
    assert found.shape == (5, 6)
    assert found[3, 2] == pytest.approx(np.abs(images[3, :2, 6:].astype(int) - fill[:2, 6:].astype(int)).mean())
    assert found.sum() == pytest.approx(found[3, 2])


def test_orders_are_permutations_by_their_rule():
    rng = np.random.default_rng(4)
    weights, contrast = rng.random((7, 6)), rng.random((7, 6))
    orders = attention.mask_orders(weights, contrast, np.random.default_rng(5))
    for order in orders.values():
        assert (np.sort(order, axis=1) == np.arange(6)).all()
    assert (np.diff(np.take_along_axis(weights, orders[ATTENDED], axis=1)) <= 0).all()
    assert (np.diff(np.take_along_axis(weights, orders[LEAST], axis=1)) >= 0).all()
    assert (np.diff(np.take_along_axis(contrast, orders[CONTRAST], axis=1)) <= 0).all()
    again, other = (attention.mask_orders(weights, contrast, np.random.default_rng(seed)) for seed in (5, 6))
    assert (again[RANDOM] == orders[RANDOM]).all()
    assert not (other[RANDOM] == orders[RANDOM]).all()
    assert attention.firsts(orders[ATTENDED], 1)[2].argmax() == weights[2].argmax()
    assert (attention.firsts(orders[RANDOM], 4).sum(axis=1) == 4).all()


def deletion(harm, *, n=301, noise=0.0):
    """Answers that lose `harm[order]` of their logit's distance from zero for each of two numbers of patches."""
    rng = np.random.default_rng(6)
    logit = rng.normal(0, 3, n)
    masked = {
        order: np.stack([logit * (1 - share * loss) + noise * rng.normal(size=n) for share in (0.5, 1.0)])
        for order, loss in harm.items()
    }
    return Deletion([1, 3], 6, logit, masked, np.arange(n) // 3)


def test_outcomes_by_hand():
    one = Deletion([1], 6, np.array([0.0, 2.0, -2.0]), {ATTENDED: np.array([[-1.0, 1.0, 2.0]])}, np.arange(3))
    found = one.outcomes(ATTENDED)
    p = 1 / (1 + np.exp(-np.array([1.0, 1.0, -2.0])))
    assert found["prob"][0] == pytest.approx(p)
    assert found["logit_change"].tolist() == [[1.0, 1.0, 4.0]]
    assert found["flipped"].tolist() == [[0.0, 0.0, 1.0]], "a logit of zero is answered with entailment"


def test_curves_start_at_the_whole_image(stage):
    case = deletion({ATTENDED: 1.5, RANDOM: 0.2})
    curves = attention.deletion_curves(case, stage=stage)
    start = curves[curves["n_masked"] == 0]
    assert start["prob"].tolist() == pytest.approx([np.mean(1 / (1 + np.exp(-np.abs(case.logit))))] * 2)
    assert start[["logit_change", "flipped", "share_masked"]].to_numpy().tolist() == [[0, 0, 0]] * 2
    assert curves["share_masked"].tolist() == pytest.approx([0, 1 / 6, 3 / 6] * 2)
    end = curves[(curves["order"] == ATTENDED) & (curves["n_masked"] == 3)].iloc[0]
    assert end["flipped"] == 1
    assert end["logit_change"] == pytest.approx(1.5 * np.abs(case.logit).mean())
    assert (curves["prob_low"] <= curves["prob"]).all() and (curves["prob"] <= curves["prob_high"]).all()


@pytest.mark.parametrize(("attended", "holds"), [(0.8, True), (0.2, False), (0.0, False)])
def test_only_attention_that_matters_more_than_chance_holds_the_claim(tmp_path, attended, holds):
    stage = make_stage("06_interpretation", tmp_path)
    case = deletion({ATTENDED: attended, RANDOM: 0.2, CONTRAST: 0.9}, noise=0.3)
    gaps = attention.deletion_differences(case, stage=stage)
    assert gaps["n_masked"].tolist() == ["all", "1", "3", "least"] * 2
    claim = stage.claim("a", "It matters", "masking.random.fall", ">", 0.0)
    assert claim.holds == holds
    assert not stage.claim("b", "More than contrast", "masking.most_contrast.fall", ">", 0.0).holds
    # Nothing, 1 and 3 of 6 patches: trapezoids of widths 1 and 2.
    one, three = (case.outcomes(RANDOM)["prob"] - case.outcomes(ATTENDED)["prob"]).mean(axis=1)
    assert gaps["fall"].tolist()[:3] == pytest.approx([(one / 2 + (one + three)) / 3, one, three])
    assert gaps["fall"][3] == stage.numbers["masking.random.least"].value
    assert stage.numbers["masking.random.fall"].value == gaps["fall"][0]
    assert stage.numbers["masking.random.least"].value == pytest.approx(min(one, three))
    assert stage.numbers["masking.most_contrast.less_at"].words == "1 and 3"
    assert stage.numbers["masking.random.more_at"].words == ("1 and 3" if holds else "")


def test_a_claim_of_every_number_of_patches_fails_where_one_is_reversed(tmp_path):
    """A large lead at one patch outweighs a loss at three in the mean, and not in the least."""
    stage, case = make_stage("06_interpretation", tmp_path), deletion({ATTENDED: 1.0, CONTRAST: 1.0})
    case.masked[CONTRAST][0], case.masked[CONTRAST][1] = case.logit, 1.2 * case.masked[CONTRAST][1] - 0.2 * case.logit
    attention.deletion_differences(case, stage=stage)
    found = {name: stage.numbers[f"masking.most_contrast.{name}"] for name in ("fall", "least", "more_at", "less_at")}
    assert found["fall"].low > 0 > found["least"].high
    assert (found["more_at"].words, found["less_at"].words) == ("1", "3")
    stage.numbers.merge({"masking.random.fall": found["fall"], "masking.random.least": found["fall"]})
    stage.number("masking.n_pairs", 301, unit="count")
    said = told("06_interpretation", "Masking what it attends to", stage.numbers)
    assert "more with 1 and **less with 3** of the 6 patches masked" in said and "not shown at every share" in said


def test_differences_are_paired(stage):
    """The same harm in both orders leaves no difference at all, however different the pairs are."""
    case = deletion({ATTENDED: 0.7, RANDOM: 0.7})
    gaps = attention.deletion_differences(case, stage=stage)
    assert gaps["fall"].tolist() == [0.0] * 4
    # No difference among 101 groups: the interval is that of none, and holds zero.
    assert (gaps["fall_high"] == -gaps["fall_low"]).all() and (gaps["fall_high"] < 0.04).all()


NOTHING = "That the answer hangs on what is attended is not shown"
THINGS = "a map alone explains no answer"


@pytest.mark.parametrize(
    ("random", "contrast", "moral", "words", "absent"),
    [
        (0.2, 0.1, "not just at where something is", "it lowers it more with 1 and 3 of the 6", "explains no"),
        (0.2, 1.5, THINGS, "it lowers it **less with 1 and 3** of the 6", "beyond"),
        (0.2, 0.8, THINGS, "no difference is shown, whatever the share", "every share"),
        (0.8, 0.8, NOTHING, "not shown to lower", "points at"),
        (1.5, 0.1, NOTHING, "less than masking as many random", "points at"),
    ],
)
def test_what_masking_shows_is_said_as_far_as_the_intervals_bear_it(tmp_path, random, contrast, moral, words, absent):
    stage = make_stage("06_interpretation", tmp_path)
    case = deletion({ATTENDED: 0.8, RANDOM: random, CONTRAST: contrast}, noise=0.3)
    attention.deletion_differences(case, stage=stage)
    stage.number("masking.n_pairs", 301, unit="count")
    said = told("06_interpretation", "Masking what it attends to", stage.numbers)
    assert moral in said and words in said and absent not in said
