"""Changed views of an image: by hand, within their range, one image apart from the other."""

import numpy as np
import pytest

from verdict.model.changes import PICTURE_CHANGES, brightness, centre, contrast, mirror


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


@pytest.mark.parametrize("name", PICTURE_CHANGES)
def test_every_view_is_an_image_of_its_own(images, name):
    seen = PICTURE_CHANGES[name](images)
    assert (seen.dtype, seen.shape) == (np.uint8, images.shape)
    assert (seen != images).any()
    assert np.array_equal(PICTURE_CHANGES[name](images[2:3])[0], seen[2]), "no image depends on the others of its batch"


def test_a_flat_image_has_no_contrast_to_change():
    flat = np.full((1, 5, 7, 3), 90, dtype=np.uint8)
    assert np.array_equal(contrast(flat, factor=3.0), flat)


def test_the_middle_grows_to_the_whole():
    images = np.zeros((2, 12, 16, 3), dtype=np.uint8)
    images[:, 2:10, 3:13] = 200
    grown = centre(images, share=0.5)
    assert grown.shape == images.shape and (grown == 200).all()
    assert np.array_equal(centre(images, share=1.0), images)


def test_a_mirror_image_of_a_mirror_image_is_the_image():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    assert np.array_equal(mirror(images)[:, :, 0], images[:, :, -1])
    assert np.array_equal(mirror(mirror(images)), images)
