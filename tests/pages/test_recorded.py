"""The page on saved logits: what is counted, and how good people are where."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.data.test_own_recorded import NAMES, N, counts_for, logits_and_labels, params_of, save

from recorded import recorded_logits
from verdict.base.params import load_params
from verdict.data.own.recorded import RecordedSet
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.pages import recorded
from verdict.stats.metrics import ece
from verdict.stats.scores import softmax
from verdict.workflow.stage import Stage
from verdict.workflow.stages import DISTANCES, RECORDED

LOGITS, Y_TRUE = logits_and_labels(1)  # of test


class RecordedStage(Stage):
    """A stage over files of a test; classes are those of the files."""

    classes = NAMES


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    for seed, name in enumerate(("val", "test")):
        logits, y_true = logits_and_labels(seed)
        save(tmp_path / f"{name}.npz", logits=logits, labels=y_true)
    save(tmp_path / "people.npz", counts=counts_for(Y_TRUE))
    params = load_params("recorded")
    own = params_of(val="val.npz", test="test.npz", human_counts="people.npz")
    data = params.data.model_copy(update={"recorded": own})
    return RecordedStage(RECORDED, "recorded", None, None, tmp_path, params.model_copy(update={"data": data}))


@pytest.fixture
def found(stage):
    return recorded.read(stage)


def test_splits_and_classes_are_counted(stage, found):
    splits = recorded.splits_table(stage, found).set_index("split")
    assert splits.loc["test", "accuracy"] == (LOGITS.argmax(axis=1) == Y_TRUE).mean()
    assert splits["n"].to_dict() == {"calib": N, "test": N}
    assert splits.loc["test", "tune_the_policy"] == found.pairs["is_tuning"].sum() > 0
    assert "groups" not in splits, "the data name none"
    assert stage.numbers["data.test.accuracy"].value == splits.loc["test", "accuracy"]
    counts = recorded.class_table(stage, found).set_index("class")
    assert list(counts.index) == list(NAMES)
    assert counts["test"].tolist() == np.bincount(Y_TRUE, minlength=3).tolist()
    assert recorded.overlap_table(stage, found)["shared_rows"].tolist() == [0, 0]

    assert all(number.kind for number in stage.numbers.values())
    assert all(not number.seeds for number in stage.numbers.values()), "saved logits have no seed"


def test_mistakes_are_listed_by_couple(stage, found):
    table = recorded.confused_couples(stage, found)
    assert table["n"].sum() == (LOGITS.argmax(axis=1) != Y_TRUE).sum()
    assert table["n"].is_monotonic_decreasing
    row = table.iloc[0]
    k, told = NAMES.index(row["true_class"]), NAMES.index(row["answer"])
    assert row["n"] == ((k == Y_TRUE) & (LOGITS.argmax(axis=1) == told)).sum()
    assert row["share"] == row["n"] / (k == Y_TRUE).sum()


def test_people_by_hand(stage, found):
    table = recorded.people_table(stage, found).set_index("rows")
    counts, wrong = counts_for(Y_TRUE), LOGITS.argmax(axis=1) != Y_TRUE
    share = counts[np.arange(N), Y_TRUE] / counts.sum(axis=1)
    assert table.loc["all", "person"] == pytest.approx(share.mean())
    assert table.loc["the model is wrong", "person"] == pytest.approx(share[wrong].mean())
    assert table.loc["the model is wrong", "model"] == 0 and np.isnan(table.loc["the model is wrong", "model_low"])
    assert table.loc["the model is right", "n"] + table.loc["the model is wrong", "n"] == N
    assert table.loc["all", "difference"] == pytest.approx(share.mean() - (~wrong).mean())
    assert stage.numbers["data.people.majority"].value == (counts.argmax(axis=1) == Y_TRUE).mean()
    assert stage.numbers["data.people.n_votes"].value == counts.sum()


def test_nobody_is_asked_where_no_answers_were_recorded(stage, found):
    silent = SimpleNamespace(pairs=found.pairs.drop(columns=[f"votes_{name}" for name in NAMES]), predictions=None)
    assert recorded.people_table(stage, silent).empty and recorded.whole_table(stage, silent).empty
    assert not any(name.startswith(("data.people", "published")) for name in stage.numbers)


def test_the_least_confident_are_asked_first_and_the_published_share_is_named(stage, found):
    table = recorded.whole_table(stage, found).set_index("share_asked")
    right, counts = (LOGITS.argmax(axis=1) == Y_TRUE).astype(float), counts_for(Y_TRUE)
    person, majority = counts[np.arange(N), Y_TRUE] / counts.sum(axis=1), counts.argmax(axis=1) == Y_TRUE
    assert table.loc[0.0, "one_person"] == table.loc[0.0, "majority"] == right.mean()
    assert table.loc[1.0, "one_person"] == pytest.approx(person.mean())
    assert table.loc[1.0, "majority"] == majority.mean()
    asked = softmax(LOGITS).max(axis=1).argsort()[: round(N / 5)]
    right[asked] = person[asked]
    assert table.loc[0.2, "one_person"] == pytest.approx(right.mean())
    assert table.loc[0.2, "one_person_low"] < right.mean() < table.loc[0.2, "one_person_high"]
    numbers = stage.numbers
    assert numbers["data.people.share_asked"].value == 1 / 11
    assert numbers["data.people.whole"].value == table.loc[1 / 11, "one_person"]
    assert numbers["published.whole"].low == pytest.approx(0.9957 - 0.001)


def test_where_no_study_is_named_a_tenth_is_asked_and_nothing_is_published(stage):
    report = stage.all_params.report.model_copy(update={"published": None})
    alone = RecordedStage(
        RECORDED, "own", None, None, stage.folder, stage.all_params.model_copy(update={"report": report})
    )
    found = recorded.read(alone)
    assert 1 / 11 not in set(recorded.whole_table(alone, found)["share_asked"])
    assert alone.numbers["data.people.share_asked"].value == 0.1 and "published.whole" not in alone.numbers


def test_distances_need_features_and_leave_out_a_rows_own_group(stage, found):
    assert recorded.distances(found) == {}
    features = np.random.default_rng(5).normal(size=(len(found.pairs), 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    is_calib = (found.pairs["split"] == "calib").to_numpy()
    table = recorded.distances(replace(found, features=features))[DISTANCES]
    apart = np.linalg.norm(features[:, None] - features[is_calib][None], axis=2)
    apart[np.flatnonzero(is_calib), np.arange(is_calib.sum())] = np.inf
    assert table["distance"].to_numpy() == pytest.approx(apart.min(axis=1), abs=1e-5)
    assert table[["pair_id", "split"]].equals(found.pairs[["pair_id", "split"]])


def with_votes_on_calib(found, right):
    """People also answered calib, where they are right as often as wanted."""
    pairs, is_calib = found.pairs.copy(), (found.pairs["split"] == "calib").to_numpy()
    for name in NAMES:
        hit = (pairs["label"] == name).to_numpy()
        pairs.loc[is_calib, f"votes_{name}"] = np.where(hit, 10 * right, 5 * (1 - right))[is_calib]
    return RecordedSet(pairs, found.predictions, found.files)


def test_peoples_accuracy_on_test_is_that_of_test(stage, found):
    """What people answered about calib, however poor, changes nothing that is said of test."""
    table = recorded.people_table(stage, found)
    assert table["n"].iloc[0] == N
    again = RecordedStage(RECORDED, "recorded", None, None, stage.folder, stage.all_params)
    poor = recorded.people_table(again, with_votes_on_calib(found, 0.2))
    pd.testing.assert_frame_equal(poor, table)
    assert dict(again.numbers) == {name: n for name, n in stage.numbers.items() if name.startswith("data.people")}


def test_people_who_are_always_or_never_right_have_an_interval_of_shares(stage, found):
    """All differences equal and negative, all zero, all one: each within what it can be, none a crash."""
    pairs, is_test = found.pairs.copy(), (found.pairs["split"] == "test").to_numpy()
    for k, name in enumerate(NAMES):
        pairs.loc[is_test, f"votes_{name}"] = np.where(k == Y_TRUE, 0.0, 5.0)
    never = RecordedSet(pairs, found.predictions, found.files)
    table = recorded.people_table(stage, never).set_index("rows")
    row = table.loc["the model is right"]
    assert (row["person"], row["model"], row["difference"]) == (0.0, 1.0, -1.0)
    assert row["difference_low"] == -1.0 < row["difference_high"] < 0
    assert row["person_low"] == 0.0 < row["person_high"] < 0.2
    row = table.loc["the model is wrong"]
    assert row["difference"] == 0 and row["difference_low"] == -row["difference_high"] < 0


def test_rows_that_any_two_splits_share_are_counted(stage, found, tmp_path):
    """A row of test that is also in the independent set, and one of calib in test."""
    columns = [name for name in found.predictions if name.startswith("logit_")]
    predictions = found.predictions.copy()
    first = {split: predictions.index[predictions["split"] == split] for split in ("calib", "test")}
    predictions.loc[first["test"][0], columns] = predictions.loc[first["calib"][5], columns].to_numpy()
    other = predictions.loc[first["test"][:7]].assign(split="independent")
    other[columns] = other[columns] + np.arange(7)[:, None] % 2
    shared = RecordedSet(found.pairs, pd.concat([predictions, other], ignore_index=True), found.files)
    table = recorded.overlap_table(stage, shared).set_index(["left", "right"])["shared_rows"]
    assert table.to_dict() == {
        ("calib", "test"): 1,
        ("calib", "independent"): 1,
        ("test", "independent"): 4,
        ("all", "two by two"): 6,
    }
    assert stage.numbers["data.n_shared_rows"].value == 6
    assert stage.claim("alone", "No row occurs again", "data.n_shared_rows", "<=", 0).holds is False


def test_rows_of_few_values_share_nothing_that_tells_and_are_worth_what_val_says(stage, found):
    columns = [name for name in found.predictions if name.startswith("logit_")]
    logits, answer = found.predictions[columns].to_numpy(), logits_of(found.predictions).argmax(axis=1)
    bare = found.predictions.assign(**dict(zip(columns, (np.eye(len(columns))[answer] * 1.5).T, strict=True)))
    coarse = RecordedSet(found.pairs, bare, found.files)
    assert "shared_rows" not in recorded.overlap_table(stage, coarse)
    assert stage.claim("alone", "No row occurs again", "data.n_shared_rows", "<=", 0).holds is None
    assert recorded.worth_table(stage, coarse).empty, "no row of val"
    told = RecordedSet(found.pairs, bare.replace({"split": {"calib": "val"}}), found.files)
    table, is_val = recorded.worth_table(stage, told), (bare["split"] == "calib").to_numpy()
    assert table["n"].tolist() == np.bincount(answer[is_val], minlength=len(NAMES)).tolist()
    hit = logits.argmax(axis=1) == found.predictions["y_true"]
    assert table["right"].tolist() == pytest.approx([hit[is_val & (answer == k)].mean() for k in range(len(NAMES))])
    assert (table["right_low"] < table["right"]).all()


def test_groups_are_counted_where_the_data_name_them(stage, found):
    named = stage.params.data.recorded.model_copy(update={"group": "site"})
    data = stage.params.data.model_copy(update={"recorded": named})
    stage._params = stage.all_params.model_copy(update={"data": data})
    predictions = found.predictions.assign(group_id=np.arange(len(found.predictions)) // 3)
    grouped = RecordedSet(found.pairs, predictions, found.files)
    groups = [set(part["group_id"]) for _, part in predictions.groupby("split", sort=False)]
    assert recorded.splits_table(stage, grouped)["groups"].tolist() == [len(part) for part in groups]
    shared = recorded.overlap_table(stage, grouped)
    assert shared["shared_groups"].tolist() == [len(groups[0] & groups[1])] * 2 == [1, 1]


def test_the_recorded_network_has_the_published_figures_and_people(tmp_path):
    """ResNet-50 on CIFAR-10 (published: error 4.95 %, ECE 4.35 %, T 2.5 on a grid, then 1.35 %) and CIFAR-10H."""
    params = load_params("recorded")
    recorded_logits("val")
    stage = Stage(RECORDED, "recorded", None, None, tmp_path, params)
    found = recorded.read(stage)
    table = found.predictions
    calib, test = (table[table["split"] == split] for split in ("calib", "test"))
    fitted = Temperature.fit(logits_of(calib), calib["y_true"])
    assert fitted.temperature == pytest.approx(2.50, abs=0.01)
    logits, y_true = logits_of(test), test["y_true"].to_numpy()
    assert (logits.argmax(axis=1) != y_true).mean() == pytest.approx(0.0495, abs=5e-5)
    assert ece(softmax(logits), y_true) == pytest.approx(0.0435, abs=5e-5)
    assert ece(fitted.transform(logits), y_true) == pytest.approx(0.0137, abs=5e-5)
    people = recorded.people_table(stage, found).set_index("rows")
    assert people.loc["all", "person"] == pytest.approx(0.952, abs=5e-4)
    assert stage.numbers["data.people.majority"].value == pytest.approx(0.9921)
    assert stage.numbers["data.people.n_votes"].value == 511_000
    recorded.overlap_table(stage, found)
    assert stage.numbers["data.n_shared_rows"].value == 0


@pytest.fixture
def example(tmp_path):
    """The worked example that the project ships, with a second model that answers at random."""
    params = load_params("example")
    stage = Stage(RECORDED, "example", None, None, tmp_path, params)
    found = recorded.read(stage)
    other = found.predictions.assign(seed=1, logit_0=stage.rng("test").normal(size=len(found.predictions)), logit_1=0.0)
    own = params.data.answers.model_copy(update={"models": ("kept", "random")})
    stage._params = params.model_copy(update={"data": params.data.model_copy(update={"answers": own})})
    return stage, replace(found, predictions=pd.concat([found.predictions, other], ignore_index=True))


def test_the_worked_example_is_read_with_its_images_and_votes(example):
    stage, found = example
    assert len(found.pairs) == 500 == len(found.images) == stage.numbers["data.n_pairs"].value
    assert stage.numbers["data.form"].words == "log-probabilities of each class" and found.has_groups
    assert found.pairs[["votes_entailment", "votes_contradiction"]].sum(axis=1).between(3, 5).all()
    gallery = recorded.examples(stage, found)
    assert len(gallery["images"]) == 8 == len(gallery["titles"])
    cases = found.pairs.set_index("hypothesis")["split"]
    assert all("test" in set(cases.loc[[title.split("\n")[0]]]) for title in gallery["titles"])
    without = replace(found, images={})
    assert recorded.examples(stage, without) == {}


def test_models_are_compared_on_the_same_cases(example):
    stage, found = example
    table = recorded.models_table(stage, found)
    test = found.pairs["split"] == "test"
    hits = []
    for seed in (0, 1):
        own = found.predictions[found.predictions["seed"] == seed][test.to_numpy()]
        hits.append((logits_of(own).argmax(axis=1) == own["y_true"]).mean())
    assert table["model"].tolist() == ["kept", "random"] and table["accuracy"].tolist() == pytest.approx(hits)
    assert table["difference"][1] == pytest.approx(hits[1] - hits[0]) and np.isnan(table["difference"][0])
    assert table["difference_low"][1] < table["difference"][1] < table["difference_high"][1]
