"""Labels from elsewhere: what they let out, what they cost, and that none help where the model knows nothing."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import CALIBRATED, KEPT, make_stage, with_distances
from verdict.base.labels import class_names
from verdict.decide.deferral import case_of, costs_of, gather, people_of, tuning_table
from verdict.decide.policy import Decision, Forced, Policy, realised
from verdict.pages.bought import label_curve

SIZES = {"val": 601, "calib": 599, "test": 301, "independent": 1800}


@pytest.fixture
def stage(tmp_path):
    made, rng = make_stage("09_independent_set", tmp_path, sizes=SIZES), np.random.default_rng(2)
    with_distances(made, lambda drawn, split: drawn + 30 * (split == "independent"))
    table = made.tables["independent", 11]
    logit, unsure = table["logit_1"], rng.random(len(table)) < np.where(table["logit_1"].abs() < 2.5, 0.4, 0.01)
    made.tables["independent", 11] = table.assign(y_true=((logit >= 0) ^ unsure).astype(int))
    return made


def studied(stage):
    evidence = gather(stage, "independent", CALIBRATED, KEPT)
    people = people_of(stage, tuning_table(stage, KEPT), "independent")
    costs = costs_of(stage.params.policy, class_names())
    return evidence, people, label_curve(stage, evidence, people, costs, Policy(0.6, 0.3, 0.05))


def changed(stage, **fields):
    policy = stage.params.policy.model_copy(update=fields)
    stage._params = stage.all_params.model_copy(update={"policy": policy})


def test_labels_let_out_again_what_was_foreign_and_keep_the_promise(stage):
    evidence, people, curve = studied(stage)
    assert (evidence.forced != Forced.NONE).all(), "nothing goes out before labels are bought"
    assert curve["groups"].tolist() == [20, 40, 80, 160, 320]
    assert (curve["labels"] == 3 * curve["groups"]).all(), "what is bought does not judge"
    assert curve["kept"].iloc[0] == 0 and curve["kept"].iloc[-1] >= 0.8
    last = curve.iloc[-1]
    assert curve["coverage"].is_monotonic_increasing and last["coverage_low"] > 0.3
    assert last["auto_error"] < 0.05 and last["broken"] <= 0.1
    case = case_of(evidence, people, costs_of(stage.params.policy, class_names()))
    always = case.outcomes.cost[:, Decision.HUMAN].mean()
    assert last["saved"] == pytest.approx(always - last["cost"], abs=0.02) and last["saved_low"] > 0
    free = case_of(evidence.unwatched, people, costs_of(stage.params.policy, class_names()))
    unbought = realised(free.outcomes.cost, free.decide(Policy(0.6, 0.3, 0.05))).mean()
    assert last["saved_by_labels"] == pytest.approx(unbought - last["cost"], abs=0.02)
    paid = curve["saved_by_labels_low"] > 0
    assert curve["pays_after"].notna().tolist() == paid.tolist(), "against what the same policy costs without labels"
    assert curve.loc[paid, "pays_after"].tolist() == pytest.approx((curve["labels"] / curve["saved_by_labels"])[paid])
    numbers, enough = stage.numbers, curve[curve["kept"] >= 0.8].iloc[0]
    assert numbers["independent.bought.is_enough"].value == 1
    assert numbers["independent.bought.groups"].value == enough["groups"]
    assert numbers["independent.bought.coverage"].value == enough["coverage"]
    assert all(number.kind for number in numbers.values())


def test_the_same_draws_give_the_same_curve(stage):
    first, second = (studied(stage)[2] for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_no_number_of_labels_helps_where_the_model_guesses(stage):
    table = stage.tables["independent", 11]
    guessed = np.random.default_rng(3).integers(0, 2, len(table))
    stage.tables["independent", 11] = table.assign(y_true=guessed)
    _, _, curve = studied(stage)
    assert (curve["kept"] == 0).all() and (curve["coverage"] == 0).all() and curve["auto_error"].isna().all()
    assert curve["coverage_high"].isna().all(), "by rule, and no estimate"
    assert stage.numbers["independent.bought.is_enough"].value == 0
    assert stage.numbers["independent.bought.groups"].value == 320
    testing, needed = (stage.numbers[f"independent.bought.{name}"].value for name in ("testing", "needed"))
    assert testing == curve["testing"].iloc[-1] == 192 and needed > testing


def test_only_the_gates_for_what_is_foreign_are_lifted(stage):
    evidence = gather(stage, "independent", CALIBRATED, KEPT)
    free = evidence.unwatched
    own = {Forced.EMPTY_SET, Forced.CRITICAL_SIGNAL}
    assert set(np.unique(free.forced)) <= own | {Forced.NONE}
    assert (
        free.forced[np.isin(evidence.forced, list(own))] == evidence.forced[np.isin(evidence.forced, list(own))]
    ).all()


def test_without_a_promise_or_with_few_groups_there_is_no_curve(stage, tmp_path):
    few = make_stage("09_independent_set", tmp_path, sizes=SIZES | {"independent": 60})
    assert studied(few)[2].empty
    changed(stage, guarantee=None)
    assert studied(stage)[2].empty and not len(stage.numbers)
