"""What to do with an answer: let it go out (auto), ask questions first (clarify), or hand it to a person (human).

A hard gate comes first; what passes it is decided by two thresholds on a score. The thresholds minimise the realised
cost on the calibration split by an exact scan over all distinct scores, with the people who will really answer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from verdict.decide.signals import COMPOSITE, SCORES
from verdict.stats.scores import check_unit

# The threshold that no score reaches; finite, so that a log can hold it.
ABOVE_ALL = math.nextafter(1.0, 2.0)


# What signals must exceed: one floor for all, or one for each that is named; None: nothing.
Floors = float | Mapping[str, float] | None


class Decision(IntEnum):
    """Who gives the answer; the number is the column of branch tables."""

    AUTO = 0
    CLARIFY = 1
    HUMAN = 2

    @property
    def text(self) -> str:
        """The decision as tables and logs write it."""
        return self.name.lower()


class Forced(IntEnum):
    """What overrules the score and hands a pair to a person."""

    NONE = 0
    EMPTY_SET = 1
    CRITICAL_SIGNAL = 2
    FOREIGN = 3
    FOREIGN_BATCH = 4

    @property
    def text(self) -> str | None:
        """The reason as logs write it; None where nothing forced the decision."""
        return self.name.lower() if self else None


@dataclass(frozen=True)
class Costs:
    """Costs, all in one unit and >= 0, as the parameters hold them.

    `human`: one pair answered by a person; `clarify`: one pair clarified, however many questions that takes; `error`: a
    wrong answer, one price or (K,), one for each true class.
    """

    human: float
    clarify: float
    error: float | Sequence[float] = 1.0


@dataclass(frozen=True)
class Policy:
    """The thresholds of a decision.

    `t_auto`, `t_clarify` 0 <= t_clarify <= t_auto <= ABOVE_ALL: scores from `t_auto` go out alone, those in [t_clarify,
    t_auto) are clarified, those below go to a person; `tau_critical`: a pair with a signal that is at most its floor
    goes to a person whatever its score; `tau_pair`, `tau_batch`: so does a pair whose p-value of being no stranger is
    at most the first, and every pair of a batch whose p-value is at most the second; None: no such rule; `score_name`:
    the score, one of `signals.SCORES`.
    """

    t_auto: float
    t_clarify: float
    tau_critical: Floors = None
    tau_pair: float | None = None
    tau_batch: float | None = None
    score_name: str = COMPOSITE

    def __post_init__(self) -> None:
        if not 0 <= self.t_clarify <= self.t_auto <= ABOVE_ALL:
            raise ValueError(f"expected 0 <= t_clarify <= t_auto <= ABOVE_ALL, got {self.t_clarify} and {self.t_auto}")
        if self.score_name not in SCORES:
            raise ValueError(f"score_name must be one of {SCORES}, got {self.score_name!r}")
        own = self.tau_critical if isinstance(self.tau_critical, Mapping) else {"tau_critical": self.tau_critical}
        for name, tau in {**own, "tau_pair": self.tau_pair, "tau_batch": self.tau_batch}.items():
            if tau is not None and not 0 <= tau <= 1:
                raise ValueError(f"{name} must lie in [0, 1] or be None, got {tau}")


def floors_of(tau_critical: Floors, names: Collection[str]) -> dict[str, float]:
    """The floor of each of the signals `names` that has one."""
    if tau_critical is None:
        return {}
    given = tau_critical if isinstance(tau_critical, Mapping) else dict.fromkeys(names, tau_critical)
    return {name: given[name] for name in names if name in given}


def force(
    critical: Mapping[str, np.ndarray],
    is_empty: np.ndarray,
    *,
    tau_critical: Floors,
    foreign: np.ndarray | None = None,
    tau_pair: float | None = None,
    is_batch_foreign: bool | np.ndarray = False,
) -> np.ndarray:
    """The hard gate: which pairs go to a person whatever their score.

    `critical` (n,) in [0, 1]: signals, each of which stops an automatic answer where it is not above its floor;
    `is_empty` (n,): whether the conformal set is empty: no class is plausible; `tau_critical`: None forces empty sets
    only; `foreign` (n,) in [0, 1]: p-value of "this pair is no stranger", rejected up to `tau_pair`;
    `is_batch_foreign`: whether no pair may go out alone, for all or for each (n,). Returns (n,): values of `Forced`;
    where several apply, the first of empty set, critical signal, foreign pair and foreign batch.
    """
    is_low = np.zeros(len(is_empty), dtype=bool)
    for name, floor in floors_of(tau_critical, critical).items():
        is_low |= check_unit(f"signal {name}", critical[name]) <= floor
    reasons = np.where(np.broadcast_to(is_batch_foreign, len(is_empty)), Forced.FOREIGN_BATCH, Forced.NONE)
    if foreign is not None and tau_pair is not None:
        reasons = np.where(check_unit("foreign", foreign) <= tau_pair, Forced.FOREIGN, reasons)
    reasons = np.where(is_low, Forced.CRITICAL_SIGNAL, reasons)
    return np.where(is_empty, Forced.EMPTY_SET, reasons).astype(np.int8)


def decide(score: np.ndarray, policy: Policy, *, forced: np.ndarray | None = None) -> np.ndarray:
    """The decision for each pair; tuning, evaluation, audit and replay all use this function.

    `score` (n,) in [0, 1]; `forced` (n,): from `force`; where it is not `Forced.NONE` the decision is HUMAN. Returns
    (n,): values of `Decision`.
    """
    score = check_unit("score", score)
    decision = np.full(len(score), Decision.HUMAN, dtype=np.int8)
    decision[score >= policy.t_clarify] = Decision.CLARIFY
    decision[score >= policy.t_auto] = Decision.AUTO
    if forced is not None:
        decision[forced != Forced.NONE] = Decision.HUMAN
    return decision


@dataclass(frozen=True)
class Outcomes:
    """What each branch would cost and how often it would be wrong, for each pair.

    `cost` (n, 3): realised cost by branch, columns in the order of `Decision`; `error` in [0, 1], (n, 3): whether
    the final answer is wrong; a probability where a person is known by a distribution; `dearest`: the largest cost
    that a pair can have by these prices.
    """

    cost: np.ndarray
    error: np.ndarray
    dearest: float = math.inf

    def __len__(self) -> int:
        return len(self.cost)

    def take(self, rows: np.ndarray) -> Outcomes:
        """The outcomes of some of the pairs."""
        return replace(self, cost=self.cost[rows], error=self.error[rows])


def price_outcomes(
    costs: Costs, y_true: np.ndarray, *, model: np.ndarray, human: np.ndarray, clarified: np.ndarray, n_classes: int
) -> Outcomes:
    """Price the three branches from the answers that they would give.

    `y_true` (n,); `model`, `human`, `clarified` (n,), or of float (n, K): answers, or their distributions: with
    `Human.distribution` the cost is exact in expectation over the people.
    """
    rows = np.arange(len(y_true))
    # Of each (true class, answer), (K, K).
    error_costs = np.broadcast_to(costs.error, (n_classes,))[:, None] * (1.0 - np.eye(n_classes))
    cost, error = [], []
    for answers, fee in ((model, 0.0), (clarified, costs.clarify), (human, costs.human)):
        probs = answers if answers.ndim == 2 else np.eye(n_classes)[answers]
        cost.append(fee + (probs * error_costs[y_true]).sum(axis=1))
        error.append(np.clip(1 - probs[rows, y_true], 0.0, 1.0))
    dearest = float(error_costs.max()) + max(costs.human, costs.clarify)
    # Rounded, so that people who are all alike have no spread of rounding noise.
    return Outcomes(np.column_stack(cost).round(12), np.column_stack(error).round(12), dearest)


def realised(values: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """Value of the branch that was taken, (n,), from a table (n, 3) of `Outcomes`."""
    return values[np.arange(len(decision)), decision]


def tune_policy(
    score: np.ndarray,
    outcomes: Outcomes,
    *,
    forced: np.ndarray | None = None,
    tau_critical: Floors = None,
    allowed: np.ndarray | None = None,
) -> Policy:
    """The two thresholds of least cost on these pairs, exactly.

    The cost of cuts i <= j through the sorted distinct scores is human[:i] + clarify[i:j] + auto[j:]. With prefix sums
    it splits into a term of i and a term of j, so that a running minimum finds the best of all pairs of cuts in O(n log
    n). Forced pairs cost the same under all thresholds and are left out.

    `score` (n,) in [0, 1]; `outcomes`: of the calibration split, with the people who will answer; `forced` (n,);
    `tau_critical`: the gate that `forced` came from; stored in the policy; `allowed` (k,): the only values that t_auto
    may have, besides one that no score reaches. Returns thresholds halfway between neighbouring scores where they are
    free. Equal scores are never separated. Among equally cheap policies the one with most automatic answers, then with
    fewest handed to a person. ValueError if scores lie outside [0, 1] or shapes disagree.
    """
    values, sums = _prefix_sums(score, outcomes, forced)
    not_auto, to_clarify, to_human = (sums[:, branch] for branch in Decision)
    tolerance = 1e-13 * float(np.abs(sums).max())
    below = to_human - to_clarify
    middle = values[:-1] + (values[1:] - values[:-1]) / 2
    # Between adjacent floats the middle is the lower one, and the test `score >= threshold` would take it in.
    middle = np.where(middle > values[:-1], middle, values[1:])
    # A threshold for each cut: everybody above, between neighbours, nobody above.
    cuts = np.concatenate([[0.0], middle, [ABOVE_ALL]]) if len(values) else [0.0]
    highest = cuts if allowed is None else np.unique([*allowed, ABOVE_ALL])
    upper = np.arange(len(cuts)) if allowed is None else np.searchsorted(values, highest, side="left")
    best = _first_minimum((np.minimum.accumulate(below) + to_clarify - not_auto)[upper], tolerance)
    lower = _first_minimum(below[: upper[best] + 1], tolerance)
    return Policy(float(highest[best]), float(min(cuts[lower], highest[best])), tau_critical)


def cost_surface(
    score: np.ndarray, outcomes: Outcomes, grid: np.ndarray, *, forced: np.ndarray | None = None
) -> np.ndarray:
    """Mean cost for each pair of thresholds on a grid, for drawing.

    `score` (n,) in [0, 1]; `grid` increasing, (g,); `forced` (n,). Returns (g, g): row: t_clarify, column: t_auto;
    NaN where t_clarify > t_auto.
    """
    values, sums = _prefix_sums(score, outcomes, forced)
    cut = np.searchsorted(values, grid, side="left")
    auto, clarify, human = (sums[cut, branch] for branch in Decision)
    constant = sums[-1, Decision.AUTO]
    if forced is not None:
        constant += outcomes.cost[forced != Forced.NONE, Decision.HUMAN].sum()
    surface = (human - clarify)[:, None] + (clarify - auto)[None, :]
    surface[np.tril_indices(len(cut), -1)] = np.nan
    return (surface + constant) / len(outcomes)


def _prefix_sums(score: np.ndarray, outcomes: Outcomes, forced: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores (m,) of the pairs that are not forced, and branch costs below each cut (m + 1, 3)."""
    score = check_unit("score", score)
    free = np.ones(len(score), bool) if forced is None else forced == Forced.NONE
    order = np.argsort(score[free], kind="stable")
    ordered = score[free][order]
    values, starts = np.unique(ordered, return_index=True)
    running = np.vstack([np.zeros(3), np.cumsum(outcomes.cost[free][order], axis=0)])
    return values, running[np.append(starts, len(ordered))]


def _first_minimum(values: np.ndarray, tolerance: float) -> int:
    """First position whose value is the minimum up to rounding."""
    return int(np.flatnonzero(values <= values.min() + tolerance)[0])
