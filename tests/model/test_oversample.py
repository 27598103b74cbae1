"""Oversampling: extra rows of the right buckets, and nothing else changed."""

import numpy as np
import pandas as pd
import pytest

from verdict.model.oversample import bucket_flags, n_extra, oversample


def flags(n=101):
    rows = np.arange(n)
    return pd.DataFrame({"third": rows % 3 == 0, "fifth": rows % 5 == 0, "none": rows < 0})


def test_every_row_stands_once_and_the_extras_are_of_their_bucket():
    rows = oversample(flags(), {"third": 1.5, "fifth": 2.0}, rng=np.random.default_rng(1))
    n_third, n_fifth = 34, 21
    assert rows[:101].tolist() == list(range(101))
    assert len(rows) == 101 + n_third // 2 + n_fifth
    assert (rows[101 : 101 + n_third // 2] % 3 == 0).all()
    assert (rows[101 + n_third // 2 :] % 5 == 0).all()


def test_extras_are_drawn_with_replacement_over_the_whole_bucket():
    rows = oversample(flags(), {"third": 31.0}, rng=np.random.default_rng(2))[101:]
    counts = np.bincount(rows, minlength=101)[::3]
    assert counts.sum() == 30 * 34
    # 30 draws a row on average, each count roughly Poisson: seven standard deviations on either side.
    assert counts.min() > 0 and counts.max() < 30 + 7 * np.sqrt(30)


def test_the_seed_decides():
    one, again, other = (oversample(flags(), {"third": 2.0}, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_weight_of_one_and_an_empty_bucket_add_nothing():
    assert len(oversample(flags(), {"third": 1.0, "none": 3.0}, rng=np.random.default_rng(0))) == 101
    assert n_extra(1.0, 997) == 0


def test_impossible_weights_are_refused():
    with pytest.raises(ValueError, match=r"no buckets \['thirds'\]; there are \['third', 'fifth', 'none'\]"):
        oversample(flags(), {"thirds": 1.2}, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"a weight is at least 1, got 0\.9"):
        oversample(flags(), {"third": 0.9}, rng=np.random.default_rng(0))


def test_buckets_are_families_and_words():
    texts = ["Two men sit.", "No dog.", "A red car.", "A woman."]
    words = bucket_flags(pd.DataFrame({"hypothesis": texts}, index=[7, 5, 3, 1]))
    assert words["counting"].tolist() == [True, False, False, False]
    assert words["negation"].tolist() == [False, True, False, False]
    both = bucket_flags(pd.DataFrame({"hypothesis": texts, "family": ["negation", "b", "b", None]}, index=[7, 5, 3, 1]))
    # The family called negation is believed; words of negation are not asked.
    assert both["negation"].tolist() == [True, False, False, False]
    assert both["b"].tolist() == [False, True, True, False]
    assert both["gender"].tolist() == [True, False, False, True]
    assert both.columns.is_unique and set(words) <= set(both)
    assert {str(kind) for kind in both.dtypes} == {"bool"}
