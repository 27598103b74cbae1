"""Conformal sets: hand values, the promise on simulated data, MAPIE 1.6.0."""

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin

from verdict.decide.sets import Threshold, adaptive_scores, conformal_quantile, conformal_rank, coverage_by, lac_scores
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Resampler, wilson


def resampler(n, n_resamples=50):
    """Of rows that are groups of their own."""
    return Resampler(np.arange(n), n_resamples, 0.95, 7)


def simulated(n, n_classes, rng):
    """Probabilities (n, n_classes) of a model that is somewhat wrong, and class ids."""
    y_true = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / (n_classes * (n_classes + 1) / 2))
    logits = 1.5 * rng.normal(size=(n, n_classes))
    logits[np.arange(n), y_true] += 2
    return softmax(logits), y_true


def test_the_rank_uses_alpha_as_it_is_written():
    assert conformal_rank(19, 0.05) == 19
    assert conformal_rank(18, 0.05) == 19
    assert conformal_rank(9, 0.7) == 3
    assert conformal_rank(999, 0.1) == 900
    for n in range(1, 211):
        for percent in range(1, 100):
            assert conformal_rank(n, percent / 100) == -(-(n + 1) * (100 - percent) // 100)
    with pytest.raises(ValueError, match="did you pass a percentage"):
        conformal_rank(9, 10)


def test_the_quantile_is_the_score_of_that_rank():
    assert conformal_quantile([0.4, 0.1, 0.3, 0.2], 0.4) == 0.3
    assert conformal_quantile([0.4, 0.1, 0.3, 0.2], 0.2) == 0.4
    assert conformal_quantile([0.4, 0.1, 0.3, 0.2], 0.1) == math.inf
    assert conformal_quantile([], 0.1) == math.inf


coverage_by_class, coverage_by_size = partial(coverage_by, "class"), partial(coverage_by, "size")


class Lac:
    """Sets by one minus the probability."""

    @classmethod
    def fit(cls, probs, y_true, *, alpha, by_class=False):
        self, probs = cls(), np.asarray(probs)
        each = {"y_true": y_true, "n_classes": probs.shape[1]} if by_class else {}
        true = lac_scores(probs)[np.arange(len(probs)), y_true]
        self.threshold, self.scores = Threshold.fit(true, alpha, **each), lambda probs, rng: lac_scores(probs)
        return self


class Aps:
    """Adaptive sets, with a penalty or without."""

    @classmethod
    def fit(cls, probs, y_true, *, alpha, rng=None, **settings):
        self = cls()
        true = adaptive_scores(probs, rng=rng, **settings)[np.arange(len(probs)), y_true]
        self.threshold = Threshold.fit(true, alpha)
        self.scores = lambda probs, rng: adaptive_scores(probs, rng=rng, **settings)
        return self


def sets_of(fitted, probs, rng=None):
    return fitted.scores(probs, rng) <= fitted.threshold.qhat


def coverage(sets, y_true):
    return sets[np.arange(len(sets)), y_true].mean()


def test_lac_by_hand():
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    fitted = Lac.fit(probs, [0, 0, 1, 1], alpha=0.4)
    assert fitted.threshold.qhat == pytest.approx([1 - 0.7])
    sets = sets_of(fitted, [[0.75, 0.25], [0.5, 0.5], [0.2, 0.8]])
    assert sets.tolist() == [[True, False], [False, False], [False, True]]
    assert coverage(sets, [0, 0, 0]) == pytest.approx(1 / 3)


def test_aps_and_raps_by_hand():
    probs = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1]])
    fitted = Aps.fit(probs, [0, 1, 1], alpha=0.5)
    assert fitted.threshold.qhat == pytest.approx(0.7)
    assert sets_of(fitted, [[0.1, 0.3, 0.6], [0.1, 0.8, 0.1]]).tolist() == [[False, False, True], [False, False, False]]
    penalised = Aps.fit(probs, [2, 1, 1], alpha=0.3, penalty=0.25, free_rank=1)
    assert penalised.threshold.qhat == pytest.approx(0.5 + 0.3 + 0.2 + 2 * 0.25)


@pytest.mark.parametrize("fit", [Lac.fit, Aps.fit])
def test_the_row_at_the_quantile_is_covered(fit):
    probs, y_true = simulated(211, 5, np.random.default_rng(61))
    found = coverage(sets_of(fit(probs, y_true, alpha=0.1), probs), y_true)
    assert found == pytest.approx(conformal_rank(211, 0.1) / 211, rel=1e-12)


def test_too_few_rows_admit_every_class():
    assert sets_of(Lac.fit([[0.9, 0.1]], [0], alpha=0.1), [[1.0, 0.0]]).all()
    by_class = Lac.fit([[0.9, 0.1]] * 20, [0] * 20, alpha=0.1, by_class=True)
    assert by_class.threshold.n.tolist() == [20, 0]
    assert by_class.threshold.qhat[1] == math.inf
    assert sets_of(by_class, [[0.95, 0.05]]).tolist() == [[True, True]]


def make_lac(probs, y_true, rng):
    return partial(sets_of, Lac.fit(probs, y_true, alpha=0.1))


def make_aps(probs, y_true, rng):
    fitted = Aps.fit(probs, y_true, alpha=0.1, rng=rng)
    return lambda new: sets_of(fitted, new, rng=rng)


def make_aps_fixed(probs, y_true, rng):
    return partial(sets_of, Aps.fit(probs, y_true, alpha=0.1))


def make_raps(probs, y_true, rng):
    fitted = Aps.fit(probs, y_true, alpha=0.1, penalty=0.01, free_rank=2, rng=rng)
    return lambda new: sets_of(fitted, new, rng=rng)


@pytest.mark.parametrize("make", [make_lac, make_aps, make_raps])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_mean_coverage_over_splits_is_the_promised_one(make, n_classes):
    rng = np.random.default_rng([23, n_classes])
    n, found = 499, []
    for _ in range(300):
        probs, y_true = simulated(n + 1009, n_classes, rng)
        predict = make(probs[:n], y_true[:n], rng)
        found.append(coverage(predict(probs[n:]), y_true[n:]))
    exact = math.ceil((n + 1) * 0.9) / (n + 1)
    # One split varies by 0.016, the mean of 300 by 0.001.
    assert np.mean(found) == pytest.approx(exact, abs=0.003)
    # Vovk (2012), proposition 2a: given the calibration rows, coverage is Beta(k, n + 1 - k).
    low, high = stats.betabinom.ppf([0.025, 0.975], 1009, exact * (n + 1), (1 - exact) * (n + 1)) / 1009
    assert np.mean([low <= value <= high for value in found]) == pytest.approx(0.95, abs=0.04)


def test_without_randomness_aps_promises_at_least_as_much():
    rng = np.random.default_rng(29)
    found = []
    for _ in range(100):
        probs, y_true = simulated(499 + 1009, 5, rng)
        found.append(coverage(make_aps_fixed(probs[:499], y_true[:499], rng)(probs[499:]), y_true[499:]))
    assert np.mean(found) == pytest.approx(0.9, abs=0.005)


def test_quantiles_by_class_keep_the_promise_for_each_class():
    rng = np.random.default_rng(31)
    marginal, conditional = [], []
    for _ in range(200):
        probs, y_true = simulated(1009 + 1009, 3, rng)
        probs = softmax(np.log(probs) + np.array([0, 0, 2]))
        for by_class, kept in ((False, marginal), (True, conditional)):
            fitted = Lac.fit(probs[:1009], y_true[:1009], alpha=0.1, by_class=by_class)
            kept.append(
                coverage_by_class(sets_of(fitted, probs[1009:]), y_true[1009:], resampler(1009, 2))[
                    "coverage"
                ].to_numpy()
            )
    assert np.mean(marginal, axis=0).min() < 0.85
    assert np.mean(conditional, axis=0) == pytest.approx(np.full(3, 0.9), abs=0.01)


def test_sets_are_empty_where_accuracy_exceeds_the_level():
    rng = np.random.default_rng(37)
    z = 6 * rng.normal(size=4003)
    probs = softmax(np.column_stack([0 * z, z]))
    y_true = (rng.random(4003) < probs[:, 1]).astype(int)
    sets = sets_of(Lac.fit(probs[:2003], y_true[:2003], alpha=0.2), probs[2003:])
    by_size = coverage_by_size(sets, y_true[2003:], resampler(2000)).set_index("size")
    assert (sets.sum(axis=1) == 0).sum() == by_size.loc[0, "n"] > 100
    assert by_size.loc[0, "coverage"] == 0
    assert math.isnan(by_size.loc[0, "coverage_low"])
    assert math.isnan(by_size.loc[2, "coverage"])
    assert by_size["n"].sum() == 2000


def test_classes_without_rows_have_no_coverage():
    sets = np.array([[True, False, True], [False, True, False]])
    table = coverage_by_class(sets, [0, 0], resampler(2)).set_index("class")
    assert table.loc[0, "coverage"] == 1 / 2
    assert table.loc[0, "mean_size"] == 3 / 2
    assert table.loc[[1, 2], "coverage"].isna().all()


def test_intervals_of_classes_and_sizes_resample_groups():
    """Forty copies of ten rows say no more than ten rows; where all are covered, groups count, not rows."""
    rng = np.random.default_rng(61)
    probs, y_true = simulated(10, 3, rng)
    sets, copies = probs > 0.2, np.repeat(np.arange(10), 40)
    groups = Resampler(copies, 300, 0.95, 7)
    by_class = coverage_by_class(sets[copies], y_true[copies], groups).dropna(subset="coverage_low")
    by_size = coverage_by_size(sets[copies], y_true[copies], groups).dropna(subset="coverage_low")
    assert len(by_class) and len(by_size)
    for name, table, of_row in (("class", by_class, y_true), ("size", by_size, sets.sum(axis=1))):
        for _, row in table.iterrows():
            n_groups = (of_row == row[name]).sum()
            width = wilson(0, n_groups)[1]
            assert row["coverage_high"] - row["coverage_low"] >= min(width, 0.3)


def test_permuting_rows_and_renaming_classes_changes_nothing():
    probs, y_true = simulated(307, 5, np.random.default_rng(41))
    order, names = np.random.default_rng(1).permutation(307), np.array([3, 0, 4, 1, 2])
    renamed = np.empty_like(probs)
    renamed[:, names] = probs
    for fit in (Lac.fit, Aps.fit):
        sets = sets_of(fit(probs, y_true, alpha=0.1), probs)
        assert (sets_of(fit(probs[order], y_true[order], alpha=0.1), probs) == sets).all()
        assert (sets_of(fit(renamed, names[y_true], alpha=0.1), renamed)[:, names] == sets).all()


class SavedProbs(ClassifierMixin, BaseEstimator):
    """An estimator whose features are the probabilities themselves."""

    def fit(self, probs, y_true):
        self.classes_ = np.arange(probs.shape[1])
        self.n_features_in_ = probs.shape[1]
        return self

    def predict_proba(self, probs):
        return probs

    def predict(self, probs):
        return probs.argmax(axis=1)


class MapieDraws:
    """The uniform numbers that MAPIE draws from one seed, mirrored: it takes the share u of a class off, we add it."""

    def __init__(self, seed):
        self.seed = seed

    def random(self, shape):
        return 1 - np.random.RandomState(self.seed).uniform(size=shape)


def mapie_sets(score, probs, y_true, new_probs, alpha, *, seed=3, **predict_params):
    mapie = pytest.importorskip("mapie.classification")
    model = mapie.SplitConformalClassifier(
        SavedProbs().fit(probs, y_true),
        confidence_level=1 - alpha,
        conformity_score=score,
        prefit=True,
        random_state=seed,
    )
    model.conformalize(probs, y_true)
    return model.predict_set(new_probs, **predict_params)[1][:, :, 0]


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_mapie_makes_the_same_lac_sets(n_classes, alpha):
    rng = np.random.default_rng(43)
    (probs, y_true), (new_probs, _) = simulated(503, n_classes, rng), simulated(307, n_classes, rng)
    assert (
        sets_of(Lac.fit(probs, y_true, alpha=alpha), new_probs) == mapie_sets("lac", probs, y_true, new_probs, alpha)
    ).all()


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_mapie_makes_the_same_randomised_aps_sets(alpha):
    rng = np.random.default_rng(47)
    (probs, y_true), (new_probs, _) = simulated(503, 5, rng), simulated(307, 5, rng)
    ours = sets_of(Aps.fit(probs, y_true, alpha=alpha, rng=MapieDraws(3)), new_probs, rng=MapieDraws(3))
    params = {"conformity_score_params": {"include_last_label": "randomized"}}
    assert (ours == mapie_sets("aps", probs, y_true, new_probs, alpha, **params)).all()


def test_mapie_cannot_make_adaptive_sets_of_two_classes():
    # MAPIE 1.6.0 refuses APS on a binary problem; ours keeps its promise there (see the coverage test).
    probs, y_true = simulated(101, 2, np.random.default_rng(53))
    with pytest.raises(ValueError, match="binary"):
        mapie_sets("aps", probs, y_true, probs, 0.1)


def test_refusals():
    probs, y_true = simulated(53, 3, np.random.default_rng(59))
    with pytest.raises(ValueError, match="did you pass logits"):
        Lac.fit(10 * probs - 5, y_true, alpha=0.1)
    with pytest.raises(ValueError, match="penalty >= 0"):
        Aps.fit(probs, y_true, alpha=0.1, penalty=-1)
    with pytest.raises(ValueError, match="sets must be boolean"):
        coverage_by_class(probs, y_true, resampler(53))
