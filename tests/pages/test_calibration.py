"""The calibration page: halves, a known temperature recovered, intervals, references, transfer."""

import numpy as np
import pandas as pd
import pytest

from page_text import told
from simulated_stage import KEPT, make_stage, simulated_table
from verdict.base.numbers import POINTS
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.pages import calibration
from verdict.pages.evaluation import estimate
from verdict.stats import metrics, ranking, uncertainty
from verdict.stats.scores import softmax

TWICE = Temperature(2.0, 1.0, 1.0, 9, True, False)


@pytest.fixture
def stage(tmp_path):
    return make_stage("07_calibration", tmp_path)


@pytest.fixture
def compared(stage, test):
    return calibration.before_after(stage, test, TWICE, prefix="calibration.test")


def halves_of(stage, share=0.5):
    calib = stage.predictions("calib", trial="text1", seed=11)
    return calibration.halve(calib, share_for_sets=share, rng=np.random.default_rng(3))


def test_halves_share_no_group_and_keep_every_pair(stage, calib):
    halves = halves_of(stage, 0.25)
    by_half = halves.groupby("half")["group_id"].agg(set)
    assert not by_half[calibration.FOR_SETS] & by_half[calibration.FOR_TEMPERATURE]
    assert len(by_half[calibration.FOR_SETS]) == round(0.25 * calib["group_id"].nunique())
    parts = [calibration.rows_of(calib, halves, half) for half in (calibration.FOR_SETS, calibration.FOR_TEMPERATURE)]
    assert sorted(pd.concat(parts)["pair_id"]) == sorted(calib["pair_id"])


def test_halves_depend_on_the_seed_alone(stage, calib):
    shuffled = calib.sample(frac=1, random_state=1)
    again = calibration.halve(shuffled, share_for_sets=0.5, rng=np.random.default_rng(3))
    merged = halves_of(stage).merge(again, on="pair_id")
    assert (merged["half_x"] == merged["half_y"]).all()
    other = calibration.halve(calib, share_for_sets=0.5, rng=np.random.default_rng(4))
    assert (other["half"] != halves_of(stage)["half"]).any()


def test_no_half_is_empty_and_one_group_is_refused():
    two = simulated_table("calib", n=4, seed=0, n_rows_of_group=2)
    assert calibration.halve(two, share_for_sets=0.01, rng=np.random.default_rng(0))["half"].nunique() == 2
    with pytest.raises(ValueError, match="1 group"):
        calibration.halve(two.iloc[:2], share_for_sets=0.5, rng=np.random.default_rng(0))


def test_a_known_temperature_is_found_on_one_half(stage):
    study = calibration.fit_temperatures(stage, KEPT, halves_of(stage))
    found = stage.numbers["calibration.temperature"]
    assert found.low < 2.0 < found.high
    assert found.n == len(study.rows) < 599
    assert study.by_seed["seed"].tolist() == [11, 23]
    kept = study.by_seed.iloc[0]
    shown = kept[["temperature", "temperature_low", "temperature_high"]].tolist()
    assert shown == [found.value, found.low, found.high]
    assert study.by_seed["is_kept"].tolist() == [True, False]
    curve = study.curve()
    assert np.exp(curve.loc[curve["nll"].idxmin(), "log_t"]) == pytest.approx(study.fitted.temperature, rel=0.06)


def test_a_temperature_that_cannot_be_trusted_is_said_in_bold(stage):
    for key, table in stage.tables.items():
        stage.tables[key] = table.assign(logit_1=np.where(table["y_true"] == 1, 3.0, -3.0))
    study = calibration.fit_temperatures(stage, KEPT, halves_of(stage))
    assert study.fitted.at_bound and stage.numbers["calibration.temperature_at_bound"].value == 2
    said = told("07_calibration", "Fitted on {{ calibration.n_fit }}", stage.numbers)
    assert "**Warning: T = " in said and "surer probabilities" not in said


def test_resamples_at_the_bound_of_the_search_are_told(stage):
    """One wrong row among ninety: resamples without it know no end of sharpness."""
    for key, table in stage.tables.items():
        part = table[table["y_true"] == 1].iloc[:90].assign(logit_1=[-1.0, *[3.0] * 89])
        stage.tables[key] = part.assign(group_id=[f"g{i}" for i in range(90)])
    calib = stage.predictions("calib", trial="text1", seed=11)
    halves = calibration.halve(calib, share_for_sets=0.1, rng=np.random.default_rng(3))
    halves.loc[halves.index[0], "half"] = calibration.FOR_TEMPERATURE
    study = calibration.fit_temperatures(stage, KEPT, halves)
    assert not study.fitted.at_bound
    assert stage.numbers["calibration.temperature_at_bound"].value == 1


def test_rows_are_scored_and_ordered_once_however_many_resamples_there_are(stage, test, monkeypatch):
    """With 200,000 rows the resamples come ten at a time, and a softmax for each ten took a minute."""
    monkeypatch.setattr(uncertainty, "_CHUNK_CELLS", 1)
    calls = []
    for module, name in ((metrics, "check_probs"), (metrics, "log_softmax"), (ranking, "_scored")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, whole=whole: calls.append(0) or whole(*given))
    study = calibration.fit_temperatures(stage, KEPT, halves_of(stage))
    calls.clear()
    calibration.before_after(stage, test, study.fitted, prefix="calibration.test")
    calibration.calib_beside_test(stage, KEPT, study, test)
    calibration.references(stage, study, test)
    assert len(calls) < 2 * stage.params.statistics.n_resamples


def test_scaling_an_overconfident_model_is_shown_to_help(stage, compared):
    assert compared["score"].tolist() == ["nll", "brier", "gap", "aurc", "ece", "ece equal mass"]
    after, before = (stage.numbers[f"calibration.test.nll{suffix}"] for suffix in ("", "_before"))
    gap = stage.numbers["calibration.test.nll_difference"]
    assert gap.value == pytest.approx(after.value - before.value)
    assert gap.high < 0
    assert stage.numbers["calibration.test.aurc_difference"].value == pytest.approx(0, abs=1e-12), "ranks stay"
    assert (compared["before_low"] >= 0).all()
    for name in ("before", "after"):
        low, high = compared[f"{name}_low"], compared[f"{name}_high"]
        assert ((low <= compared[name]) & (compared[name] <= high)).all()


@pytest.mark.usefixtures("compared")
def test_the_gap_says_on_which_side_confidence_is_off(stage, test):
    before, after = (stage.numbers[f"calibration.test.gap{suffix}"] for suffix in ("_before", ""))
    logits = logits_of(test)
    wrong = (logits.argmax(axis=1) != test["y_true"]).mean()
    assert before.value == pytest.approx(softmax(logits).max(axis=1).mean() - 1 + wrong)
    assert before.low > 0 > after.high and before.unit == after.unit == POINTS


@pytest.mark.usefixtures("compared")
def test_one_quantity_has_one_interval_on_the_pages_on_test_and_on_calibration(stage, test):
    scores = estimate(test, prefix="test", stage=stage)
    for name in ("nll", "brier", "ece"):
        one, other = scores[f"test.{name}"], stage.numbers[f"calibration.test.{name}_before"]
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


@pytest.mark.usefixtures("compared")
def test_chance_says_what_a_calibrated_model_would_show(stage):
    found = stage.numbers["calibration.test.ece_if_calibrated"]
    assert 0 < found.low < found.value < found.high < 0.1


def test_references_are_fitted_on_the_same_rows_and_temperature_changes_no_answer(stage):
    study = calibration.fit_temperatures(stage, KEPT, halves_of(stage))
    table = calibration.references(stage, study, stage.predictions("test", trial="text1", seed=11)).set_index("method")
    assert table.index.tolist() == ["none (T = 1)", "temperature", "vector scaling", "Platt", "isotonic"]
    assert table.loc["temperature", "accuracy"] == table.loc["none (T = 1)", "accuracy"]
    assert table.loc["temperature", "nll"] < table.loc["none (T = 1)", "nll"]
    assert table["n_parameters"].tolist()[:4] == [0, 1, 4, 4]


def test_reliability_counts_every_pair(stage, test):
    diagrams = calibration.reliability(stage, test, TWICE)
    assert [bins["count"].sum() for bins in diagrams.values()] == [701, 701]


def test_gaps_by_family_are_confidence_minus_accuracy(stage, test):
    unit = Temperature(1.0, 1.0, 1.0, 9, True, False)
    gaps = calibration.gaps_by(stage, test, stage.pairs("test"), unit)
    assert sorted(gaps["label"]) == ["colour", "count"]
    assert gaps["value"].tolist() == pytest.approx((gaps["confidence"] - gaps["accuracy"]).tolist())
    assert (gaps["low"] > 0).all(), "an overconfident model is too sure in every family"
    parts = [test[(stage.pairs("test")["family"] == family).to_numpy()] for family in gaps["label"]]
    alone = [calibration.gaps_by(stage, part, stage.pairs("test"), unit)["p_holm"].item() for part in parts]
    assert gaps["p_holm"].tolist() == pytest.approx(uncertainty.holm(alone).tolist()), "adjusted for all families"
    assert (gaps["p_holm"] >= alone).all() and (gaps["p_holm"] < 0.05).all()
    whole = calibration.gaps_by(stage, test, stage.pairs("test").drop(columns="family"), unit)
    assert set(whole["label"]) == {"answered entailment", "answered contradiction"}
    assert whole["n"].sum() == len(test)
    calibration.store_gaps(stage, gaps)
    assert stage.numbers["calibration.test.n_families_off"].value == 2
    first = f"{gaps['label'].iloc[0]} {100 * gaps['value'].iloc[0]:+.1f} points, "
    assert stage.numbers["calibration.test.families_off"].text.startswith(first)


def test_no_temperature_beats_the_oracle_of_a_split(stage):
    tables = [stage.predictions(split, trial="text1", seed=11) for split in ("calib", "test")]
    found = calibration.transfer(stage, tables, 5.0)
    assert (found["nll_at_oracle"] <= found["nll"]).all()
    assert (found["excess_nll_low"] > 0).all(), "5 is far from the right temperature"
    assert found["excess_nll"].tolist() == pytest.approx((found["nll"] - found["nll_at_oracle"]).tolist())
    assert (found["ece_low"] <= found["ece"]).all() and (found["ece"] <= found["ece_high"]).all()
    assert found["oracle_temperature"].between(found["oracle_temperature_low"], found["oracle_temperature_high"]).all()
    assert found["oracle_temperature"].tolist() == pytest.approx([2.0, 2.0], rel=0.25)


@pytest.mark.parametrize("stretched", [1.2, 2.0])
def test_calib_stands_beside_test_and_a_difference_is_shown(stage, calib, test, stretched):
    test = test.assign(logit_1=stretched * test["logit_1"])
    study = calibration.fit_temperatures(stage, KEPT, halves_of(stage))
    found = calibration.calib_beside_test(stage, KEPT, study, test)
    assert found["n"].tolist() == [len(study.rows), len(calib), len(test)]
    whole, own = (Temperature.fit(logits_of(part), part["y_true"]).temperature for part in (calib, test))
    assert found["temperature"].tolist() == [study.fitted.temperature, whole, own]
    used = [study.interval.low, study.interval.high]
    assert found.loc[0, ["temperature_low", "temperature_high"]].tolist() == used
    assert stage.numbers["calibration.temperature_all"].value == whole
    assert (found["ece_on_test_low"] <= found["ece_on_test_high"]).all()
    wrong = (logits_of(test).argmax(axis=1) != test["y_true"]).mean()
    numbers = {name: stage.numbers[f"calibration.test.{name}"] for name in ("error", "ece_all", "temperature")}
    assert [one.value for one in numbers.values()] == [wrong, found["ece_on_test"].iloc[1], own]
    assert numbers["temperature"].high == found["temperature_high"].iloc[2]
    apart = stage.numbers["calibration.test.temperature_minus_calib"]
    assert apart.value == pytest.approx(own - whole) and apart.excludes(0) == (stretched == 2)
    error = stage.numbers["calibration.test.error_minus_calib"]
    assert error.value == pytest.approx(wrong - found["error"].iloc[1])
