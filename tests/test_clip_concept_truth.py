"""Foregrounds against true masks, by hand."""

import numpy as np

from verdict.clip import concept_truth, parts


def test_no_choice_of_patches_is_better_than_the_best_one():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 9, 6)) < 0.4
    best = concept_truth.best_patches(masks, (3, 2))
    reached = parts.intersection_over_union(parts.to_pixels(best, 9, 6), masks)
    for code in range(1, 2**6):
        choice = np.array([bool(code >> k & 1) for k in range(6)]).reshape(1, 3, 2).repeat(3, axis=0)
        other = parts.intersection_over_union(parts.to_pixels(choice, 9, 6), masks)
        assert (other <= reached + 1e-12).all()
