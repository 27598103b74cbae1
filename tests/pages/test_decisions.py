"""The policy page: thresholds from calib, prices on test, sentences that follow the numbers."""

from dataclasses import replace

import numpy as np
import pytest

from page_text import told
from simulated_stage import CALIBRATED, KEPT, make_stage, with_people
from verdict.base.numbers import EXACT, SETTING
from verdict.decide.deferral import ONE_MODEL, gather, people_of
from verdict.decide.policy import realised
from verdict.decide.signals import CONFORMAL_CONFIDENCE, ENTROPY_CONFIDENCE, MAX_PROBABILITY, POOLED, composite
from verdict.pages import decisions


@pytest.fixture
def stage(tmp_path):
    return make_stage("08_policy", tmp_path)


def studied(stage, **human):
    """A study with people who are right on 95 per cent of all pairs, or with others, see `with_people`."""
    with_people(stage, **human)
    calib, test = (gather(stage, split, CALIBRATED, KEPT) for split in ("calib", "test"))
    someone = people_of(stage, calib.table)
    decisions.count_sources(stage, CALIBRATED, calib, test)
    return decisions.run_study(stage, calib, test, someone, stage.resampler(test.groups)), calib, test, someone


def compared(stage, **human):
    """Costs of the policy and of what it is compared with, people as in `studied`."""
    study, calib, test, _ = studied(stage, **human)
    return decisions.compare(stage, study, calib, test)


def test_the_tuned_policy_is_the_cheapest_on_calib_and_beats_both_extremes(stage):
    study, calib, test, _ = studied(stage)
    decisions.compare(stage, study, calib, test)
    tuned = realised(study.calib.outcomes.cost, study.calib.decide(study.policy)).mean()
    drawn, _ = decisions.surface_of(study.calib, study.policy)
    assert (drawn["t_clarify"] <= drawn["t_auto"]).all() and tuned <= drawn["cost"].min() + 1e-12
    for name in ("auto", "human"):
        assert stage.numbers[f"policy.test.gain_over_{name}"].low > 0
    shares = [stage.numbers[f"policy.test.{branch}_share"].value for branch in ("auto", "clarify", "human")]
    assert sum(shares) == pytest.approx(1)
    assert stage.numbers["policy.test.cost_oracle"].value < stage.numbers["policy.test.cost"].value
    assert stage.numbers["policy.test.n_smaller_side"].value > 0
    human = stage.numbers["policy.human_accuracy"]
    assert (human.value, human.low, human.kind) == (0.95, None, SETTING), "an assumption is no estimate"
    assert stage.numbers["policy.n_people_recorded"].value == 0
    prices = [stage.numbers[f"policy.price_{name}"] for name in ("human", "clarify", "error")]
    assert [price.text for price in prices] == ["1 min", "0.25 min", "10 min"]
    assert {price.kind for price in prices} == {SETTING}


def test_gains_are_differences_of_the_stored_costs(stage):
    rows = compared(stage).set_index("policy")
    own, again = stage.numbers["policy.test.cost"], rows.loc["policy", ["cost", "cost_low", "cost_high"]]
    assert [own.value, own.low, own.high] == again.tolist(), "one cost on both pages"
    costs = {name: stage.numbers[f"policy.test.cost{name}"].value for name in ("", "_always_auto", "_always_human")}
    assert stage.numbers["policy.test.gain_over_auto"].value == pytest.approx(costs["_always_auto"] - costs[""])
    assert stage.numbers["policy.test.gain_over_human"].value == pytest.approx(costs["_always_human"] - costs[""])
    assert all(number.kind for number in stage.numbers.values())
    always = stage.numbers["policy.test.cost_always_human"]
    assert (always.value, always.low, always.kind) == (pytest.approx(1.5), None, EXACT)


def test_the_same_composite_of_one_answer_stands_beside_that_of_several_models(stage):
    _, _, test, _ = studied(stage)
    own = {name: test.signals[name] for name in (MAX_PROBABILITY, ENTROPY_CONFIDENCE, CONFORMAL_CONFIDENCE)}
    assert test.rivals[ONE_MODEL].tolist() == composite(own).tolist()
    assert {ONE_MODEL, POOLED} < set(compared(stage)["policy"])
    assert "policy.test.gain_over_one_model" in stage.numbers
    alone = replace(test, signals=own)
    assert ONE_MODEL not in alone.rivals, "there the composite is that of one answer"


def answer_of(stage):
    return told("08_policy", "chooses nothing", stage.numbers)


def test_a_model_that_guesses_is_degenerate_and_said_so_in_bold(stage):
    rng = np.random.default_rng(0)
    for key, table in stage.tables.items():
        stage.tables[key] = table.assign(logit_1=rng.normal(0, 1e-3, len(table)))
    study, *_ = studied(stage)
    assert "**Nothing goes out alone" in answer_of(stage) and study.evaluation.is_degenerate
    assert stage.numbers["policy.test.n_smaller_side"].value == 0
    for name, value in (("accuracy", 0.95), ("cost", 1.5), ("lift", 1.0)):
        number = stage.numbers[f"policy.test.{name}"]
        assert (number.value, number.low, number.kind) == (pytest.approx(value), None, EXACT), name
    assert np.isnan(stage.numbers["policy.test.auto_error"].value)


def test_tables_of_the_page(stage):
    study, calib, test, _ = studied(stage)
    gate = decisions.gate_counts(stage, {"calib": calib, "test": test})
    assert gate.groupby("split")["n"].sum().to_dict() == {"calib": 599, "test": 701}
    table = decisions.compare(stage, study, calib, test)
    assert {"cost", "cost_low", "cost_high", "difference", "difference_low"} <= set(table.columns)
    shares = decisions.shares_of(table)
    assert shares.sum(axis=1).tolist() == pytest.approx([1] * len(shares))
    assert "random" not in shares.index
    pairs = decisions.correlations(test)
    assert pairs.shape == (5, 5)
    assert pairs.loc["max probability", "entropy confidence"] == pytest.approx(1.0), "for two classes they rank alike"
    alone = decisions.signal_table(test, study.draws).set_index("signal")
    assert set(alone.index) == set(pairs.columns)
    assert (alone["smallest"] <= alone["mean"]).all() and (alone["mean"] <= alone["largest"]).all()


def test_a_random_order_is_flat_and_scores_rank_better(stage):
    study, _, test, _ = studied(stage)
    curves = decisions.risk_curves(test, study.draws)
    alike = ", ".join([ONE_MODEL, "maximum probability", "entropy"])
    assert list(curves) == ["composite", alike, POOLED, "random order"]
    assert np.ptp(curves["random order"]["risk"]) < 1e-9
    assert curves["composite"]["risk"].mean() < curves["random order"]["risk"].mean()
    assert len(decisions.curve_table(curves)) == 400
    own = curves["composite"]
    assert (own["low"] <= own["risk"]).all() and (own["risk"] <= own["high"]).all()


def test_rankings_are_compared_with_the_composite_on_the_same_resamples(stage):
    study, _, test, _ = studied(stage)
    rows = decisions.ranking_table(stage, test, study.draws).set_index("score")
    removed = [f"composite without {name}" for name in ("max probability", "entropy confidence", "ensemble stability")]
    alike = ", ".join([*list(test.rivals)[:3], removed[-1]])
    assert list(rows.index)[:5] == ["composite", alike, POOLED, *removed[:2]], "for two classes they rank alike"
    counts = [stage.numbers[f"policy.test.n_{name}"].value for name in ("signals", "helping", "harming")]
    assert counts[0] == 4 and counts[1] == (rows.filter(like="without", axis=0)["difference_low"] > 0).sum()
    gap = rows["aurc"] - rows.loc["composite", "aurc"]
    assert rows["difference"].tolist() == pytest.approx(gap.tolist())
    own = rows.filter(like="maximum probability", axis=0).iloc[0]
    assert stage.numbers["policy.test.aurc_max_probability"].value == own["aurc"]
    gain = stage.numbers["policy.test.aurc_gain_over_max_probability"]
    assert (gain.value, gain.low, gain.high) == (own["difference"], own["difference_low"], own["difference_high"])
    assert own["difference_high"] - own["difference_low"] < own["aurc_high"] - own["aurc_low"], "paired"


@pytest.mark.parametrize("floor", [0.05, {}, {"mean_probability": 0.2, "max_probability": 0.0}])
def test_the_page_on_people_goes_on_from_the_stored_policy(stage, monkeypatch, floor):
    settings = stage.all_params.policy.model_copy(update={"critical_floor": floor})
    stage._params = stage.all_params.model_copy(update={"policy": settings})
    study, calib, test, people = studied(stage)
    for name, table in study.tables().items():
        table.to_parquet(stage.folder / f"{name}.parquet")
    monkeypatch.setattr(type(stage), "upstream", lambda self, name, file: self.folder / file)
    monkeypatch.setattr(decisions.outcomes.Case, "tune", None)
    again, same = decisions.load_study(stage, KEPT, calib, test)
    assert again.policy == study.policy and same.is_simulated == people.is_simulated
    assert again.calib.allowed.tolist() == [], "what is promised is read: here no threshold keeps it"
    assert again.test.decide(again.policy).tolist() == study.test.decide(study.policy).tolist()
    assert (again.test.outcomes.cost == study.test.outcomes.cost).all()
    settings = stage.all_params.policy.model_copy(update={"guarantee": None})
    stage._params = stage.all_params.model_copy(update={"policy": settings})
    assert decisions.load_study(stage, KEPT, calib, test)[0].calib.allowed is None, "without a promise all are free"


def test_equal_seeds_give_equal_numbers(stage, tmp_path):
    studied(stage)
    again = make_stage("08_policy", tmp_path)
    studied(again)
    assert dict(stage.numbers) == dict(again.numbers)
