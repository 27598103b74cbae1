"""Thresholds and kinds of sentences: what the test page says about errors."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import make_stage, pairs_of
from verdict.pages import error_analysis
from verdict.stats.metrics import macro_f1


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return make_stage("05_test", tmp_path_factory.mktemp("stage"))


def test_the_grid_is_the_published_one():
    assert len(error_analysis.THRESHOLDS) == 19
    assert error_analysis.THRESHOLDS[[0, 10, -1]].tolist() == [0.05, 0.55, 0.95]


def test_a_sweep_by_hand():
    """Probabilities of contradiction 0.2, 0.4, 0.6, 0.8; the second is a contradiction, so 0.3 answers all right."""
    prob, y_true = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 1, 1, 1])
    table = pd.DataFrame({"y_true": y_true, "logit_0": 0.0, "logit_1": np.log(prob / (1 - prob))})
    curve = error_analysis.sweep(table, [0.1, 0.3, 0.7])
    assert curve["threshold"].tolist() == [0.1, 0.3, 0.7]
    assert curve["accuracy"].tolist() == [3 / 4, 1.0, 2 / 4]
    all_contradiction = (0 + 2 * 3 / (3 + 4)) / 2
    only_the_last = (2 * 1 / (1 + 3) + 2 * 1 / (3 + 1)) / 2
    assert curve["macro_f1"].tolist() == pytest.approx([all_contradiction, 1.0, only_the_last])


def test_a_confusion_table_has_true_classes_as_rows():
    table = pd.DataFrame({"y_true": [0, 0, 0, 1, 1]})
    found = error_analysis.confusion_table(table, np.array([0, 1, 1, 1, 0]))
    assert found.loc["entailment"].to_dict() == {"entailment": 1, "contradiction": 2}
    assert found.loc["contradiction"].to_dict() == {"entailment": 1, "contradiction": 1}


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_the_lowest_of_equal_thresholds_wins(order):
    curve = pd.DataFrame({"threshold": [0.2, 0.4, 0.6, 0.8], "macro_f1": [0.5, 0.7, 0.7, 0.6]}).iloc[order]
    assert error_analysis.best_threshold(curve) == 0.4


def test_the_effect_of_a_threshold_is_paired_and_zero_at_one_half(stage):
    table = stage.tables["test", 11]
    error_analysis.threshold_effect(table, 0.5, stage=stage)
    nothing = stage.numbers["test.threshold_gain"]
    assert (nothing.value, nothing.n, stage.numbers["test.n_turned"].value) == (0.0, len(table), 0)
    # No answer changes here; on other images some may.
    assert nothing.low < 0 < nothing.high < 0.02
    logit, y_true = table["logit_1"].to_numpy(), table["y_true"].to_numpy()
    stage.numbers.clear()
    error_analysis.threshold_effect(table, 0.7, stage=stage)
    moved = stage.numbers["test.threshold_gain"]
    assert stage.numbers["test.n_turned"].value == ((logit > 0) & (logit <= np.log(0.7 / 0.3))).sum() > 0
    expected = macro_f1(y_true, (logit >= np.log(0.7 / 0.3)).astype(int)) - macro_f1(y_true, (logit >= 0).astype(int))
    assert moved.value == pytest.approx(float(expected))
    assert moved.low < moved.value < moved.high
    assert moved.split == "test" and moved.seeds == (11,)


WORDS = {"odd": ["odd"], "tenth": ["ten"], "sentence": ["sentence"], "absent": ["giraffe"]}


@pytest.fixture(scope="module")
def worded(stage):
    """Every odd row is answered wrongly, every even one rightly; each tenth row says so."""
    table = stage.tables["test", 11].copy()
    row = np.arange(len(table))
    table["logit_1"] = np.where(table["y_true"] == row % 2, -1.0, 1.0)
    pairs = pairs_of(table).assign(
        hypothesis=[f"sentence {i} {'odd' if i % 2 else 'even'}{' ten' if i % 10 == 0 else ''}" for i in row]
    )
    return table, pairs


def test_accuracy_by_words_by_hand(stage, worded):
    found = error_analysis.accuracy_by_words(*worded, WORDS, stage=stage).set_index("label")
    assert found.index.tolist() == ["odd", "sentence", "tenth"]
    assert found.loc["odd", ["n", "n_wrong", "value"]].tolist() == [350, 350, 0]
    assert found.loc["tenth", ["n", "n_wrong", "value"]].tolist() == [71, 0, 1]
    assert found.loc["odd", "difference"] == pytest.approx(0 - 1)
    assert found.loc["tenth", "difference"] == pytest.approx(1 - 280 / 630)
    low, high = found.loc["tenth", ["difference_low", "difference_high"]]
    assert 0.4 < low < 1 - 280 / 630 < high < 0.7
    assert (found["n_undefined"] == 0).all()


def test_resamples_that_leave_a_group_of_words_empty_are_counted(stage, worded):
    """One image of 234 says it: about a third of the resamples leave it out."""
    table, pairs = worded
    rare = pairs.assign(hypothesis=["giraffe" if group == "test-g0" else "other" for group in pairs["group_id"]])
    row = error_analysis.accuracy_by_words(table, rare, {"rare": ["giraffe"]}, stage=stage).iloc[0]
    assert 0.3 < row["n_undefined"] / stage.params.statistics.n_resamples < 0.44


def test_a_group_of_all_rows_has_no_difference(stage, worded):
    found = error_analysis.accuracy_by_words(*worded, WORDS, stage=stage).set_index("label").loc["sentence"]
    assert found["n"] == 701
    assert found[["difference", "difference_low", "difference_high"]].isna().all()


def test_the_order_of_pairs_plays_no_part(stage, worded):
    table, pairs = worded
    found = error_analysis.accuracy_by_words(table, pairs, WORDS, stage=stage)
    shuffled = error_analysis.accuracy_by_words(table, pairs.sample(frac=1, random_state=1), WORDS, stage=stage)
    pd.testing.assert_frame_equal(found, shuffled)


def test_no_group_at_all_gives_an_empty_table(stage, worded):
    assert error_analysis.accuracy_by_words(*worded, {"absent": ["giraffe"]}, stage=stage).empty


def test_predictions_without_a_pair_are_refused(stage, worded):
    table, pairs = worded
    with pytest.raises(ValueError, match="701 predictions have no pair"):
        error_analysis.accuracy_by_words(table, pairs.assign(pair_id="none").iloc[:1], WORDS, stage=stage)


def test_a_gallery_shows_mistakes_whose_image_is_stored():
    shown = SimpleNamespace(images=lambda: Images(["a", "c"]), classes=("cat", "dog", "emu"))
    mistakes = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "label": "cat", "prob": [0.99, 0.98, 0.97], "answered": [1, 2, 2]}
    )
    found = error_analysis.gallery_of(shown, mistakes)
    assert found == {"images": ["a", "c"], "titles": ["a\n(cat; P 0.99 for dog)", "c\n(cat; P 0.97 for emu)"]}
    of_two = SimpleNamespace(images=shown.images, classes=("entailment", "contradiction"))
    sentences = mistakes.assign(hypothesis=["one", "two", "three"], answered=1)
    titles = ["one\n(cat; P 0.99 for the other)", "three\n(cat; P 0.97 for the other)"]
    assert error_analysis.gallery_of(of_two, sentences)["titles"] == titles
    nothing = SimpleNamespace(images=lambda: None, classes=of_two.classes)
    assert error_analysis.gallery_of(nothing, mistakes) == {"images": [], "titles": []}


class Images(list):
    def thumbnail(self, image_id):
        return image_id


def test_images_that_share_a_part_are_let_depend_on_each_other(tmp_path, monkeypatch):
    """Images that hold one part are all right, or all wrong: their standard error is that of parts."""
    stage = make_stage("05_test", tmp_path)
    table = stage.predictions("test", trial="text1", seed=11)
    images = table["image_id"].unique()
    part = np.arange(len(images)) // 6
    pd.DataFrame({"image_id": images, "part": part}).to_parquet(tmp_path / "shared.parquet")
    monkeypatch.setattr(stage, "upstream", lambda name, file: tmp_path / file)
    is_right = pd.Series(part % 3 > 0, index=images)[table["image_id"]].to_numpy()
    table = table.assign(y_true=1, logit_1=np.where(is_right, 1.0, -1.0))
    error_analysis.shared_parts(table, stage=stage)
    for name in ("accuracy", "nll"):
        assert stage.numbers[f"test.linked.{name}"].value == pytest.approx(np.sqrt(6), rel=0.05)
        assert stage.numbers[f"test.linked.{name}_by_chance"].value < 1.6


def test_images_without_parts_say_nothing_of_them(tmp_path, monkeypatch):
    stage = make_stage("05_test", tmp_path)
    pd.DataFrame({"image_id": [], "part": []}).to_parquet(tmp_path / "shared.parquet")
    monkeypatch.setattr(stage, "upstream", lambda name, file: tmp_path / file)
    error_analysis.shared_parts(stage.predictions("test", trial="text1", seed=11), stage=stage)
    assert not stage.numbers
