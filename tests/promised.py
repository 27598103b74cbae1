"""A simulated world in which the true error above each threshold is known, for tests of the guarantee.

The model is calibrated and right on 87 % of the pairs, as the default's is on test: a pair that ranks v from the top
(uniform) is wrong with probability v ** 2.85 / 2, so that the error above a threshold that lets out a share c is
c ** 2.85 / 7.7. Errors of a group have a Gaussian copula of the given correlation; what they share is not in the score.

`PYTHONPATH=lib:tests python -m promised` prints the whole table: 2,000 draws for each row.
"""

import numpy as np
from scipy import stats

from verdict.decide.guarantee import Known, Promise, keep_promise

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


def kept_shares(n_draws, promises, *, n_groups, size, alike, seed, is_grouped=None):
    """For each promise: in which share of the draws a kept threshold breaks it, and mean coverage over the oracle's."""
    rng, broken, coverage = np.random.default_rng(seed), np.zeros(len(promises)), np.zeros(len(promises))
    for _ in range(n_draws):
        known = draw(rng, n_groups=n_groups, size=size, alike=alike)
        orders = known.groups < n_groups * FOR_ORDER
        parts = known.take(orders), known.take(~orders)
        for place, promise in enumerate(promises):
            kept = keep_promise(*parts, promise, is_grouped=is_grouped).thresholds
            if len(kept):
                broken[place] += (true_error(kept) > promise.error).any()
                coverage[place] += (1 - kept.min()) / oracle_coverage(promise.error)
    return list(zip(broken / n_draws, coverage / n_draws, strict=True))


def main(n_draws=2000):
    promises = [Promise(error, 1 - delta) for error in (0.05, 0.1) for delta in (0.05, 0.1)]
    worlds = [(200, 1, 0.0), (2000, 1, 0.0), (60, 8, 0.5), (500, 8, 0.5), (60, 8, 0.95), (500, 8, 0.95)]
    for n_groups, size, alike in worlds:
        for is_grouped in (None,) if size == 1 else (None, False):
            settings = {"n_groups": n_groups, "size": size, "alike": alike, "seed": 1, "is_grouped": is_grouped}
            for promise, (broken, share) in zip(promises, kept_shares(n_draws, promises, **settings), strict=True):
                delta = 1 - promise.confidence
                bound = delta + 3 * (delta * (1 - delta) / n_draws) ** 0.5
                how = "rows taken as independent" if is_grouped is False else "valid test"
                print(
                    f"{n_groups} groups of {size}, alike by {alike}, error {promise.error}, delta {delta:.2f}, {how}: "
                    f"broken {broken:.4f} (bound {bound:.4f}), coverage {share:.3f} of the oracle's",
                    flush=True,
                )


if __name__ == "__main__":
    main()
