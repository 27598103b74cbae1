"""Conformal sets of the pages: thresholds from one half, intervals that know both sides, numbers that can fail."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage
from verdict.decide.sets import adaptive_scores, conformal_quantile
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.pages import coverage
from verdict.pages.calibration import halve
from verdict.stats import uncertainty
from verdict.stats.scores import softmax

T = 2.0
# Of two classes none stands beyond the free ranks, so that short adaptive sets are the adaptive ones.
ALL_KINDS = (*coverage.KINDS, coverage.APS)


@pytest.fixture
def stage(tmp_path):
    return make_stage("07_calibration", tmp_path, sizes={"calib": 1201, "test": 701})


def sets_of(stage, calib):
    halves = halve(calib, share_for_sets=0.5, rng=np.random.default_rng(0))
    return coverage.fit_sets(stage, KEPT, halves, Temperature(T, 1.0, 1.0, 9, True, False))


@pytest.fixture
def sets(stage, calib):
    return sets_of(stage, calib)


def test_every_level_has_both_kinds_and_is_found_again_from_its_scores(stage, sets, tmp_path, monkeypatch):
    assert set(sets.fits) == {(alpha, kind) for alpha in (0.05, 0.1, 0.2) for kind in ALL_KINDS}
    sets.scores.to_parquet(tmp_path / "set_scores.parquet")
    sets.policy.to_parquet(tmp_path / "policy_sets.parquet")
    monkeypatch.setattr(type(stage), "upstream", lambda self, name, file: tmp_path / file)
    again = coverage.load_sets(stage)
    assert again.fits.keys() == sets.fits.keys()
    for key, fit in sets.fits.items():
        assert np.array_equal(again.fits[key].qhat, fit.qhat)
        assert len(fit.qhat) == (2 if key[1] == coverage.KINDS[1] else 1)
    assert again.policy["alpha"].item() == stage.params.policy.conformal_alpha == 0.1
    assert 0 < abs(sets.policy_qhat - sets.fits[0.1, coverage.KINDS[0]].qhat[0]) < 0.1, "from the other half"
    settings, probs = stage.params.calibrate, np.random.default_rng(0).dirichlet(np.ones(11), 7)
    raps = {"penalty": settings.raps_penalty, "free_rank": settings.raps_free_rank}
    short = adaptive_scores(probs, rng=stage.rng(coverage.PREDICT), **raps)
    assert np.array_equal(coverage.scores_of(stage, coverage.RAPS, probs, coverage.PREDICT), short)
    assert not np.array_equal(coverage.scores_of(stage, coverage.APS, probs, coverage.PREDICT), short)


def test_quantiles_of_resamples_are_those_of_the_repeated_scores():
    rng = np.random.default_rng(5)
    ordered, weights = np.sort(rng.uniform(size=11)), rng.integers(0, 4, size=(13, 11))
    weights[0] = 0
    wanted = [[conformal_quantile(np.repeat(ordered, row), alpha) for row in weights] for alpha in (0.2, 0.4)]
    assert coverage._quantiles(ordered, weights, (0.2, 0.4)).tolist() == wanted
    assert wanted[0][0] == np.inf


def test_coverage_contains_its_level_on_exchangeable_pairs(stage, sets, test):
    found = coverage.coverage_table(stage, sets, [test], T)
    assert found["kind"].tolist() == [*ALL_KINDS * 3, *(f"{kind}{coverage.LARGEST}" for kind in ALL_KINDS)]
    found = found[found["level"].notna()]
    assert ((found["coverage_low"] <= found["level"]) & (found["level"] <= found["coverage_high"])).all()
    assert ((found["coverage_low"] <= found["coverage"]) & (found["coverage"] <= found["coverage_high"])).all()
    for name in ("shortfall", "mean_size", "share_empty", "share_single"):
        assert ((found[f"{name}_low"] <= found[name]) & (found[name] <= found[f"{name}_high"])).all()


def test_resamples_of_many_rows_are_never_in_memory_all_at_once(tmp_path, monkeypatch):
    """Of 200,000 rows the weights of a thousand resamples, held several times over, took more than 4 GB."""
    monkeypatch.setattr(uncertainty, "_CHUNK_CELLS", 50_000)
    stage = make_stage("07_calibration", tmp_path, sizes={"calib": 20011, "test": 10007}, n_rows_of_group=97)
    calib, test = (stage.predictions(split, trial="text1", seed=11) for split in ("calib", "test"))
    sets = sets_of(stage, calib)
    tracemalloc.start()
    try:
        coverage.coverage_table(stage, sets, [test], T)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * stage.params.statistics.n_resamples * len(test)


def test_adaptive_sets_are_those_of_the_library_with_the_same_draws(stage, sets, test):
    """The page's coverage is that of the sets on the same random numbers, and repeats itself."""
    probs, y_true = softmax(logits_of(test) / T), test["y_true"].to_numpy()
    found = coverage.coverage_table(stage, sets, [test], T)
    for alpha in (0.05, 0.1, 0.2):
        own = adaptive_scores(probs, rng=stage.rng(coverage.PREDICT)) <= sets.fits[alpha, coverage.APS].qhat
        row = found[(found["kind"] == coverage.APS) & np.isclose(found["level"], 1 - alpha)].iloc[0]
        assert row["coverage"] == own[np.arange(len(test)), y_true].mean()
        assert row["mean_size"] == own.sum(axis=1).mean()
    pd.testing.assert_frame_equal(found, coverage.coverage_table(stage, sets, [test], T))


def test_a_broken_promise_is_a_number_with_an_interval(stage, sets, test):
    found = coverage.coverage_table(stage, sets, [test], T)
    coverage.store_coverage(stage, found, sets, split="test", n=len(test), prefix="fine")
    plain = found[found["kind"] == coverage.KINDS[0]]
    # Bounds of each level alone would call sound sets missed too often: the largest of three is picked.
    beyond = plain["level"] - plain["coverage_high"] - plain["shortfall_low"]
    assert (beyond >= 0).all() and beyond.max() > 1e-3
    assert stage.numbers["fine.coverage_shortfall"].low == plain["shortfall_low"].max()
    fine = stage.numbers["fine.coverage_shortfall"]
    assert fine.value == plain["shortfall"].max() == pytest.approx((plain["level"] - plain["coverage"]).max())
    assert fine.low <= 0 <= fine.high
    assert (stage.numbers["fine.level"].value, stage.numbers["fine.level"].kind) == (pytest.approx(0.9), "setting")
    assert all(stage.numbers[f"fine.{name}"].low is not None for name in ("coverage", "set_size", "share_single"))
    opposite = test.assign(y_true=1 - test["y_true"])
    broken = coverage.coverage_table(stage, sets, [opposite], T)
    coverage.store_coverage(stage, broken, sets, split="test", n=len(test), prefix="broken")
    assert stage.numbers["broken.coverage_shortfall"].low > 0.5
    for prefix, n_missed in (("fine", 0), ("broken", 2)):
        kinds = coverage.shortfalls(stage, sets, prefix)
        assert kinds["is_missed"].sum() == n_missed and kinds["kind"].tolist() == ["marginal", coverage.APS]
        allowed = stage.numbers[f"{prefix}.shortfall_allowed"].value
        assert allowed == 0.05 and (kinds["is_small"] == (kinds["shortfall_high"] < allowed)).all()
    stage.number("wide.coverage_shortfall", -0.01, low=-0.2, high=0.18)
    wide = coverage.shortfalls(stage, sets, "wide").iloc[0]
    assert not wide["is_missed"] and not wide["is_small"], "no miss shown is no promise kept"


def test_covering_all_rows_does_not_promise_that_all_others_are_covered(stage, sets, test):
    """No resample shows a row that is left out; the bounds are those of a share of none among so many groups."""
    found = coverage.coverage_table(stage, sets, [test.assign(logit_1=np.where(test["y_true"] == 1, 50.0, -50.0))], T)
    plain = found[found["kind"] == coverage.KINDS[0]]
    assert (plain["coverage"] == 1).all() and (plain["coverage_low"] < 1).all()
    assert plain["shortfall_high"].tolist() == pytest.approx((plain["level"] - plain["coverage_low"]).tolist())


def test_a_single_image_has_coverage_without_an_interval(stage, sets, test):
    found = coverage.coverage_table(stage, sets, [test.iloc[:3]], T)
    coverage.store_coverage(stage, found, sets, split="test", n=3, prefix="one")
    assert stage.numbers["one.coverage"].low is None
    assert stage.numbers["one.coverage_shortfall"].low is None


def test_coverage_by_class_counts_every_pair(stage, sets, test):
    found = coverage.class_coverage(stage, sets, test, T, prefix="fine")
    assert found.groupby("kind")["n"].sum().to_dict() == dict.fromkeys(ALL_KINDS, 701)
    assert set(found["class"]) == {"entailment", "contradiction"}
    apart = found[found["kind"] == coverage.KINDS[1]]
    probs, y_true = softmax(logits_of(test) / T), test["y_true"].to_numpy()
    for row in apart.itertuples():
        k = stage.classes.index(row._2)
        is_covered = 1 - probs[y_true == k, k] <= sets.fits[0.1, coverage.KINDS[1]].qhat[k]
        assert row.coverage == is_covered.mean() == pytest.approx(0.9 - row.shortfall)
        own, fit = sets.scores[sets.scores["y_true"] == k], sets.fits[0.1, coverage.KINDS[1]]
        its = coverage.Threshold(0.1, fit.qhat[[k]], fit.n[[k]])
        scores = 1 - probs[y_true == k, k]
        (both,), _ = coverage.covered(stage, own, [its], test[y_true == k], scores)
        assert (row.coverage_low, row.coverage_high) == (both.low, both.high)
        alone = stage.resampler(test["group_id"][y_true == k]).mean(is_covered)
        assert both.high - both.low > 1.1 * (alone.high - alone.low), "thresholds vary, too"
    fine = stage.numbers["fine.class_shortfall"]
    assert [fine.value, fine.low] == [apart[name].max() for name in ("shortfall", "shortfall_low")] and fine.low < 0
    # As of the other kinds: the upper bound fails only with that of the truly worst class.
    assert fine.high == (0.9 - apart["coverage_low"]).max() < apart["shortfall_high"].max()
    plain = found[found["kind"] == coverage.KINDS[0]]
    assert stage.numbers["fine.marginal_class_shortfall"].value == plain["shortfall"].max()
    worse = test.assign(logit_1=test["logit_1"] - 9)
    coverage.class_coverage(stage, sets, worse, T, prefix="broken")
    assert stage.numbers["broken.class_shortfall"].low > 0.5


def one_group_of(table, k):
    """The table with one group of class k, and all of the others."""
    own = table["y_true"] == k
    return table[~own | (table["group_id"] == table.loc[own, "group_id"].iloc[0])].reset_index(drop=True)


@pytest.mark.parametrize("side", ["test", "sets", "no sets"])
@pytest.mark.parametrize("k", [0, 1])
def test_a_class_of_one_group_hides_no_other_that_is_missed(stage, sets, test, k, side):
    """NaN made the largest shortfall depend on the order of classes, and took every draw from the others."""
    test = test.assign(logit_1=test["logit_1"] + (9 if k else -9))
    alone = test[test["y_true"] != k].reset_index(drop=True)
    coverage.class_coverage(stage, sets, alone, T, prefix="alone")
    if side == "test":
        test = one_group_of(test, k)
    else:
        left = one_group_of(sets.scores, k) if side == "sets" else sets.scores[sets.scores["y_true"] != k]
        sets = coverage._fitted(stage, left, sets.policy_qhat)
    found = coverage.class_coverage(stage, sets, test, T, prefix="both")
    apart = found[found["kind"] == coverage.KINDS[1]].set_index("class")
    few, missed = (apart.loc[stage.classes[one]] for one in (k, 1 - k))
    assert few[["shortfall", "shortfall_low", "shortfall_high"]].isna().all() and np.isfinite(few["coverage"])
    number, other = (stage.numbers[f"{prefix}.class_shortfall"] for prefix in ("both", "alone"))
    assert number.value == missed["shortfall"] > number.low == missed["shortfall_low"] > 0.5
    if side == "test":
        assert number.value == other.value


def test_without_a_class_that_can_be_judged_no_largest_shortfall_is_stored(stage, sets, test):
    found = coverage.class_coverage(stage, sets, one_group_of(one_group_of(test, 0), 1), T, prefix="few")
    assert found["shortfall"].isna()[found["kind"] == coverage.KINDS[1]].all()
    assert "few.class_shortfall" not in stage.numbers


def test_short_sets_stand_apart_where_they_charge_for_a_class(stage):
    assert coverage.RAPS not in coverage.kinds_of(stage)
    for penalty, free_rank, is_apart in ((0.01, 1, True), (0.01, 0, True), (0.01, 2, False), (0.0, 1, False)):
        params = SimpleNamespace(calibrate=SimpleNamespace(raps_penalty=penalty, raps_free_rank=free_rank))
        kinds = coverage.kinds_of(SimpleNamespace(params=params, classes=stage.classes))
        assert (coverage.RAPS in kinds) == is_apart


def test_empty_sets_are_counted_and_cover_nothing(stage, sets, test):
    loose = coverage.Sets(sets.fits, 0.2, sets.scores)
    found = coverage.size_coverage(stage, loose, test, T)
    assert found.groupby("kind")["n"].sum().to_dict() == dict.fromkeys(ALL_KINDS, 701)
    empty = found[found["size"] == 0]
    assert len(empty) and (empty["n"] > 0).all() and (empty["coverage"] == 0).all()
    whole = found[found["size"] == 2]
    assert (whole["coverage"] == 1).all()
