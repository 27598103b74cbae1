"""Numbers for what two lists share: hand values, identities, and what chance gives."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from verdict.clip.concepts import knowledge

BANK, M, N = 43, 11, 7


@pytest.mark.parametrize(("shared", "expected"), [(1, 7.313), (2, 8.006), (5, 8.923), (15, 10.021), (0, 0.0)])
def test_the_published_number_is_reproduced(shared, expected):
    assert knowledge.mi_as_published(N=15, M=100, I=shared) == pytest.approx(expected, abs=5e-4)


def test_the_printed_formula_falls_when_more_is_shared():
    found = knowledge.mi_eq1(15, 100, np.array([1, 2, 5, 15]))
    assert found == pytest.approx([7.313, 6.620, 5.704, 4.605], abs=5e-4)
    assert np.isnan(knowledge.mi_eq1(15, 100, 0))


@pytest.mark.parametrize("shared", [0, 1, 2, 5, 7])
def test_mutual_information_of_the_joint_table_is_the_logarithm_of_the_overlap(shared):
    visual = np.arange(N)
    textual = np.concatenate([np.arange(shared), 20 + np.arange(M - shared)])
    joint = visual[:, None] == textual[None, :]
    assert knowledge.mi_table(shared) == pytest.approx(np.log(max(shared, 1)))
    if shared:
        found = mutual_info_score(None, None, contingency=joint.astype(float))
        assert found == pytest.approx(knowledge.mi_table(shared), abs=1e-12)
    assert joint.sum() == knowledge.n_shared(visual, textual) == shared


def test_impossible_overlaps_are_refused():
    with pytest.raises(ValueError, match="I <= min"):
        knowledge.mi_as_published(3, 100, 4)


def test_the_curve_of_the_example():
    """Matches at ranks 1, 4 and 8 of 15: values and area are worked out by hand."""
    visual, textual = np.arange(15), np.array([0, 3, 7, *range(100, 197)])
    counts = knowledge.deletion_counts(visual, textual)
    assert counts.tolist() == [3, 2, 2, 2, 1, 1, 1, 1, *[0] * 8]
    ln = np.log
    by_hand = (ln(1500 * 3) + 3 * ln(1500 * 2) + 4 * ln(1500)) / 16
    assert knowledge.published_area(visual, textual) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(3.86, abs=5e-3)
    assert knowledge.relative_area(visual, textual) == pytest.approx((3 + 3 * 2 + 4 * 1) / 3 / 16)


def test_unimportant_matches_last_longer():
    textual = np.array([0, 1])
    early, late = np.array([0, 1, 2, 3, 4]), np.array([4, 3, 2, 1, 0])
    assert knowledge.relative_area(early, textual) < knowledge.relative_area(late, textual)
    assert np.isnan(knowledge.relative_area(early, np.array([9])))
    assert knowledge.published_area(early, np.array([9])) == 0


def test_lists_that_are_drawn_share_what_the_formula_says():
    rng = np.random.default_rng(0)
    drawn = np.array([knowledge.n_shared(rng.permutation(BANK)[:N], np.arange(M)) for _ in range(4001)])
    expected = knowledge.expected_shared(N, M, BANK)
    assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / np.sqrt(len(drawn)))
    assert knowledge.lift(expected, N, M, BANK) == pytest.approx(1)


def test_jaccard_and_ranked_overlap():
    assert knowledge.jaccard([1, 2, 3], [2, 3, 4, 5]) == pytest.approx(2 / 5)
    assert np.isnan(knowledge.jaccard([], []))
    assert knowledge.rank_biased_overlap([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert knowledge.rank_biased_overlap([1, 2, 3], [4, 5, 6]) == 0
    # Agreement 0, 1/2 + 1/2 and 1 at depths 1 to 3, weights 1, 0.9, 0.81.
    assert knowledge.rank_biased_overlap([1, 2, 3], [2, 1, 3]) == pytest.approx((0 + 0.9 + 0.81) / 2.71)
    assert np.isnan(knowledge.rank_biased_overlap([], [1]))


def test_short_curves_are_continued_by_zero():
    assert knowledge.continued_by_zero([np.array([2, 0]), np.array([4, 2, 2])]).tolist() == [[2, 0, 0], [4, 2, 2]]
