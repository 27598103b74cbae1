"""Knowledge of a made-up encoder whose every answer is known: it sees colours and reads their names."""

from types import SimpleNamespace

import numpy as np
import pytest

from verdict.base.params import load_params
from verdict.clip.concepts import activations
from verdict.clip.concepts.activations import Words, by_importance, describe_parts, find_parts, look, sinkhorn

# Far from the red of the ellipses, which would be seen otherwise.
COLOURS = {"pale": (255, 255, 200), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}
NAMES = list(COLOURS)
BANK = ["pale", "green", "blue", "grey", "pale and green", "pale and blue", "green and blue"]


class ColourReader:
    """An embedding is the share of each colour, or of each colour's name."""

    grid = 6
    encoder = SimpleNamespace(grid=grid)

    def _shares(self, pixels):
        palette = np.array(list(COLOURS.values()), dtype=float)
        return (np.linalg.norm(pixels[..., None, :].astype(float) - palette, axis=-1) < 60).astype(float)

    def images(self, images):
        shares = self._shares(images).mean(axis=(1, 2)) + 1e-3
        shares[:, -1] *= 0.02
        return shares / np.linalg.norm(shares, axis=1, keepdims=True)

    def texts(self, texts):
        counts = np.array([[float(name in text.split()) for name in NAMES] for text in texts]) + 1e-3
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def patches(self, images):
        n, size = len(images), images.shape[1] // self.grid
        shares = self._shares(images).reshape(n, self.grid, size, self.grid, size, -1).mean(axis=(2, 4)) + 1e-3
        shares = shares / np.linalg.norm(shares, axis=-1, keepdims=True)
        return shares.reshape(n, self.grid**2, -1)


def picture(upper, lower):
    image = np.full((24, 24, 3), 128, dtype=np.uint8)
    image[8:12, 8:16], image[12:16, 8:16] = COLOURS[upper], COLOURS[lower]
    return image


def settings(**changes):
    fixed = {"n_parts": 2, "n_candidates": 7, "per_part": 1, "n_textual": 2, "parts": "clusters"}
    return load_params("smoke").concepts.model_copy(update=fixed | changes)


def looked_at(images, y_true, **changes):
    reader = ColourReader()
    words = Words(reader.texts(["pale", "blue"]), reader.texts(BANK))
    found = find_parts(reader, images, y_true, settings(**changes), seed=1)
    return look(reader, images, found, words, settings(**changes))


@pytest.fixture(scope="module")
def seen():
    images = np.stack(
        [picture("pale", "pale"), picture("pale", "green"), picture("blue", "blue"), picture("blue", "blue")]
    )
    return looked_at(images, np.array([0, 0, 1, 1]))


def test_the_object_its_parts_and_their_names_are_found(seen):
    inside = np.zeros((6, 6), dtype=bool)
    inside[2:4, 2:4] = True
    assert all(np.array_equal(mask, inside) for mask in seen.masks)
    # The second picture's halves are two parts: pale stands above green.
    assert seen.parts[1, 2, 2] != seen.parts[1, 3, 2]
    told = [{BANK[k] for k in ids} for ids in seen.visual]
    assert "blue" in told[2] and "pale" in told[0]
    assert {"pale", "green"} <= {word for name in told[1] for word in name.split()}
    assert seen.answer.tolist() == [0, 0, 1, 1]
    assert BANK[seen.textual[0, 0]] == "pale" and BANK[seen.textual[1, 0]] == "blue"


def test_scores_follow_from_the_lists(seen):
    scores = activations.score_images(seen, np.array([0, 0, 1, 0]), len(BANK))
    assert scores["is_right"].tolist() == [True, True, True, False]
    for row, (visual, answer) in enumerate(zip(seen.visual, seen.answer, strict=True)):
        shared = len(set(visual) & set(seen.textual[answer]))
        assert scores["shared"][row] == shared
        assert scores["jaccard"][row] == shared / len(set(visual) | set(seen.textual[answer]))
        assert scores["lift"][row] == pytest.approx(shared / (len(visual) * 2 / len(BANK)))
        assert scores["mi_table"][row] == pytest.approx(np.log(max(shared, 1)))
    assert (scores["shared"] >= 1).all()


def test_an_exchange_of_descriptors_shares_what_chance_gives(seen):
    visual, textual = (activations.memberships(ids, len(BANK)) for ids in (seen.visual, seen.textual))
    observed = (visual & textual[seen.answer]).sum(axis=1).mean()
    rng = np.random.default_rng(0)
    exchanged = activations.permuted_overlaps(visual, textual, seen.answer, n_draws=400, rng=rng)
    expected = (visual.sum(axis=1) * 2 / len(BANK)).mean()
    assert exchanged.mean() == pytest.approx(expected, abs=4 * exchanged.std() / 20) and observed > exchanged.mean()


def test_the_gain_of_the_own_class_can_be_missed(seen):
    """By hand, and none on average where pictures and classes have nothing to do with each other."""
    visual, textual = (activations.memberships(ids, len(BANK)) for ids in (seen.visual, seen.textual))
    y_true = np.array([0, 0, 1, 0])
    by_hand = [(visual[k] & textual[y]).sum() - (visual[k] & textual[1 - y]).sum() for k, y in enumerate(y_true)]
    assert activations.own_class_gain(visual, textual, y_true).tolist() == by_hand and by_hand[3] < 0 < by_hand[2]
    rng = np.random.default_rng(0)
    visual, textual, y_true = rng.random((4000, 31)) < 0.3, rng.random((5, 31)) < 0.4, rng.integers(0, 5, 4000)
    found = activations.own_class_gain(visual, textual, y_true)
    assert found.mean() == pytest.approx(0, abs=4 * found.std() / np.sqrt(4000))
    # The class nearest to a picture gains without any knowledge, which is why it is not asked.
    nearest = (visual @ textual.T.astype(float)).argmax(axis=1)
    assert activations.own_class_gain(visual, textual, nearest).mean() > 1


def test_a_p_value_counts_what_was_observed_and_says_how_sure_draws_are():
    assert activations.permutation_p_value(3, np.array([1, 2, 3, 4]), level=0.95).value == pytest.approx(3 / 5)
    few, many = (activations.permutation_p_value(9, np.zeros(n), level=0.95) for n in (19, 999))
    assert (few.value, many.value) == pytest.approx((1 / 20, 1 / 1000)) and few.low == many.low == 0
    # Nineteen draws of which none reaches do not show a p-value below 0.05, though 1 / 20 is one of its values.
    assert few.high > 0.05 > many.high


def test_pictures_of_a_class_are_alike(seen):
    visual = activations.memberships(seen.visual, len(BANK))
    within, between = activations.likeness(visual, np.array([0, 0, 1, 1]))
    assert within[2] == within[3] == 1
    assert between.max() < 1
    alone, _ = activations.likeness(visual, np.array([0, 1, 2, 2]))
    assert np.isnan(alone[:2]).all() and np.isfinite(alone[2:]).all()


def test_frequent_descriptors_tell_classes_apart():
    has = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], dtype=bool)
    assert activations.frequent_descriptors(has, np.array([0, 0, 1, 1]), 2, 1).tolist() == [[1], [2]]


@pytest.mark.parametrize("kind", ["clusters", "components"])
def test_an_image_without_foreground_shares_nothing(kind, monkeypatch):
    monkeypatch.setattr(activations, "foreground_spectral", lambda patches, grid: np.zeros((len(patches), *grid), bool))
    nothing = looked_at(np.full((2, 24, 24, 3), 128, dtype=np.uint8), np.zeros(2), parts=kind)
    assert not (nothing.parts >= 0).any() and [len(ids) for ids in nothing.visual] == [0, 0]
    scores = activations.score_images(nothing, np.zeros(2), len(BANK))
    assert not scores[["shared", "mi_published", "is_fallback"]].any().any() and scores["lift"].isna().all()


def test_transport_keeps_its_marginals_and_ignores_what_all_share():
    scores = np.random.default_rng(1).normal(size=(5, 13))
    for regulariser in (0.05, 1.0):
        plan = sinkhorn(scores, regulariser=regulariser)
        assert plan.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-6)
        assert plan.sum(axis=0) == pytest.approx(np.full(13, 5 / 13), abs=1e-6)
    # A descriptor that is near to every part, and a part that is near to everything, change nothing.
    moved = scores + np.random.default_rng(2).normal(size=13) + np.array([[0.0], [3.0], [-1.0], [0.5], [1.0]])
    assert sinkhorn(moved, regulariser=regulariser) == pytest.approx(plan, abs=1e-6)


def test_parts_get_what_is_nearer_to_them_than_to_others():
    # Descriptor 0 is near to both parts; 1 belongs to the first, 2 to the second.
    cosine = np.array([[0.9, 0.8, 0.5, 0.0], [0.9, 0.5, 0.8, 0.0]])
    found = describe_parts(cosine, n_candidates=3, per_part=1, regulariser=1.0)
    assert [ids.tolist() for ids in found[0]] == [[1], [2]] and not found[1]
    assert by_importance(np.array([3, 0, 1, 3]), np.array([0.1, 0.9, 0.5, 0.9])).tolist() == [1, 3, 0]
    # The only part of an image has what is nearest to it.
    assert describe_parts(cosine[:1], n_candidates=3, per_part=1, regulariser=1.0)[0][0].tolist() == [0]


def test_candidates_are_common_to_all_parts_or_else_those_of_any():
    cosine = np.array([[0.9, 0.8, 0.1, 0.0, 0.0], [0.0, 0.8, 0.9, 0.1, 0.0]])
    ids, is_fallback = describe_parts(cosine, n_candidates=2, per_part=1, regulariser=1.0)
    assert np.unique(ids).tolist() == [1] and not is_fallback
    ids, is_fallback = describe_parts(cosine, n_candidates=2, per_part=2, regulariser=1.0)
    assert is_fallback and set(np.ravel(ids)) <= {0, 1, 2}
