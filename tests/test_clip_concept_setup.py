"""Means over shown pictures, and which words an encoder knows."""

from types import SimpleNamespace

import numpy as np
import pytest

from verdict.clip.concept_setup import known_words, mean_of, store
from verdict.params import load_params
from verdict.stage import Stage

N, PARAMS = 37, load_params("smoke")


class Vocabulary:
    """Knows two words, and spells the others."""

    def tokenize(self, word):
        return [word] if word in ("red", "dog") else list(word)


@pytest.fixture
def setup(tmp_path):
    shown = SimpleNamespace(groups=np.arange(N) // 2)
    return SimpleNamespace(stage=Stage("12_clip_concepts", "smoke", None, None, tmp_path, PARAMS), shown=shown)


def test_words_that_are_spelt_are_not_known():
    assert known_words(Vocabulary(), ["red dog", "blue dog"]) == 3 / 4


def test_pictures_without_a_value_are_left_out(setup):
    values = np.random.default_rng(0).normal(size=N)
    values[::3] = np.nan
    known = np.isfinite(values)
    found = mean_of(setup, values)
    assert found.value == pytest.approx(values[known].mean())
    assert found == mean_of(setup, values[known], setup.shown.groups[known])
    assert found.low < found.value < found.high
    assert np.isnan(mean_of(setup, np.full(N, np.nan)).value)
    # The same rows have the same interval on any page: it is the stage's.
    assert found == setup.stage.resampler(setup.shown.groups[known]).mean(values[known])
    flat = mean_of(setup, np.ones(N), span=(0, 1))
    assert flat.low < flat.value == flat.high == 1, "nineteen groups do not say that all others are alike"


def test_an_interval_is_stored_as_a_number_of_test(setup):
    found = mean_of(setup, np.arange(N))
    store(setup, "shared", found, unit="%", n=N)
    number = setup.stage.numbers["concepts.shared"]
    assert (number.value, number.low, number.high) == (found.value, found.low, found.high)
    assert (number.n, number.split, number.unit) == (N, "test", "%")
