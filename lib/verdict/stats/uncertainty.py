"""Uncertainty of estimates: intervals by resampling groups, paired comparisons, and what chance alone gives.

The unit that is resampled is the group (usually an image), never the row: rows of one image are alike, and resampling
them one by one makes intervals too narrow. A statistic is a function of row weights, which say how often each row
counts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from verdict.base.numbers import ESTIMATE, Number
from verdict.stats.weighted import OfSums, weighted_mean

Weights = np.ndarray | None
Statistic = Callable[[Weights], ArrayLike]
_CHUNK_CELLS = 2_000_000
# So few that they stay in a processor's cache while sums are made of them.
_CACHED_CELLS = 250_000
# Most that the draws which are kept may take.
_KEPT_BYTES = 800_000_000


def stream(seed: int, name: str, *key: int | str) -> np.random.Generator:
    """A random stream of its own for each seed, name of what is drawn ("robustness.corrupt") and key: hashed
    together, so that no two coincide.
    """
    digest = hashlib.sha256(json.dumps([seed, name, *key]).encode("utf-8")).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its interval; bounds that are not defined, or not given, are NaN.

    `n_undefined` counts resamples in which the statistic had no value; the bounds are over the others.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n_undefined: int = 0

    @classmethod
    def from_columns(cls, row: Mapping[str, float] | pd.Series, name: str) -> Interval:
        """Read a row's columns back that `with_bounds` made."""
        return cls(*(float(row[f"{name}{end}"]) for end in ("", "_low", "_high")))

    def excludes(self, point: float) -> bool:
        """Whether the interval is defined and lies wholly on one side of a point."""
        return bool(self.low > point or self.high < point)

    def number(self, *, n: int | None = None, split: str = "", unit: str = "", seeds: tuple[int, ...] = ()) -> Number:
        """The same as a number to store; bounds that are not defined are left out."""
        low, high = (self.low, self.high) if np.isfinite([self.low, self.high]).all() else (None, None)
        described = {"n": n, "split": split, "unit": unit, "seeds": seeds, "n_undefined": self.n_undefined}
        return Number(self.value, low, high, kind=ESTIMATE, **described)


_N_PERMUTED = 1000
# The estimate of an empty group.
NOTHING = Interval(math.nan)


def with_bounds(name: str, estimate: Interval | Number) -> dict[str, float | None]:
    """An estimate and its bounds as columns of a table's row: `name`, `name_low`, `name_high`."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def bounded(estimates: Mapping[str, Interval | Number]) -> dict[str, float | None]:
    """Several estimates and their bounds as columns of a table's row; see `with_bounds`."""
    rows = (with_bounds(name, estimate) for name, estimate in estimates.items())
    return {column: value for row in rows for column, value in row.items()}


def columns_of(*names: str) -> list[str]:
    """The columns that `bounded` makes of these names."""
    return list(bounded(dict.fromkeys(names, NOTHING)))


@dataclass(frozen=True)
class Resampler:
    """The one way from a statistic to its interval: it knows level, groups and stream (cluster bootstrap, percentiles).

    The draws are a function of the seed and of the groups (the independent unit of each row, usually its image) alone.
    So one quantity has one interval, whichever page asks and in whatever order its rows stand, and every comparison on
    the same rows is paired. Groups of different names are drawn independently.

    Coverage at a level of 0.95 in 2,000 simulated samples as in `metrics.ece_interval`, true ECE 0.05, 1,000 resamples;
    its standard error is 0.005. `tests/stats/test_metrics.py` repeats it with fewer. Percentiles do not serve a
    quantity that chance alone makes larger, as an ECE: see `absolute_sum`.

    ======  ========  ========  =====  =====  =====
    groups  accuracy  macro-F1  NLL    Brier  AURC
    ======  ========  ========  =====  =====  =====
    200     .938      .938      .936   .939   .937
    750     .946      .946      .944   .943   .943
    ======  ========  ========  =====  =====  =====

    Davison and Hinkley (1997), Bootstrap methods and their application, section 3.8.
    """

    groups: np.ndarray
    n_resamples: int
    level: float
    seed: int

    @cached_property
    def _names_and_codes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(np.asarray(self.groups).astype(str), return_inverse=True)

    @property
    def _codes(self) -> np.ndarray:
        """Number of each row's group, (n,)."""
        return self._names_and_codes[1]

    @property
    def n_groups(self) -> int:
        """Distinct groups; with fewer than two no interval is defined."""
        return len(self._names_and_codes[0])

    def of(self, rows: np.ndarray) -> Resampler:
        """The same for some rows alone: booleans (n,) or indices."""
        return replace(self, groups=np.asarray(self.groups)[rows])

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256("\0".join(self._names_and_codes[0]).encode("utf-8")).hexdigest()

    def rng(self, name: str = "groups") -> np.random.Generator:
        """The stream of these groups; another name gives another stream of the same groups."""
        return stream(self.seed, f"resample.{name}", self._digest)

    @property
    def _drawn(self) -> np.ndarray:
        return _draws_of(self._digest, self.n_groups, self.n_resamples, self.seed)

    def weights(self) -> np.ndarray:
        """How often each row counts in each resample, int16 (n_resamples, n)."""
        return self._drawn[:, self._codes]

    def parts(self, n_other: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """`weights` a few resamples at a time, as (which resamples, their weights), to bound the memory.

        `n_other` is the number of rows of another table that is weighted beside this one.
        """
        step = max(1, _CHUNK_CELLS // max(1, len(self._codes), n_other))
        for start in range(0, self.n_resamples, step):
            which = slice(start, start + step)
            yield which, np.take(self._drawn[which], self._codes, axis=1)

    def replicates(self, statistic: Statistic) -> np.ndarray:
        """The statistic on each resample, (n_resamples,); NaN with fewer than two groups.

        `statistic(None)` is the estimate; with row weights (m, n) it gives m values, as every metric does, or
        ValueError.
        """
        if self.n_groups < 2:
            return np.full(self.n_resamples, np.nan)
        if isinstance(statistic, OfSums):
            return statistic.of(self.sums(statistic.columns))
        values = np.concatenate([np.atleast_1d(statistic(weights)) for _, weights in self.parts()]).astype(np.float64)
        if values.shape != (self.n_resamples,):
            raise ValueError(f"expected one value a resample, ({self.n_resamples},), got {values.shape}")
        return values

    def shares(self, values: ArrayLike, cells: np.ndarray, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums of values (n,) over the rows of each cell, divided by the number of all rows: observed (n_cells,),
        and of each resample (n_resamples, n_cells), which is NaN with fewer than two groups.
        """
        # A column for each cell, and one for the number of rows.
        n_columns = n_cells + 1
        sums = np.bincount(self._codes * n_columns + cells, values, self.n_groups * n_columns).reshape(-1, n_columns)
        sums[:, -1] = np.bincount(self._codes, minlength=self.n_groups)
        drawn = self._resampled(sums)
        return sums[:, :-1].sum(axis=0) / len(self._codes), drawn[:, :-1] / drawn[:, -1:]

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """Sums of the rows of each resample, (n_resamples, c), of finite columns (n, c)."""
        of_groups = [np.bincount(self._codes, column, self.n_groups) for column in columns.T]
        return self._resampled(np.stack(of_groups, axis=1))

    def _resampled(self, sums: np.ndarray) -> np.ndarray:
        """Sums by group (n_groups, c) of each resample, (n_resamples, c); NaN with fewer than two groups."""
        if self.n_groups < 2:
            return np.full((self.n_resamples, sums.shape[1]), np.nan)
        drawn = np.zeros((self.n_resamples, sums.shape[1]))
        step = max(1, _CACHED_CELLS // self.n_resamples)
        for start in range(0, self.n_groups, step):
            drawn += self._drawn[:, start : start + step] @ sums[start : start + step]
        return drawn

    def interval(self, statistic: Statistic) -> Interval:
        """The statistic with its percentile interval."""
        return self.around(float(statistic(None)), self.replicates(statistic))

    def around(self, value: float, replicates: ArrayLike) -> Interval:
        """Percentile interval of replicates that were made elsewhere, at this level; those that are not finite are left
        out, and none at all gives NaN bounds.
        """
        finite = np.asarray(replicates, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        if not len(finite):
            return Interval(float(value))
        low, high = np.quantile(finite, [0.5 - self.level / 2, 0.5 + self.level / 2])
        return Interval(float(value), float(low), float(high), np.size(replicates) - len(finite))

    def mean(self, values: ArrayLike, *, span: tuple[float, float] | None = None) -> Interval:
        """Mean of values (n,) with its interval.

        `span` are the smallest and largest value that a row can have. Where all rows, or the means of all groups, have
        one value there is no spread to resample; the interval then holds the means that are compatible with a share of
        other groups of up to Wilson's upper bound for none among so many groups; without a span it is not defined for
        rows of one value.
        """
        return self.means(np.asarray(values, dtype=np.float64)[:, None], [span])[0]

    def means(self, columns: np.ndarray, spans: Sequence[tuple[float, float] | None]) -> list[Interval]:
        """`mean` of each column (n, c) in one pass, from the sums of the groups; the draws are the same."""
        drawn = self.sums(np.column_stack([np.where(np.isfinite(columns), columns, 0.0), np.ones(len(columns))]))
        means = drawn[:, :-1] / drawn[:, -1:]
        return [self._mean(*column) for column in zip(columns.T, means.T, spans, strict=True)]

    def smallest_mean(self, columns: Sequence[np.ndarray], *, span: tuple[float, float]) -> Interval:
        """The smallest of several means over the same rows, with bounds that pay for its having been picked; none lies
        beyond the span of a row's value.
        """
        drawn = np.stack([self.replicates(partial(weighted_mean, one)) for one in columns], axis=1)
        found = largest([-one.mean() for one in columns], -drawn, level=self.level)
        low, high = np.clip([-found.high, -found.low], *span)
        return Interval(-found.value, float(low), float(high))

    def _mean(self, values: np.ndarray, drawn: np.ndarray, span: tuple[float, float] | None) -> Interval:
        is_alike = bool(len(values)) and bool(np.all(values == values[0]))
        is_flat = span is not None and np.isfinite(values).all() and np.ptp(drawn) < 1e-12
        if is_alike or is_flat:
            value = float(values[0] if is_alike else weighted_mean(values))
            if span is None or self.n_groups < 2:
                return Interval(value)
            unseen = wilson(0, self.n_groups, level=self.level)[1]
            return Interval(value, value - unseen * (value - span[0]), value + unseen * (span[1] - value))
        if not np.isfinite(values).all():
            return self.interval(partial(weighted_mean, values))
        return self.around(float(weighted_mean(values)), drawn)

    def compare(self, first: Sequence[Statistic], second: Sequence[Statistic]) -> Interval:
        """Mean over seeds of second minus first (0 where it is empty), the same metric of each seed's model.

        With several seeds the interval speaks about training again: the error of their mean is drawn from Student's t
        with n_seeds - 1 degrees of freedom, as resampling three would understate their spread. ValueError without a
        seed, or for different numbers.
        """
        if not second or (first and len(first) != len(second)):
            raise ValueError(f"expected as many seeds of both models, at least one, got {len(first)} and {len(second)}")

        def by_seed(of: Callable[[Statistic], ArrayLike]) -> np.ndarray:
            scores = np.array([of(statistic) for statistic in second])
            return scores - [of(statistic) for statistic in first] if first else scores

        observed, n_seeds = by_seed(lambda statistic: statistic(None)), len(second)
        drawn = by_seed(self.replicates).mean(axis=0)
        if n_seeds > 1:
            error = self.rng("seeds").standard_t(n_seeds - 1, size=self.n_resamples)
            drawn = drawn + error * float(observed.std(ddof=1)) / np.sqrt(n_seeds)
        return self.around(float(observed.mean()), drawn)


def simultaneous_reach(values: ArrayLike, replicates: ArrayLike, *, level: float) -> np.ndarray:
    """How far either side of each of several estimates reaches so that all of them hold at once at the level, (m,).

    Replicates (n_resamples, m) are on the same resamples; without any that is finite the reach is NaN. Montiel Olea and
    Plagborg-Møller (2019), Simultaneous confidence bands, Journal of Applied Econometrics 34, algorithm 1 (sup-t, by
    resampling).
    """
    values, drawn = np.asarray(values, dtype=np.float64), np.asarray(replicates, dtype=np.float64)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        return np.full(len(values), np.nan)
    spread = drawn.std(axis=0)
    away = np.divide(np.abs(drawn - values), spread, out=np.zeros_like(drawn), where=spread > 0)
    return np.quantile(away.max(axis=1), level) * spread


def largest(values: ArrayLike, replicates: ArrayLike, *, level: float) -> Interval:
    """The largest of several estimates, with bounds that pay for its having been picked: all hold at once between
    theirs (see `simultaneous_reach`), so that it lies between the largest lower bound and the largest upper one.
    """
    values = np.asarray(values, dtype=np.float64)
    reach = simultaneous_reach(values, replicates, level=level)
    return Interval(float(values.max()), float((values - reach).max()), float((values + reach).max()))


def p_value(value: float, replicates: ArrayLike, point: float = 0.0, *, n_groups: float = np.inf) -> float:
    """Two-sided p-value of "the estimate is `point`", from the spread of its resamples; 1 where they have none.

    Student's law is taken for the estimate, with one degree of freedom less than there are groups; a normal law by
    default. Counting resamples beyond the point cannot give a p-value small enough to be adjusted for dozens of others.
    Efron and Tibshirani (1993), An introduction to the bootstrap, section 12.2.
    """
    drawn = np.asarray(replicates, dtype=np.float64)
    spread = drawn[np.isfinite(drawn)].std() if np.isfinite(drawn).any() else 0.0
    if not (spread > 0 and np.isfinite(value)):
        return 1.0
    return float(2 * stats.t.sf(abs(value - point) / spread, n_groups - 1))


def absolute_sum(observed: np.ndarray, drawn: np.ndarray, shares: np.ndarray, *, level: float) -> Interval:
    """Sum of absolute values with its interval: for a quantity that chance alone makes larger, as an ECE.

    Percentiles of resamples do not serve: each resample adds its noise to that of the rows at hand, so that they lie
    too high, and moving them by the excess centres them on a value that lies too high itself. Instead every true sum is
    kept that would show a value like the observed one, with the noise that the resamples show. Which cells a true sum
    sits in is not known; each bound takes what leaves most room:

    - low: in few cells. The observed sums are drawn towards zero by soft thresholding, which is their likeliest value
      for each smaller sum; noise in the cells that reach zero adds most. Chance shows at least the observed value
      with (1 - level) / 2.
    - high: in all cells alike, in one direction, by their shares; noise adds least, and sways all cells together.
      Chance shows at most the observed value with (1 - level) / 2. At least the observed value, and at least what noise
      alone shows in half of the resamples: a value that is smaller by luck says nothing of errors that noise hides.

    `observed` and `shares` (which sum to 1) are (n_cells,), `drawn` (n_resamples, n_cells); NaN throughout gives NaN
    bounds. Berger and Boos (1994), P values maximized over a confidence set for the nuisance parameter, JASA 89, for
    the idea; that these two are the cells that matter is ours, and simulated: see `metrics.ece_interval`.
    """
    value = float(np.abs(observed).sum())
    noise = drawn - observed
    tail = (1 - level) / 2
    if not np.isfinite(noise).all():
        return Interval(value)
    spread = noise.var(axis=0)
    moves = spread > 0
    if not moves.any():
        return Interval(value, value, value)

    def shrunk(pull: float) -> np.ndarray:
        return np.sign(observed) * np.maximum(np.abs(observed) - pull * spread, 0.0)

    def above(pull: float) -> float:
        return float((np.abs(shrunk(pull) + noise).sum(axis=1) >= value).mean()) - tail

    def below(total: float) -> float:
        lowest = [np.abs(side * total * shares + noise).sum(axis=1) for side in (1, -1)]
        return float(max((sums <= value).mean() for sums in lowest)) - tail

    strongest = float((np.abs(observed)[moves] / spread[moves]).max())
    if above(strongest) >= 0:
        low = float(np.abs(observed[~moves]).sum())
    elif above(0.0) <= 0:
        low = value
    else:
        low = float(np.abs(shrunk(optimize.bisect(above, 0.0, strongest, xtol=1e-9 * strongest))).sum())
    ceiling = max(1.0, 2 * value)
    high = value if below(value) < 0 else ceiling
    if high > value and below(ceiling) < 0:
        high = optimize.bisect(below, value, ceiling, xtol=1e-6)
    return Interval(value, min(value, low), max(float(high), float(np.median(np.abs(noise).sum(axis=1)))))


def linked_ratio(deviations: np.ndarray, holds: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """By how much the standard error of a mean over groups grows where groups that hold a part in common may depend on
    each other, and what this estimate exceeds in one of twenty cases where they do not; NaN if all hold one part.

    `deviations` (n_groups,) are sums of deviations from the mean, `holds` (n_groups, n_parts) says who holds what. The
    products of linked groups' deviations are summed, as by Aronow, Samii and Assenova (2015), Cluster-robust variance
    estimation for dyadic data, and freed of what centring takes from them.
    """
    is_linked = (holds.astype(float) @ holds.T.astype(float)) > 0
    drawn = np.stack([deviations, *(rng.permutation(deviations) for _ in range(_N_PERMUTED))])
    apart = 1 - is_linked.mean()
    squares = np.sum(drawn @ is_linked * drawn, axis=1) / (deviations @ deviations)
    ratios = np.sqrt(np.maximum(squares, 0) / apart) if apart > 0 else np.full(len(drawn), np.nan)
    return float(ratios[0]), float(np.quantile(ratios[1:], 0.95))


# Pages with a thousand classes call it thousands of times with the same counts.
@lru_cache(maxsize=4096)
def wilson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of independent trials; (NaN, NaN) for n = 0."""
    if n == 0:
        return float("nan"), float("nan")
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def sign_flip_test(first_right: ArrayLike, second_right: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Exact two-sided p-value of "the two models are right equally often", for rows in groups (by default each its
    own).

    Under that hypothesis the two models of a group may be exchanged. The p-value is the share of all exchanges whose
    difference is at least as large as the observed one, counted exactly. With every row its own group this is McNemar's
    exact test. McNemar (1947), Note on the sampling error of the difference between correlated proportions; Fisher
    (1935), The design of experiments, section 21, for exchanges within pairs.
    """
    change = _changes(first_right, second_right, groups)
    sizes, repeats = np.unique(np.abs(change[change != 0]), return_counts=True)
    # The sum of the exchanged differences is 2 * (sum of the kept sizes) - total; sizes are added one power at a time.
    total = int((sizes * repeats).sum())
    chance = np.ones(1)
    for size, repeat in zip(sizes, repeats, strict=True):
        kept = np.zeros(size * repeat + 1)
        kept[::size] = stats.binom.pmf(np.arange(repeat + 1), repeat, 0.5)
        chance = np.convolve(chance, kept)
    is_as_large = np.abs(2 * np.arange(len(chance)) - total) >= abs(int(change.sum()))
    return float(min(1.0, chance[is_as_large].sum()))


def clustered_mcnemar(first_right: ArrayLike, second_right: ArrayLike, groups: ArrayLike) -> float:
    """Two-sided p-value of "the two models are right equally often", for rows in groups; asymptotic in their number.

    With d_k the gains minus losses of group k, of K groups, the statistic (K - 1) / K · (Σ d_k)² / Σ d_k² is
    chi-squared with one degree of freedom; 1 where no group has a difference. Where every group is one row it is
    McNemar's, (gains - losses)² / (gains + losses), but for the first factor. `sign_flip_test` is exact, and better
    where few groups have a difference. Obuchowski (1998), Statistics in Medicine 17, with the variance under the
    hypothesis, as by Yang, Sun and Hardin (2010), Biometrical Journal 52.
    """
    change = _changes(first_right, second_right, groups)
    spread = float((change**2).sum())
    if spread == 0:
        return 1.0
    statistic = (len(change) - 1) / len(change) * float(change.sum()) ** 2 / spread
    return float(stats.chi2.sf(statistic, 1))


def _changes(first_right: ArrayLike, second_right: ArrayLike, groups: ArrayLike | None) -> np.ndarray:
    """Gains minus losses of each group, whole numbers; without groups of each row."""
    first, second = (np.asarray(right, dtype=bool).astype(np.int64) for right in (first_right, second_right))
    codes = np.arange(len(first)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if not first.shape == second.shape == codes.shape:
        raise ValueError(f"expected one truth a row for both and its group, got {first.shape}, {second.shape}")
    return np.bincount(codes, second - first).astype(np.int64)


def holm(p_values: ArrayLike) -> np.ndarray:
    """P-values (m,), adjusted for how many there are: those below a level are wrong at most at that level, all in all.

    The k-th smallest times m - k + 1, at least the adjusted value before it, at most 1. Holm (1979), A simple
    sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)))
    return adjusted


def expected_best_of(n: int, mean: float = 0.0, sd: float = 1.0) -> float:
    """Expected largest of n >= 1 independent normal draws: what the best of n equal runs scores from chance alone."""
    # The integrand vanishes with all its derivatives at both ends, so the trapezoid rule is exact to rounding.
    x = np.linspace(-12, 12, 4801)
    return float(mean + sd * np.trapezoid(x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), x))


_KEPT: dict[tuple[str, int, int, int], np.ndarray] = {}


def _draws_of(*key: str | int) -> np.ndarray:
    """How often each group of a digest is drawn, int16 (n_resamples, n_groups). The draws used last are kept, since a
    page computes many quantities of the same rows and of the same subsets.
    """
    # Moved to the end: the first is dropped first.
    kept = _KEPT.pop(key, None)
    _KEPT[key] = _drawn(*key) if kept is None else kept
    while len(_KEPT) > 1 and sum(counts.nbytes for counts in _KEPT.values()) > _KEPT_BYTES:
        del _KEPT[next(iter(_KEPT))]
    return _KEPT[key]


def _drawn(digest: str, n_groups: int, n_resamples: int, seed: int) -> np.ndarray:
    rng = stream(seed, "resample.groups", digest)
    counts = np.empty((n_resamples, n_groups), dtype=np.int16)
    step = max(1, _CACHED_CELLS // n_groups)
    for start in range(0, n_resamples, step):
        rows = counts[start : start + step]
        picks = rng.integers(n_groups, size=rows.shape) + np.arange(len(rows))[:, None] * n_groups
        rows[:] = np.bincount(picks.ravel(), minlength=rows.size).reshape(rows.shape)
    counts.setflags(write=False)
    return counts
