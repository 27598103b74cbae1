"""Visual prompts: a part of an image pointed at by an ellipse, in three ways, for an encoder that sees whole images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from verdict.clip.parts import to_pixels

RED = (255, 0, 0)
GREY_LEVEL = 128.0


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in pixels: centre (y, x), half axes (long, short), unit direction (y, x) of the long one."""

    centre: tuple[float, float]
    half_axes: tuple[float, float]
    direction: tuple[float, float]

    def radius(self, height: int, width: int) -> np.ndarray:
        """Distance of each pixel from the centre in half axes, (height, width): 1 on the outline."""
        y, x = np.mgrid[:height, :width]
        y, x = y - self.centre[0], x - self.centre[1]
        along = (y * self.direction[0] + x * self.direction[1]) / self.half_axes[0]
        across = (x * self.direction[0] - y * self.direction[1]) / self.half_axes[1]
        return np.hypot(along, across)


def fit_ellipse(mask: np.ndarray) -> Ellipse | None:
    """The ellipse with the moments of the largest connected piece of a mask of pixels; None for an empty mask.

    A filled ellipse has the variance a² / 4 along an axis of half length a, so it is found again.
    """
    labels, n_pieces = ndimage.label(mask)
    if not n_pieces:
        return None
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    places = np.argwhere(labels == largest).astype(float)
    centre = places.mean(axis=0)
    # A pixel is a square with a variance of its own: without it one row of pixels would have no width.
    covariance = np.cov(places.T, bias=True).reshape(2, 2) + np.eye(2) / 12 if len(places) > 1 else np.eye(2) / 12
    values, vectors = np.linalg.eigh(covariance)
    short, long = 2 * np.sqrt(values)
    return Ellipse((centre[0], centre[1]), (long, short), (vectors[0, 1], vectors[1, 1]))


def prompt_images(image: np.ndarray, ellipse: Ellipse, *, outline: bool = True, blur: float = 2.0) -> np.ndarray:
    """Pictures that point at an ellipse: outlined in red, and outlined with the outside grey or blurred.

    Parameters
    ----------
    image : uint8, (height, width, 3)
    ellipse : Ellipse
    outline : bool
        Without it there is no red line, and two pictures: with the outside grey, and blurred. Red paint can make an
        encoder see red.
    blur : float
        Standard deviation of the blur in pixels.

    Returns
    -------
    ndarray of uint8, (3 or 2, height, width, 3)
    """
    height, width = image.shape[:2]
    radius = ellipse.radius(height, width)
    inside = radius <= 1
    grey = np.where(inside[..., None], image, GREY_LEVEL)
    soft = ndimage.gaussian_filter(image.astype(np.float32), (blur, blur, 0))
    soft = np.where(inside[..., None], image, np.rint(soft))
    if not outline:
        return np.stack([grey, soft]).astype(np.uint8)
    line = inside & ~ndimage.binary_erosion(inside, border_value=0)
    prompts = np.stack([image.astype(np.float32), grey, soft])
    prompts[:, line if line.any() else radius == radius.min()] = RED
    return prompts.astype(np.uint8)


def part_prompts(images: np.ndarray, parts: np.ndarray, *, outline: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Prompts of every part of every image.

    Parameters
    ----------
    images : uint8, (n, height, width, 3)
    parts : int, (n, rows, columns)
        Part of each patch, -1 for none.
    outline : bool
        See `prompt_images`.

    Returns
    -------
    pictures : uint8, (m, 3 or 2, height, width, 3)
    owner : int, (m, 2)
        Image and part of each; parts that an image lacks are left out.
    """
    height, width = images.shape[1:3]
    pixels = to_pixels(parts, height, width)
    pictures, owner = [], []
    for place, (image, own) in enumerate(zip(images, pixels, strict=True)):
        for part in np.unique(own[own >= 0]):
            pictures.append(prompt_images(image, fit_ellipse(own == part), outline=outline))
            owner.append((place, part))
    if not pictures:
        return np.empty((0, 3 if outline else 2, height, width, 3), dtype=np.uint8), np.empty((0, 2), dtype=int)
    return np.stack(pictures), np.array(owner)
