"""Temperature and its references: recorded numbers, hard cases, other implementations, the published failure."""

import math
import re

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from recorded import recorded_logits
from verdict.decide.outcomes import readings
from verdict.decide.temperature import (
    Temperature,
    _log_odds,
    fit_isotonic,
    fit_platt,
    fit_vector_scaling,
    nll_curve,
    temperature_replicates,
)
from verdict.pages.published import clip_like_cosines, published_failure, raw_temperature_path
from verdict.stats.metrics import accuracy, ece, nll, nll_of_logits
from verdict.stats.ranking import Ranked
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Resampler


def fit_temperature(logits, y_true):
    return Temperature.fit(logits, y_true)


METHODS = [fit_temperature, fit_vector_scaling, fit_platt, fit_isotonic]


class SavedScores(ClassifierMixin, BaseEstimator):
    """An estimator whose features are the scores themselves."""

    def fit(self, scores, y_true):
        self.classes_ = np.unique(y_true)
        self.n_features_in_ = scores.shape[1]
        return self

    def decision_function(self, scores):
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, scores):
        return self.classes_[(scores[:, 0] > 0).astype(int) if len(self.classes_) == 2 else scores.argmax(axis=1)]


def scikit_learn(scores, y_true, method):
    model = FrozenEstimator(SavedScores().fit(scores, y_true))
    return CalibratedClassifierCV(model, method=method).fit(scores, y_true)


def scikit_learn_temperature(scores, y_true):
    return 1 / scikit_learn(scores, y_true, "temperature").calibrated_classifiers_[0].calibrators[0].beta_


def over_confident(n, n_classes, seed, *, true_temperature=2.5):
    """Logits whose labels are drawn from softmax(logits / T), so that T is the right answer."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(n, n_classes))
    cumulative = np.cumsum(softmax(logits / true_temperature), axis=1)
    y_true = (rng.random((n, 1)) > cumulative).sum(axis=1)
    return logits, np.minimum(y_true, n_classes - 1)


def test_recorded_network_has_the_published_figures():
    logits, y_true = recorded_logits("val")
    fitted = Temperature.fit(logits, y_true)
    assert fitted.temperature == pytest.approx(2.50, abs=0.01)
    assert fitted.converged
    assert not fitted.warning
    logits, y_true = recorded_logits("test")
    before, after = softmax(logits), fitted.transform(logits)
    assert 1 - accuracy(y_true, before.argmax(axis=1)) == pytest.approx(0.0495, abs=5e-5)
    assert ece(before, y_true) == pytest.approx(0.0435, abs=5e-5)
    assert ece(after, y_true) == pytest.approx(0.0137, abs=5e-5)
    # Published: T 2.5 on a grid of 0.1 gives 0.0135.
    assert ece(softmax(logits / 2.5), y_true) == pytest.approx(0.0135, abs=5e-4)
    wrong = before.argmax(axis=1) != y_true
    assert Ranked(before.max(axis=1), wrong).aurc() == pytest.approx(0.00950, abs=5.1e-6)
    assert Ranked(after.max(axis=1), wrong).aurc() == pytest.approx(0.01075, abs=5.1e-6)


def test_the_true_temperature_is_found_and_its_interval_covers_it():
    covered = 0
    for seed in range(40):
        logits, y_true = over_confident(211, 3, seed)
        fitted = Temperature.fit(logits, y_true)
        interval = fitted.interval(logits, y_true, Resampler(np.arange(211), 100, 0.95, seed))
        covered += interval.low <= 2.5 <= interval.high
    # 0.95 of 40 has a standard error of 0.034.
    assert 34 <= covered <= 40


def test_the_interval_of_rows_that_say_nothing_holds_every_temperature():
    logits, y_true = np.full((31, 2), -0.7), np.arange(31) % 2
    fitted = Temperature.fit(logits, y_true, allow_small=True)
    interval = fitted.interval(logits, y_true, Resampler(np.arange(31), 100, 0.95, 1))
    assert fitted.temperature == 1 and interval.low == np.exp(-7) and interval.high == np.exp(7)


def test_resamples_are_fitted_as_rows_would_be():
    logits, y_true = over_confident(503, 3, 1)
    resampler = Resampler(np.arange(503) // 5, 7, 0.95, 2)
    drawn = temperature_replicates(logits, y_true, resampler)
    for row, value in zip(resampler.weights(), drawn, strict=True):
        index = np.repeat(np.arange(503), row)
        assert value == pytest.approx(Temperature.fit(logits[index], y_true[index]).temperature, rel=1e-4)
    assert np.isnan(temperature_replicates(logits, y_true, Resampler(np.zeros(503), 7, 0.95, 2))).all()


def test_a_resample_without_the_one_row_that_says_something_stays_at_one():
    logits = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    found = temperature_replicates(logits, np.array([0, 1, 0, 1]), Resampler(np.arange(4), 100, 0.95, 1))
    assert set(np.round(np.log(found), 6)) == {0.0, -7.0}


@pytest.mark.parametrize("seed", range(9))
@pytest.mark.parametrize("kind", ["cosines", "huge", "float32", "all right", "all wrong", "huge and right"])
def test_hard_cases_stay_positive_and_never_lose(kind, seed):
    logits = np.random.default_rng(seed).normal(size=(53, (2, 3, 10)[seed % 3]))
    y_true = np.argmax(logits + np.random.default_rng(seed + 1).normal(size=logits.shape), axis=1)
    if kind in ("all wrong", "all right", "huge and right"):
        y_true = logits.argmin(axis=1) if kind == "all wrong" else logits.argmax(axis=1)
    factor = {"cosines": 0.03, "huge": 1e4, "huge and right": 1e4}.get(kind, 1.0)
    logits = (logits * factor).astype(np.float32 if kind == "float32" else np.float64)
    with np.errstate(all="raise", under="ignore"):
        fitted = Temperature.fit(logits, y_true, allow_small=True)
    assert 0 < fitted.temperature < math.inf
    assert fitted.nll_after <= fitted.nll_before == nll_of_logits(logits, y_true) < math.inf
    assert fitted.converged != fitted.at_bound == ("bound" in fitted.warning)
    if kind in ("all right", "all wrong", "huge and right"):
        assert math.log(fitted.temperature) == pytest.approx(7 if kind == "all wrong" else -7)


def test_no_temperature_on_a_grid_is_better_and_fitting_again_never_loses_even_by_rounding():
    for seed in range(7):
        logits, y_true = over_confident(101, 5, seed, true_temperature=2.0 ** (seed - 1))
        fitted = Temperature.fit(logits, y_true)
        assert fitted.nll_after <= nll_curve(logits, y_true, np.linspace(-7, 7, 281)).min() + 1e-12
        again = Temperature.fit(logits / fitted.temperature, y_true, allow_small=True)
        assert again.temperature == pytest.approx(1, rel=1e-6)
        assert again.nll_after <= again.nll_before


def test_scaling_logits_scales_the_temperature():
    logits, y_true = over_confident(307, 3, 4)
    base = Temperature.fit(logits, y_true).temperature
    assert Temperature.fit(7 * logits, y_true).temperature == pytest.approx(7 * base, rel=1e-9)
    # Multiples of 1 / 64 stay exact beside 2^33; a slope that carries the shift along would lose six digits.
    exact = np.round(logits * 64) / 64
    unshifted = Temperature.fit(exact, y_true).temperature
    assert Temperature.fit(exact + 2.0**33, y_true).temperature == pytest.approx(unshifted, rel=1e-9)
    assert Temperature.fit(logits[:, ::-1], 2 - y_true).temperature == pytest.approx(base, rel=1e-9)


def test_a_temperature_of_one_is_the_identity_and_any_keeps_the_answers():
    logits, y_true = over_confident(101, 5, 5)
    assert (Temperature(1.0, 0, 0, 101, True, False).transform(logits) == softmax(logits)).all()
    fitted = Temperature.fit(logits, y_true)
    assert (fitted.transform(logits).argmax(axis=1) == logits.argmax(axis=1)).all()


FLAT = np.full((211, 3), 7.0)
LOGITS, TRUE = over_confident(211, 3, 0)


@pytest.mark.parametrize(
    ("logits", "y_true", "said"),
    [
        (FLAT, TRUE, "every T gives the same NLL"),
        (*over_confident(20, 3, 0), "20 calibration rows are few"),
        (LOGITS, LOGITS.argmin(axis=1), "upper bound"),
        (LOGITS, LOGITS.argmax(axis=1), "lower bound .*: every answer is right, and T is not to be trusted"),
        (LOGITS / 1e4 + 0.3, TRUE, "the logits lack their scale"),
        (LOGITS, np.full(211, 2), "every label of these rows is class 2"),
        (LOGITS * 1e4, TRUE, "^the logits of a row differ by up to(?!.*are equal)"),
        (LOGITS * 1e300, TRUE, "^the logits of a row differ by up to(?!.*are equal)"),
    ],
)
def test_what_a_reader_must_know_is_said(logits, y_true, said):
    fitted = Temperature.fit(logits, y_true, allow_small=True)
    assert re.search(said, fitted.warning)
    assert fitted.temperature == 1 or logits is not FLAT


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_logits_and_labels_is_refused(method):
    with pytest.raises(ValueError, match="got probabilities"):
        method(softmax(LOGITS), TRUE)
    with pytest.raises(ValueError, match="expected 211 labels"):
        method(LOGITS, TRUE[1:])
    with pytest.raises(ValueError, match="cosines"):
        method(LOGITS / 100, TRUE)


@pytest.mark.parametrize("n_classes", [2, 60])
@pytest.mark.parametrize("scale", [1.0, 3000.0])
def test_log_odds_are_those_of_each_class_against_the_rest(n_classes, scale):
    logits = np.random.default_rng(1).normal(0, scale, (53, n_classes))
    by_hand = np.column_stack(
        [logits[:, k] - logsumexp(np.delete(logits, k, axis=1), axis=1) for k in range(n_classes)]
    )
    np.testing.assert_allclose(_log_odds(logits), by_hand, rtol=1e-12, atol=1e-12)


def test_scikit_learn_finds_the_same_temperature_but_doubles_a_binary_score():
    logits, y_true = over_confident(1009, 5, 6)
    theirs = scikit_learn_temperature(logits, y_true)
    assert Temperature.fit(logits, y_true).temperature == pytest.approx(theirs, rel=1e-5)
    logits, y_true = over_confident(1009, 2, 7)
    # scikit-learn 1.9.1 turns a one-dimensional score x into the row (-x, x), which doubles the difference.
    theirs = scikit_learn_temperature(logits[:, 1:] - logits[:, :1], y_true)
    assert theirs == pytest.approx(2 * Temperature.fit(logits, y_true).temperature, rel=1e-5)


def test_vector_scaling_undoes_a_shift_that_temperature_cannot():
    logits, y_true = over_confident(2003, 3, 8)
    shifted = logits * [1.0, 2.0, 0.5] + [0.0, 3.0, -2.0]
    one, several = Temperature.fit(shifted, y_true), fit_vector_scaling(shifted, y_true)
    found = nll(several.transform(shifted), y_true)
    assert found < one.nll_after - 0.05
    assert found == pytest.approx(nll_of_logits(logits / 2.5, y_true), abs=0.01)
    # What one more of a class's logit does for it, compared with the next class.
    odds = np.log(several.transform(np.vstack([np.zeros(3), np.eye(3)])))
    odds = odds - np.roll(odds, -1, axis=1)
    assert (np.diag(odds[1:]) - odds[0]) * [1.0, 2.0, 0.5] == pytest.approx(np.full(3, 0.4), abs=0.06)
    separable = fit_vector_scaling(logits, logits.argmax(axis=1))
    assert np.isfinite(separable.transform(logits)).all()


def test_platt_matches_scikit_learn_for_two_classes():
    logits, y_true = over_confident(1009, 2, 9)
    score = logits[:, 1:] - logits[:, :1]
    theirs = scikit_learn(score, y_true, "sigmoid").predict_proba(score)
    assert fit_platt(logits, y_true).transform(logits) == pytest.approx(theirs, abs=1e-4)


def test_isotonic_is_monotone():
    logits, y_true = over_confident(1009, 2, 10)
    probs = fit_isotonic(logits, y_true).transform(logits)
    assert (np.diff(probs[np.argsort(softmax(logits)[:, 1]), 1]) >= -1e-12).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lowers_the_error_of_new_rows(method):
    logits, y_true = over_confident(2003, 3, 13)
    new_logits, new_true = over_confident(2003, 3, 14)
    probs = method(logits, y_true).transform(new_logits)
    assert probs.sum(axis=1) == pytest.approx(np.ones(2003))
    assert ece(probs, new_true) < 0.5 * ece(softmax(new_logits), new_true)


def test_moving_the_raw_temperature_ends_on_the_plateau():
    cosines, y_true = clip_like_cosines(5003, 10, rng=np.random.default_rng(0))
    table = published_failure(cosines, y_true).set_index("rule")
    moved, fitted, clamped = table.loc["raw T by L-BFGS"], table.loc["log T"], table.loc["clamped to [0.01, 100]"]
    assert moved["temperature"] < -100
    assert moved["nll"] == pytest.approx(math.log(10), abs=1e-3)
    assert moved["nll"] > table.loc["as released", "nll"]
    assert moved["accuracy"] < 0.002
    assert moved["share_to_human"] == 1
    assert moved["ece"] == pytest.approx(abs(1 / 10 - moved["accuracy"]), abs=1e-4)
    assert clamped["temperature"] == 0.01
    assert 0 < fitted["temperature"] < 0.01
    assert fitted["nll"] == table["nll"].min()
    assert fitted["accuracy"] == table.loc["as released", "accuracy"]


def test_the_path_is_that_of_torch():
    torch = pytest.importorskip("torch")
    cosines, y_true = clip_like_cosines(211, 10, rng=np.random.default_rng(1))
    scores, truth = torch.tensor(cosines), torch.tensor(y_true)
    temperature = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = torch.optim.LBFGS([temperature], lr=1, max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores / temperature, truth)
        loss.backward()
        return loss

    optimizer.step(closure)
    path = raw_temperature_path(cosines, y_true)
    assert path["temperature"].iloc[-1] == pytest.approx(temperature.item(), rel=1e-6)


def test_published_figures_are_arithmetic():
    # Run 2: 10,000 images, 1,383 errors, every image intervened. Its 2,932 images for people hold 1,165 of the errors:
    # that branch does measure the gate.
    wrong, everyone, nobody = (np.arange(10_000) < n for n in (1383, 10_000, 0))
    handed = (np.arange(10_000) < 1165) | (np.arange(10_000) >= 10_000 - (2932 - 1165))
    found = [{name: float(one(None)) for name, one in readings(chosen, wrong).items()} for chosen in (everyone, handed)]
    assert found[0] == {"share": 1, "base_error": 0.1383, "precision": 0.1383, "recall": 1, "lift": 1}
    assert found[1]["recall"] == pytest.approx(1165 / 1383)
    assert found[1]["precision"] == pytest.approx(1165 / 2932)
    assert found[1]["lift"] == pytest.approx((1165 / 2932) / 0.1383)
    assert math.isnan(readings(nobody, wrong)["precision"](None)) and readings(nobody, wrong)["recall"](None) == 0
