"""The population: descriptions by hand, and members that learn what their description holds."""

import numpy as np
import pytest

from verdict.clip.robustness import population


def pictures(n, rng):
    """Bars of two directions (the class) in two colours (which says nothing)."""
    y_true = rng.integers(0, 2, n)
    images = rng.integers(0, 40, (n, 23, 24, 3)).astype(np.uint8)
    for image, label in zip(images, y_true, strict=True):
        at, channel = rng.integers(4, 16), rng.integers(0, 3)
        rows, columns = (slice(at, at + 4), slice(2, 21)) if label else (slice(2, 21), slice(at, at + 4))
        image[rows, columns, channel] = 220
    return images, y_true


def test_descriptions_by_hand():
    image = np.zeros((1, 24, 24, 3), dtype=np.uint8)
    image[0, :, 12:] = (255, 0, 128)
    assert population.colour_counts(image)[0, [0, 3 * 16 + 2]].tolist() == [0.5, 0.5]
    blocks = population.DESCRIPTIONS["colour blocks"](image).reshape(8, 8, 3)
    assert blocks[0, 3].tolist() == [0, 0, 0] and blocks[7, 4] == pytest.approx([1, 0, 128 / 255])
    edges = population.edge_directions(image).reshape(4, 4, 8)
    # An upright edge: its gradient points across, the first direction, in the two middle columns of cells alone.
    assert edges[2, 1, 0] > 0.9 and edges[2, 2, 0] > 0.9 and edges[:, [0, 3]].max() == 0 and edges[..., 1:].max() == 0


def test_at_least_ten_members_learn_directions_and_one_cannot():
    rng = np.random.default_rng(0)
    (train, y_train), (test, y_test) = pictures(300, rng), pictures(151, rng)
    members = population.fit_population(population.described(train), y_train, seed=3)
    names = [name for name, *_ in members]
    assert len(members) >= 10 and len(set(names)) == len(members)
    right = population.predict_population(members, population.described(test)) == y_test
    accuracy = dict(zip(names, right.mean(axis=1), strict=True))
    assert right.shape == (len(members), 151)
    assert accuracy["ridge on edges"] > 0.95
    assert 0.3 < accuracy["ridge on colour counts"] < 0.7
    again = population.fit_population(population.described(train), y_train, seed=3)
    assert np.array_equal(population.predict_population(again, population.described(test)) == y_test, right)


def test_another_description_adds_a_probe():
    rng = np.random.default_rng(1)
    images, y_true = pictures(80, rng)
    found = population.described(images) | {"embedding": np.eye(2)[y_true]}
    name, source, estimator = population.fit_population(found, y_true, seed=0)[-1]
    assert (name, source) == ("probe of embedding", "embedding")
    assert (estimator.predict(found["embedding"]) == y_true).all()
