"""People who answer: deterministic by pair, right as often as they should be, wrong where people are."""

import numpy as np
import pytest

from verdict.decide.people import (
    ConfusionHuman,
    DifficultyHuman,
    ParametricHuman,
    VoteHuman,
    accuracy_by_difficulty,
    draw,
    hash_ids,
    keyed_uniform,
)

N = 10_007


def ids_of(n):
    return [f"{(i * 2654435761) % 2**64:016x}" for i in range(n)]


def test_uniform_depends_on_nothing_but_id_seed_and_stream():
    ids = ids_of(101)
    whole = keyed_uniform(ids, seed=3, stream="a")
    rng = np.random.default_rng(0)
    order = rng.permutation(101)
    assert np.array_equal(keyed_uniform([ids[i] for i in order], seed=3, stream="a"), whole[order])
    assert keyed_uniform([ids[17]], seed=3, stream="a")[0] == whole[17]
    # A longer id in the same batch pads all others, which must not change their hash.
    assert keyed_uniform([ids[17], "x" * 61], seed=3, stream="a")[0] == whole[17]


def test_uniform_is_pinned_across_machines():
    assert hash_ids(["a", "pär-1"]).tolist() == [0x6D16BF441C521F6A, 0x9868BC997077420F]
    assert keyed_uniform(["a"], seed=5, stream="b")[0] == pytest.approx(0.05966531995689783, abs=1e-15)


def test_uniform_is_uniform_and_streams_are_unrelated():
    ids = ids_of(N)
    first = keyed_uniform(ids, seed=1, stream="a")
    # Kolmogorov distance of N uniforms exceeds 1.95 / sqrt(N) with probability 0.001.
    distance = np.abs(np.sort(first) - (np.arange(N) + 0.5) / N).max()
    assert distance < 1.95 / np.sqrt(N)
    for other in (
        keyed_uniform(ids, seed=2, stream="a"),
        keyed_uniform(ids, seed=1, stream="b"),
        np.roll(first, 1),
    ):
        assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(N)


def test_distinct_ids_do_not_collide():
    assert len(np.unique(hash_ids(ids_of(N)))) == N
    assert len(np.unique(hash_ids(["", "a", "b", "ab", "ba", "aaaaaaaa", "aaaaaaaaa"]))) == 7


def test_empty_request_is_answered_by_nothing():
    human = ParametricHuman(0.9, n_classes=2, seed=1)
    assert human.answers([], np.array([], dtype=int)).shape == (0,)


def test_draw_inverts_the_cumulative_distribution():
    distribution = np.tile([0.2, 0.0, 0.8], (4, 1))
    uniform = np.array([0.0, 0.19, 0.21, 1 - 2.0**-53])
    assert draw(distribution, uniform).tolist() == [0, 0, 2, 2]
    assert draw(distribution, uniform, first=np.array([1, 1, 1, 1])).tolist() == [2, 2, 2, 0]


@pytest.mark.parametrize("accuracy", [0.0, 0.7, 1.0])
def test_parametric_accuracy(accuracy):
    truth = np.arange(N) % 3
    answers = ParametricHuman(accuracy, n_classes=3, seed=5).answers(ids_of(N), truth)
    tolerance = 4 * np.sqrt(accuracy * (1 - accuracy) / N)
    assert np.mean(answers == truth) == pytest.approx(accuracy, abs=tolerance + 1e-12)
    wrong = answers[answers != truth]
    if 0 < accuracy < 1:
        shift = (wrong - truth[answers != truth]) % 3
        assert np.mean(shift == 1) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(wrong)))


def test_a_better_person_keeps_every_right_answer():
    ids, truth = ids_of(997), np.arange(997) % 7
    right = [ParametricHuman(a, n_classes=7, seed=2).answers(ids, truth) == truth for a in (0.5, 0.8, 0.95)]
    assert np.all(right[0] <= right[1]) and np.all(right[1] <= right[2])
    assert right[0].sum() < right[1].sum() < right[2].sum()


def test_confusion_matrix_is_reproduced():
    matrix = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    truth = np.arange(N) % 3
    answers = ConfusionHuman(matrix, seed=1).answers(ids_of(N), truth)
    found = np.stack([np.bincount(answers[truth == k], minlength=3) / np.sum(truth == k) for k in range(3)])
    assert found == pytest.approx(matrix, abs=4 * 0.5 / np.sqrt(N / 3))
    assert np.all(found[matrix == 0] == 0)


def test_votes_err_where_people_err():
    ids = ids_of(N)
    counts = np.tile([5, 0], (N, 1))
    counts[::2] = [3, 2]
    human = VoteHuman(ids, counts, seed=4)
    answers = human.answers(ids)
    assert np.all(answers[1::2] == 0)
    assert np.mean(answers[::2]) == pytest.approx(2 / 5, abs=4 * 0.5 / np.sqrt(N / 2))
    assert np.array_equal(human.answers(ids[5:99]), answers[5:99])
    assert not np.array_equal(human.answers(ids, stream="another"), answers)
    assert not np.array_equal(VoteHuman(ids, counts, seed=5).answers(ids), answers)


def test_vote_confusion_is_the_mean_share_by_class():
    human = VoteHuman(["a", "b", "c"], [[3, 1, 0], [1, 1, 0], [0, 5, 0]], seed=0)
    found = human.confusion(["a", "b", "c"], np.array([0, 0, 1]))
    expected = [[(3 / 4 + 1 / 2) / 2, (1 / 4 + 1 / 2) / 2, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]
    assert found == pytest.approx(np.array(expected))


def test_difficulty_spreads_accuracy_by_rank():
    accuracy = accuracy_by_difficulty(np.array([0.1, 9.0, 0.3, 0.3, 2.0]), easy=1.0, hard=0.6)
    assert accuracy == pytest.approx([1.0, 0.6, 1 - 0.4 * 1.5 / 4, 1 - 0.4 * 1.5 / 4, 1 - 0.4 * 3 / 4])
    assert accuracy.mean() == pytest.approx((1.0 + 0.6) / 2)
    truth = np.arange(N) % 2
    ids, easy = ids_of(N), np.where(np.arange(N) < N // 2, 1.0, 0.5)
    answers = DifficultyHuman(ids, easy, n_classes=2, seed=1).answers(ids, truth)
    assert np.all(answers[: N // 2] == truth[: N // 2])
    assert np.mean(answers[N // 2 :] == truth[N // 2 :]) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(N / 2))


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()
    VoteHuman(["a"], [[1, 1]], seed=0).answers(["a"])
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ParametricHuman(1.2, n_classes=2, seed=0), r"accuracy must lie in \[0, 1\]"),
        (lambda: ParametricHuman(float("nan"), n_classes=2, seed=0), r"accuracy must lie in \[0, 1\]"),
        (lambda: ConfusionHuman([[9, 1], [2, 8]], seed=0), "did you pass counts"),
        (lambda: ConfusionHuman([[0.5, 0.5]], seed=0), "square"),
        (lambda: VoteHuman(["a", "b"], [[1, 0], [0, 0]], seed=0), r"1 pairs have no vote, first \['b'\]"),
        (lambda: VoteHuman(["a", "a"], [[1, 0], [1, 0]], seed=0), r"repeated: \['a'\]"),
        (lambda: VoteHuman(["a"], [[1, -1]], seed=0), "not negative"),
        (lambda: VoteHuman(["a"], [[1, 0], [1, 0]], seed=0), r"shape \(1, K\)"),
        (lambda: ParametricHuman(0.9, n_classes=2, seed=0).answers(["a"]), "y_true is needed"),
        (lambda: ParametricHuman(0.9, n_classes=2, seed=0).answers(["a"], np.array([2])), r"0\.\.1"),
        (lambda: DifficultyHuman(["a"], np.array([0.1, 0.2]), n_classes=2, seed=0), "one per pair"),
        (lambda: accuracy_by_difficulty(np.array([np.nan]), easy=1, hard=0), "NaN"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unknown_pair_is_named():
    with pytest.raises(KeyError, match=r"nobody can answer for 1 pairs, first .*'z'"):
        VoteHuman(["a"], [[1, 1]], seed=0).answers(["a", "z"])
