"""The page on saved logits: what is counted, and how good people are where."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recorded import recorded_logits
from test_recorded import NAMES, N, counts_for, logits_and_labels, params_of, save
from verdict import recorded_study
from verdict.calibrate import Temperature
from verdict.metrics import ece
from verdict.params import load_params
from verdict.predict import logits_of
from verdict.report.say import sentence
from verdict.scores import softmax
from verdict.stage import Stage
from verdict.stages import RECORDED


class RecordedStage(Stage):
    """A stage over files of a test; classes are those of the files."""

    classes = NAMES


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    for seed, name in enumerate(("val", "test")):
        logits, y_true = logits_and_labels(seed)
        save(tmp_path / f"{name}.npz", logits=logits, labels=y_true)
    save(tmp_path / "people.npz", counts=counts_for(logits_and_labels(1)[1]))
    params = load_params("recorded")
    own = params_of(val="val.npz", test="test.npz", human_counts="people.npz")
    data = params.data.model_copy(update={"recorded": own})
    return RecordedStage(RECORDED, "recorded", None, None, tmp_path, params.model_copy(update={"data": data}))


def test_splits_and_classes_are_counted(stage):
    found = recorded_study.read(stage)
    splits = recorded_study.splits_table(stage, found).set_index("split")
    logits, y_true = logits_and_labels(1)
    assert splits.loc["test", "accuracy"] == (logits.argmax(axis=1) == y_true).mean()
    assert splits["n"].to_dict() == {"calib": N, "test": N}
    assert splits.loc["test", "tune_the_policy"] == found.pairs["is_tuning"].sum() > 0
    assert stage.numbers["data.test.accuracy"].value == splits.loc["test", "accuracy"]
    counts = recorded_study.class_table(stage, found).set_index("class")
    assert list(counts.index) == list(NAMES)
    assert counts["test"].tolist() == np.bincount(y_true, minlength=3).tolist()
    sentence(recorded_study.answer_template(stage, found), stage.numbers)
    assert "{data.n_tuning}" in recorded_study.answer_template(stage, found)


def test_mistakes_are_listed_by_couple(stage):
    found = recorded_study.read(stage)
    logits, y_true = logits_and_labels(1)
    table = recorded_study.confused_couples(stage, found)
    assert table["n"].sum() == (logits.argmax(axis=1) != y_true).sum()
    assert table["n"].is_monotonic_decreasing
    row = table.iloc[0]
    k, told = NAMES.index(row["true_class"]), NAMES.index(row["answer"])
    assert row["n"] == ((y_true == k) & (logits.argmax(axis=1) == told)).sum()
    assert row["share"] == row["n"] / (y_true == k).sum()


def test_people_by_hand(stage):
    found = recorded_study.read(stage)
    table = recorded_study.people_table(stage, found).set_index("rows")
    logits, y_true = logits_and_labels(1)
    counts, wrong = counts_for(y_true), logits.argmax(axis=1) != y_true
    share = counts[np.arange(N), y_true] / counts.sum(axis=1)
    assert table.loc["all", "person"] == pytest.approx(share.mean())
    assert table.loc["the model is wrong", "person"] == pytest.approx(share[wrong].mean())
    assert table.loc["the model is wrong", "model"] == 0
    assert table.loc["the model is right", "n"] + table.loc["the model is wrong", "n"] == N
    assert table.loc["all", "difference"] == pytest.approx(share.mean() - (~wrong).mean())
    assert stage.numbers["data.people.majority"].value == (counts.argmax(axis=1) == y_true).mean()
    assert stage.numbers["data.people.n_votes"].value == counts.sum()
    sentence(recorded_study.people_template(pd.DataFrame([1])), stage.numbers)


def test_nobody_is_asked_where_no_answers_were_recorded(stage):
    found = recorded_study.read(stage)
    silent = SimpleNamespace(pairs=found.pairs.drop(columns=[f"votes_{name}" for name in NAMES]), predictions=None)
    assert not len(recorded_study.people_table(stage, silent))
    assert recorded_study.people_template(pd.DataFrame()).startswith("Nobody's answers")


def test_the_recorded_network_has_the_published_figures_and_people(tmp_path):
    """ResNet-50 on CIFAR-10 (published: error 4.95 %, ECE 4.35 %, T 2.5 on a grid, then 1.35 %) and CIFAR-10H."""
    params = load_params("recorded")
    recorded_logits("val")
    stage = Stage(RECORDED, "recorded", None, None, tmp_path, params)
    found = recorded_study.read(stage)
    table = found.predictions
    calib, test = (table[table["split"] == split] for split in ("calib", "test"))
    fitted = Temperature.fit(logits_of(calib), calib["y_true"])
    assert fitted.temperature == pytest.approx(2.50, abs=0.01)
    logits, y_true = logits_of(test), test["y_true"].to_numpy()
    assert (logits.argmax(axis=1) != y_true).mean() == pytest.approx(0.0495, abs=5e-5)
    assert ece(softmax(logits), y_true) == pytest.approx(0.0435, abs=5e-5)
    assert ece(fitted.transform(logits), y_true) == pytest.approx(0.0137, abs=5e-5)
    people = recorded_study.people_table(stage, found).set_index("rows")
    assert people.loc["all", "person"] == pytest.approx(0.952, abs=5e-4)
    assert stage.numbers["data.people.majority"].value == pytest.approx(0.9921)
    assert stage.numbers["data.people.n_votes"].value == 511_000
    assert stage.numbers["data.n_shared_rows"].value == 0
