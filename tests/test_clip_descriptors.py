"""Descriptors of parts: transport keeps its marginals and gives parts what is theirs."""

import numpy as np
import pytest

from verdict.clip.descriptors import by_importance, describe_parts, nearest, sinkhorn


@pytest.mark.parametrize("regulariser", [0.05, 1.0])
def test_transport_keeps_its_marginals(regulariser):
    scores = np.random.default_rng(0).normal(size=(5, 13))
    plan = sinkhorn(scores, regulariser=regulariser)
    assert plan.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-6)
    assert plan.sum(axis=0) == pytest.approx(np.full(13, 5 / 13), abs=1e-6)


def test_transport_ignores_what_all_share_and_respects_the_rest():
    scores = np.random.default_rng(1).normal(size=(3, 7))
    # A descriptor that is near to every part, and a part that is near to everything, change nothing.
    moved = scores + np.random.default_rng(2).normal(size=7) + np.array([[0.0], [3.0], [-1.0]])
    assert sinkhorn(moved) == pytest.approx(sinkhorn(scores), abs=1e-6)
    with pytest.raises(ValueError, match="table of parts"):
        sinkhorn(np.zeros((0, 3)))


def test_parts_get_what_is_nearer_to_them_than_to_others():
    # Descriptor 0 is near to both parts; 1 belongs to the first, 2 to the second.
    cosine = np.array([[0.9, 0.8, 0.5, 0.0], [0.9, 0.5, 0.8, 0.0]])
    found = describe_parts(cosine, n_candidates=3, per_part=1)
    assert [ids.tolist() for ids in found.of_part] == [[1], [2]]
    plain = describe_parts(cosine, n_candidates=3, per_part=1, by_transport=False)
    assert [ids.tolist() for ids in plain.of_part] == [[0], [0]]
    assert found.ids.tolist() == [1, 2] and not found.is_fallback


def test_candidates_are_common_to_all_parts_or_else_those_of_any():
    cosine = np.array([[0.9, 0.8, 0.1, 0.0, 0.0], [0.0, 0.8, 0.9, 0.1, 0.0]])
    common = describe_parts(cosine, n_candidates=2, per_part=1)
    assert common.ids.tolist() == [1] and not common.is_fallback
    union = describe_parts(cosine, n_candidates=2, per_part=2)
    assert union.is_fallback and set(union.ids) <= {0, 1, 2}
    whole = describe_parts(cosine, n_candidates=99, per_part=5)
    assert whole.ids.tolist() == [0, 1, 2, 3, 4]
    assert describe_parts(np.empty((0, 5)), n_candidates=2, per_part=1).ids.size == 0


def test_order_and_nearest():
    cosine = np.array([0.1, 0.9, 0.5, 0.9])
    assert by_importance(np.array([3, 0, 1, 3]), cosine).tolist() == [1, 3, 0]
    assert nearest(np.stack([cosine, -cosine]), 2).tolist() == [[1, 3], [0, 2]]
