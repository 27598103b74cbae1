"""Probes: tau is C, validation chooses, directions and their ranks, few shots, clusters."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from verdict.clip.probes import linear
from verdict.stats.uncertainty import Resampler


@pytest.fixture(scope="module")
def features():
    """Cosine-like features of real handwriting: unit embeddings along random directions."""
    data = load_digits()
    rng = np.random.default_rng(4)
    z = data.data - data.data.mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    rows = rng.standard_normal((16, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = rng.permutation(len(z))
    f, y = (z @ rows.T)[order], data.target[order]
    return (f[:300], y[:300]), (f[300:500], y[300:500]), (f[500:900], y[500:900])


def test_a_temperature_on_a_linear_machine_is_its_cost(features):
    """SVC(f / tau, C) and SVC(f, C / tau²) give identical answers."""
    train, _, test = features
    divided, plain = linear.both_machines(train, test[0], taus=(1.0, 0.5, 0.1), costs=(1.0, 4.0, 16.0))
    assert np.array_equal(divided[1, 0], linear.machine(train[0] / 0.5, train[1], 1.0).predict(test[0] / 0.5))
    assert np.array_equal(divided, plain)
    assert np.array_equal(divided[1, 0], divided[0, 1]) and np.array_equal(divided[1, 1], divided[0, 2])
    # And it does change the answers: a path of regularisation.
    assert (divided[0, 0] != divided[2, 0]).mean() > 0.1
    assert (divided[0, 0] == test[1]).mean() < (divided[0, 2] == test[1]).mean()


def test_validation_chooses_and_test_is_seen_once(features):
    train, val, test = features
    chosen = linear.choose("logistic", train, val, test[0], grid=(1e-4, 1.0, 100.0))
    best = chosen.path["val_accuracy"].idxmax()
    assert chosen.strength == chosen.path["strength"][best] != 1e-4
    assert chosen.answer.shape == test[1].shape and (chosen.answer == test[1]).mean() > 0.6


@pytest.mark.parametrize("kind", list(linear.GRIDS))
def test_every_probe_learns(features, kind):
    train, val, test = features
    found = linear.choose(kind, train, val, test[0], grid=linear.GRIDS[kind][-1:])
    assert (found.answer == test[1]).mean() > 0.5


def test_directions_have_unit_length_and_their_rank():
    rng = np.random.default_rng(6)
    words, train = rng.standard_normal((11, 5)), rng.standard_normal((31, 5))
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    shared = {"words": words, "classes": words[:3], "train": train}
    ranks = {}
    for kind in linear.CONTROLS:
        rows = linear.directions(kind, 8, rng=np.random.default_rng(1), **shared)
        assert rows.shape == (8, 5) and np.linalg.norm(rows, axis=1) == pytest.approx(1)
        ranks[kind] = linear.rank(rows)
    assert ranks["prompts"] == ranks["random"] == ranks["PCA"] == 5
    assert ranks["classes"] == 3 and ranks["duplicates"] == 2


def test_few_shots_take_so_many_of_each_class(features, monkeypatch):
    train, _, test = features
    seen = []
    fit = linear.LogisticRegression.fit

    def recorded(probe, x, y):
        seen.append(np.bincount(y))
        return fit(probe, x, y)

    monkeypatch.setattr(linear.LogisticRegression, "fit", recorded)
    right = linear.few_shot(train, test, shots=(1, 8), n_repeats=2, strength=10.0, rng=np.random.default_rng(1))
    assert [set(counts) for counts in seen] == [{1}, {8}, {1}, {8}]
    assert right[8].shape == (2, 400) and right[8].mean() > right[1].mean() > 0.1


def test_purity_by_hand_and_scores_beside_chance():
    y, cluster = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    assert linear.purity(y, cluster) == pytest.approx((2 + 2) / 6)
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 40)
    rows = Resampler(np.arange(120), 100, 0.95, 3)
    perfect = linear.cluster_scores(truth, (truth + 1) % 3, rows, n_chance=10)
    assert all(perfect[name] == pytest.approx(1) for name in linear.CLUSTER_SCORES)
    assert perfect["purity_chance"] < 0.5 and abs(perfect["ari_chance"]) < 0.05
    # One cluster a row is pure, and says nothing.
    alone = linear.cluster_scores(truth, np.arange(120), rows, n_chance=10)
    assert alone["purity"] == 1 and alone["ami"] < 0.01
    mixed = np.where(rng.random(120) < 0.8, truth, 2)
    found = linear.cluster_scores(truth, mixed, rows, n_chance=10)
    right = (mixed == truth).mean()
    # Purity is an accuracy here, whose standard error is known.
    assert found["purity"] == right
    half = 1.96 * (right * (1 - right) / 120) ** 0.5
    assert found["purity_high"] - right == pytest.approx(half, rel=0.4)
    narrow = linear.cluster_scores(truth, mixed, replace(rows, level=0.5), n_chance=10)
    assert narrow["purity_high"] - right == pytest.approx((found["purity_high"] - right) * 0.6745 / 1.96, rel=1e-3)
    points = rng.standard_normal((120, 4)) + 10 * np.eye(4)[truth]
    assert linear.purity(truth, linear.clusters(points, 3, seed=1)) == 1
