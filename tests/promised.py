"""A simulated world in which the true error above each threshold is known, for tests of the guarantee.

The model is calibrated and right on 87 % of the pairs, as the default's is on test: a pair that ranks v from the top
(uniform) is wrong with probability v ** 2.85 / 2, so that the error above a threshold that lets out a share c is
c ** 2.85 / 7.7. Errors of a group have a Gaussian copula of the given correlation; what they share is not in the score.
"""

import numpy as np
from scipy import stats

from verdict.decide.guarantee import Known, keep_promise

POWER = 2.85
FOR_ORDER = 0.4


def draw(rng, *, n_groups, size, alike):
    """Pairs of groups of one size; group ids count from 0."""
    n, rank = n_groups * size, rng.random(n_groups * size)
    shared = np.repeat(rng.normal(size=n_groups), size)
    latent = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=n)
    return Known(1 - rank, latent < stats.norm.ppf(rank**POWER / 2), np.repeat(np.arange(n_groups), size))


def true_error(threshold):
    """Error rate of what has a score of at least the threshold, exactly."""
    return (1 - threshold) ** POWER / 2 / (POWER + 1)


def oracle_coverage(error):
    """Share that goes out alone where the truth is known."""
    return min(1.0, (2 * error * (POWER + 1)) ** (1 / POWER))


def kept_share(n_draws, promise, *, n_groups, size, alike, seed, is_grouped=None):
    """In which share of the draws a kept threshold breaks the promise, and the mean coverage against the oracle's."""
    rng, broken, coverage = np.random.default_rng(seed), 0, 0.0
    for _ in range(n_draws):
        known = draw(rng, n_groups=n_groups, size=size, alike=alike)
        orders = known.groups < n_groups * FOR_ORDER
        kept = keep_promise(known.take(orders), known.take(~orders), promise, is_grouped=is_grouped).thresholds
        if len(kept):
            broken += bool((true_error(kept) > promise.error).any())
            coverage += 1 - kept.min()
    return broken / n_draws, coverage / n_draws / oracle_coverage(promise.error)
