"""Numbers for what two lists share: hand values, identities, and what chance gives."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from verdict.clip.concepts import knowledge


@pytest.mark.parametrize(
    ("shared", "published", "printed"),
    [(0, 0.0, np.nan), (1, 7.313, 7.313), (2, 8.006, 6.620), (5, 8.923, 5.704), (15, 10.021, 4.605)],
)
def test_three_numbers_are_called_mutual_information(shared, published, printed):
    assert knowledge.mi_as_published(N=15, M=100, I=shared) == pytest.approx(published, abs=5e-4)
    assert knowledge.mi_eq1(15, 100, shared) == pytest.approx(printed, abs=5e-4, nan_ok=True)
    # The joint table of matches is a one-to-one map of the shared ones.
    joint = np.eye(max(shared, 1))
    assert knowledge.mi_table(shared) == pytest.approx(mutual_info_score(None, None, contingency=joint), abs=1e-12)


def test_the_curve_of_the_example():
    """Matches at ranks 1, 4 and 8 of 15: values and area are worked out by hand."""
    visual, textual = np.arange(15), np.array([0, 3, 7, *range(100, 197)])
    counts = knowledge.deletion_counts(visual, textual)
    assert counts.tolist() == [3, 2, 2, 2, 1, 1, 1, 1, *[0] * 8]
    ln = np.log
    by_hand = (ln(1500 * 3) + 3 * ln(1500 * 2) + 4 * ln(1500)) / 16
    assert knowledge.published_curve(visual, textual).mean() == pytest.approx(by_hand)
    assert by_hand == pytest.approx(3.86, abs=5e-3)
    assert knowledge.relative_area(visual, textual) == pytest.approx((3 + 3 * 2 + 4 * 1) / 3 / 16)
    # Important matches go first, and where nothing is shared nothing is left.
    assert knowledge.relative_area(np.arange(5), [0, 1]) < knowledge.relative_area(np.arange(5)[::-1], [0, 1])
    assert np.isnan(knowledge.relative_area(visual, [99])) and not knowledge.published_curve([], [99]).any()


def test_chance_and_ranked_overlap():
    assert knowledge.expected_shared(7, 11, 43) == pytest.approx(7 * 11 / 43)
    assert knowledge.rank_biased_overlap([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    # Agreement 0, 1/2 + 1/2 and 1 at depths 1 to 3, weights 1, 0.9, 0.81.
    assert knowledge.rank_biased_overlap([1, 2, 3], [2, 1, 3]) == pytest.approx((0 + 0.9 + 0.81) / 2.71)
    assert np.isnan(knowledge.rank_biased_overlap([], [1]))
