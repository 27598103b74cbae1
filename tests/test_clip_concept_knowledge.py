"""What pictures and classes share, by hand."""

import numpy as np
import pytest

from verdict.clip import concept_knowledge


def test_the_table_of_estimators_is_arithmetic():
    table = concept_knowledge.arithmetic_table().set_index("shared")
    assert table.loc[2, "as_published"] == pytest.approx(8.006, abs=5e-4)
    assert table.loc[0, "as_published"] == 0 and np.isnan(table.loc[0, "as_printed"])
    assert table["mutual_information"].tolist() == pytest.approx([0, 0, *np.log([2, 5, 15])])


def test_the_gap_of_right_and_wrong_is_weighted():
    values, right = np.array([1.0, 3.0, 10.0]), np.array([True, True, False])
    assert concept_knowledge._gap(values, right, None) == pytest.approx(2 - 10)
    weights = np.array([[1, 1, 1], [0, 2, 1]])
    assert concept_knowledge._gap(values, right, weights) == pytest.approx([-8, -7])


def test_correlation_over_models_is_pearsons():
    rng = np.random.default_rng(1)
    values, right = rng.normal(size=(5, 13)), rng.normal(size=(5, 13))
    weights = rng.integers(0, 3, (4, 13))
    found = concept_knowledge._correlation(values, right, weights)
    for row, chosen in zip(found, weights, strict=True):
        means = [(part * chosen).sum(axis=1) / chosen.sum() for part in (values, right)]
        assert row == pytest.approx(np.corrcoef(*means)[0, 1])
    assert concept_knowledge._correlation(values, values, None) == pytest.approx(1)
    assert np.isnan(concept_knowledge._correlation(np.ones((3, 4)), right[:3, :4], None))
