"""From predictions to a policy: signals of several seeds, people by hand, and a log that replays."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage, pairs_of, simulated_table
from verdict.audit import replay_log
from verdict.deferral import (
    Calibrated,
    choose_people,
    costs_of,
    decide_batch,
    diluted,
    explained,
    gather,
    log_decisions,
    read_evidence,
)
from verdict.params import HumanParams
from verdict.policy import Decision, Forced, Policy
from verdict.signals import CONFORMAL_CONFIDENCE, ENSEMBLE_STABILITY, MAX_PROBABILITY

CALIBRATED = Calibrated({11: 2.0, 23: 2.0}, 11, 0.9, 0.1)
SIMULATED = HumanParams(kind="parametric", accuracy=0.95, clarify_accuracy=0.8, seed=5)
VOTES = HumanParams(kind="votes", accuracy=0.95, clarify_accuracy=0.8, seed=5)


def table_of(*logits, y_true=1):
    table = simulated_table("test", n=len(logits), seed=0)
    return table.assign(logit_1=np.asarray(logits, dtype=float), y_true=y_true)


@pytest.fixture
def stage(tmp_path):
    return make_stage("08_policy", tmp_path)


def test_signals_by_hand():
    one, other = table_of(2 * np.log(3.0)), table_of(-2 * np.log(3.0))
    found = read_evidence({11: one, 23: other}, CALIBRATED, critical_floor=0.05)
    assert found.probs[0].tolist() == pytest.approx([1 / 4, 3 / 4])
    assert found.signals[MAX_PROBABILITY][0] == pytest.approx(3 / 4)
    # The other seed's model gives 1/4 to the kept model's answer: standard deviation 1/4, stability 1 - 2/4.
    assert found.signals[ENSEMBLE_STABILITY][0] == pytest.approx(1 - 2 * (3 / 4 - 1 / 4) / 2)
    assert found.sets.tolist() == [[True, True]], "1 - 1/4 is at most 0.9, so both classes are plausible"
    assert found.signals[CONFORMAL_CONFIDENCE][0] == 1 / 2
    signals = np.array([signal[0] for signal in found.signals.values()])
    assert found.score[0] == pytest.approx(signals.prod() ** (1 / 4))
    assert found.answer.tolist() == [1]
    assert not found.is_wrong[0]


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


def test_a_glance_changes_an_unsure_answer_and_not_a_sure_one():
    people = choose_people(SIMULATED, pd.DataFrame(), pd.DataFrame())
    unsure, sure = np.log(0.6 / 0.4), np.log(0.9 / 0.1)
    found = read_evidence({11: table_of(unsure, sure)}, Calibrated({11: 1.0}, 11, 1.0, 0.1), critical_floor=0.0)
    # 0.6 against an answer of accuracy 0.8: 0.6 * 0.2 < 0.4 * 0.8; 0.9 holds: 0.9 * 0.2 > 0.1 * 0.8.
    assert people.clarified(found).ravel().tolist() == pytest.approx([0.2, 0.8, 0.0, 1.0])


def test_expected_costs_by_hand(stage):
    people, costs = choose_people(SIMULATED, pd.DataFrame(), pd.DataFrame()), costs_of(stage.params.policy)
    found = read_evidence(
        {11: table_of(np.log(0.6 / 0.4), y_true=0)}, Calibrated({11: 1.0}, 11, 1.0, 0.1), critical_floor=0.0
    )
    outcomes = people.outcomes(found, costs)
    assert outcomes.cost[0].tolist() == pytest.approx([10.0, 0.25 + 0.2 * 10, 1 + 0.05 * 10])
    perfect = people.outcomes(found, costs, is_perfect=True)
    assert perfect.cost[0].tolist() == pytest.approx([10.0, 0.25 + 0.2 * 10, 1.0])


def test_the_drawn_answers_scatter_around_the_expected_ones(stage):
    people = choose_people(SIMULATED, pd.DataFrame(), pd.DataFrame())
    found = gather(stage, "test", CALIBRATED, KEPT)
    expected = 1 - people.clarified(found)[np.arange(len(found)), found.y_true].mean()
    drawn = (people.ask(found).answer != found.y_true).mean()
    assert drawn == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / len(found)))


def test_votes_with_guesses_have_the_wanted_accuracy():
    shares = np.array([[0.8, 0.2], [1.0, 0.0], [0.6, 0.4]])
    mixed = diluted(shares, 0.8, 0.7)
    assert mixed[:, 0].mean() == pytest.approx(0.7)
    assert mixed.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert np.array_equal(diluted(shares, 0.8, 0.9), shares), "guessing makes nobody better"


def test_recorded_votes_answer_and_a_pair_without_votes_is_skipped():
    table = simulated_table("calib", n=101, seed=0)
    pairs = pairs_of(table)
    right, n_votes = (table["y_true"] == 0).to_numpy(), 5
    pairs["votes_entailment"] = np.where(right, n_votes, 0)
    pairs["votes_contradiction"] = np.where(right, 0, n_votes)
    warmup = pairs.iloc[:1].assign(pair_id="other", votes_entailment=0, votes_contradiction=0)
    people = choose_people(VOTES, pd.concat([pairs, warmup]), table)
    assert np.array_equal(people.careful.answers(table["pair_id"]), table["y_true"])
    said = people.hasty.distribution(table["pair_id"])[np.arange(101), table["y_true"]]
    assert said.mean() == pytest.approx(0.8)
    assert people.likelihood[0].diagonal().tolist() == pytest.approx([0.8, 0.8])


def test_votes_that_are_not_there_are_refused():
    table = simulated_table("calib", n=7, seed=0)
    with pytest.raises(ValueError, match=r"the pairs have no .*votes_entailment.*set it to parametric"):
        choose_people(VOTES, pairs_of(table), table)


def test_the_log_replays_and_explains_each_branch(stage, tmp_path):
    people, costs = choose_people(SIMULATED, pd.DataFrame(), pd.DataFrame()), costs_of(stage.params.policy)
    found = gather(stage, "test", CALIBRATED, KEPT)
    low, high = np.quantile(found.score[found.forced == Forced.NONE], [0.3, 0.7])
    policy = Policy(float(high), float(low), stage.params.policy.critical_floor)
    batch = decide_batch(stage, found, people, policy, calibrated=CALIBRATED, kept=KEPT, costs=costs)
    path = tmp_path / "audit.jsonl"
    assert log_decisions(path, batch).n_items == 701
    replay = replay_log(path)
    assert replay.is_identical, replay.text
    words = explained(path, batch)
    assert words["decision"].tolist() == ["auto", "clarify", "human"]
    assert words["why"].str.contains("Final answer").all()
    assert "at a glance" in words["why"].iloc[1]
    assert np.array_equal(np.unique(batch.decision), [int(branch) for branch in Decision])
    assert batch.cost.min() >= 0


def test_an_infinite_threshold_of_the_sets_is_logged_as_none(stage, tmp_path):
    people, costs = choose_people(SIMULATED, pd.DataFrame(), pd.DataFrame()), costs_of(stage.params.policy)
    every = Calibrated({11: 2.0, 23: 2.0}, 11, float("inf"), 0.1)
    found = gather(stage, "test", every, KEPT)
    batch = decide_batch(stage, found, people, Policy(0.0, 0.0, 0.05), calibrated=every, kept=KEPT, costs=costs)
    log_decisions(tmp_path / "audit.jsonl", batch)
    assert replay_log(tmp_path / "audit.jsonl").is_identical
