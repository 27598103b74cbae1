"""What the page on concepts computes from lists and masks, by hand."""

import numpy as np
import pandas as pd
import pytest

from verdict.clip import concept_study, concept_words, parts


def test_the_table_of_estimators_is_arithmetic():
    table = concept_study.arithmetic_table().set_index("shared")
    assert table.loc[2, "as_published"] == pytest.approx(8.006, abs=5e-4)
    assert table.loc[0, "as_published"] == 0 and np.isnan(table.loc[0, "as_printed"])
    assert table["mutual_information"].tolist() == pytest.approx([0, 0, *np.log([2, 5, 15])])


def test_no_choice_of_patches_is_better_than_the_best_one():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 9, 6)) < 0.4
    best = concept_study.best_patches(masks, (3, 2))
    reached = parts.intersection_over_union(parts.to_pixels(best, 9, 6), masks)
    for code in range(1, 2**6):
        choice = np.array([bool(code >> k & 1) for k in range(6)]).reshape(1, 3, 2).repeat(3, axis=0)
        other = parts.intersection_over_union(parts.to_pixels(choice, 9, 6), masks)
        assert (other <= reached + 1e-12).all()


def test_the_gap_of_right_and_wrong_is_weighted():
    values, right = np.array([1.0, 3.0, 10.0]), np.array([True, True, False])
    assert concept_study._gap(values, right, None) == pytest.approx(2 - 10)
    weights = np.array([[1, 1, 1], [0, 2, 1]])
    assert concept_study._gap(values, right, weights) == pytest.approx([-8, -7])


def test_correlation_over_models_is_pearsons():
    rng = np.random.default_rng(1)
    values, right = rng.normal(size=(5, 13)), rng.normal(size=(5, 13))
    weights = rng.integers(0, 3, (4, 13))
    found = concept_study._correlation(values, right, weights)
    for row, chosen in zip(found, weights, strict=True):
        means = [(part * chosen).sum(axis=1) / chosen.sum() for part in (values, right)]
        assert row == pytest.approx(np.corrcoef(*means)[0, 1])
    assert concept_study._correlation(values, values, None) == pytest.approx(1)
    assert np.isnan(concept_study._correlation(np.ones((3, 4)), right[:3, :4], None))


def test_parts_are_tinted_and_the_rest_is_darker():
    images = np.full((1, 4, 4, 3), 200, dtype=np.uint8)
    shown = concept_words.tint_parts(images, np.array([[[0, -1], [-1, 1]]]), ["#ff0000", "#00ff00"])
    assert shown[0, 0, 0, 0] > 200 > shown[0, 0, 0, 1]
    assert shown[0, 3, 3, 1] > 200 > shown[0, 3, 3, 0]
    assert (shown[0, 0, 3] == round(200 * concept_words.TINT)).all()


def test_curves_stand_one_below_the_other():
    curve = pd.DataFrame({"removed": [0, 1], "published": [2.0, 0.0]})
    assert concept_words.curve_table({"a": curve, "b": curve})["model"].tolist() == ["a", "a", "b", "b"]


def test_a_source_without_masks_or_truth_says_so():
    empty = pd.DataFrame()
    assert "no masks" in concept_words.foreground_template(empty)
    assert "{" not in concept_words.truth_template(empty)
