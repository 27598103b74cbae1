"""Prompts that end with a descriptor, and what is right under class vectors."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from verdict.clip.concept_prompts import _right, described_classes

NAMES, WORDS = ["cat", "dog", "owl"], ["fur", "wings", "a tail", "two eyes", "claws"]


class Reader:
    """A text's vector says which classes and descriptors are in it."""

    def texts(self, texts):
        self.seen = texts
        found = np.array([[float(word in text) for word in (*NAMES, *WORDS)] for text in texts])
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_each_class_is_described_by_its_own_words_under_every_template():
    reader = Reader()
    setup = SimpleNamespace(texts=WORDS, classes=pd.DataFrame({"name": NAMES}), templates=("a {}", "this is a {}"))
    chosen = np.array([[0, 2], [2, 4], [1, 3]])
    vectors = described_classes(setup, reader, chosen)
    assert len(reader.seen) == 3 * 2 * 2
    assert all(any(text.endswith(f", {word}") for word in WORDS) for text in reader.seen)
    assert vectors.shape == (3, len(NAMES) + len(WORDS))
    for row, (vector, ids) in enumerate(zip(vectors, chosen, strict=True)):
        assert set(np.flatnonzero(vector)) == {row, *(len(NAMES) + ids)}
        # Each of the two descriptors is in half of the texts, the name in all.
        assert vector[row] == pytest.approx(2 * vector[len(NAMES) + ids[0]])


def test_a_picture_is_right_where_its_class_is_nearest():
    vectors = np.array([[1.0, 0.2], [0.1, 1.0], [0.9, 0.3]])
    assert _right(vectors, np.eye(2), np.array([0, 1, 1])).tolist() == [1, 1, 0]
