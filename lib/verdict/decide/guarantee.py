"""A promise about what goes out alone: its error is at most `error`, with `confidence` over the draw of the rows.

Learn-then-Test: "the error above threshold t exceeds the limit" is tested for one threshold after the other, in an
order that other rows have fixed. The first that cannot be rejected ends it, since the error of what is let out need not
fall as the threshold rises; all before it keep the promise at once. The unit that is drawn is the group. The promise
holds for new groups that are exchangeable with those that tested it, and for no others.

Angelopoulos, Bates, Candès, Jordan and Lei (2021), Learn then Test, arXiv:2110.01052, section 2.3 (fixed sequences);
Geifman and El-Yaniv (2017), Selective classification for deep neural networks, for independent rows.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special, stats

from verdict.decide.people import hash_ids

EXACT, BETTING = "exact binomial test", "betting test over groups"
N_STEPS = 100
# Alternatives to the error rate that is tested, as multiples of it; half of the stake is on its double.
WORSE, BETTER = (1.5, 2.0, 2.0, 3.0), (0.0, 0.25, 0.5)
# Shares of the gamblers that begin at once, and one by one in the first rounds; the others begin later.
AT_ONCE, EARLY, ROUNDS = 0.3, 0.5, 1000
# Probability with which a planned test keeps its promise.
POWER = 0.8


@dataclass(frozen=True)
class Promise:
    """What is promised of automatic answers.

    `error` in (0, 1): largest error rate among them; `confidence` in (0, 1); `error_by_class`: the same for those that
    give a certain class, by the class's id.
    """

    error: float
    confidence: float
    error_by_class: Mapping[int, float] | None = None

    @property
    def limits(self) -> list[tuple[float, int | None]]:
        """Every limit, and the answer that it concerns; None: all answers."""
        return [(self.error, None), *((limit, answer) for answer, limit in (self.error_by_class or {}).items())]


@dataclass(frozen=True)
class Known:
    """Pairs whose truth is known.

    `score` (n,) in [0, 1]; `is_wrong` (n,) bool: whether the model errs; `groups` (n,): independent unit; `is_free`
    (n,) bool: whether the pair may go out alone at all, by default all may; `answer` (n,): the model's class, needed
    where a class has a limit of its own.
    """

    score: np.ndarray
    is_wrong: np.ndarray
    groups: np.ndarray
    is_free: np.ndarray | None = None
    answer: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: np.ndarray) -> Known:
        """Some of the pairs, by a mask (n,) or by indices."""
        columns = (getattr(self, field.name) for field in fields(self))
        return Known(*(None if column is None else np.asarray(column)[rows] for column in columns))

    @property
    def let_out(self) -> np.ndarray:
        """The score, (n,); minus infinity where a pair may not go out alone."""
        return self.score if self.is_free is None else np.where(self.is_free, self.score, -math.inf)

    @cached_property
    def coded(self) -> tuple[np.ndarray, np.ndarray]:
        """Names of the groups, sorted, and the number of each pair's."""
        return np.unique(np.asarray(self.groups).astype(str), return_inverse=True)

    @property
    def n_groups(self) -> int:
        """Distinct groups."""
        return len(self.coded[0])

    def sums(self, thresholds: np.ndarray, answer: int | None) -> tuple[np.ndarray, np.ndarray]:
        """How many pairs of each group go out alone above falling thresholds, and how many of these are wrong.

        `answer` counts pairs with this answer alone. Returns two arrays (n_groups, n_thresholds).
        """
        concerned = np.ones(len(self), bool) if answer is None else np.asarray(self.answer) == answer
        # The first threshold that a pair reaches, from the strictest on; beyond the last: never.
        first = np.searchsorted(-thresholds, -self.let_out, side="left")
        width = len(thresholds) + 1
        cells = self.coded[1] * width + first
        chosen = (concerned, concerned & np.asarray(self.is_wrong, bool))
        counts = [np.bincount(cells[rows], minlength=self.n_groups * width).reshape(-1, width) for rows in chosen]
        return np.cumsum(counts[0][:, :-1], axis=1), np.cumsum(counts[1][:, :-1], axis=1)


@dataclass(frozen=True)
class Kept:
    """The thresholds that keep a promise, strictest first; none where there is none.

    `tested`: threshold, n_auto, n_wrong, p_value, is_kept of each threshold in its order; `method`: name of the test;
    `n_rows`, `n_groups`: of the rows that tested it.
    """

    promise: Promise
    tested: pd.DataFrame
    method: str
    n_rows: int
    n_groups: int

    @property
    def thresholds(self) -> np.ndarray:
        """Thresholds of the score that keep the promise, falling, (k,)."""
        return self.tested.loc[self.tested["is_kept"], "threshold"].to_numpy()


def exact_p_value(n_wrong: np.ndarray, n_auto: np.ndarray, error: float) -> np.ndarray:
    """P-value of "the error rate exceeds `error`" for independent rows: P(X <= n_wrong), X binomial(n_auto, error).

    Counts may be broken, for plans; without rows it is 1. The null's worst case is the limit itself.
    """
    n_wrong, n_auto = np.asarray(n_wrong, dtype=np.float64), np.asarray(n_auto, dtype=np.float64)
    return np.where(n_auto > n_wrong, special.betainc(np.maximum(n_auto - n_wrong, 1e-9), n_wrong + 1, 1 - error), 1.0)


def betting_p_value(excess: np.ndarray, bets: np.ndarray) -> np.ndarray:
    """P-value of "the mean excess over groups is at least zero", whatever its law, (m,).

    A gambler who bets a share `bets` (m,) of the wealth against each group's `excess` (n_groups, m) wins nothing in
    expectation if that is true; by Ville's inequality wealth ever exceeds 1 / p with probability p at most. `bets` must
    be fixed without these groups, with bets · excess < 1, and the order of groups without their outcomes.

    Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86, section 4.
    """
    wealth = np.cumsum(np.log1p(-bets * excess), axis=0)
    return np.exp(-np.maximum(wealth.max(axis=0, initial=0.0), 0.0))


class Gamblers:
    """The mean wealth of gamblers who play the same bets, but begin at different rounds, since nobody knows when.

    Where no bet wins in expectation it ever exceeds 1 / p with probability p at most, however often it is looked at. A
    share `AT_ONCE` of the gamblers begins with the first round, `EARLY` evenly over the first `ROUNDS`; of the rest 1 /
    (1 + log(1 + t / ROUNDS)) still hold their stake after t rounds. Not beginning at once costs about the logarithm of
    ROUNDS, or later of t log²(t), of log wealth, where beginning too early costs all. With `is_at_once` all begin with
    the first round.

    Ville's inequality; Vovk (2021), Testing randomness online, Statistical Science 36, section 5, and Shin, Ramdas and
    Rinaldo (2024), E-detectors, New England Journal of Statistics in Data Science 2, section 3, on when to begin.
    """

    def __init__(self, n_bets: int, *shape: int, is_at_once: bool = False):
        self._is_at_once = is_at_once
        self._wealth = np.full((*shape, n_bets), float(is_at_once))
        self.n_rounds = 0
        self.highest = np.ones(shape)

    def play(self, factors: np.ndarray) -> np.ndarray:
        """The p-values after each round, (n, ...), never rising: one over the highest wealth so far.

        `factors` (n, ..., n_bets) >= 0: by what each bet multiplies its stake, at most 1 in expectation.
        """
        highest = np.empty(factors.shape[:-1])
        n_played = np.arange(self.n_rounds, self.n_rounds + len(factors) + 1)
        late = (1 - AT_ONCE - EARLY) / (1 + np.log1p(n_played / ROUNDS))
        by_and_by = np.where(n_played, EARLY * np.maximum(1 - n_played / ROUNDS, 0) + late, 1.0)
        waiting = np.zeros(len(n_played)) if self._is_at_once else by_and_by
        for k, factor in enumerate(factors):
            # Beyond 1e300 a wealth says nothing more, and must not become infinite.
            self._wealth = np.minimum((self._wealth + waiting[k] - waiting[k + 1]) * factor, 1e300)
            self.highest = np.maximum(self.highest, waiting[k + 1] + self._wealth.mean(axis=-1))
            highest[k] = self.highest
        self.n_rounds += len(factors)
        return 1 / highest


def breach_p_values(n_wrong: np.ndarray, n_auto: np.ndarray, error: float, *, largest: int = 1) -> np.ndarray:
    """P-values of "the error rate has not risen above `error`" after each group, in their order, valid at every look.

    `n_wrong`, `n_auto` (n, ...): of each group; `largest`: pairs of the largest group. Bets are the best ones against
    rates of `WORSE` times the limit, by gamblers who begin at all times. Returns (n, ...).
    """
    bets = _bets(WORSE, np.array([error]), np.array([error]), largest)[0]
    excess = np.asarray(n_wrong) - error * np.asarray(n_auto)
    return Gamblers(len(bets), *excess.shape[1:]).play(1 + excess[..., None] * bets)


def _bets(times: tuple[float, ...], rates: np.ndarray, most: np.ndarray, largest: int) -> np.ndarray:
    """Bets (n, b) against error rates of `times` the `rates` (n,): the best ones if the pairs of a group err
    independently and, where there are groups, if they err together. A pair costs at most `most` (n,), and no group may
    lose all.
    """
    best = np.abs(np.array(times) - 1) / (1 - rates)[:, None]
    bets = np.concatenate([best / size for size in sorted({1, largest})], axis=1)
    return np.minimum(bets, 0.9 / (most * largest)[:, None])


def error_bounds(
    n_wrong: np.ndarray, n_auto: np.ndarray, confidence: float, *, largest: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n,) of an error rate after each group, (n,) wrong and (n,) in all, that hold at all looks together.

    They assume a rate that does not change; `breach_p_values` tests for one that does. Between the bounds lie the rates
    that no gambler who began at once has shown to be too low, or too high; exact to 1/400.

    Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86, section 4.
    """
    rates = (np.arange(400) + 0.5) / 400
    excess = np.asarray(n_wrong)[:, None] - rates * np.asarray(n_auto)[:, None]
    excluded = []
    for sign, most, times in ((1, rates, WORSE), (-1, 1 - rates, BETTER)):
        bets = _bets(times, rates, most, largest)
        p_values = Gamblers(bets.shape[1], len(rates), is_at_once=True).play(1 + sign * excess[..., None] * bets)
        # From the lowest rate on, and then from the highest.
        is_excluded = np.logical_and.accumulate((p_values <= (1 - confidence) / 2)[:, ::sign], axis=1)
        excluded.append(is_excluded.sum(axis=1) / len(rates))
    return excluded[0], 1 - excluded[1]


def steps_of(score: np.ndarray, *, n_steps: int = N_STEPS) -> np.ndarray:
    """Falling distinct thresholds that let out about 1, 2, … of n_steps equal shares of these scores."""
    finite = np.sort(np.asarray(score)[np.isfinite(score)])[::-1]
    rank = np.ceil(np.arange(1, n_steps + 1) * len(finite) / n_steps).astype(int) - 1
    return np.unique(finite[rank])[::-1] if len(finite) else np.empty(0)


def keep_promise(first: Known, second: Known, promise: Promise, *, is_grouped: bool | None = None) -> Kept:
    """The thresholds that keep a promise: `first` fixes their order and the bets, `second` tests them.

    The thresholds let out equal steps of the first rows. The sequence begins where the test is expected to be surest,
    for a threshold that lets out next to nothing can never be shown to keep anything, and goes on to less strict ones.
    Rows are taken as independent where no two of a part share a group. Otherwise the excess of a group is sum(wrong -
    error) over its pairs that go out alone, whose mean is above zero exactly where the error of what goes out is above
    the limit; its bet is the best one for a normal law, sqrt(2 log(1 / delta) / n) over the spread that the first rows
    show. With limits by class a threshold must pass all tests, which needs no adjustment: it is let through wrongly
    only if the test of a limit that it breaks is.

    `is_grouped`: False takes rows for independent whatever their groups say: for comparison only. The largest group of
    both parts bounds the groups: their sizes are taken as given by the design. ValueError if the parts share a group.
    """
    if shared := np.intersect1d(first.coded[0], second.coded[0])[:3].tolist():
        raise ValueError(f"the rows that order the thresholds and those that test them share groups, first {shared}")
    grouped = any(part.n_groups < len(part) for part in (first, second)) if is_grouped is None else is_grouped
    steps = steps_of(first.let_out)
    delta = 1 - promise.confidence
    largest = max(np.bincount(part.coded[1]).max() for part in (first, second))
    order = np.argsort(hash_ids(list(second.coded[0])), kind="stable")
    tests = []
    for limit, answer in promise.limits:
        before = first.sums(steps, answer)
        after = [counts[order] for counts in second.sums(steps, answer)]
        if grouped:
            tests.append(_grouped_tests(before, after, limit, delta, largest))
        else:
            tests.append(_row_tests(before, after, limit, scale=len(second) / len(first)))
    expected, p_value = (np.max(part, axis=0) for part in zip(*tests, strict=True))
    start = int(np.argmin(expected)) if len(steps) else 0
    passes = np.logical_and.accumulate(p_value[start:] <= delta) if len(steps) else np.empty(0, bool)
    n_auto, n_wrong = (counts.sum(axis=0) for counts in second.sums(steps, None))
    columns = {"threshold": steps, "n_auto": n_auto, "n_wrong": n_wrong, "p_value": p_value}
    tested = pd.DataFrame({name: column[start:] for name, column in columns.items()}).assign(is_kept=passes)
    return Kept(promise, tested, BETTING if grouped else EXACT, len(second), second.n_groups)


# How many pairs of each group go out alone, and how many of these are wrong, see `Known.sums`.
_Counts = Sequence[np.ndarray]


def _row_tests(before: _Counts, after: _Counts, limit: float, *, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Log p-value to expect by the first rows, and the p-value of the second, (n_steps,) each.

    `scale`: number of rows that test for each row that orders.
    """
    n_auto, n_wrong = (scale * counts.sum(axis=0) for counts in before)
    expected = np.log(np.maximum(exact_p_value(n_wrong, n_auto, limit), 1e-300))
    n_auto, n_wrong = (counts.sum(axis=0) for counts in after)
    return expected, exact_p_value(n_wrong, n_auto, limit)


def _grouped_tests(
    before: _Counts, after: _Counts, limit: float, delta: float, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same where pairs of a group, of at most `largest`, may be alike; `after` in the order of the bets."""
    excess_before, excess_after = (n_wrong - limit * n_auto for n_auto, n_wrong in (before, after))
    # One error more, so that the spread is above zero where the first rows show none.
    spread = np.sqrt(((excess_before**2).sum(axis=0) + 1) / (len(excess_before) + 1))
    best = np.sqrt(2 * math.log(1 / delta) / len(excess_after)) / spread
    bets = np.minimum(best, 0.99 / ((1 - limit) * largest))
    expected = -len(excess_after) * np.log1p(-bets * excess_before).mean(axis=0)
    return expected, betting_p_value(excess_after, bets)


def groups_needed(
    promise: Promise, *, error_rate: float, coverage: float, group_size: float = 1.0, alike: float = 0.0
) -> float:
    """How many groups must test a promise so that it is kept with probability `POWER`; infinite where none suffice.

    `error_rate` in [0, 1): true error of what goes out alone; `coverage` in (0, 1]: share of pairs that does;
    `group_size` >= 1: pairs of a group; `alike` in [0, 1]: correlation of errors within a group. A single row in a
    group: exact, by the binomial law. Otherwise the betting test, the log of whose wealth at the end has a normal law.
    """
    limit, delta = promise.error, 1 - promise.confidence
    if error_rate >= limit:
        return math.inf
    if group_size == 1:
        needed = _rows_needed(limit, delta, error_rate) / coverage
        return math.ceil(needed) if math.isfinite(needed) else needed
    n_auto = coverage * group_size
    mean = n_auto * (limit - error_rate)
    variance_of_errors = n_auto * error_rate * (1 - error_rate) * (1 + max(n_auto - 1, 0.0) * alike)
    variance = variance_of_errors + n_auto * (limit - error_rate) ** 2

    def is_enough(n: int) -> bool:
        bet = min(math.sqrt(2 * math.log(1 / delta) / n / variance), 0.99 / ((1 - limit) * group_size))
        chance = stats.norm.ppf(POWER) * bet * math.sqrt(n * variance)
        return n * (bet * mean - bet**2 * variance / 2) - chance >= -math.log(delta)

    return _least(is_enough)


def _rows_needed(limit: float, delta: float, error_rate: float) -> float:
    """Rows that go out alone, for the exact test to be passed with probability `POWER`."""

    def is_enough(n: int) -> bool:
        most = stats.binom.ppf(delta, n, limit)
        most -= stats.binom.cdf(most, n, limit) > delta
        return bool(stats.binom.cdf(most, n, error_rate) >= POWER)

    return _least(is_enough)


def _least(is_enough: Callable[[int], bool]) -> float:
    """The least number that is enough, if more always are; infinite beyond 2 ** 40."""
    enough = next((2**k for k in range(41) if is_enough(2**k)), None)
    return math.inf if enough is None else bisect_left(range(enough), True, lo=enough // 2, key=is_enough)


def resemblance(is_wrong: np.ndarray, groups: np.ndarray) -> float:
    """Correlation of errors within groups, in [0, 1]: the analysis of variance's estimate; 0 where each row is a group.

    Donner (1986), A review of inference procedures for the intraclass correlation coefficient, eq. 1.
    """
    codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    sizes = np.bincount(codes)
    wrong = np.asarray(is_wrong, dtype=np.float64)
    n, k = len(wrong), len(sizes)
    if k in (n, 1):
        return 0.0
    means = np.bincount(codes, wrong) / sizes
    within = ((wrong - means[codes]) ** 2).sum() / (n - k)
    between = (sizes * (means - wrong.mean()) ** 2).sum() / (k - 1)
    usual = (n - (sizes**2).sum() / n) / (k - 1)
    total = between + (usual - 1) * within
    return float(np.clip((between - within) / total, 0.0, 1.0)) if total > 0 else 0.0
