"""People who answer: deterministic by pair, right as often as they should be, wrong where people are."""

import numpy as np
import pytest

from verdict.decide.people import ConfusionHuman, ParametricHuman, VoteHuman, draw, hash_ids, keyed_uniform

N = 10_007
IDS = [f"{(i * 2654435761) % 2**64:016x}" for i in range(N)]


def test_uniform_depends_on_nothing_but_id_seed_and_stream():
    before = np.random.get_state()[1].copy()
    whole = keyed_uniform(IDS, seed=3, stream="a")
    assert np.array_equal(keyed_uniform(IDS[::-1], seed=3, stream="a"), whole[::-1])
    # A longer id in the same batch pads all others, which must not change their hash.
    assert keyed_uniform([IDS[17], "x" * 61], seed=3, stream="a")[0] == whole[17]
    assert np.array_equal(np.random.get_state()[1], before)
    # Pinned across machines.
    assert hash_ids(["a", "pär-1"]).tolist() == [0x6D16BF441C521F6A, 0x9868BC997077420F]
    assert keyed_uniform(["a"], seed=5, stream="b")[0] == pytest.approx(0.05966531995689783, abs=1e-15)
    assert keyed_uniform([], seed=3, stream="a").shape == (0,)


def test_uniform_is_uniform_streams_are_unrelated_and_ids_do_not_collide():
    first = keyed_uniform(IDS, seed=1, stream="a")
    # Kolmogorov distance of N uniforms exceeds 1.95 / sqrt(N) with probability 0.001.
    assert np.abs(np.sort(first) - (np.arange(N) + 0.5) / N).max() < 1.95 / np.sqrt(N)
    for other in (keyed_uniform(IDS, seed=2, stream="a"), keyed_uniform(IDS, seed=1, stream="b"), np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(N)
    assert len(np.unique(hash_ids(IDS))) == N
    assert len(np.unique(hash_ids(["", "a", "b", "ab", "ba", "aaaaaaaa", "aaaaaaaaa"]))) == 7


def test_draw_inverts_the_cumulative_distribution():
    distribution = np.tile([0.2, 0.0, 0.8], (4, 1))
    uniform = np.array([0.0, 0.19, 0.21, 1 - 2.0**-53])
    assert draw(distribution, uniform).tolist() == [0, 0, 2, 2]
    assert draw(distribution, uniform, first=np.array([1, 1, 1, 1])).tolist() == [2, 2, 2, 0]


@pytest.mark.parametrize("accuracy", [0.0, 0.7, 1.0])
def test_parametric_accuracy(accuracy):
    truth = np.arange(N) % 3
    answers = ParametricHuman(accuracy, n_classes=3, seed=5).answers(IDS, truth)
    tolerance = 4 * np.sqrt(accuracy * (1 - accuracy) / N)
    assert np.mean(answers == truth) == pytest.approx(accuracy, abs=tolerance + 1e-12)
    if 0 < accuracy < 1:
        shift = (answers - truth)[answers != truth] % 3
        assert np.mean(shift == 1) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(shift)))


def test_a_better_person_keeps_every_right_answer():
    truth = np.arange(N) % 7
    right = [ParametricHuman(a, n_classes=7, seed=2).answers(IDS, truth) == truth for a in (0.5, 0.8, 0.95)]
    assert np.all(right[0] <= right[1]) and np.all(right[1] <= right[2])
    assert right[0].sum() < right[1].sum() < right[2].sum()


def test_confusion_matrix_is_reproduced():
    matrix = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    truth = np.arange(N) % 3
    answers = ConfusionHuman(matrix, seed=1).answers(IDS, truth)
    found = np.stack([np.bincount(answers[truth == k], minlength=3) / np.sum(truth == k) for k in range(3)])
    assert found == pytest.approx(matrix, abs=4 * 0.5 / np.sqrt(N / 3))
    assert np.all(found[matrix == 0] == 0)


def test_votes_err_where_people_err_and_only_pairs_that_somebody_judged_have_any():
    truth, counts = np.zeros(N, dtype=int), np.tile([5, 0], (N, 1))
    counts[::2] = [3, 2]
    human = VoteHuman(IDS, counts, seed=4)
    answers = human.answers(IDS, truth)
    assert np.all(answers[1::2] == 0)
    assert np.mean(answers[::2]) == pytest.approx(2 / 5, abs=4 * 0.5 / np.sqrt(N / 2))
    assert np.array_equal(human.answers(IDS[5:99], truth[5:99]), answers[5:99])
    assert not np.array_equal(human.answers(IDS, truth, stream="another"), answers)
    assert not np.array_equal(VoteHuman(IDS, counts, seed=5).answers(IDS, truth), answers)
    with pytest.raises(KeyError, match=r"nobody can answer for 1 pairs, first .*'z'"):
        human.answers([IDS[0], "z"], truth[:2])


def test_vote_confusion_is_the_mean_share_by_class():
    human = VoteHuman(["a", "b", "c"], np.array([[3, 1, 0], [1, 1, 0], [0, 5, 0]]), seed=0)
    found = human.confusion(["a", "b", "c"], np.array([0, 0, 1]))
    expected = [[(3 / 4 + 1 / 2) / 2, (1 / 4 + 1 / 2) / 2, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]
    assert found == pytest.approx(np.array(expected))
