from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from verdict.data.digits import grammar
from verdict.data.digits.grammar import by_text, statements
from verdict.data.digits.independent import (
    FONTS,
    HAND_SCENES,
    hand_rows,
    hand_written,
    paraphrased,
    paraphrases,
    printed_style,
    read_scene,
)
from verdict.data.digits.scenes import COLOURS, draw_scenes, handwriting_style, render_scenes
from verdict.data.digits.truths import FALSE, TRUE, UNDEFINED, Grid


def test_ten_images_with_five_sentences_each_and_balanced_labels():
    rows = hand_rows()
    assert Counter(row["image"] for row in rows) == {str(i): 5 for i in range(1, 11)}
    assert Counter(row["label"] for row in rows) == {"entailment": 25, "contradiction": 25}
    assert {row["family"] for row in rows} == set(grammar.FAMILIES)
    assert sum(bool(row["check"]) for row in rows) >= 30, "most labels are checked below"


@pytest.mark.parametrize("row", [row for row in hand_rows() if row["check"]], ids=lambda row: row["hypothesis"])
def test_hand_written_labels_agree_with_the_scene(row):
    grid = Grid.of([read_scene(HAND_SCENES[int(row["image"]) - 1])])
    parts = row["check"].removeprefix("! ").split(" & ")
    truths = [int(by_text()[part].truth(grid)[0]) for part in parts]
    assert UNDEFINED not in truths
    holds = all(truth == TRUE for truth in truths) != row["check"].startswith("! ")
    assert holds == (row["label"] == "entailment")


def test_hand_written_images_and_pairs():
    table, images = hand_written()
    again = hand_written()[1]
    assert images.shape == (10, 64, 64, 3)
    assert np.array_equal(images, again)
    assert table["scene"].tolist() == [i for i in range(10) for _ in range(5)]
    assert table["form"].str.endswith("/hand").all()


def test_no_sentence_is_known_from_training():
    known = {sentence.text for sentence in statements()}
    new = {sentence.text for sentence in paraphrases()}
    written = {row["hypothesis"] for row in hand_rows()}
    assert len(new) == len(paraphrases())
    assert not known & new
    assert not known & written
    assert not new & written
    assert max(len(text.split()) for text in new) <= 14
    assert not {s.form for s in statements()} & {s.form for s in paraphrases()}


@pytest.mark.parametrize(
    ("paraphrase", "meaning"),
    [
        ("you can see a red seven", "there is a red seven"),
        ("a picture with an eight", "there is an eight"),
        ("the picture shows two threes and no more", "there are exactly two threes"),
        ("one finds three or more red digits", "there are at least three red digits"),
        ("you can see less than two twos", "there are fewer than two twos"),
        ("the colour of the seven is green", "the seven is green"),
        ("what is green is a five", "the green digit is a five"),
        ("you can not see any blue digits", "there are no blue digits in the image"),
        ("a picture without a yellow four", "there is no yellow four"),
        ("each of the sevens is red", "all sevens are red"),
        ("more than half of the digits are blue", "most digits are blue"),
        ("in the bottom left corner one finds a six", "there is a six in the bottom left corner"),
        ("the blue three can be found in the top half of the picture", "the blue three is in the top half"),
        ("nothing can be found in the top row", "the top row is empty"),
        ("the one stands to the left of the two", "the one is left of the two"),
        ("the one stands higher than the two", "the one is above the two"),
        ("the red digit stands lower than the blue digit", "the red digit is below the blue digit"),
        ("the fives outnumber the sixes", "there are more fives than sixes"),
        ("the picture has less red digits than blue digits", "there are fewer red digits than blue digits"),
    ],
)
def test_paraphrases_mean_what_the_grammar_says(paraphrase, meaning):
    grid = Grid.of(draw_scenes(503, np.arange(1797), rng=np.random.default_rng(0)))
    said = {sentence.text: sentence for sentence in paraphrases()}
    truth = said[paraphrase].truth(grid)
    assert np.array_equal(truth, by_text()[meaning].truth(grid))
    assert {TRUE, FALSE} <= set(truth.tolist())
    assert said[paraphrase].family == by_text()[meaning].family


def test_paraphrased_pairs_are_couples():
    table, images = paraphrased(n_pairs=302, n_scenes=97, rng=np.random.default_rng(0))
    assert images.shape == (97, 64, 64, 3)
    counts = table.groupby("hypothesis")["label"].value_counts().unstack(fill_value=0)
    assert (counts["entailment"] == counts["contradiction"]).all()
    assert len(table) == 302


def test_paper_is_light_and_digits_are_printed():
    style = printed_style()
    assert style.sprites.shape == (10 * len(FONTS), 14, 14)
    assert style.sprites.reshape(len(style.sprites), -1).max(axis=1).min() > 0.7
    image = render_scenes([read_scene(HAND_SCENES[0])], rng=np.random.default_rng(0), style=style)[0]
    assert np.median(image) > 200
    # Glyphs keep clear of the sprite's edge, so nothing of them is cut off.
    edges = style.sprites.copy()
    edges[:, 1:-1, 1:-1] = 0.0
    assert edges.max() < 0.9


def test_shades_differ_from_training_but_are_nearest_to_the_same_colour():
    """Ink minus paper points in the same direction for the same colour word."""

    def chroma(palette: np.ndarray) -> np.ndarray:
        centred = palette - palette.mean(axis=1, keepdims=True)
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)

    ours, training = printed_style().palette, handwriting_style().palette
    assert np.abs(ours - training).sum(axis=1).min() > 30
    assert (chroma(ours) @ chroma(training).T).argmax(axis=1).tolist() == list(range(len(COLOURS)))
