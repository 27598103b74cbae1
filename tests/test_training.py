import numpy as np
import pandas as pd
import pytest

from verdict.training import shuffle_images


def pairs_of(sizes: list[int]) -> pd.DataFrame:
    groups = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    images = [f"{group}-image" for group in groups]
    hypotheses = [f"sentence {k}" for k in range(len(groups))]
    return pd.DataFrame({"group_id": groups, "image_id": images, "hypothesis": hypotheses})


@pytest.mark.parametrize("sizes", [[1, 1, 2], [3, 3, 3], [5, 2, 7, 1, 3], [1] * 13])
def test_no_pair_keeps_an_image_of_its_own_group(sizes):
    pairs = pairs_of(sizes)
    shuffled = shuffle_images(pairs, np.random.default_rng(1))
    assert (shuffled["image_id"] != pairs["image_id"]).all()
    assert sorted(shuffled["image_id"]) == sorted(pairs["image_id"])
    assert shuffled["hypothesis"].equals(pairs["hypothesis"])


def test_a_group_of_more_than_half_cannot_be_shuffled():
    with pytest.raises(ValueError, match="5 of 9 pairs are of one group"):
        shuffle_images(pairs_of([5, 2, 2]), np.random.default_rng(1))


def test_shuffling_depends_on_the_seed_alone():
    pairs = pairs_of([2, 3, 5, 1])
    one, same, other = (shuffle_images(pairs, np.random.default_rng(seed))["image_id"].tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other
