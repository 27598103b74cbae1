"""The policy page: thresholds from calib, prices on test, sentences that follow the numbers."""

import numpy as np
import pytest

from simulated_stage import KEPT, make_stage
from verdict.deferral import Calibrated, gather, people_of
from verdict.policy import mean_cost
from verdict.policy_study import (
    ablation,
    absent_signals,
    answer_template,
    attainable,
    aurc_gain,
    correlations,
    cost_table,
    curve_table,
    gate_counts,
    risk_curves,
    run_study,
    signal_table,
    surface_of,
    thresholds_template,
    warning_of,
)
from verdict.report.say import sentence

CALIBRATED = Calibrated({11: 2.0, 23: 2.0}, 11, 0.75, 0.1)


@pytest.fixture
def stage(tmp_path):
    return make_stage("08_policy", tmp_path)


def studied(stage, **human):
    """A study with people as in the parameters, or changed."""
    policy = stage.params.policy
    changed = policy.model_copy(update={"human": policy.human.model_copy(update=human)})
    stage._params = stage.all_params.model_copy(update={"policy": changed})
    calib, test = (gather(stage, split, CALIBRATED, KEPT) for split in ("calib", "test"))
    someone = people_of(stage, calib.table)
    return run_study(stage, calib, test, someone), calib, test, someone


def test_the_tuned_policy_is_the_cheapest_on_calib_and_beats_both_extremes(stage):
    study, calib, _, _ = studied(stage)
    tuned = mean_cost(calib.score, study.calib.outcomes, study.policy, forced=calib.forced)
    assert tuned <= np.nanmin(surface_of(study.calib, study.policy).cost) + 1e-12
    drawn = surface_of(study.calib, study.policy).as_table()
    assert (drawn["t_clarify"] <= drawn["t_auto"]).all() and tuned <= drawn["cost"].min() + 1e-12
    for name in ("auto", "human"):
        assert stage.numbers[f"policy.test.gain_over_{name}"].low > 0
    shares = [stage.numbers[f"policy.test.{branch}_share"].value for branch in ("auto", "clarify", "human")]
    assert sum(shares) == pytest.approx(1)
    assert stage.numbers["policy.test.cost_oracle"].value < stage.numbers["policy.test.cost"].value
    assert stage.numbers["policy.test.is_degenerate"].value == 0
    assert stage.numbers["policy.human_accuracy"].value == pytest.approx(0.95)


def test_gains_are_differences_of_the_stored_costs(stage):
    studied(stage)
    costs = {name: stage.numbers[f"policy.test.cost{name}"].value for name in ("", "_always_auto", "_always_human")}
    assert stage.numbers["policy.test.gain_over_auto"].value == pytest.approx(costs["_always_auto"] - costs[""])
    assert stage.numbers["policy.test.gain_over_human"].value == pytest.approx(costs["_always_human"] - costs[""])


def test_every_sentence_can_be_said(stage):
    study, *_, people = studied(stage)
    for template in (answer_template(study), thresholds_template(study, people), warning_of(study.evaluation)):
        sentence(template, stage.numbers)
    assert "of them wrong" in answer_template(study)
    assert "DEGENERATE" not in answer_template(study)


def test_a_model_that_guesses_is_degenerate_and_said_so_in_bold(stage):
    rng = np.random.default_rng(0)
    for key, table in stage.tables.items():
        stage.tables[key] = table.assign(logit_1=rng.normal(0, 1e-3, len(table)))
    study, *_, people = studied(stage)
    assert "**DEGENERATE POLICY: everybody was intervened on" in answer_template(study)
    assert "of them wrong" not in answer_template(study)
    assert stage.numbers["policy.test.is_degenerate"].value == 1
    assert np.isnan(stage.numbers["policy.test.auto_error"].value)
    if study.policy.t_auto > 1:
        assert thresholds_template(study, people).startswith("No pair goes out alone")


def test_believing_in_perfect_people_costs_something_when_they_are_poor(stage):
    studied(stage, accuracy=0.7, clarify_accuracy=0.7)
    numbers = stage.numbers
    assert numbers["policy.test.cost_promised"].high < numbers["policy.test.cost_delivered"].low
    assert numbers["policy.test.regret"].low > 0


def test_tables_of_the_page(stage):
    study, calib, test, _ = studied(stage)
    assert gate_counts({"calib": calib, "test": test}).groupby("split")["n"].sum().to_dict() == {
        "calib": 599,
        "test": 701,
    }
    assert {"cost", "cost_low", "cost_high", "difference", "difference_low"} <= set(cost_table(study).columns)
    assert study.shares.sum(axis=1).tolist() == pytest.approx([1] * len(study.shares))
    assert "random" not in study.shares.index
    pairs = correlations(test)
    assert pairs.shape == (4, 4)
    assert pairs.loc["max probability", "entropy confidence"] == pytest.approx(1.0), "for two classes they rank alike"
    assert "no changed views" in absent_signals(test) and "several seeds" not in absent_signals(test)
    alone = signal_table(test).set_index("signal")
    assert set(alone.index) == set(pairs.columns)
    assert (alone["smallest"] <= alone["mean"]).all() and (alone["mean"] <= alone["largest"]).all()
    assert alone.loc["max probability", "aurc_alone"] == pytest.approx(aurc_gain(stage, test)["max_probability"].value)
    assert attainable(test) >= test.score.max()
    assert ablation(test)["removed"].tolist()[:2] == ["none", "max probability"]


def test_a_random_order_is_flat_and_scores_rank_better(stage):
    _, _, test, _ = studied(stage)
    curves = risk_curves(stage, test)
    assert list(curves) == ["composite", "maximum probability", "entropy", "random order"]
    assert np.ptp(curves["random order"]["risk"]) < 1e-9
    assert curves["composite"]["risk"].mean() < curves["random order"]["risk"].mean()
    assert len(curve_table(curves)) == 400
    gains = aurc_gain(stage, test)
    assert gains["difference"].value == pytest.approx(gains["composite"].value - gains["max_probability"].value)


def test_equal_seeds_give_equal_numbers(stage, tmp_path):
    studied(stage)
    again = make_stage("08_policy", tmp_path)
    studied(again)
    assert dict(stage.numbers) == dict(again.numbers)
