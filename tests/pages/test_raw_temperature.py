"""The published failure as arithmetic; that moving T itself ends on the plateau is tested with the calibrators."""

import numpy as np
import pytest

from simulated_stage import make_stage
from verdict.base.numbers import EXACT, Numbers
from verdict.base.params import load_params
from verdict.pages import published as raw_temperature
from verdict.pages.published import (
    clip_like_cosines,
    published_calibration,
    published_failure,
    published_policy,
    raw_nll_curve,
    store_failure,
)


@pytest.mark.parametrize(("profile", "is_told"), [("smoke", True), ("nlvr", True), ("recorded", False)])
def test_data_of_the_users_own_get_no_history_of_published_runs(tmp_path, profile, is_told):
    stage = make_stage("07_calibration", tmp_path, sizes={"test": 3})
    stage._params = load_params(profile)
    assert raw_temperature.is_told(stage) == is_told


def test_every_published_figure_of_the_calibration_is_derived():
    table = published_calibration().set_index("figure")
    reported = table["published"].notna()
    assert reported.sum() == 4
    assert table.loc[reported, "derived"].to_numpy() == pytest.approx(table.loc[reported, "published"], abs=1e-6)
    assert table.loc["NLL at T = -590", "derived"] == pytest.approx(np.log(10))


def test_published_policies_follow_from_their_counts():
    table = published_policy((1.0, 0.95, 0.9, 0.8617)).set_index("policy")
    free = table.loc["published, T free, all interventions"]
    assert free["share"] == 1 and free["recall"] == 1
    assert free["precision"] == free["base_error"] == 0.9997
    handed = table.loc["published, T free, human branch", "accuracy, people 100% right"]
    assert handed == 1.0, "everybody handed to people who never err: a tautology"
    clamped = table.loc["published, T clamped, human branch"]
    after = [clamped[f"accuracy, people {h} right"] for h in ("100%", "95%", "90%", "86%")]
    assert after == pytest.approx([0.9782, 0.9635, 0.9489, 0.9377], abs=5e-5)
    assert clamped["share"] == 0.2932
    # A random choice of as many images would have left 0.8617 + 0.2932 * 0.1383 right.
    assert 0.8617 + clamped["share"] * clamped["base_error"] == pytest.approx(0.9022, abs=1e-4)


def test_the_curve_has_a_pole_between_its_sides():
    cosines, y_true = clip_like_cosines(503, 10, rng=np.random.default_rng(0))
    curve = raw_nll_curve(cosines, y_true, n_points=60)
    assert curve["temperature"].is_monotonic_increasing
    assert np.isfinite(curve["nll"]).all()
    negative, positive = (curve[curve["temperature"] * sign > 0] for sign in (-1, 1))
    assert len(negative) == len(positive) == 60
    best = positive.loc[positive["nll"].idxmin()]
    assert best["temperature"] < 0.02
    assert negative["nll"].min() > np.log(10) - 0.01, "nothing left of the pole is better than guessing"
    assert negative["nll"].iloc[-1] > 10, "towards the pole it rises without bound"


def test_numbers_of_a_failure():
    cosines, y_true = clip_like_cosines(503, 10, rng=np.random.default_rng(0))
    failure, numbers = published_failure(cosines, y_true), Numbers()
    store_failure(numbers, failure)
    assert {number.kind for number in numbers.values()} == {EXACT}
    assert numbers["failure.raw_temperature"].value < 0 < numbers["failure.log_temperature"].value
    assert numbers["failure.raw_nll"].value > numbers["failure.nll_at_1"].value > numbers["failure.log_nll"].value
