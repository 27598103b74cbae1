"""Whether another world is noticed: strange pairs, foreign batches, and what the pages say of them."""

import numpy as np
import pytest

from page_text import told
from simulated_stage import CALIBRATED, KEPT, make_stage, with_distances
from verdict.decide.deferral import gather
from verdict.decide.policy import Forced
from verdict.pages.notice import batch_table, false_alarms, pair_table, power_table, study_splits
from verdict.stats.uncertainty import wilson

SIZES = {"val": 601, "calib": 1499, "test": 1201, "independent": 307}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setattr("verdict.pages.notice.N_HALVES", 50)
    monkeypatch.setattr("verdict.pages.notice.N_BATCHES", 20)
    made = make_stage("09_independent_set", tmp_path, sizes=SIZES)
    return with_distances(made, lambda drawn, split: drawn + 9 * (split == "independent"))


def studied(stage):
    tables = {split: stage.predictions(split, trial="text1", seed=11) for split in ("test", "independent")}
    return tables, study_splits(stage, tables, CALIBRATED)


def test_strange_pairs_are_told_from_like_ones_at_the_stated_rate(stage):
    tables, found = studied(stage)
    table = pair_table(stage, tables, found).set_index("split")
    numbers = stage.numbers
    assert numbers["foreign.n_halves"].value == 2
    assert numbers["test.foreign_share"].low < 0.01 < numbers["test.foreign_share"].high
    assert table.loc["independent", "flagged"] > 0.3 and np.isnan(table.loc["test", "auroc"])
    assert numbers["independent.foreign_auroc"].low > 0.9
    evidence = gather(stage, "test", CALIBRATED, KEPT)
    flagged = evidence.foreign <= 0.01
    assert set(evidence.forced[flagged]) <= {Forced.FOREIGN, Forced.CRITICAL_SIGNAL, Forced.EMPTY_SET}


def test_complete_separation_is_known_as_well_as_its_groups_are_many(stage):
    """Every resample has an area of one; the smaller side's groups bound it by Wilson's bound for none among them."""
    far = with_distances(stage, lambda drawn, split: drawn + 1e6 * (split == "independent"))
    pair_table(far, *studied(far))
    found, n_groups = far.numbers["independent.foreign_auroc"], far.tables["independent", 11]["group_id"].nunique()
    assert (found.value, found.low, found.high) == (1, pytest.approx(1 - wilson(0, n_groups)[1]), 1)


def test_a_foreign_batch_lets_nothing_out_and_halves_of_test_raise_no_alarm(stage, monkeypatch):
    tables, found = studied(stage)
    table = batch_table(stage, found)
    assert table["signal"].tolist() == ["probability of contradiction", "distance"] * 2
    false_alarms(stage, found)
    assert stage.numbers["test.is_foreign"].value == 0 and stage.numbers["independent.is_foreign"].value == 1
    assert stage.numbers["test.batch_alarms"].value <= 0.06
    assert stage.numbers["test.batch_alarms_n"].value == 50
    monkeypatch.setattr("verdict.pages.notice.MOST_VALUES", 0)
    for name in ("test.batch_alarms", "test.batch_alarms_n"):
        del stage.numbers[name]
    false_alarms(stage, found)
    assert stage.numbers["test.batch_alarms_n"].value == stage.numbers["test.batch_alarms"].n == 20
    there = gather(stage, "independent", CALIBRATED, KEPT)
    assert there.batch == stage.numbers["independent.batch_p"].value and (there.forced != Forced.NONE).all()
    power = power_table(stage, tables, found)
    assert power["rows"].tolist() == [50, 100, 200] and power["noticed"].is_monotonic_increasing
    assert power["noticed"].iloc[-1] == 1
    pair_table(stage, tables, found)
    assert "called foreign: nothing of it goes out alone" in told(
        "09_independent_set", "called foreign: nothing", stage.numbers
    )
    assert "not called foreign (p = " in told("08_policy", "As a batch test is", stage.numbers)


def test_without_distances_outputs_alone_are_compared(stage):
    stage.asked = {}
    tables, found = studied(stage)
    assert pair_table(stage, tables, found).empty and "test.foreign_share" not in stage.numbers
    assert set(batch_table(stage, found)["signal"]) == {"probability of contradiction"}
    assert gather(stage, "test", CALIBRATED, KEPT).foreign is None


def test_nothing_is_compared_where_the_parameters_ask_for_nothing(stage):
    stage._params = stage.all_params.model_copy(
        update={"policy": stage.params.policy.model_copy(update={"foreign": None})}
    )
    tables, found = studied(stage)
    assert not found and batch_table(stage, found).empty and power_table(stage, tables, found).empty
    false_alarms(stage, found)
    assert gather(stage, "independent", CALIBRATED, KEPT).batch is None and not len(stage.numbers)
    assert told("08_policy", "As a batch test is", stage.numbers) == ""
