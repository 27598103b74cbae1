"""Scores: hand values, invariances, and other implementations (torchmetrics 1.9.0, scikit-learn 1.9.1)."""

import math
from functools import partial

import numpy as np
import pytest
import sklearn.metrics
from scipy import optimize, stats

from verdict.stats.metrics import (
    N_BINS,
    accuracy,
    bin_index,
    brier,
    class_scores,
    confidence_and_correct,
    confusion_counts,
    ece,
    ece_change,
    ece_if_calibrated,
    ece_interval,
    macro_f1,
    nll,
    nll_of_logits,
    reliability_curve,
)
from verdict.stats.ranking import Ranked, auroc, risk_coverage
from verdict.stats.scores import check_logits, check_probs, check_unit, log_softmax, softmax
from verdict.stats.uncertainty import Resampler, wilson
from verdict.stats.weighted import mean_gap

PROBS = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
Y_TRUE = np.array([0, 1, 1])


@pytest.fixture(scope="module")
def rows():
    """Logits (1009, 5) of an over-confident model and class ids."""
    rng = np.random.default_rng(8)
    y_true = rng.integers(0, 5, 1009)
    logits = 3 * rng.normal(size=(1009, 5))
    logits[np.arange(1009), y_true] += 3
    return logits, y_true


PROB_METRICS = (nll, brier, ece)
RANKINGS = (lambda score, truth, *weights: Ranked(score, truth).aurc(*weights), auroc)


def test_hand_values_of_three_pairs():
    assert accuracy(Y_TRUE, PROBS.argmax(axis=1)) == pytest.approx(2 / 3)
    assert nll(PROBS, Y_TRUE) == pytest.approx(-(math.log(0.9) + math.log(0.7) + math.log(0.4)) / 3)
    assert brier(PROBS, Y_TRUE) == pytest.approx(2 * (0.1**2 + 0.3**2 + 0.6**2) / 3)
    assert ece(PROBS, Y_TRUE) == pytest.approx((abs(1 - 0.9) + abs(1 - 0.7) + abs(0 - 0.6)) / 3)
    assert ece(PROBS, Y_TRUE, n_bins=2) == pytest.approx(abs((1 + 1 + 0) - (0.9 + 0.7 + 0.6)) / 3)
    assert equal_mass(PROBS, Y_TRUE, n_bins=3) == pytest.approx((0.1 + 0.3 + 0.6) / 3)


def test_macro_f1_counts_an_absent_class_as_zero():
    y_true, y_pred = np.array([0, 0, 1]), np.array([0, 1, 1])
    assert confusion_counts(y_true, y_pred).tolist() == [[1, 1], [0, 1]]
    assert macro_f1(y_true, y_pred) == pytest.approx((2 * 1 / 3 + 2 * 1 / 3) / 2)
    assert macro_f1(y_true, y_pred, 3) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    scores = class_scores([[5, 0], [2, 0]])
    assert scores["precision"].tolist() == [5 / 7, 0]
    assert scores["recall"].tolist() == [1, 0]


def test_the_gap_of_two_means_needs_rows_on_both_sides():
    values, inside = [1.0, 3.0, 10.0], np.array([True, True, False])
    assert mean_gap(values, inside) == 2 - 10
    np.testing.assert_allclose(mean_gap(values, inside, [[1, 1, 1], [0, 2, 1], [1, 1, 0]]), [-8, -7, np.nan])
    assert mean_gap(values, inside, [1, 1, 0], empty=0.0) == 2


def test_bins_are_open_below_and_closed_above():
    assert bin_index([0.0, 1e-9, 1 / 15, 1 / 15 + 1e-9, 0.2, 1.0]).tolist() == [0, 0, 0, 1, 2, 14]


def test_tied_rows_share_the_bin_of_their_middle():
    probs = np.array([[0.6, 0.4]] + [[0.9, 0.1]] * 3)
    # Four rows in two bins: the tied three reach over the half, their middle lies beyond it.
    assert equal_mass(probs, np.array([0, 0, 0, 1]), n_bins=2) == pytest.approx((0.4 + abs(0.1 + 0.1 - 0.9)) / 4)


def test_nll_survives_what_probabilities_do_not():
    logits = np.array([[1e4, 0.0, 0.0]])
    assert nll_of_logits(logits, [1]) == pytest.approx(1e4)
    assert nll(softmax(logits), [1]) == math.inf
    # A row that a resample leaves out must not spoil it.
    assert nll(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [1, 1], [0, 3]) == pytest.approx(math.log(2))


def test_softmax_and_its_logarithm():
    logits = np.array([[1000.0, 1000.0 + math.log(3)], [-1e4, 1e4]])
    assert softmax(logits)[0] == pytest.approx([1 / 4, 3 / 4])
    assert log_softmax(logits)[1] == pytest.approx([-2e4, 0])


@pytest.mark.parametrize("metric", PROB_METRICS)
def test_permuting_rows_and_renaming_classes_change_nothing(metric, rows):
    probs, y_true = softmax(rows[0]), rows[1]
    order, names = np.random.default_rng(1).permutation(len(y_true)), np.array([3, 0, 4, 1, 2])
    renamed = np.empty_like(probs)
    renamed[:, names] = probs
    assert metric(renamed[order], names[y_true[order]]) == pytest.approx(metric(probs, y_true), rel=1e-12)


@pytest.mark.parametrize("metric", [*PROB_METRICS, *RANKINGS])
def test_a_weight_is_a_number_of_repeats(metric, rows):
    given = softmax(rows[0]), rows[1]
    if metric in RANKINGS:
        given = given[0].max(axis=1).round(1), given[0].argmax(axis=1) != given[1]
    weights = np.random.default_rng(2).integers(0, 4, (3, len(rows[1])))
    together = metric(*given, weights)
    assert together.shape == (3,)
    for value, row in zip(together, weights, strict=True):
        index = np.repeat(np.arange(len(row)), row)
        assert value == pytest.approx(metric(*(part[index] for part in given)), rel=1e-9)


def test_aurc_is_the_mean_of_the_risks():
    confidence, wrong = [0.9, 0.8, 0.7, 0.6, 0.5], [False, True, False, False, True]
    assert Ranked(confidence, wrong).aurc() == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    curve = risk_coverage(confidence, wrong, n_points=5)
    assert curve["risk"].mean() == pytest.approx(Ranked(confidence, wrong).aurc())
    assert curve["coverage"].tolist() == [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]


def test_aurc_of_ties_is_the_mean_over_their_orders():
    rng = np.random.default_rng(4)
    confidence, wrong = rng.integers(0, 4, 53) / 4, rng.random(53) < 0.3
    k = np.arange(1, 54)
    drawn = []
    for _ in range(4000):
        order = np.lexsort((rng.random(53), -confidence))
        drawn.append((np.cumsum(wrong[order]) / k).mean())
    assert Ranked(confidence, wrong).aurc() == pytest.approx(np.mean(drawn), abs=5 * np.std(drawn) / math.sqrt(4000))
    assert risk_coverage(confidence, wrong, n_points=len(wrong))["risk"].mean() == pytest.approx(
        Ranked(confidence, wrong).aurc()
    )
    # All tied: at every coverage the error rate.
    assert risk_coverage(np.zeros(53), wrong, n_points=10)["risk"].tolist() == pytest.approx([wrong.mean()] * 10)


def test_a_ranking_of_one_class_is_not_defined():
    assert math.isnan(auroc([0.1, 0.2, 0.3], [True, True, True]))
    assert math.isnan(accuracy([0, 1], [0, 1], [0, 0]))


def test_scikit_learn_agrees(rows):
    probs, y_true = softmax(rows[0]), rows[1]
    y_pred = probs.argmax(axis=1)
    assert nll(probs, y_true) == pytest.approx(sklearn.metrics.log_loss(y_true, probs), abs=1e-9)
    reference = sklearn.metrics.brier_score_loss(y_true, probs, scale_by_half=False)
    assert brier(probs, y_true) == pytest.approx(reference, abs=1e-9)
    assert macro_f1(y_true, y_pred, 5) == pytest.approx(sklearn.metrics.f1_score(y_true, y_pred, average="macro"))
    assert (confusion_counts(y_true, y_pred, 5) == sklearn.metrics.confusion_matrix(y_true, y_pred)).all()
    score, weights = probs[:, 2].round(1), np.random.default_rng(5).integers(0, 3, len(y_true))
    reference = sklearn.metrics.roc_auc_score(y_true == 2, score, sample_weight=weights)
    assert auroc(score, y_true == 2, weights) == pytest.approx(reference)


def test_torchmetrics_agrees_on_ece_except_at_certainty(rows):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    probs, y_true = softmax(rows[0] / 2), rows[1]

    def reference(values, labels):
        tensor, truth = torch.tensor(values), torch.tensor(labels)
        return functional.multiclass_calibration_error(tensor, truth, values.shape[1], n_bins=15).item()

    assert ece(probs, y_true) == pytest.approx(reference(probs, y_true), abs=1e-4)
    # torchmetrics 1.9.0 puts a confidence of exactly 1 into a 16th bin of its own; here both rows share the last one.
    certain = np.array([[1.0, 0.0], [0.05, 0.95]])
    assert ece(certain, [1, 1]) == pytest.approx(abs((0 - 1) + (1 - 0.95)) / 2)
    assert reference(certain, np.array([1, 1])) == pytest.approx((1 + 0.05) / 2)


def test_reliability_bins_add_up_to_the_error(rows):
    probs, y_true = softmax(rows[0]), rows[1]
    table = reliability_curve(probs, y_true, resampler(np.arange(len(y_true))), n_bins=N_BINS)
    full = table[table["count"] > 0]
    share = full["count"] / full["count"].sum()
    assert full["count"].sum() == len(y_true)
    assert (share * (full["accuracy"] - full["confidence"]).abs()).sum() == pytest.approx(ece(probs, y_true))
    assert (full["low"] <= full["accuracy"]).all()
    assert (full["accuracy"] <= full["high"]).all()
    assert table.loc[table["count"] == 0, ["accuracy", "low", "high"]].isna().all().all()


def test_a_bin_whose_answers_are_alike_counts_its_groups():
    probs = np.tile([0.9, 0.1], (60, 1))
    table = reliability_curve(probs, np.zeros(60, dtype=int), resampler(np.repeat(np.arange(3), 20)), n_bins=N_BINS)
    full = table[table["count"] > 0].iloc[0]
    assert (full["low"], full["high"]) == (pytest.approx(wilson(3, 3)[0]), 1)


def resampler(groups, **changed):
    return Resampler(np.asarray(groups), **{"n_resamples": 200, "level": 0.95, "seed": 7, **changed})


def equal_mass(probs, y_true, **options):
    return ece_interval(probs, y_true, resampler(np.arange(len(y_true))), equal_mass=True, **options).value


LOGIT_SD = 2.5


def simulated(rng, n_groups, sharpness):
    """Binary probabilities, true classes and groups of eight rows; calibrated for sharpness 1.

    Logits of a group are alike (correlated 0.5), and so is whether its answers are right.
    """
    shared, own = rng.normal(size=(2, n_groups, 1)), rng.normal(size=(2, n_groups, 8))
    logit, luck = (math.sqrt(0.5) * (shared + own)).reshape(2, -1)
    logit = LOGIT_SD * logit
    is_right = stats.norm.cdf(luck) < 1 / (1 + np.exp(-np.abs(logit)))
    y_true = np.where(is_right, logit > 0, logit <= 0).astype(int)
    return softmax(np.column_stack([0 * logit, sharpness * logit])), y_true, np.repeat(np.arange(n_groups), 8)


def true_ece(sharpness):
    """The error of the population, by the distribution of its logits."""
    logit = LOGIT_SD * np.abs(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    confidence = 1 / (1 + np.exp(-sharpness * logit))
    gaps = np.bincount(bin_index(confidence), 1 / (1 + np.exp(-logit)) - confidence)
    return np.abs(gaps).sum() / len(logit)


def sharpness_of(error):
    return optimize.brentq(lambda k: true_ece(k) - error, 1, 9) if error else 1.0


@pytest.mark.parametrize("error", [0, 0.02, 0.10])
def test_the_interval_of_an_ece_covers_the_error_of_the_population(error, n_groups=200, n_samples=150):
    """The table of `ece_interval` is this with 1,000 samples and 400 resamples.

    Moved by its own bias, as it once was, the interval covers an error of zero in 3 % of samples.
    """
    sharpness = sharpness_of(error)

    covered = 0
    for k in range(n_samples):
        probs, y_true, groups = simulated(np.random.default_rng([3, k]), n_groups, sharpness)
        found = ece_interval(probs, y_true, resampler(groups))
        covered += found.low <= error <= found.high
        assert found.low <= found.value <= found.high
    # The standard error of 0.95 in 150 samples is 0.018.
    assert 0.90 <= covered / n_samples <= (0.99 if error else 1)


def scores_of(probs, y_true):
    confidence, correct = confidence_and_correct(probs, y_true)
    answer = probs.argmax(axis=1)
    return {
        "accuracy": partial(accuracy, y_true, answer),
        "macro_f1": partial(macro_f1, y_true, answer, 2),
        "nll": partial(nll, probs, y_true),
        "brier": partial(brier, probs, y_true),
        "aurc": Ranked(confidence, ~correct).aurc,
    }


def test_intervals_of_scores_cover_those_of_the_population(n_groups=200, n_samples=120):
    """The table of `Resampler` is this with 2,000 samples and 1,000 resamples; row by row it would cover far less."""
    sharpness = sharpness_of(0.05)
    population = simulated(np.random.default_rng(8), 100_000, sharpness)[:2]
    truth = {name: float(score(None)) for name, score in scores_of(*population).items()}
    covered, row_wise = dict.fromkeys(truth, 0), 0
    for k in range(n_samples):
        probs, y_true, groups = simulated(np.random.default_rng([5, k]), n_groups, sharpness)
        for name, score in scores_of(probs, y_true).items():
            found = resampler(groups).interval(score)
            covered[name] += found.low <= truth[name] <= found.high
        alone = resampler(np.arange(len(y_true))).interval(partial(nll, probs, y_true))
        row_wise += alone.low <= truth["nll"] <= alone.high
    # The standard error of 0.95 in 120 samples is 0.02; so few resamples cost another hundredth.
    assert all(0.88 <= share / n_samples <= 0.98 for share in covered.values()), covered
    assert row_wise / n_samples < 0.85


def test_a_change_of_ece_is_paired_and_holds_its_value():
    probs, y_true, groups = simulated(np.random.default_rng(5), 200, 1.0)
    sharp, sharper = (softmax(k * np.log(probs)) for k in (1.6, 1.7))
    of = resampler(groups)
    change = ece_change(sharp, sharper, y_true, of)
    assert change.value == pytest.approx(ece(sharper, y_true) - ece(sharp, y_true))
    alone = ece_interval(sharp, y_true, of)
    assert change.high - change.low < 0.5 * (alone.high - alone.low)
    assert ece_change(sharp, probs, y_true, of).high < 0
    # Errors far from zero, where chance adds nothing: the interval is that of a mean.
    sure, surer = (np.tile([one, 1 - one], (len(y_true), 1)) for one in (0.9, 0.95))
    far = ece_change(sure, surer, np.zeros(len(y_true), dtype=int) + (np.arange(len(y_true)) % 3 == 0), of)
    assert (far.low, far.value, far.high) == pytest.approx((0.05, 0.05, 0.05), abs=2e-3)
    back = ece_change(probs, sharp, y_true, of)
    assert back.low == pytest.approx(-ece_change(sharp, probs, y_true, of).high)
    same = ece_change(sharp, sharp, y_true, of)
    assert same.value == 0 and -0.002 < same.low <= 0 <= same.high < 0.002
    assert math.isnan(ece_change(sharp, probs, y_true, resampler(0 * groups)).low)


def test_an_ece_without_errors_to_resample_allows_for_other_groups():
    probs = np.tile([0.99, 0.01], (40, 1))
    found = ece_interval(probs, np.zeros(40, dtype=int), resampler(np.repeat(np.arange(20), 2)))
    width = wilson(0, 20)[1]
    assert found.value == pytest.approx(0.01)
    assert (found.low, found.high) == (pytest.approx(0.01 * (1 - width)), pytest.approx(0.01 + 0.99 * width))
    assert math.isnan(ece_interval(probs, np.zeros(40, dtype=int), resampler(np.zeros(40))).low)


def test_ece_of_a_calibrated_model_is_not_zero():
    probs, y_true, groups = simulated(np.random.default_rng(9), 200, 1.0)
    chance = ece_if_calibrated(probs, y_true, resampler(groups))
    assert 0 < chance.low < ece(probs, y_true) < chance.high
    assert ece(softmax(2 * np.log(probs)), y_true) > chance.high
    # Rows that are alike spread wider than rows that are independent.
    assert chance.value > 1.1 * ece_if_calibrated(probs, y_true, resampler(np.arange(len(y_true)))).value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], "got probabilities"),
        ([[0.21, 0.22, 0.25], [0.2, 0.3, 0.1]], "cosines; multiply them by the model's logit scale"),
        ([[0.0, math.nan, 3.0]], "must be finite; 1 of 1 rows"),
        ([[0.0, math.inf, 3.0]], "must be finite"),
        ([1.0, 2.0], "shape"),
        ([[1.0], [2.0]], "n_classes >= 2"),
        (np.empty((0, 3)), "n >= 1"),
        ([["a", "b"]], "must be numbers"),
    ],
)
def test_what_is_not_logits_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        check_logits(values)


def test_small_logits_are_accepted_where_they_are_meant():
    assert check_logits([[0.0, 0.01], [0.0, -0.02]]).dtype == np.float64
    assert check_logits([[0.0, 1.0], [0.0, 1.0]]).shape == (2, 2)
    assert check_logits([[0.21, 0.22, 0.25]], allow_small=True).shape == (1, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_probs([[-1.2, 2.2]]), "did you pass logits"),
        (lambda: check_probs([[0.5, 0.5], [0.5, 0.4]]), r"row 1 sums to 0\.9"),
        (lambda: check_unit("share", [0.5, math.nan]), r"share must lie in \[0, 1\] without NaN"),
        (lambda: nll(PROBS, [0, 1, 2]), "labels must lie in 0 … 1"),
        (lambda: brier(PROBS, [0, 1]), "expected 3 labels"),
        (lambda: ece(PROBS, [0.0, 1.0, 1.0]), "integer class ids"),
        (lambda: accuracy(Y_TRUE, Y_TRUE[1:]), "y_true has shape"),
        (lambda: accuracy(Y_TRUE, Y_TRUE, [1, 2]), "weights must have shape"),
        (lambda: accuracy(Y_TRUE, Y_TRUE, [1, 2, -1]), "must not be negative"),
        (lambda: Ranked([0.1, math.nan], [True, False]).aurc(), "scores are NaN"),
        (lambda: auroc([0.1], [True, False]), "one score and one truth a row"),
        (lambda: Ranked([0.1, 0.2], [True, False]).aurc([0.5, 0.5]), "whole numbers"),
        (lambda: Ranked([0.1, 0.2], [True, False]).aurc([1, 1, 1]), r"whole numbers of shape \(2,\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
