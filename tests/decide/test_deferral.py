"""From predictions to a policy: signals of several seeds, people by hand, and a log that replays."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage, simulated_table, with_people
from verdict.base.labels import class_names, expected_columns
from verdict.base.params import Signal
from verdict.decide.deferral import (
    TUNING,
    Calibrated,
    clarified,
    costs_of,
    decide_batch,
    explained,
    gather,
    gather_both,
    log_decisions,
    log_table,
    outcomes_of,
    people_of,
    read_evidence,
    tuning_table,
)
from verdict.decide.log.replay import replay_log
from verdict.decide.policy import Decision, Forced, Policy
from verdict.decide.signals import (
    CONFORMAL_CONFIDENCE,
    ENSEMBLE_STABILITY,
    MAX_PROBABILITY,
    MEAN_PROBABILITY,
    VIEW_STABILITY,
)
from verdict.model.predict import DecisionRule, logits_of
from verdict.workflow.stages import QUESTIONS, VIEWS

CALIBRATED = Calibrated({11: 2.0, 23: 2.0}, 11, 0.9, 0.1)


def table_of(*logits, y_true=1):
    table = simulated_table("test", n=len(logits), seed=0)
    return table.assign(logit_1=np.asarray(logits, dtype=float), y_true=y_true)


@pytest.fixture
def stage(tmp_path):
    return with_people(make_stage("08_policy", tmp_path))


def test_signals_by_hand():
    one, other = table_of(2 * np.log(3.0)), table_of(-2 * np.log(3.0))
    found = read_evidence({11: one, 23: other}, CALIBRATED, critical_floor=0.05)
    assert found.probs[0].tolist() == pytest.approx([1 / 4, 3 / 4])
    assert found.signals[MAX_PROBABILITY][0] == pytest.approx(3 / 4)
    # The other seed's model gives 1/4 to the kept model's answer: standard deviation 1/4, stability 1 - 2/4.
    assert found.signals[ENSEMBLE_STABILITY][0] == pytest.approx(1 - 2 * (3 / 4 - 1 / 4) / 2)
    assert found.sets.tolist() == [[True, True]], "1 - 1/4 is at most 0.9, so both classes are plausible"
    assert found.signals[CONFORMAL_CONFIDENCE][0] == 1 / 2
    assert found.signals[MEAN_PROBABILITY][0] == pytest.approx((3 / 4 + 1 / 4) / 2)
    signals = np.array([signal[0] for name, signal in found.signals.items() if name != MEAN_PROBABILITY])
    assert found.score[0] == pytest.approx(signals.prod() ** (1 / 4))
    assert found.answer.tolist() == [1]
    assert not found.is_wrong[0]


def test_a_tie_of_probabilities_is_no_tie_of_logits():
    """Both have probability 1/2 to the last bit; validation, test and export answer by the logits."""
    table = table_of(1e-17, 0.0)
    found = read_evidence({11: table}, Calibrated({11: 2.0}, 11, 0.9, 0.1), critical_floor=0.05)
    assert found.probs.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert found.answer.tolist() == DecisionRule().decide(logits_of(table)).tolist() == [1, 0]


def test_each_seed_is_scaled_by_its_own_temperature():
    table = table_of(2 * np.log(3.0))
    own = Calibrated({11: 2.0, 23: 1.0}, 11, 0.9, 0.1)
    found = read_evidence({11: table, 23: table}, own, critical_floor=0.05)
    # 3/4 at T = 2 and 9/10 at T = 1.
    assert found.signals[ENSEMBLE_STABILITY][0] == pytest.approx(1 - 2 * (9 / 10 - 3 / 4) / 2)


def test_one_seed_has_no_stability():
    found = read_evidence({11: table_of(1.0, 2.0)}, Calibrated({11: 1.0}, 11, 0.9, 0.1), critical_floor=0.05)
    assert ENSEMBLE_STABILITY not in found.signals


def test_empty_sets_and_weak_signals_are_forced():
    strict = Calibrated({11: 1.0}, 11, 0.2, 0.1)
    found = read_evidence({11: table_of(0.01, 1.0, 5.0)}, strict, critical_floor=0.05)
    # No class of the second pair has a probability of 0.8 either: its set is empty, which is named first.
    assert found.forced.tolist() == [Forced.EMPTY_SET, Forced.EMPTY_SET, Forced.NONE]
    loose = read_evidence({11: table_of(0.01, 1.0, 5.0)}, Calibrated({11: 1.0}, 11, 1.0, 0.1), critical_floor=0.05)
    assert loose.forced.tolist() == [Forced.CRITICAL_SIGNAL, Forced.NONE, Forced.NONE]


def test_models_that_answer_other_pairs_are_refused():
    table = table_of(1.0, 2.0)
    with pytest.raises(ValueError, match="same pairs in the same order"):
        read_evidence({11: table, 23: table.iloc[::-1].reset_index(drop=True)}, CALIBRATED, critical_floor=0.05)


def test_views_by_hand():
    same, other = np.log(3.0), np.log(1 / 3)
    views = np.array([[[0.0, 2 * same]], [[0.0, 2 * other]]])
    found = read_evidence(
        {11: table_of(2 * same)}, Calibrated({11: 2.0}, 11, 0.9, 0.1), critical_floor=0.0, view_logits=views
    )
    # 3/4 for the untouched image, 3/4 and 1/4 for its views.
    assert found.signals[VIEW_STABILITY][0] == pytest.approx(1 - 2 * np.std([3 / 4, 3 / 4, 1 / 4]))


def test_parameters_may_give_each_signal_a_floor_and_no_other():
    table, views = table_of(1.0, 2.0), np.zeros((1, 2, 2))
    found = read_evidence({11: table, 23: table}, CALIBRATED, critical_floor={}, view_logits=views)
    assert set(found.signals) == set(get_args(Signal))
    assert found.forced.tolist() == [Forced.NONE] * 2


def test_consistency_multiplies_the_score():
    table, alone = table_of(2 * np.log(3.0)), Calibrated({11: 2.0}, 11, 0.9, 0.1)
    plain = read_evidence({11: table}, alone, critical_floor=0.0)
    asked = read_evidence({11: table}, alone, critical_floor=0.0, consistency=np.array([0.8]))
    assert asked.score[0] == pytest.approx(0.8 * plain.score[0])
    assert "question_consistency" in asked.shown_signals and "question_consistency" not in plain.shown_signals


def asked_of(table, *, view_shift, prob_yes):
    """Views that move every logit alike, and one question a pair whose answer follows from entailment alone."""
    views = [
        table[["pair_id", "split", "logit_0"]].assign(view=f"v{k}", logit_1=table["logit_1"] + s)
        for k, s in enumerate(view_shift)
    ]
    question = table[["pair_id", "split"]].assign(question="q", logit_0=0.0)
    question["logit_1"] = -CALIBRATED.temperature * np.log(prob_yes / (1 - prob_yes))
    question[expected_columns()] = [1.0, np.nan]
    return pd.concat(views), question


def test_what_else_was_asked_becomes_signals(stage):
    parts = [asked_of(stage.tables[split, 11], view_shift=(0.0, 0.5), prob_yes=0.7) for split in ("calib", "test")]
    # Rows in another order than the pairs: they are found by id.
    stage.asked = {VIEWS: pd.concat(v for v, _ in parts)[::-1], QUESTIONS: pd.concat(q for _, q in parts)[::-1]}
    found = gather(stage, "test", CALIBRATED, KEPT)
    assert found.signals[VIEW_STABILITY].max() <= 1 and found.signals[VIEW_STABILITY].min() < 1
    entailed = found.answer == class_names().index("entailment")
    assert found.consistency[entailed] == pytest.approx(0.7)
    # Nothing follows from a contradiction here: such a pair has the mean consistency of calib.
    assert found.consistency[~entailed] == pytest.approx(0.7)
    assert entailed.any() and not entailed.all()


def test_tuning_pairs_are_calib_unless_a_part_of_test_is_marked(stage):
    tuning, test = gather_both(stage, CALIBRATED, KEPT)
    assert (tuning.split, test.split, len(tuning), len(test)) == ("calib", "test", 599, 701)
    marked = stage.tables["test", 11]["group_id"].isin([f"test-g{k}" for k in range(0, 200, 2)])
    ids = set(stage.tables["test", 11].loc[marked, "pair_id"])
    whole = stage.pairs
    stage.pairs = lambda *splits: whole(*splits).assign(is_tuning=lambda pairs: pairs["pair_id"].isin(ids))
    tuning, test = gather_both(stage, CALIBRATED, KEPT)
    assert (tuning.split, test.split) == (TUNING, "test")
    assert set(tuning.table["pair_id"]) == ids
    assert len(tuning) + len(test) == 701
    assert not set(tuning.groups) & set(test.groups)
    assert set(tuning_table(stage, KEPT)["pair_id"]) == ids
    everything = gather(stage, "test", CALIBRATED, KEPT)
    np.testing.assert_array_equal(np.sort(np.concatenate([tuning.score, test.score])), np.sort(everything.score))


def test_a_glance_changes_an_unsure_answer_and_not_a_sure_one(stage):
    people = people_of(stage, stage.tables["calib", 11])
    unsure, sure = np.log(0.6 / 0.4), np.log(0.9 / 0.1)
    found = read_evidence({11: table_of(unsure, sure)}, Calibrated({11: 1.0}, 11, 1.0, 0.1), critical_floor=0.0)
    # 0.6 against an answer of accuracy 0.8: 0.6 * 0.2 < 0.4 * 0.8; 0.9 holds: 0.9 * 0.2 > 0.1 * 0.8.
    assert clarified(found, people).ravel().tolist() == pytest.approx([0.2, 0.8, 0.0, 1.0])


def test_expected_costs_by_hand(stage):
    people, costs = people_of(stage, stage.tables["calib", 11]), costs_of(stage.params.policy, class_names())
    found = read_evidence(
        {11: table_of(np.log(0.6 / 0.4), y_true=0)}, Calibrated({11: 1.0}, 11, 1.0, 0.1), critical_floor=0.0
    )
    outcomes = outcomes_of(found, people, costs)
    assert outcomes.cost[0].tolist() == pytest.approx([10.0, 0.25 + 0.2 * 10, 1 + 0.05 * 10])
    perfect = outcomes_of(found, people, costs, human=found.y_true)
    assert perfect.cost[0].tolist() == pytest.approx([10.0, 0.25 + 0.2 * 10, 1.0])


def test_a_class_may_have_a_price_of_its_own(stage):
    costs = stage.params.policy.costs.model_copy(update={"error_of": {"contradiction": 3.0}})
    found = costs_of(stage.params.policy.model_copy(update={"costs": costs}), class_names())
    assert found.error == [10.0, 3.0]


def test_the_drawn_answers_scatter_around_the_expected_ones(stage):
    people = people_of(stage, stage.tables["calib", 11])
    found = gather(stage, "test", CALIBRATED, KEPT)
    expected = 1 - clarified(found, people)[np.arange(len(found)), found.y_true].mean()
    asked = people.ask(found.table["pair_id"], found.y_true, found.probs)
    drawn = (asked.answer != found.y_true).mean()
    assert drawn == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / len(found)))


def test_a_floor_for_a_signal_that_the_report_lacks_is_refused(stage):
    settings = stage.all_params.policy.model_copy(update={"critical_floor": {"view_stability": 0.5}})
    stage._params = stage.all_params.model_copy(update={"policy": settings})
    with pytest.raises(ValueError, match=r"floor gives a floor to \['view_stability'\].* it has \['max_probability',"):
        gather(stage, "test", CALIBRATED, KEPT)


def test_the_log_replays_and_explains_each_branch(stage, tmp_path):
    people, costs = people_of(stage, stage.tables["calib", 11]), costs_of(stage.params.policy, class_names())
    found = gather(stage, "test", CALIBRATED, KEPT)
    low, high = np.quantile(found.score[found.forced == Forced.NONE], [0.3, 0.7])
    policy = Policy(float(high), float(low), stage.params.policy.critical_floor)
    batch = decide_batch(stage, found, people, policy, calibrated=CALIBRATED, kept=KEPT, costs=costs)
    path = tmp_path / "audit.jsonl"
    assert log_decisions(path, batch) == 701
    replay = replay_log(path)
    assert replay.is_identical, replay.text
    words = explained(path, batch.pair_id[np.unique(batch.decision, return_index=True)[1]])
    assert words["decision"].tolist() == ["auto", "clarify", "human"]
    assert set(words["case"]) <= set(batch.hypothesis) and not words["why"].str.contains("_|run ").any()
    assert words["why"].str.contains("max probability").all()
    assert words["why"].str.contains("Final answer").all()
    assert "at a glance" in words["why"].iloc[1]
    assert np.array_equal(np.unique(batch.decision), [int(branch) for branch in Decision])
    assert batch.cost.min() >= 0
    shared = {"kept": KEPT, "costs": costs}
    others = {
        decide_batch(stage, found, people, own, calibrated=fixed, **shared).run_id
        for own, fixed in (
            (policy, CALIBRATED),
            (policy, replace(CALIBRATED, qhat=0.8)),
            (replace(policy, t_clarify=0.0), CALIBRATED),
        )
    }
    assert batch.run_id in others and len(others) == 3, "what was tuned names the run"
    table = log_table(stage, path, batch, stage.resampler(batch.group_id)).set_index("quantity")["value"]
    assert [number.value for number in table] == [701, 0, pytest.approx(batch.cost.mean())]
    assert stage.numbers["policy.test.cost_logged"].low < batch.cost.mean()
    claim = stage.claim("replay", "The log replays", "policy.test.n_replay_differences", "<=", 0)
    assert claim.holds
    path.write_bytes(path.read_bytes().replace(b'"decision":"auto"', b'"decision":"human"', 1))
    other = make_stage("08_policy", tmp_path)
    log_table(other, path, batch, stage.resampler(batch.group_id))
    assert other.claim("replay", "The log replays", "policy.test.n_replay_differences", "<=", 0).holds is False


def test_an_infinite_threshold_of_the_sets_is_logged_as_none(stage, tmp_path):
    people, costs = people_of(stage, stage.tables["calib", 11]), costs_of(stage.params.policy, class_names())
    every = Calibrated({11: 2.0, 23: 2.0}, 11, float("inf"), 0.1)
    found = gather(stage, "test", every, KEPT)
    batch = decide_batch(stage, found, people, Policy(0.0, 0.0, 0.05), calibrated=every, kept=KEPT, costs=costs)
    log_decisions(tmp_path / "audit.jsonl", batch)
    assert replay_log(tmp_path / "audit.jsonl").is_identical
