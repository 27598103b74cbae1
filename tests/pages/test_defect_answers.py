"""Exchanged names, a threshold on the wrong scale, rows counted twice: each by hand, and nothing where it is off."""

import numpy as np
import pandas as pd
import pytest

from simulated_stage import make_stage, pairs_of, simulated_table
from verdict.base.labels import Label
from verdict.pages import defects as answers
from verdict.pages.defects import effect_table
from verdict.pages.error_analysis import THRESHOLDS, sweep
from verdict.pages.published import read_published
from verdict.report.plots import forest_rows

E, C = Label.ENTAILMENT, Label.CONTRADICTION


@pytest.fixture
def stage(tmp_path):
    return make_stage("13_defects", tmp_path)


def table_of(logit, y_true, groups=None):
    """A prediction table of one split from logits of contradiction."""
    table = simulated_table("test", n=len(logit), seed=1, n_rows_of_group=1)
    return table.assign(logit_1=np.asarray(logit, dtype=float), y_true=y_true, group_id=groups or table["group_id"])


def test_names_are_read_back_and_exchanged_ones_turn_every_answer_round():
    ids = np.array([E, C, C, E, C])
    assert answers.read_back(ids, answers.NAMES).tolist() == ids.tolist()
    assert answers.read_back(ids, answers.EXCHANGED).tolist() == [C, E, E, C, E]


def test_a_perfect_file_becomes_worthless_under_exchanged_names(stage):
    effect = answers.names_effect(stage, table_of([3, 2, -1, -4, 5], [C, C, E, E, C]))
    assert (effect.ours.value, effect.defect.value, effect.difference.value) == (1, 0, -1)


def test_recall_is_that_of_the_row_with_the_name(stage):
    """Three of four contradictions and one of two entailments are found."""
    effect = answers.recall_effect(stage, table_of([1, 1, 1, -1, -1, 1], [C, C, C, C, E, E]))
    assert (effect.ours.value, effect.defect.value) == (3 / 4, 1 / 2)


def test_a_class_report_shows_both_names_and_intervals(stage):
    """Six of eight entailments are found, three of four contradictions."""
    table = table_of([-1] * 6 + [1] * 2 + [-1] + [1] * 3, [E] * 8 + [C] * 4)
    found = answers.class_report(stage, table).set_index("class")
    assert found.loc["entailment", ["printed_as", "support"]].tolist() == ["contradiction", 8]
    assert found.loc["contradiction", "recall"] == 3 / 4
    assert found.loc["contradiction", "precision"] == 3 / 5
    assert found.loc["contradiction", "recall_low"] < 3 / 4 < found.loc["contradiction", "recall_high"]
    ours = answers.recall_effect(stage, table).ours
    shown = found.loc["contradiction", ["recall", "recall_low", "recall_high"]].tolist()
    assert shown == [ours.value, ours.low, ours.high], "one quantity has one interval"


def test_the_study_scored_more_rows_than_it_had():
    """The supports of its printed report add up to whole batches."""
    support = read_published("a2", "_classes")["support"].sum()
    assert support == len(answers.padded_rows(answers.PUBLISHED_ROWS["test"], answers.PUBLISHED_BATCH)) == 3872
    assert len(answers.padded_rows(answers.PUBLISHED_ROWS["val"], answers.PUBLISHED_BATCH)) == 3936


def test_the_guard_turns_round_with_the_names(stage):
    pairs = pairs_of(simulated_table("train", n=97, seed=2)).assign(hypothesis="there is no dog")
    pairs["label"] = np.where(np.arange(97) < 80, "contradiction", "entailment")
    answers.store_guards(stage, pairs)
    assert stage.numbers["defect.guard.ours"].value == pytest.approx(80 / 97)
    assert stage.numbers["defect.guard.defect"].value == pytest.approx(17 / 97)
    assert stage.numbers["defect.guard.ours"].n == 97


def test_without_negations_the_guards_are_not_defined(stage):
    answers.store_guards(stage, pairs_of(simulated_table("train", n=31, seed=2)))
    assert stage.numbers["defect.guard.defect"].text == "not defined"


def test_a_threshold_on_logits_turns_the_answers_between_the_two_scales():
    """A probability of 0.5 is a logit of 0; compared with logits, those between 0 and 0.5 change sides."""
    table = table_of([-0.1, 0.0, 0.3, 0.49, 0.5, 2.0], [E, C, C, C, C, C])
    logits = table[["logit_0", "logit_1"]].to_numpy()
    assert answers.decide_on_logits(logits, 0.5).tolist() == [E, E, E, E, C, C]
    assert answers.n_turned(table, 0.5) == 2, "a logit of zero is a tie, which both answer with entailment"


def test_the_effect_of_the_threshold_is_that_of_the_turned_answers(stage):
    """Of four contradictions two are lost: F1 of contradiction 2/3 and of entailment 2/3 instead of 1 and 1."""
    effect = answers.threshold_effect(stage, table_of([-3, -3, 0.3, 0.4, 3, 3], [E, E, C, C, C, C]), 0.5)
    assert (effect.ours.value, effect.defect.value) == pytest.approx((1, (2 / 3 + 4 / 6) / 2))


def test_clear_answers_do_not_feel_the_scale(stage):
    table = table_of([-4, 5, -6, 7, 4, -5, 6], [E, C, C, C, E, E, C])
    curve = answers.threshold_curve(stage, table, [0.1, 0.5, 0.9])
    assert curve["n_turned"].tolist() == [0, 0, 0]
    assert (curve["difference"] == 0).all()
    # Seven groups without a difference do not say that there is none in others.
    assert (curve["difference_low"] == -curve["difference_high"]).all() and (curve["difference_high"] > 0.3).all()


def test_the_curve_of_the_right_scale_is_the_sweep(stage):
    table = simulated_table("test", n=211, seed=5)
    curve = answers.threshold_curve(stage, table)
    assert np.array_equal(curve["ours"], sweep(table)["macro_f1"])
    assert np.array_equal(curve["threshold"], THRESHOLDS)
    assert (curve["defect"] != curve["ours"]).any()


@pytest.mark.parametrize(
    ("n", "batch", "epoch", "rows"),
    [(5, 2, 0, [0, 1, 2, 3, 4, 0]), (5, 2, 1, [1, 2, 3, 4, 0, 1]), (4, 2, 3, [0, 1, 2, 3]), (2, 5, 1, [1, 0, 1, 0, 1])],
)
def test_a_repeating_data_set_fills_its_last_batch_and_goes_on(n, batch, epoch, rows):
    assert answers.padded_rows(n, batch, epoch).tolist() == rows


def test_a_filled_batch_counts_its_first_rows_twice(stage):
    """Rows 0 and 1 of three in batches of five: 0, 1, 2, 0, 1. Row 2 alone is wrong."""
    table = table_of([1, -1, 1], [C, E, E])
    effect = answers.padding_effect(stage, table, 5)
    assert effect.ours.value == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert effect.defect.value == pytest.approx((2 * 2 / 5 + 2 * 2 / 5) / 2)


def test_whole_batches_change_nothing(stage):
    table = simulated_table("test", n=210, seed=6)
    effect = answers.padding_effect(stage, table, 7)
    assert effect.ours == effect.defect
    assert effect.difference.value == 0
    assert answers.drift(stage, table, 7, 4)["macro_f1"].nunique() == 1
    assert stage.numbers["defect.drift.range"].value == 0


def test_the_same_answers_drift_between_epochs(stage):
    found = answers.drift(stage, simulated_table("val", n=211, seed=6), 32, 4)
    assert found["first_row"].tolist() == [0, 13, 26, 39]
    assert stage.numbers["defect.drift.range"].value == found["macro_f1"].max() - found["macro_f1"].min() > 0
    assert stage.numbers["defect.drift.n_epochs"].value == 4


def test_nothing_drifts_within_one_epoch(stage):
    """A range over one epoch is zero whatever was wrong: it is refused, not printed."""
    with pytest.raises(ValueError, match="a drift is between epochs, got 1"):
        answers.drift(stage, simulated_table("val", n=211, seed=6), 32, 1)


def test_repeated_rows_are_counted():
    found = answers.padding_table({"a": 3922, "b": 64}, 32).set_index("evaluation")
    assert found.loc["a", "n_repeated"] == 14
    assert found.loc["a", "share_repeated"] == 14 / 3936
    assert found.loc["b", "n_repeated"] == 0


def test_effects_stand_beside_each_other_and_are_stored(stage):
    table = simulated_table("test", n=211, seed=7)
    effects = {"names": answers.names_effect(stage, table), "threshold": answers.threshold_effect(stage, table, 0.4)}
    effects["names"].store(stage, "defect.names", seeds=(11,))
    number = stage.numbers["defect.names.difference"]
    assert (number.n, number.split, number.seeds) == (211, "test", (11,))
    assert number.low <= number.value <= number.high
    found = effect_table(effects)
    assert {"switched_on", "n", "ours", "ours_low", "with_defect", "difference_high"} <= set(found.columns)
    forest = forest_rows(found, "switched_on", "difference")
    assert forest["label"].tolist() == ["names", "threshold"]
    assert forest.loc[0, "value"] == effects["names"].difference.value


def test_the_difference_is_paired(stage):
    """Two rules that disagree on few rows: the interval of the difference is far narrower than either score's."""
    table = simulated_table("test", n=997, seed=8)
    effect = answers.threshold_effect(stage, table, 0.6)
    width = effect.difference.high - effect.difference.low
    assert width < 0.7 * (effect.ours.high - effect.ours.low)
    assert isinstance(effect.row(a=1), dict) and pd.Series(effect.row(a=1))["a"] == 1
