"""Probes that find what is there and nothing else, silhouettes against another implementation, one picture a seed."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances, silhouette_score

from simulated_stage import make_stage
from verdict.pages.interpretation import Labelled, embed, layer_scores, probe_answers, silhouette


def labelled(n, *, shift, seed, width=11, groups_of=3):
    """Rows of two classes whose means lie `shift` apart on the first feature."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, width)).astype(np.float32)
    x[:, 0] += shift * y
    return Labelled(x, y, np.arange(n) // groups_of)


def splits(shift, *, random_labels=False):
    parts = [labelled(n, shift=shift, seed=seed) for seed, n in enumerate((401, 307, 1201))]
    if random_labels:
        rng = np.random.default_rng(9)
        parts = [Labelled(part.x, rng.integers(0, 2, len(part.y)), part.groups) for part in parts]
    return tuple(parts)


@pytest.mark.parametrize(("random_labels", "right", "within"), [(False, 0.933, 0.025), (True, 0.5, 0.05)])
def test_a_probe_finds_what_is_there_and_is_at_chance_on_random_labels(random_labels, right, within):
    """Two normal classes at distance 3: the best rule is right with probability Phi(1.5) = 0.933."""
    train, tune, test = splits(3.0, random_labels=random_labels)
    assert np.mean(probe_answers(train, tune, test) == test.y) == pytest.approx(right, abs=within)


def test_a_probe_does_not_see_the_scale_or_the_test_labels():
    train, tune, test = splits(2.0)
    first = probe_answers(train, tune, test)
    factor = np.linspace(0.01, 1000, 11).astype(np.float32)
    scaled = [Labelled(part.x * factor + 7, part.y, part.groups) for part in (train, tune, test)]
    assert np.mean(probe_answers(*scaled) == first) > 0.99
    assert (probe_answers(train, tune, Labelled(test.x, 1 - test.y, test.groups)) == first).all()


def test_a_probe_without_two_classes_is_refused():
    train, tune, test = splits(2.0)
    alone = Labelled(train.x, np.ones_like(train.y), train.groups)
    with pytest.raises(ValueError, match="a probe needs two classes to learn from, got 401 rows of one"):
        probe_answers(alone, tune, test)


def distances(x):
    found = pairwise_distances(x.astype(np.float64))
    np.fill_diagonal(found, 0)
    return found


@pytest.mark.parametrize("n_classes", [2, 3])
def test_silhouettes_of_independent_rows_are_those_of_scikit_learn(n_classes):
    rng = np.random.default_rng(3)
    y, x = rng.integers(0, n_classes, 83), rng.normal(size=(83, 5))
    x[:, 1] += y
    assert float(silhouette(distances(x), y, np.arange(83))) == pytest.approx(silhouette_score(x, y))


LINE, CLASSES = distances(np.array([[0.0], [1.0], [5.0]])), np.array([0, 0, 1])
BY_HAND = (4 / 5 + 3 / 4 + 0) / 3


def test_silhouette_by_hand():
    """Points 0 and 1 of one class, 5 alone in the other: (5 - 1) / 5, (4 - 1) / 4, and 0 for the one alone."""
    assert float(silhouette(LINE, CLASSES, np.arange(3))) == pytest.approx(BY_HAND)


def test_rows_of_ones_own_group_are_no_neighbours():
    """A copy of every row within its group changes nothing, though it lies at distance zero."""
    twice = np.repeat(np.arange(3), 2)
    found = silhouette(LINE[np.ix_(twice, twice)], CLASSES[twice], twice)
    assert float(found) == pytest.approx(BY_HAND)


def test_weights_count_whole_groups():
    rng = np.random.default_rng(4)
    y, x, groups = rng.integers(0, 2, 83), rng.normal(size=(83, 3)), np.arange(83) // 3
    distance = distances(x)
    drawn = rng.integers(0, 3, 28)[groups]
    rows = np.repeat(np.arange(83), drawn)
    by_repeating = silhouette(distance[np.ix_(rows, rows)], y[rows], groups[rows])
    found = silhouette(distance, y, groups, np.stack([drawn, np.ones(83)]))
    assert found == pytest.approx([float(by_repeating), float(silhouette(distance, y, groups))])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_interval_of_no_separation_holds_zero(seed, tmp_path):
    """Rows of one image are alike whatever their label: copies in a resample must not pull the interval down."""
    rng = np.random.default_rng(seed)
    groups = np.arange(202) // 2
    x = (rng.normal(size=(101, 7))[groups] + 0.1 * rng.normal(size=(202, 7))).astype(np.float32)
    y = np.tile([0, 1], 101)
    part = Labelled(x, y, groups)
    stage = make_stage("06_interpretation", tmp_path)
    layer_scores(stage, {"a": (part, part, part)}, sample=np.arange(202), first="a", last="a")
    found = stage.numbers["representation.a.silhouette"]
    assert found.low < 0 < found.high
    assert abs(found.value - (found.low + found.high) / 2) < (found.high - found.low) / 3


def test_a_resample_without_a_class_is_not_defined():
    y = np.array([0, 0, 1, 1])
    distance = distances(np.array([[0.0], [1.0], [5.0], [7.0]]))
    found = silhouette(distance, y, np.arange(4), np.array([[1, 1, 0, 0], [0, 0, 2, 1], [1, 1, 1, 0]]))
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx(BY_HAND)
    assert np.isnan(silhouette(distance, np.zeros(4, dtype=int), np.arange(4)))


def test_coinciding_points_have_no_silhouette():
    assert float(silhouette(np.zeros((4, 4)), np.array([0, 0, 1, 1]), np.arange(4))) == 0


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    stage = make_stage("06_interpretation", tmp_path_factory.mktemp("stage"))
    layers = {"blind": splits(0.0), "seeing": splits(3.0)}
    return stage, layer_scores(stage, layers, sample=np.arange(0, 1201, 4), first="blind", last="seeing")


def test_layers_are_scored_with_intervals(scored):
    stage, table = scored
    rows = table.set_index("layer")
    assert rows["width"].tolist() == [11, 11]
    assert rows.loc["blind", "accuracy_low"] < 0.5 < rows.loc["blind", "accuracy_high"]
    assert rows.loc["seeing", "accuracy_low"] > 0.85
    assert rows.loc["blind", "silhouette"] == pytest.approx(0, abs=0.01)
    assert rows.loc["seeing", "silhouette_low"] > rows.loc["blind", "silhouette_high"]
    assert (rows["silhouette_low"] <= rows["silhouette"]).all() and (
        rows["silhouette"] <= rows["silhouette_high"]
    ).all()
    stored = stage.numbers["representation.seeing.silhouette"]
    assert (stored.value, stored.n, stored.split) == (rows.loc["seeing", "silhouette"], 301, "test")


def test_the_gain_is_the_difference_of_two_probes(scored):
    stage, table = scored
    gain = stage.numbers["representation.gain"]
    assert gain.value == pytest.approx(table["accuracy"][1] - table["accuracy"][0])
    assert gain.low > 0.3
    assert (gain.value, gain.low, gain.high) == tuple(
        table.iloc[1][["beyond_first", "beyond_first_low", "beyond_first_high"]]
    )
    assert table.iloc[0][["beyond_first", "beyond_first_low"]].isna().all(), "a layer is not compared with itself"


def test_a_seed_gives_one_picture_and_small_samples_are_drawn():
    x = labelled(47, shift=9.0, seed=5).x
    one, same, other = (embed(x, perplexity=30.0, seed=seed) for seed in (42, 42, 43))
    assert (one.points == same.points).all()
    assert one.points.shape == (47, 2) and np.isfinite(one.points).all()
    assert one.perplexity == pytest.approx(46 / 3)
    assert other.points.shape == (47, 2)
    with pytest.raises(ValueError, match="at least four points, got 3"):
        embed(x[:3], perplexity=30.0, seed=42)


def test_neighbours_in_the_picture_are_neighbours_in_the_layer():
    rng = np.random.default_rng(6)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 7)) + 40 * y[:, None]
    points = embed(x, perplexity=8.0, seed=42).points
    np_distance = distances(points) + np.diag(np.full(60, np.inf))
    assert (y[np_distance.argmin(axis=1)] == y).all()
