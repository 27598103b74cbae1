"""The promise on the policy page: what is kept, what it costs, how many groups it needs."""

from dataclasses import replace

import numpy as np
import pytest

from page_text import told
from simulated_stage import CALIBRATED, KEPT, make_stage
from verdict.base.labels import Split
from verdict.base.numbers import EXACT
from verdict.decide.deferral import decide_batch, gather, people_of
from verdict.decide.guarantee import BETTING, Known
from verdict.decide.outcomes import ONE_THRESHOLD, WITHOUT_SCORE
from verdict.decide.policy import ABOVE_ALL, Decision
from verdict.decide.signals import COMPOSITE, MAX_PROBABILITY, MAXIMUM, MEAN_PROBABILITY, POOLED
from verdict.pages.calibration import halve
from verdict.pages.decisions import (
    AFTER,
    ESTIMATED,
    answer_of_mean,
    bind,
    choose_score,
    compare,
    count_sources,
    halves_of,
    judge_on_test,
    level_table,
    parts_of,
    plan_table,
    run_study,
)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    made = make_stage("08_policy", tmp_path, sizes={"calib": 9001, "test": 1201})
    calib = made.predictions("calib", trial="text1", seed=11)
    halve(calib, share_for_sets=0.6, rng=np.random.default_rng(0)).to_parquet(tmp_path / "halves.parquet")
    monkeypatch.setattr(type(made), "upstream", lambda self, name, file: tmp_path / file)
    return made


def promised(stage, **guarantee):
    """A study held to the parameters' promise, or to a changed one."""
    policy = stage.params.policy
    changed = policy.guarantee.model_copy(update=guarantee) if guarantee.get("error", 1) else None
    stage._params = stage.all_params.model_copy(update={"policy": policy.model_copy(update={"guarantee": changed})})
    calib, test = (gather(stage, split, CALIBRATED, KEPT) for split in (Split.CALIB, Split.TEST))
    parts = parts_of(stage, calib, CALIBRATED, KEPT)
    calib = bind(stage, calib, parts)
    count_sources(stage, CALIBRATED, calib, test)
    people, draws = people_of(stage, calib.table), stage.resampler(test.groups)
    study = run_study(stage, calib, test, people, draws)
    judge_on_test(stage, study)
    return study, calib, test, parts, people


def test_the_policy_is_the_cheapest_that_keeps_its_promise(stage):
    study, calib, test, parts, people = promised(stage, error=0.03)
    kept, numbers = calib.promised, stage.numbers
    assert len(np.intersect1d(*(part.groups for part in parts))) == 0
    assert (kept.method, kept.n_rows, numbers["policy.promise.is_by_group"].value) == (BETTING, len(parts[1]), 1)
    assert study.policy.t_auto in [*kept.thresholds, ABOVE_ALL] and len(kept.thresholds)
    free = replace(study.calib, allowed=None).tune(0.05)
    assert free.t_auto < study.policy.t_auto, "without the promise more would go out"
    n_changed = (study.test.decide(free) != study.test.decide(study.policy)).sum()
    assert numbers["policy.test.n_changed_by_promise"].value == n_changed > 0
    compare(stage, study, calib, test, halves_of(stage, calib, CALIBRATED, KEPT))
    assert numbers["policy.test.promise_excess"].value <= 0 < numbers["policy.test.auto_share"].value
    cost = numbers["policy.test.cost_without_promise"].value - numbers["policy.test.cost"].value
    assert numbers["policy.test.gain_over_no_promise"].value == pytest.approx(cost)
    batch = decide_batch(
        stage,
        test,
        people,
        study.policy,
        calibrated=CALIBRATED,
        kept=KEPT,
        costs=study.costs,
        promised=kept,
    )
    assert batch.promise["is_kept"] and batch.promise["n_groups"] == kept.n_groups
    plan_table(stage, parts)
    answer = told("08_policy", "chooses nothing", numbers)
    assert "at most 3 % is wrong, with 95 % confidence, for groups like those of calib" in answer
    assert "test does not show it broken" in answer
    assert "thresholds in the sequence keep the promise, shown by the betting test" in told(
        "08_policy", "thresholds in the sequence", numbers
    )


def test_the_score_that_ranks_errors_best_on_the_first_part_of_calib_decides(stage, tmp_path):
    calibrated, table = choose_score(stage, CALIBRATED, KEPT)
    by_name = dict(zip([COMPOSITE, MAX_PROBABILITY, MEAN_PROBABILITY], table["aurc"], strict=True))
    assert calibrated.score == min(by_name, key=by_name.get)
    assert table["score"].tolist() == ["composite", MAXIMUM, POOLED] and stage.numbers["policy.n_scores"].value == 3
    certain = {key: own.assign(logit_0=40.0, logit_1=-40.0) for key, own in stage.tables.items()}
    alike = make_stage("08_policy", tmp_path)
    alike.tables = certain
    assert choose_score(alike, CALIBRATED, KEPT)[0].score == COMPOSITE, "of equal ones the first"
    rng = np.random.default_rng(0)
    for (split, seed), own in stage.tables.items():
        noise = rng.normal(0, 6 if seed == KEPT.seed else 1, len(own))
        stage.tables[split, seed] = own.assign(logit_1=own["logit_1"] + noise)
    stage.numbers.clear()
    calibrated, table = choose_score(stage, CALIBRATED, KEPT)
    assert calibrated == replace(CALIBRATED, score=MEAN_PROBABILITY), "the kept model is the worse of the two"
    row = table.set_index("score").loc[POOLED]
    gain = stage.numbers["policy.score_gain"]
    assert (gain.low, gain.high) == pytest.approx((-row["difference_high"], -row["difference_low"])) and gain.low > 0
    assert stage.numbers["policy.score"].words == POOLED and stage.numbers["policy.is_composite"].value == 0
    calib, test = (gather(stage, split, calibrated, KEPT) for split in (Split.CALIB, Split.TEST))
    assert test.score.tolist() == test.signals[MEAN_PROBABILITY].tolist() and next(iter(test.scores)) == POOLED
    answer_of_mean(stage, calibrated, KEPT, test, stage.resampler(test.groups))
    turned = (test.score < 0.5) * np.where(test.is_wrong, 1.0, -1.0)
    gain = stage.numbers["policy.test.gain_of_mean"]
    assert gain.value == pytest.approx(turned.mean()) and gain.low > 0, (
        "of two classes another is likelier below a half"
    )
    parts = parts_of(stage, calib, calibrated, KEPT)
    study = run_study(
        stage, bind(stage, calib, parts), test, people_of(stage, calib.table), stage.resampler(test.groups)
    )
    assert study.policy.score_name == MEAN_PROBABILITY
    rows = compare(stage, study, calib, test, halves_of(stage, calib, calibrated, KEPT)).set_index("policy")
    assert {"composite", WITHOUT_SCORE} < set(rows.index) and POOLED not in rows.index
    assert "policy.test.gain_over_composite" in stage.numbers


def test_where_no_threshold_keeps_it_nothing_goes_out_and_the_page_says_so(stage):
    study, calib, test, *_ = promised(stage, error=0.0001)
    assert not len(calib.promised.thresholds) and study.policy.t_auto == ABOVE_ALL
    assert not (study.test.decide(study.policy) == Decision.AUTO).any()
    rows = compare(stage, study, calib, test, halves_of(stage, calib, CALIBRATED, KEPT)).set_index("policy")
    assert rows["auto"].drop(["always auto", "oracle", "without promise", ONE_THRESHOLD]).eq(0).all(), (
        "rivals are held to it as well"
    )
    assert rows.loc["without promise", "auto"] > 0
    assert "**no threshold keeps it**" in told("08_policy", "chooses nothing", stage.numbers)
    assert "**no threshold keeps the promise**" in told("08_policy", "No case goes out alone", stage.numbers)


def test_without_a_promise_all_thresholds_are_free(stage):
    study, calib, test, *_ = promised(stage, error=None)
    assert calib.promised is None and study.policy == replace(
        study.calib.tune(0.05), tau_pair=study.policy.tau_pair, tau_batch=study.policy.tau_batch
    )
    assert "without promise" not in set(compare(stage, study, calib, test)["policy"])
    assert "Promised" not in told("08_policy", "chooses nothing", stage.numbers)


def test_what_one_case_alone_tells_of_the_saving_is_not_defined(stage):
    study, *_ = promised(stage, error=0.03)
    taken = study.test.decide(study.policy)
    changed = np.flatnonzero((replace(study.calib, allowed=None).tune(0.05).t_auto <= study.test.score) & (taken > 0))[
        0
    ]
    cost = np.zeros_like(study.test.outcomes.cost)
    cost[changed] = [0.0, 0.5, 1.0]
    case = replace(study.test, outcomes=replace(study.test.outcomes, cost=cost), forced=None)
    for name in ("given_up", "n_changed_by_promise"):
        del stage.numbers[f"policy.test.{name}"]
    judge_on_test(stage, replace(study, test=case))
    assert np.isnan(stage.numbers["policy.test.given_up"].value), "every resample with the case says the same"
    for name in ("given_up", "n_changed_by_promise"):
        del stage.numbers[f"policy.test.{name}"]
    free = replace(study.calib, allowed=None).tune(0.05)
    judge_on_test(stage, replace(study, policy=free))
    given_up = stage.numbers["policy.test.given_up"]
    assert (given_up.value, given_up.low, given_up.kind) == (0, None, EXACT), "the same policy takes nothing away"


def test_a_model_that_is_never_wrong_needs_few_groups_though_its_scores_tie(stage):
    tied = Known(np.ones(600), np.zeros(600, bool), np.repeat(np.arange(200), 3))
    after = plan_table(stage, (tied, tied)).set_index("plan").loc[AFTER]
    assert after["share_alone"] == 1 and stage.numbers["policy.promise.n_needed"].value == after["groups"] < 200
    stage.numbers.clear()
    never = replace(tied, is_wrong=np.ones(600, bool))
    assert plan_table(stage, (never, never)).set_index("plan").loc[AFTER, "groups"] == np.inf
    assert np.isnan(stage.numbers["policy.promise.n_needed"].value)


def test_a_class_has_a_limit_of_its_own(stage):
    _, calib, *_ = promised(stage, error_by_class={stage.classes[0]: 0.01})
    assert calib.promised.promise.error_by_class == {0: 0.01}
    assert stage.numbers["policy.promise.n_limits"].value == 1


def test_stricter_promises_let_out_less_and_need_more_groups(stage):
    _, _, test, parts, _ = promised(stage)
    levels = level_table(stage, parts, test, stage.resampler(test.groups))
    kept = levels[levels["rule"] != ESTIMATED]
    seeming = levels[levels["rule"] == ESTIMATED]
    assert kept["coverage"].is_monotonic_increasing and seeming["coverage"].is_monotonic_increasing
    assert (kept["coverage"].to_numpy() <= seeming["coverage"].to_numpy() + 0.02).all()
    plans = plan_table(stage, parts)
    assert set(plans["error"]) == {0.05} and (plans["more"] >= 0).all()
    after = plans[plans["plan"] == AFTER].iloc[0]
    assert stage.numbers["policy.promise.n_needed"].value == after["groups"]
    assert stage.numbers["policy.promise.n_more"].value == max(after["groups"] - parts[1].n_groups, 0)


def test_without_a_promise_each_level_is_planned(stage):
    _, _, _, parts, _ = promised(stage, error=None)
    plans = plan_table(stage, parts)
    before = plans[(plans["plan"] == "before any data") & (plans["correlation_in_group"] == 0)]
    assert before["error"].tolist() == [0.01, 0.02, 0.05, 0.1] and before["groups"].is_monotonic_decreasing
    assert "policy.promise.n_needed" not in stage.numbers
