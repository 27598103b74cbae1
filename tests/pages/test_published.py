"""Facts of the published study that arithmetic decides (draws, sizes, scores), and its table beside ours.

Sizes of the network: test_model.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from simulated_stage import SimulatedStage, simulated_table
from verdict.base.labels import Label
from verdict.base.params import ReportParams, load_params
from verdict.base.search import PUBLISHED_VISION, configurations, draw
from verdict.model.fit import Batches
from verdict.model.predict import DecisionRule, logits_of
from verdict.pages import published as beside_published
from verdict.pages.published import read_published
from verdict.stats.metrics import accuracy, class_scores, macro_f1

TEXT_SEARCH = [
    (4.99632e-5, 4.7782e-5, 0.2330, 2),
    (6.77480e-5, 2.5062e-5, 0.0750, 2),
    (8.92941e-5, 3.2050e-5, 0.2270, 3),
    (2.45129e-5, 3.7490e-5, 0.2846, 3),
    (3.45460e-5, 1.3253e-5, 0.1261, 3),
]
VISION_SEARCH = [
    (5.38963e-5, 1.2752e-5, 0.2214, 2),
    (3.46806e-5, 1.2340e-5, 0.1276, 2),
    (4.00113e-5, 1.2143e-5, 0.2046, 3),
]

TEXT, VISION = configurations("published_text", 5, seed=42), configurations("published_vision", 3, seed=42)


@pytest.mark.parametrize(("found", "table"), [(TEXT, TEXT_SEARCH), (VISION, VISION_SEARCH)])
def test_the_searches_draw_the_published_configurations(found, table):
    for one, (rate, decay, dropout, depth) in zip(found, table, strict=True):
        assert one["learning_rate"] == pytest.approx(rate, abs=0.5e-10)
        assert one["weight_decay"] == pytest.approx(decay, abs=0.5e-9)
        assert one["dropout"] == pytest.approx(dropout, abs=0.5e-4)
        assert one["text_blocks"] == depth


def test_another_order_of_draws_gives_other_configurations():
    """The order is part of the recipe: the same seed over the same axes, learning rate first, is another search."""
    order = ("learning_rate", "weight_decay", "dropout", "text_blocks")
    found = draw({name: PUBLISHED_VISION[name] for name in order}, 3, rng=np.random.RandomState(42))
    assert found[0]["learning_rate"] != pytest.approx(VISION_SEARCH[0][0], rel=1e-3)


def test_the_published_weight_decay_does_nothing():
    """Steps of the whole trial times rate times decay: less than a part in a hundred thousand of a weight."""
    steps = 2 * 980
    shrinkage = [steps * one["learning_rate"] * one["weight_decay"] for one in TEXT]
    assert max(shrinkage) < 5.7e-6


@pytest.mark.parametrize(
    ("n_rows", "n_steps", "n_padded"),
    [(31_340, 980, 31_360), (3_922, 123, 3_936), (3_867, 121, 3_872), (36_265, 1_134, 36_288)],
)
def test_steps_of_an_epoch(n_rows, n_steps, n_padded):
    """As many batches of 32 as published; theirs were all full, so that they scored rows twice, ours end with the rows.

    The batches are not filled here, so they need neither features nor labels.
    """
    batches = Batches(None, None, np.arange(n_rows), 32, blank=False)
    assert len(batches) == n_steps
    assert n_steps * 32 == n_padded
    assert sum(len(batches.order[i * 32 : (i + 1) * 32]) for i in range(len(batches))) == n_rows


# True positives, false positives, true negatives, false negatives of contradiction, as printed.
CONFUSIONS = {
    "frozen": (1493, 459, 1522, 462),
    "text, two blocks": (1517, 366, 1615, 438),
    "kept": (1514, 345, 1636, 441),
    "vision 1": (1522, 394, 1587, 433),
    "vision 2": (1517, 363, 1618, 438),
    "vision 3": (1495, 367, 1614, 460),
    "oversampled": (1572, 415, 1566, 383),
    "test": (1467, 241, 1692, 472),
}


def confusion(tp, fp, tn, fn):
    """Counts of (true class, answer), entailment first."""
    return np.array([[tn, fp], [fn, tp]])


HEAD, BLOCK, FINAL_NORM = 2_758_145, 7_087_872, 1_536


def test_the_stored_table_is_what_the_confusion_matrices_and_the_layers_give():
    """Scores again from counts; parameters as head and blocks: the study's vision runs trained all twelve."""
    stored = read_published("a2").set_index("run")
    names = dict(zip(stored.index, stored["trial"], strict=True))
    runs = {
        "frozen encoders": ("frozen", HEAD),
        "two text blocks": ("text, two blocks", HEAD + 2 * BLOCK),
        "search: random_05 (kept)": ("kept", HEAD + 3 * BLOCK),
        "vision search: config_01": ("vision 1", HEAD + (2 + 12) * BLOCK + FINAL_NORM),
        "vision search: config_02": ("vision 2", HEAD + (2 + 12) * BLOCK + FINAL_NORM),
        "vision search: config_03": ("vision 3", HEAD + (3 + 12) * BLOCK + FINAL_NORM),
        "oversampled buckets": ("oversampled", HEAD + 3 * BLOCK),
    }
    for run, (counts, n_trainable) in runs.items():
        table = confusion(*CONFUSIONS[counts])
        assert stored.loc[run, "val_macro_f1"] == pytest.approx(class_scores(table)["f1"].mean(), abs=0.5e-4)
        assert stored.loc[run, "val_accuracy"] == pytest.approx(np.trace(table) / np.sum(table), abs=0.5e-4)
        assert stored.loc[run, "n_trainable"] == n_trainable
    kept = stored.loc["search: random_05 (kept)"]
    assert kept["test_macro_f1"] == pytest.approx(class_scores(confusion(*CONFUSIONS["test"]))["f1"].mean(), abs=0.5e-4)
    assert stored["test_macro_f1"].notna().sum() == 1 and kept["val_macro_f1"] == stored["val_macro_f1"].max()
    trials = {trial.name: trial for trial in load_params("paper").training.trials}
    # Two trials are ours alone: a control, and the frozen twin of the study's kept run.
    assert {name for name in names.values() if name} == set(trials) - {"hypothesis_only", "frozen_longer"}


def test_the_profile_repeats_the_published_runs():
    """Rates, decays and dropouts are those that the study's searches drew."""
    params = load_params("paper")
    for trial, found in (
        ("text3", TEXT[4]),
        ("vision1_text2", VISION[1]),
        ("vision1_text3", VISION[2]),
    ):
        ours = params.trial(trial)
        assert ours.text_blocks == found["text_blocks"]
        assert ours.learning_rate == pytest.approx(found["learning_rate"], rel=1e-4)
        assert ours.weight_decay == pytest.approx(found["weight_decay"], rel=1e-4)
        assert ours.dropout == pytest.approx(found["dropout"], abs=1e-4)
    assert (params.training.batch_size, params.model.sequence_length, len(params.training.seeds)) == (32, 24, 5)
    assert (params.model.heads, params.model.key_dim, params.model.mlp_dim) == (12, 64, 512)


def test_the_stored_classes_have_their_true_names():
    scores = class_scores(confusion(*CONFUSIONS["test"]))
    stored = read_published("a2", "_classes").set_index("class")
    for label, other in zip(Label, reversed(Label), strict=True):
        row = stored.loc[label.text]
        assert [row[name] for name in ("precision", "recall", "f1")] == pytest.approx(
            [scores[name][label] for name in ("precision", "recall", "f1")], abs=0.5e-4
        )
        assert row["printed_as"].lower() == other.text
    assert stored["support"].tolist() == [1_692 + 241, 1_467 + 472]


def test_a_table_that_is_not_there_names_those_that_are():
    with pytest.raises(FileNotFoundError, match=r"is called 'b2'; there are \['a2', 'a2_classes', 'cifar10h_people'\]"):
        read_published("b2")


@dataclass
class Repeated(SimulatedStage):
    """Two trials of the study, with predictions on val and test."""

    def predictions(self, *splits, trial, seed):
        return super().predictions(*splits, trial=trial, seed=seed).assign(trial=trial)


def repeated(folder, name, monkeypatch):
    """A stage that ran the study's text2 and text3; the counts of parameters are right for one of them."""
    smoke, paper = load_params("smoke"), load_params("paper")
    training = smoke.training.model_copy(update={"trials": (paper.trial("text2"), paper.trial("text3"))})
    params = smoke.model_copy(update={"training": training, "report": ReportParams(published=name)})
    tables = {
        (split, seed): simulated_table(split, n=401, seed=place, model_seed=seed)
        for place, split in enumerate(("val", "test"))
        for seed in training.seeds
    }
    monkeypatch.setattr(beside_published, "n_trainable", lambda stage, trial: HEAD + 2 * BLOCK)
    return Repeated("05_test", "smoke", None, None, folder, params, tables=tables)


def test_published_values_stand_beside_ours(tmp_path, monkeypatch):
    stage = repeated(tmp_path, "a2", monkeypatch)
    found = beside_published.beside(stage)
    kept = found[found["trial"] == "text3"].set_index("quantity")
    for quantity, score in (("val_macro_f1", macro_f1), ("test_macro_f1", macro_f1), ("test_accuracy", accuracy)):
        tables = [stage.predictions(quantity.split("_")[0], trial="text3", seed=seed) for seed in (11, 23)]
        mean = np.mean([score(rows["y_true"], DecisionRule().decide(logits_of(rows))) for rows in tables])
        row = kept.loc[quantity]
        assert row["ours"] == pytest.approx(mean)
        assert row["ours_low"] < row["ours"] < row["ours_high"]
        where = "above ours" if row["published"] > row["ours_high"] else "below ours"
        is_inside = row["ours_low"] <= row["published"] <= row["ours_high"]
        assert row["verdict"] == ("inside our interval" if is_inside else where)
    assert kept.loc["test_macro_f1", "published"] == 0.8152
    counts = found[found["quantity"] == "n_trainable"].set_index("run")["verdict"]
    assert counts["two text blocks"] == "equal" and counts["search: random_05 (kept)"] == "another number"
    assert (found.loc[found["trial"] == "", "verdict"] == "not repeated here").all()
    assert found.loc[found["trial"] == "frozen", "ours"].isna().all()
    assert stage.numbers["published.n_repeated"].value == 2 + 4
    n_inside = (found["verdict"] == "inside our interval").sum()
    assert stage.numbers["published.n_inside"].value == n_inside


def test_classes_beside_the_published_ones(tmp_path, monkeypatch):
    stage = repeated(tmp_path, "a2", monkeypatch)
    rows = stage.predictions("test", trial="text3", seed=11)
    found = beside_published.classes_beside(stage, rows, np.zeros(len(rows), dtype=int)).set_index("class")
    assert found.loc["entailment", "our_recall"] == 1 and found.loc["contradiction", "our_recall"] == 0
    assert found.loc["contradiction", "recall"] == 0.7566


def test_a_profile_of_its_own_has_nothing_beside_it(tmp_path, monkeypatch):
    stage = repeated(tmp_path, None, monkeypatch)
    found = beside_published.beside(stage)
    assert found.empty and not stage.numbers
    rows = stage.predictions("test", trial="text3", seed=11)
    assert beside_published.classes_beside(stage, rows, np.zeros(len(rows), dtype=int)).empty


# Rows of the study's table of buckets: count, contradictions, entailments, per cent of entailment.
