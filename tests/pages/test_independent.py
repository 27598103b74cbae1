"""The page on independent sets: changes from test, what is absent, and decisions under shift."""

import numpy as np
import pytest

from page_text import told
from simulated_stage import CALIBRATED, KEPT, make_stage, with_distances, with_people
from verdict.base.labels import Split, class_names
from verdict.base.numbers import POINTS
from verdict.decide.deferral import costs_of, people_of, tuning_table
from verdict.decide.policy import ABOVE_ALL, Policy
from verdict.pages import independent
from verdict.pages.calibration import transfer

SIZES = {"calib": 599, "test": 701, "independent": 307, "independent_hand": 53}


@pytest.fixture
def stage(tmp_path):
    return with_people(make_stage("09_independent_set", tmp_path, sizes=SIZES))


@pytest.fixture
def without(tmp_path):
    return make_stage("09_independent_set", tmp_path)


def decided(stage, tables, policy):
    people = people_of(stage, tuning_table(stage, KEPT), *tables)
    evidence = independent.gather_splits(stage, tables, CALIBRATED, KEPT)
    return independent.decisions_by_split(stage, evidence, people, costs_of(stage.params.policy, class_names()), policy)


def test_a_collapse_is_a_change_whose_interval_excludes_zero(stage):
    for seed in (11, 23):
        table = stage.tables["independent", seed]
        stage.tables["independent", seed] = table.assign(logit_1=-table["logit_1"])
    tables = independent.read_tables(stage, KEPT)
    assert list(tables) == ["test", "independent", "independent_hand"]
    found = independent.scores_by_split(stage, tables).set_index("split")
    change = stage.numbers["independent.macro_f1_change"]
    assert change.high < 0
    assert change.value == pytest.approx(found.loc["independent", "macro_f1"] - found.loc["test", "macro_f1"])
    assert np.isnan(found.loc["test", "macro_f1_change"])
    assert not stage.numbers["independent_hand.macro_f1_change"].excludes(0)


def test_an_absent_set_is_said_and_its_numbers_are_not_defined(without):
    tables = independent.read_tables(without, KEPT)
    assert list(tables) == ["test"]
    assert len(independent.scores_by_split(without, tables)) == 1
    decided(without, tables, Policy(0.5, 0.5, 0.05))
    independent.store_transfer(without, transfer(without, list(tables.values()), 2.0), tables)
    for name in ("accuracy", "gain_over_guessing", "macro_f1", "macro_f1_change", "ece", "policy_gain", "coverage"):
        assert without.numbers[f"independent.{name}"].text == "not defined"
    assert without.numbers["independent.n_pairs"].text == "0"
    assert all(number.kind for number in without.numbers.values())
    assert all("no independent set" in text for text in said(without))
    sentences = independent.hand_written(without, tables, 2.0)
    assert sentences.empty
    assert list(sentences.columns)[:2] == ["image", "image_id"]


def said(stage):
    stage.number("policy.is_simulated", True)
    return [told("09_independent_set", words, stage.numbers) for words in ("stays open", "The policy lets")]


def test_saved_logits_are_not_said_to_be_generated_or_written_by_hand(stage, monkeypatch):
    monkeypatch.setattr(type(stage), "is_recorded", True)
    independent.scores_by_split(stage, independent.read_tables(stage, KEPT))
    assert "independent.n_pairs" in stage.numbers and "independent.n_images" not in stage.numbers


def test_guessing_is_the_most_frequent_of_all_classes(stage):
    """Three classes, one third each: an accuracy below one half beats guessing."""
    rng, table = np.random.default_rng(0), stage.tables["independent", 11]
    y_true = np.arange(len(table)) % 3
    answer = np.where(rng.random(len(table)) < 0.2, y_true, rng.integers(0, 3, len(table)))
    logits = {f"logit_{k}": 2.0 * (answer == k) for k in range(3)}
    tables = {"test": stage.tables["test", 11], "independent": table.assign(y_true=y_true, **logits)}
    independent.scores_by_split(stage, tables)
    assert stage.numbers["independent.guessing"].value == pytest.approx(1 / 3, abs=5e-3)
    assert stage.numbers["independent.accuracy"].value < 0.5
    gain = stage.numbers["independent.gain_over_guessing"]
    assert gain.value == pytest.approx((answer == y_true).mean() - (y_true == 0).mean())
    assert gain.low > 0 and gain.unit == POINTS
    changed = tables["independent"].assign(y_true=(y_true + 1) % 3)
    other = make_stage("09_independent_set", stage.folder, sizes=SIZES)
    independent.scores_by_split(other, tables | {"independent": changed})
    assert other.claim("beats", "It beats guessing", "independent.gain_over_guessing", ">", 0.0).holds is False


def test_skills_stand_by_family_in_the_order_of_splits(stage):
    skills = independent.skills(stage, independent.read_tables(stage, KEPT))
    assert skills["label"].tolist()[:3] == ["colour"] * 3
    assert skills["group"].tolist()[:3] == ["test", "independent", "independent_hand"]
    assert skills.groupby("group")["n"].sum().to_dict() == {"test": 701, "independent": 307, "independent_hand": 53}
    assert "independent.fallen" in stage.numbers and stage.numbers["independent.n_fallen"].value == 0


def test_the_family_that_falls_most_is_named_with_bounds_that_pay_for_the_choice(stage):
    """Half of the answers on counts are turned round."""
    table = stage.tables["independent", 11]
    turned = np.where(np.arange(len(table)) % 4 == 1, -1, 1)
    stage.tables["independent", 11] = table.assign(logit_1=turned * table["logit_1"])
    skills = independent.skills(stage, independent.read_tables(stage, KEPT)).set_index(["split", "family"])
    numbers = {name: stage.numbers[f"independent.{name}"] for name in ("worst_family", "worst_change", "n_fallen")}
    assert (numbers["worst_family"].words, numbers["n_fallen"].value) == ("count", 1)
    there, before = (skills.loc[(split, "count")] for split in ("independent", "test"))
    change = numbers["worst_change"]
    assert change.value == there["change"] == pytest.approx(there["value"] - before["value"])
    assert change.low == there["change_low"] < change.high == there["change_high"] < 0 and np.isnan(before["change"])
    assert stage.numbers["independent.worst_accuracy"].value == there["value"]
    assert stage.numbers["independent.fallen"].words == f"count {100 * change.value:+.1f} points"
    assert stage.numbers["independent.not_fallen"].words.startswith("colour ")


def test_the_hand_written_sentences_show_answer_and_probability(stage):
    tables = independent.read_tables(stage, KEPT)
    found = independent.hand_written(stage, tables, 2.0)
    table = tables["independent_hand"]
    assert len(found) == 53
    assert found["is_right"].sum() == ((table["logit_1"] >= 0).astype(int) == table["y_true"]).sum()
    assert found["prob"].between(0.5, 1).all()
    assert (found["is_right"] == (found["label"] == found["answer"])).all()
    assert found["image"].is_monotonic_increasing


def test_decisions_add_up_and_the_answer_can_be_said(stage):
    tables = independent.read_tables(stage, KEPT)
    found = decided(stage, tables, Policy(0.6, 0.3, 0.05))
    assert found[["auto", "clarify", "human"]].sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    share, row = stage.numbers["independent.auto_share"], found.set_index("split").loc["independent"]
    assert (share.value, share.low, share.high) == (row["auto"], row["auto_low"], row["auto_high"])
    assert row["always_human"] == pytest.approx(1.5) and np.isnan(row["always_human_low"]), "by the parameters"
    always_human = found.set_index("split").loc["independent", "always_human"]
    gain = stage.numbers["independent.policy_gain"].value
    assert gain == pytest.approx(always_human - stage.numbers["independent.policy_cost"].value)
    alarm = (
        stage.numbers["independent.policy_cost"].value - found.set_index("split").loc["independent", "unwatched_cost"]
    )
    assert stage.numbers["independent.alarm_cost"].value == pytest.approx(alarm)
    independent.scores_by_split(stage, tables)
    independent.store_transfer(stage, transfer(stage, list(tables.values()), 2.0), tables)
    for split in (Split.INDEPENDENT, Split.INDEPENDENT_HAND):
        stage.number(f"{split}.level", 0.9)
        stage.number(f"{split}.coverage", 0.8)
    assert said(stage)[1].count("of them wrong") == 2


def test_a_policy_that_lets_nothing_out_has_no_error_rate(stage):
    tables = independent.read_tables(stage, KEPT)
    found = decided(stage, tables, Policy(1.0, 1.0, 0.05))
    assert (found["auto"] == 0).all() and found["auto_high"].gt(0).all(), "another score might reach the threshold"
    assert np.isnan(stage.numbers["independent.auto_error"].value)


def test_what_a_rule_or_the_parameters_decide_is_no_estimate(stage):
    found = decided(stage, independent.read_tables(stage, KEPT), Policy(ABOVE_ALL, 0.3, 0.05))
    assert (found["auto"] == 0).all() and found[["auto_low", "always_human_low"]].isna().all(axis=None)
    assert stage.numbers["independent.auto_share"].text == "0 %" and found["clarify_high"].notna().all()


def test_an_alarm_costs_what_the_policy_would_save_without_it(stage):
    with_distances(stage, lambda drawn, split: drawn + 30 * (split == "independent"))
    found = decided(stage, independent.read_tables(stage, KEPT), Policy(0.6, 0.3, 0.05)).set_index("split")
    row, numbers = found.loc["independent"], stage.numbers
    assert row["human"] == 1 and np.isnan(row["human_low"]) and row["cost"] == row["always_human"]
    assert numbers["independent.alarm_cost"].value == pytest.approx(row["cost"] - row["unwatched_cost"])
    assert numbers["independent.unwatched_share"].low > 0.3 and numbers["independent.unwatched_error"].low > 0
    assert numbers["independent.policy_gain"].text == "0 min"
