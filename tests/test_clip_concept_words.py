"""What the page on concepts shows and says."""

import numpy as np
import pandas as pd

from verdict.clip import concept_words


def test_parts_are_tinted_and_the_rest_is_darker():
    images = np.full((1, 4, 4, 3), 200, dtype=np.uint8)
    shown = concept_words.tint_parts(images, np.array([[[0, -1], [-1, 1]]]), ["#ff0000", "#00ff00"])
    assert shown[0, 0, 0, 0] > 200 > shown[0, 0, 0, 1]
    assert shown[0, 3, 3, 1] > 200 > shown[0, 3, 3, 0]
    assert (shown[0, 0, 3] == round(200 * concept_words.TINT)).all()


def test_curves_stand_one_below_the_other():
    curve = pd.DataFrame({"removed": [0, 1], "published": [2.0, 0.0]})
    assert concept_words.curve_table({"a": curve, "b": curve})["model"].tolist() == ["a", "a", "b", "b"]


def test_a_source_without_masks_or_truth_says_so():
    empty = pd.DataFrame()
    assert "no masks" in concept_words.foreground_template(empty)
    assert "{" not in concept_words.truth_template(empty)
