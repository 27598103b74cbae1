"""Changed views of an image: by hand, within their range, one image apart from the other."""

import numpy as np
import pytest

from verdict.views import VIEW_OF, brightness, contrast


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 11, 3), dtype=np.uint8)


def test_brightness_and_contrast_by_hand():
    image = np.array([0, 100, 200, 60, 90, 250], dtype=np.uint8).reshape(1, 1, 2, 3)
    assert brightness(image, factor=1.2).ravel().tolist() == [0, 120, 240, 72, 108, 255]
    mean = image.mean()
    wanted = np.clip(np.rint(mean + 0.5 * (image.ravel() - mean)), 0, 255)
    assert contrast(image, factor=0.5).ravel().tolist() == pytest.approx(wanted, abs=1)


def test_a_factor_of_one_changes_nothing(images):
    assert np.array_equal(brightness(images, factor=1.0), images)
    assert np.array_equal(contrast(images, factor=1.0), images)


@pytest.mark.parametrize("name", VIEW_OF)
def test_every_view_is_an_image_of_its_own(images, name):
    seen = VIEW_OF[name](images)
    assert (seen.dtype, seen.shape) == (np.uint8, images.shape)
    assert (seen != images).any()
    assert np.array_equal(VIEW_OF[name](images[2:3])[0], seen[2]), "no image depends on the others of its batch"


def test_a_flat_image_has_no_contrast_to_change():
    flat = np.full((1, 5, 7, 3), 90, dtype=np.uint8)
    assert np.array_equal(contrast(flat, factor=3.0), flat)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 5, 7, 3)), np.zeros((5, 7, 3), np.uint8), np.zeros((2, 5, 7, 1), np.uint8)]
)
def test_what_is_no_image_is_refused(bad):
    with pytest.raises(ValueError, match="expected uint8 images"):
        brightness(bad, factor=1.0)
