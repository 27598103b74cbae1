"""Integrated gradients: completeness, what must have no attribution, and a path that is integrated rightly."""

import numpy as np
import pytest

import tiny_network as tiny
from tiny_presets import SIZE, save_presets
from verdict.base.labels import Label
from verdict.model.features import load_encoders, load_network
from verdict.model.integrated_gradients import attribute, integrate
from verdict.model.kept import KeptModel
from verdict.model.network import FreezePlan

HYPOTHESIS = "there is a red seven"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    params = save_presets(folder / "vision", folder / "text")
    encoders = load_encoders(params)
    network = tiny.scatter(load_network(params, dropout=0.0, seed=3, encoders=encoders))
    return KeptModel(network, encoders, FreezePlan())


@pytest.fixture(scope="module")
def shown():
    return np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)


def test_attributions_sum_to_the_change_of_the_margin(model, shown):
    found = attribute(model, shown, HYPOTHESIS, Label.CONTRADICTION, "p", n_steps=64)
    moved = found.margin - found.baseline_margin
    assert abs(moved) > 1e-3
    assert found.patches.sum() + found.words.sum() == pytest.approx(moved, rel=0.02)
    assert found.gap < 0.02
    assert attribute(model, shown, HYPOTHESIS, Label.CONTRADICTION, "p", n_steps=2).gap > found.gap


def test_the_margin_is_that_of_the_answer(model, shown):
    both = [attribute(model, shown, HYPOTHESIS, label, "p", n_steps=8) for label in Label]
    assert both[0].margin == pytest.approx(-both[1].margin)
    np.testing.assert_allclose(both[0].patches, -both[1].patches, atol=1e-6)
    np.testing.assert_allclose(both[0].words, -both[1].words, atol=1e-6)
    inputs = {"pixels": model.encoders.pixels(shown)}
    inputs |= dict(zip(("token_ids", "padding_mask"), model.encoders.tokens([HYPOTHESIS]), strict=True))
    assert both[Label.CONTRADICTION].margin == pytest.approx(
        model.network.model.predict_on_batch(inputs)[0, 0], abs=1e-4
    )


def test_what_is_its_own_baseline_has_no_attribution(model):
    flat = np.full((1, *SIZE, 3), 77, dtype=np.uint8)
    found = attribute(model, flat, HYPOTHESIS, Label.CONTRADICTION, "p", n_steps=8)
    assert not found.patches.any()
    assert found.words.any()
    assert found.tokens[0] == "[CLS]" and found.tokens[-1] == "[SEP]"
    assert found.words[0] == found.words[-1] == 0
    assert found.share_of_image == 0
    assert len(found.tokens) == len(found.words) == 7


def test_a_path_of_pixels_alone_ends_where_the_whole_network_does(model, shown):
    """Integrated over a path on which only pixels move, the gradients give the difference of its ends."""
    network, pixels = model.network, model.encoders.pixels(shown)
    ids, mask = model.encoders.tokens([HYPOTHESIS])
    by_pixel, by_word, margins = integrate(network, (pixels, ids), (0 * pixels, ids), mask, sign=1.0, n_steps=48)
    assert not by_word.any()
    ends = [
        network.model.predict_on_batch({"pixels": part, "token_ids": ids, "padding_mask": mask})[0, 0]
        for part in (pixels, 0 * pixels)
    ]
    assert margins == pytest.approx(ends, abs=1e-4)
    assert by_pixel.sum() == pytest.approx(ends[0] - ends[1], rel=0.02, abs=1e-3)


def test_patches_are_sums_of_their_pixels(model, shown, monkeypatch):
    """Of 32 x 48 pixels in patches of 16."""
    by_pixel = np.arange(32 * 48, dtype=float).reshape(32, 48)
    given = (by_pixel, np.zeros(7), (0.0, 0.0))
    monkeypatch.setattr("verdict.model.integrated_gradients.integrate", lambda *_, **__: given)
    found = attribute(model, shown, HYPOTHESIS, 0, "p", n_steps=1).patches
    assert found.shape == (2, 3)
    assert found[0, 1] == by_pixel[:16, 16:32].sum()
    assert found.sum() == by_pixel.sum()


def test_equal_calls_give_equal_attributions(model, shown):
    first, second = (attribute(model, shown, HYPOTHESIS, 0, "p", n_steps=8) for _ in range(2))
    assert np.array_equal(first.patches, second.patches)
    assert np.array_equal(first.words, second.words)
