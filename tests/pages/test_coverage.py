"""Conformal sets of the pages: thresholds from one half, intervals that know both sides, numbers that can fail."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage, simulated_table
from verdict.decide.sets import Threshold, adaptive_scores, conformal_quantile
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.pages.calibration import halve
from verdict.pages.coverage import (
    APS,
    KINDS,
    LARGEST,
    PREDICT,
    RAPS,
    Sets,
    _coverage_rows,
    _quantiles,
    class_coverage,
    coverage_table,
    fit_sets,
    load_sets,
    scores_of,
    size_coverage,
    store_coverage,
)
from verdict.stats import uncertainty
from verdict.stats.scores import softmax

T = 2.0


@pytest.fixture
def stage(tmp_path):
    return make_stage("07_calibration", tmp_path, sizes={"calib": 1201, "test": 701})


@pytest.fixture
def sets(stage):
    calib = stage.predictions("calib", trial="text1", seed=11)
    halves = halve(calib, share_for_sets=0.5, rng=np.random.default_rng(0))
    return fit_sets(stage, KEPT, halves, Temperature(T, 1.0, 1.0, 9, True, False))


def test_every_level_has_both_kinds_and_is_found_again_from_its_scores(stage, sets, tmp_path, monkeypatch):
    assert set(sets.fits) == {(alpha, kind) for alpha in (0.05, 0.1, 0.2) for kind in (*KINDS, APS, RAPS)}
    sets.scores.to_parquet(tmp_path / "set_scores.parquet")
    sets.policy.to_parquet(tmp_path / "policy_sets.parquet")
    monkeypatch.setattr(type(stage), "upstream", lambda self, name, file: tmp_path / file)
    again = load_sets(stage)
    assert again.fits.keys() == sets.fits.keys()
    for key, fit in sets.fits.items():
        assert np.array_equal(again.fits[key].qhat, fit.qhat)
        assert len(fit.qhat) == (2 if key[1] == KINDS[1] else 1)
    assert again.policy["alpha"].item() == stage.params.policy.conformal_alpha == 0.1
    assert again.policy["qhat"].item() == sets.policy_qhat
    assert 0 < abs(sets.policy_qhat - sets.fits[0.1, KINDS[0]].qhat[0]) < 0.1, "from the other half"
    settings, probs = stage.params.calibrate, np.random.default_rng(0).dirichlet(np.ones(11), 7)
    raps = {"penalty": settings.raps_penalty, "free_rank": settings.raps_free_rank}
    short = adaptive_scores(probs, rng=stage.rng(PREDICT), **raps)
    assert np.array_equal(scores_of(stage, RAPS, probs, PREDICT), short)
    assert not np.array_equal(scores_of(stage, APS, probs, PREDICT), short)


def test_quantiles_of_resamples_are_those_of_the_repeated_scores():
    rng = np.random.default_rng(5)
    ordered, weights = np.sort(rng.uniform(size=11)), rng.integers(0, 4, size=(13, 11))
    weights[0] = 0
    wanted = [[conformal_quantile(np.repeat(ordered, row), alpha) for row in weights] for alpha in (0.2, 0.4)]
    assert _quantiles(ordered, weights, (0.2, 0.4)).tolist() == wanted
    assert wanted[0][0] == np.inf


def test_coverage_contains_its_level_on_exchangeable_pairs(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11)
    found = coverage_table(stage, sets, [test], T)
    assert found["kind"].tolist() == [*[*KINDS, APS, RAPS] * 3, LARGEST]
    found = found[found["kind"] != LARGEST]
    assert ((found["coverage_low"] <= found["level"]) & (found["level"] <= found["coverage_high"])).all()
    assert ((found["coverage_low"] <= found["coverage"]) & (found["coverage"] <= found["coverage_high"])).all()
    for name in ("shortfall", "mean_size", "share_empty", "share_single"):
        assert ((found[f"{name}_low"] <= found[name]) & (found[name] <= found[f"{name}_high"])).all()


def test_resamples_of_many_rows_are_never_in_memory_all_at_once(tmp_path, monkeypatch):
    """Of 200,000 rows the weights of a thousand resamples, held several times over, took more than 4 GB."""
    monkeypatch.setattr(uncertainty, "_CHUNK_CELLS", 50_000)
    stage = make_stage("07_calibration", tmp_path, sizes={"calib": 20011, "test": 10007}, n_rows_of_group=97)
    calib, test = (stage.predictions(split, trial="text1", seed=11) for split in ("calib", "test"))
    halves = halve(calib, share_for_sets=0.5, rng=np.random.default_rng(0))
    sets = fit_sets(stage, KEPT, halves, Temperature(T, 1.0, 1.0, 9, True, False))
    tracemalloc.start()
    try:
        coverage_table(stage, sets, [test], T)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * stage.params.statistics.n_resamples * len(test)


def test_adaptive_sets_are_those_of_the_library_with_the_same_draws(stage, sets):
    """The page's coverage is that of the sets on the same random numbers, and repeats itself."""
    test = stage.predictions("test", trial="text1", seed=11)
    probs, y_true = softmax(logits_of(test) / T), test["y_true"].to_numpy()
    found = coverage_table(stage, sets, [test], T)
    for alpha in (0.05, 0.1, 0.2):
        own = adaptive_scores(probs, rng=stage.rng(PREDICT)) <= sets.fits[alpha, APS].qhat
        row = found[(found["kind"] == APS) & np.isclose(found["level"], 1 - alpha)].iloc[0]
        assert row["coverage"] == own[np.arange(len(test)), y_true].mean()
        assert row["mean_size"] == own.sum(axis=1).mean()
    pd.testing.assert_frame_equal(found, coverage_table(stage, sets, [test], T))


def test_a_broken_promise_is_a_number_with_an_interval(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11)
    found = coverage_table(stage, sets, [test], T)
    store_coverage(stage, found, sets, split="test", n=len(test), prefix="fine")
    plain = found[found["kind"] == KINDS[0]]
    fine = stage.numbers["fine.coverage_shortfall"]
    assert fine.value == plain["shortfall"].max() == pytest.approx((plain["level"] - plain["coverage"]).max())
    assert fine.low <= 0 <= fine.high
    assert (stage.numbers["fine.level"].value, stage.numbers["fine.level"].kind) == (pytest.approx(0.9), "setting")
    assert all(stage.numbers[f"fine.{name}"].low is not None for name in ("coverage", "set_size", "share_single"))
    opposite = test.assign(y_true=1 - test["y_true"])
    broken = coverage_table(stage, sets, [opposite], T)
    store_coverage(stage, broken, sets, split="test", n=len(test), prefix="broken")
    assert stage.numbers["broken.coverage_shortfall"].low > 0.5


def test_sound_sets_are_called_missed_as_seldom_as_is_said(stage):
    """The largest of three levels is picked; bounds of each level alone would call 7 % missed where 2.5 % are meant."""
    n_samples, picked, alone = 300, 0, 0
    for seed in range(n_samples):
        calib, test = (
            simulated_table(split, n=600, seed=seed + place) for place, split in ((0, "calib"), (500, "test"))
        )
        probs, y_true = softmax(logits_of(calib)), calib["y_true"].to_numpy()
        scores = calib[["group_id", "y_true"]].assign(score=1 - probs[np.arange(600), y_true])
        fits = {(alpha, KINDS[0]): Threshold.fit(scores["score"], alpha) for alpha in (0.05, 0.1, 0.2)}
        found = pd.DataFrame(_coverage_rows(stage, Sets(fits, 0.1, scores), KINDS[0], test, 1.0))
        picked += found["shortfall_low"].iloc[-1] > 0
        alone += (found["level"] > found["coverage_high"]).any()
    # 0.025 of 300 has a standard error of 0.009.
    assert picked / n_samples <= 0.045
    assert alone / n_samples > 0.045


def test_a_single_image_has_coverage_without_an_interval(stage, sets):
    test = stage.predictions("test", trial="text1", seed=11).iloc[:3]
    found = coverage_table(stage, sets, [test], T)
    store_coverage(stage, found, sets, split="test", n=3, prefix="one")
    assert stage.numbers["one.coverage"].low is None
    assert stage.numbers["one.coverage_shortfall"].low is None


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
