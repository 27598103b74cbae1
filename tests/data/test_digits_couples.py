from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from verdict.data.digits.couples import coupled_pairs, hypothesis_only_hits, loose_pairs
from verdict.data.digits.grammar import by_text, statements
from verdict.data.digits.independent import read_scene
from verdict.data.digits.scenes import draw_scenes
from verdict.data.digits.truths import FALSE, TRUE, Grid


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid.of(draw_scenes(211, np.arange(1797), rng=np.random.default_rng(0)))


@pytest.fixture(scope="module")
def couples(grid) -> pd.DataFrame:
    return coupled_pairs(statements(), grid, n_pairs=1262, rng=np.random.default_rng(1))


def _label_counts(table: pd.DataFrame, by: str) -> pd.DataFrame:
    return table.groupby(by)["label"].value_counts().unstack(fill_value=0)


def test_every_sentence_has_both_labels_equally_often_and_forms_are_alike(couples):
    assert len(couples) == 1262
    counts = _label_counts(couples, "hypothesis")
    assert (counts["entailment"] == counts["contradiction"]).all()
    assert not couples.duplicated(["scene", "hypothesis"]).any()
    for sizes in (couples["family"].value_counts(), *(p["form"].value_counts() for _, p in couples.groupby("family"))):
        assert sizes.max() - sizes.min() <= 2


def test_labels_are_true(couples, grid):
    for row in couples.sample(101, random_state=0).itertuples():
        truth = by_text()[row.hypothesis].truth(grid)[row.scene]
        assert truth == (TRUE if row.label == "entailment" else FALSE)


def test_scenes_are_used_equally_with_both_labels(couples):
    counts = _label_counts(couples, "scene")
    assert len(counts) == 211
    assert counts.sum(axis=1).between(1262 // 211 - 1, 1262 // 211 + 2).all()
    assert (counts["entailment"] - counts["contradiction"]).abs().max() <= 2


def test_about_half_of_the_false_scenes_hold_the_parts(grid):
    sentences = [s for s in statements() if s.form == "existence/there_is" and s.stratum == "digitcolour"]
    table = coupled_pairs(sentences, grid, n_pairs=400, rng=np.random.default_rng(2))
    false = table[table["label"] == "contradiction"]
    near = [by_text()[row.hypothesis].near(grid)[row.scene] == TRUE for row in false.itertuples()]
    by_chance = np.mean([(s.near(grid)[s.truth(grid) == FALSE] == TRUE).mean() for s in sentences])
    assert by_chance < 0.3
    assert 0.4 < np.mean(near) < 0.75


def test_the_same_random_stream_gives_the_same_pairs(grid):
    one, same, other = (coupled_pairs(statements(), grid, n_pairs=62, rng=np.random.default_rng(s)) for s in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_a_sentence_only_learner_is_at_chance_on_couples_and_not_elsewhere(couples, grid):
    rng = np.random.default_rng(5)
    shares = {"existence/there_is": 0.9, "negation/there_is_no": 0.2}
    loose = loose_pairs(statements(), grid, n_pairs=499, entailed_share=shares, tilt=0.0, rng=rng)
    assert hypothesis_only_hits(couples, couples).mean().tolist() == [0.5, 0.5]
    assert hypothesis_only_hits(loose, couples)["words"].mean() == 0.5
    assert hypothesis_only_hits(loose, loose)["words"].mean() > 0.8


def test_the_larger_class_is_that_of_train():
    train = pd.DataFrame({"hypothesis": ["a", "b", "c"], "label": ["entailment", "entailment", "contradiction"]})
    found = hypothesis_only_hits(train, train.assign(label=["contradiction", "entailment", "contradiction"]))
    assert found["larger_class"].tolist() == [False, True, False]
    assert found["words"].dtype == bool


def test_loose_pairs_have_the_shares_that_were_asked_for_and_a_tilt(grid):
    def loose(tilt):
        shares, rng = {"existence/there_is": 0.7, "colour/the_digit_is": 0.4}, np.random.default_rng(6)
        return loose_pairs(statements(), grid, n_pairs=1001, entailed_share=shares, tilt=tilt, rng=rng)

    table = loose(0.5)
    counts = _label_counts(table, "form")
    assert counts.loc["existence/there_is", "entailment"] == round(0.7 * 501)
    assert counts.loc["colour/the_digit_is", "entailment"] == round(0.4 * 500)
    assert len(table) == 1001 and not table.duplicated(["scene", "hypothesis"]).any()
    entailed = [(t[t["hypothesis"].str.endswith(" digit")]["label"] == "entailment").mean() for t in map(loose, (0, 1))]
    assert entailed[1] > entailed[0]


def test_impossible_wishes_are_refused(grid):
    rng = np.random.default_rng(0)
    for n in (3, 0, -2):
        with pytest.raises(ValueError, match="even and positive"):
            coupled_pairs(statements(), grid, n_pairs=n, rng=rng)
    few = Grid.of([read_scene("r7 " + ".. " * 15), read_scene("b7 " + ".. " * 15)])
    with pytest.raises(ValueError, match="the scenes allow 1; use more scenes"):
        coupled_pairs([by_text()["there is a red seven"]], few, n_pairs=4, rng=rng)
    table = coupled_pairs([by_text()["there is a red seven"]], few, n_pairs=2, rng=rng)
    assert table[["scene", "label"]].values.tolist() == [[0, "entailment"], [1, "contradiction"]]
