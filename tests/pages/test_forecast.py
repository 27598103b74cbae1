"""Accuracy without labels: hand values, estimates that hold on like pairs, and a shift that none of them sees."""

import numpy as np
import pytest

from simulated_stage import CALIBRATED, KEPT, make_stage
from verdict.decide.deferral import Calibrated
from verdict.pages.independent import (
    CONFIDENCE,
    DIFFERENCE,
    SEEDS,
    THRESHOLD,
    forecasts,
    judged,
    read_tables,
    thresholded,
)
from verdict.stats.uncertainty import Interval

SIZES = {"calib": 1499, "test": 1201, "independent": 1307}


@pytest.fixture
def stage(tmp_path):
    return make_stage("09_independent_set", tmp_path, sizes=SIZES)


def test_the_threshold_leaves_as_many_known_below_as_are_wrong():
    known, is_wrong = np.array([0.9, 0.5, 0.7, 0.6, 0.8]), np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    share = thresholded(known, is_wrong, np.array([0.99, 0.65, 0.7, 0.95]))
    assert share(None) == 3 / 4
    # Three of six are wrong below 0.7, and the row at 0.65 counts twice; without errors none known lies below.
    heavier = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 2, 1, 1, 2, 1, 1], [1, 0, 1, 0, 1, 1, 1, 1, 1]])
    assert share(heavier).tolist() == [3 / 4, 3 / 5, 3 / 4]
    assert thresholded(known, np.ones(5), np.array([0.99]))(None) == 0.0


def test_estimates_are_what_their_definitions_say(stage):
    tables = read_tables(stage, KEPT)
    found = forecasts(stage, tables, CALIBRATED, KEPT).set_index(["split", "method"])
    calib, new, other = (stage.tables[key] for key in (("calib", 11), ("independent", 11), ("independent", 23)))
    sure, sure_new = (1 / (1 + np.exp(-np.abs(table["logit_1"]) / 2.0)) for table in (calib, new))
    hit, hit_new, hit_other = ((table["logit_1"] >= 0) == (table["y_true"] == 1) for table in (calib, new, other))
    of = found.loc["independent"]
    assert of.loc[CONFIDENCE, "estimate"] == pytest.approx(sure_new.mean())
    assert of.loc[DIFFERENCE, "estimate"] == pytest.approx(hit.mean() + sure_new.mean() - sure.mean())
    below = np.sort(sure)[(~hit).sum()]
    assert of.loc[THRESHOLD, "estimate"] == pytest.approx((sure_new >= below).mean())
    assert of.loc[SEEDS, "estimate"] == pytest.approx((hit_new == hit_other).mean())
    assert of.loc[SEEDS, "truth"] == pytest.approx((hit_new.mean() + hit_other.mean()) / 2)
    assert (of.loc[[CONFIDENCE, DIFFERENCE, THRESHOLD], "truth"] == hit_new.mean()).all()
    assert of["error"].tolist() == pytest.approx((of["estimate"] - of["truth"]).tolist())
    assert (of["error_low"] < of["error"]).all() and (of["error"] < of["error_high"]).all()
    like = found.drop(index=SEEDS, level="method")
    assert ((like["error_low"] < 0.02) & (like["error_high"] > -0.02)).all(), "calibrated pairs of one source"


def test_a_shift_of_the_truth_alone_is_seen_by_none(stage):
    for seed in (11, 23):
        table = stage.tables["independent", seed]
        turned = np.where(np.arange(len(table)) % 2 == 0, table["y_true"], 1 - table["y_true"])
        stage.tables["independent", seed] = table.assign(y_true=turned)
    found = forecasts(stage, read_tables(stage, KEPT), CALIBRATED, KEPT)
    assert (found.loc[found["split"] == "independent", "verdict"] == "off").all()
    numbers = stage.numbers
    assert numbers["independent.n_forecasts"].value == numbers["independent.n_forecasts_off"].value == 4
    assert numbers["independent.forecast_threshold_error"].low > 0.05
    assert [name for name in numbers if name.startswith("test.")] == ["test.n_forecasts_high"]


def test_one_seed_agrees_with_none(stage):
    found = forecasts(stage, read_tables(stage, KEPT), Calibrated({11: 2.0}, 11, 0.75, 0.1), KEPT)
    assert SEEDS not in set(found["method"]) and stage.numbers["independent.n_forecasts"].value == 3


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.06, 0.1, "off"),
        (-0.2, -0.06, "off"),
        (-0.04, 0.03, "near"),
        (0.04, 0.06, "not shown"),
        (-0.1, 0.1, "not shown"),
    ],
)
def test_an_error_is_judged_by_its_whole_interval(low, high, said):
    assert judged(Interval((low + high) / 2, low, high)) == said
