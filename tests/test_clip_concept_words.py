"""What the page on concepts shows and says."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from verdict.clip import concept_words
from verdict.numbers import Number, Numbers


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
    assert "{" not in concept_words.truth_template(None, empty)


@pytest.mark.parametrize(
    ("bounds", "truth", "right", "added"),
    [
        ((-0.3, -0.2, -0.1), "pointing at parts costs truth", "share less", "they cost accuracy"),
        ((-0.1, 0.1, 0.3), "no difference is shown", "no difference is shown", "no difference is shown"),
        ((0.1, 0.2, 0.3), "pointing at parts finds more that is true", "share more", "they help"),
    ],
)
def test_a_moral_is_told_where_its_interval_bears_it_out(bounds, truth, right, added):
    low, value, high = bounds
    names = ("true_gain", "red_gain", "right_gain", "added_gain", "random_gain", "relation")
    stage = SimpleNamespace(numbers=Numbers({f"concepts.{name}": Number(value, low, high) for name in names}))
    assert f"{{concepts.true_gain}}: {truth}." in concept_words.truth_template(stage, pd.DataFrame({"a": [1]}))
    assert right in concept_words.relation_template(stage)
    assert f"{{concepts.added_gain}}: {added}." in concept_words.prompts_template(stage)
