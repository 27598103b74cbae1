"""Conformal sets of the pages: thresholds from one half, intervals that know both sides, numbers that can fail."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage
from verdict.calibrate import Temperature
from verdict.calibration_study import halve
from verdict.conformal import conformal_quantile
from verdict.conformal_study import (
    KINDS,
    Sets,
    _quantiles,
    class_coverage,
    coverage_table,
    fit_sets,
    store_coverage,
)

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
    assert set(sets.fits) == {(alpha, kind) for alpha in (0.05, 0.1, 0.2) for kind in KINDS}
    again = Sets.from_tables(sets.table(), sets.scores, sets.policy_alpha)
    assert all(np.array_equal(again.fits[key].qhat, fit.qhat) for key, fit in sets.fits.items())
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
    assert len(found) == 6
    assert ((found["coverage_low"] <= found["level"]) & (found["level"] <= found["coverage_high"])).all()
    assert ((found["coverage_low"] <= found["coverage"]) & (found["coverage"] <= found["coverage_high"])).all()
    assert (found[["share_empty", "share_single", "share_several"]].sum(axis=1)).tolist() == pytest.approx([1] * 6)


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
    found = class_coverage(sets, test, T)
    assert found.groupby(["level", "kind"])["n"].sum().tolist() == [701] * 6
    assert set(found["class"]) == {"entailment", "contradiction"}


def test_thresholds_are_read_back_from_parquet(stage, sets, tmp_path):
    path = tmp_path / "thresholds.parquet"
    sets.table().to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), sets.table())
