"""Conformal sets of the pages: thresholds from one half, intervals that know both sides, numbers that can fail."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage
from verdict.calibrate import Temperature
from verdict.calibration_study import halve
from verdict.conformal import conformal_quantile
from verdict.conformal_study import (
    APS,
    KINDS,
    PREDICT_KEY,
    RAPS,
    Sets,
    _quantiles,
    class_coverage,
    coverage_table,
    fit_sets,
    size_coverage,
    store_coverage,
)
from verdict.predict import logits_of
from verdict.scores import softmax

T = 2.0


@pytest.fixture
def stage(tmp_path):
    return make_stage("07_calibration", tmp_path, sizes={"calib": 1201, "test": 701})


@pytest.fixture
def sets(stage):
    calib = stage.predictions("calib", trial="text1", seed=11)
    halves = halve(calib, share_for_sets=0.5, rng=np.random.default_rng(0))
    return fit_sets(stage, KEPT, halves, Temperature(T, 1.0, 1.0, 9, True, False))


def test_every_level_has_both_kinds_and_survives_its_table(stage, sets):
    assert set(sets.fits) == {(alpha, kind) for alpha in (0.05, 0.1, 0.2) for kind in (*KINDS, APS, RAPS)}
    again = Sets.from_tables(sets.table(), sets.scores, sets.policy_alpha)
    assert again.fits.keys() == sets.fits.keys()
    for key, fit in sets.fits.items():
        assert type(again.fits[key]) is type(fit)
        assert np.array_equal(again.fits[key].qhat, fit.qhat)
    raps = again.fits[0.1, RAPS]
    settings = stage.params.calibrate
    assert (raps.penalty, raps.free_rank) == (settings.raps_penalty, settings.raps_free_rank)
    assert raps.is_randomised
    assert sets.policy.alpha == stage.params.policy.conformal_alpha == 0.1


def test_quantiles_of_resamples_are_those_of_the_repeated_scores():
    rng = np.random.default_rng(5)
    ordered, weights = np.sort(rng.uniform(size=11)), rng.integers(0, 4, size=(13, 11))
    weights[0] = 0
    wanted = [conformal_quantile(np.repeat(ordered, row), 0.2) for row in weights]
    assert _quantiles(ordered, weights, 0.2).tolist() == wanted
    assert wanted[0] == np.inf


def test_coverage_contains_its_level_on_exchangeable_pairs(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11)
    found = coverage_table(stage, sets, [test], T)
    assert len(found) == 12
    assert ((found["coverage_low"] <= found["level"]) & (found["level"] <= found["coverage_high"])).all()
    assert ((found["coverage_low"] <= found["coverage"]) & (found["coverage"] <= found["coverage_high"])).all()
    assert (found[["share_empty", "share_single", "share_several"]].sum(axis=1)).tolist() == pytest.approx([1] * 12)


def test_adaptive_sets_are_those_of_the_library_with_the_same_draws(stage, sets):
    """The page's coverage is that of `Aps.predict` on the same random numbers, and repeats itself."""
    test = stage.predictions("test", trial="text1", seed=11)
    probs, y_true = softmax(logits_of(test) / T), test["y_true"].to_numpy()
    found = coverage_table(stage, sets, [test], T)
    for alpha in (0.05, 0.1, 0.2):
        own = sets.fits[alpha, APS].predict(probs, rng=stage.rng(*PREDICT_KEY))
        row = found[(found["kind"] == APS) & np.isclose(found["level"], 1 - alpha)].iloc[0]
        assert row["coverage"] == own[np.arange(len(test)), y_true].mean()
        assert row["mean_size"] == own.sum(axis=1).mean()
    pd.testing.assert_frame_equal(found, coverage_table(stage, sets, [test], T))


def test_a_broken_promise_is_a_number(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11)
    found = coverage_table(stage, sets, [test], T)
    store_coverage(stage, found, sets, split="test", n=len(test), prefix="fine")
    assert stage.numbers["fine.coverage_shortfall"].value == 0
    assert stage.numbers["fine.level"].value == pytest.approx(0.9)
    opposite = test.assign(y_true=1 - test["y_true"])
    broken = coverage_table(stage, sets, [opposite], T)
    store_coverage(stage, broken, sets, split="test", n=len(test), prefix="broken")
    plain = broken[broken["kind"] == KINDS[0]]
    assert stage.numbers["broken.coverage_shortfall"].value == (plain["level"] - plain["coverage_high"]).max() > 0


def test_a_single_image_has_coverage_without_an_interval(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11).iloc[:3]
    found = coverage_table(stage, sets, [test], T)
    store_coverage(stage, found, sets, split="test", n=3, prefix="one")
    assert stage.numbers["one.coverage"].low is None
    assert stage.numbers["one.coverage_shortfall"].value == 0


def test_coverage_by_class_counts_every_pair(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11)
    found = class_coverage(stage, sets, test, T)
    assert found.groupby("kind")["n"].sum().to_dict() == dict.fromkeys((*KINDS, APS, RAPS), 701)
    assert found["level"].tolist() == pytest.approx([0.9] * len(found))
    assert set(found["class"]) == {"entailment", "contradiction"}


def test_empty_sets_are_counted_and_cover_nothing(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11)
    loose = Sets(sets.fits, 0.2, sets.scores)
    found = size_coverage(stage, loose, test, T)
    assert found.groupby("kind")["n"].sum().to_dict() == dict.fromkeys((*KINDS, APS, RAPS), 701)
    empty = found[found["size"] == 0]
    assert len(empty) and (empty["n"] > 0).all() and (empty["coverage"] == 0).all()
    whole = found[found["size"] == 2]
    assert (whole["coverage"] == 1).all()


def test_thresholds_are_read_back_from_parquet(stage, sets, tmp_path):
    path = tmp_path / "thresholds.parquet"
    sets.table().to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), sets.table())
