"""What a policy costs on pairs that it was not tuned on, against baselines and an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from verdict.decide.policy import Decision, Floors, Forced, Outcomes, Policy, decide, realised, tune_policy
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, Statistic, Weights, bounded
from verdict.stats.weighted import ratio, weighted_mean

NOT_AUTO, WITHOUT_GATE = "not auto", "without gate"
WITHOUT_PROMISE, WITHOUT_QUESTIONS, WITHOUT_SCORE = "without promise", "without questions", "without score"
ONE_THRESHOLD = "one threshold on probability"


@dataclass(frozen=True)
class Case:
    """Pairs of one split with everything that decisions and their costs depend on.

    `score` (n,) in [0, 1]; `group_id` (n,): independent unit, resampled by intervals; `forced` (n,): from `force`, None
    without a gate; `is_simulated`: whether the person who takes over is simulated, so that a result which is the same
    for every pair follows from the parameters and has no interval; `allowed` (k,): values that the threshold for
    automatic answers may have, see `tune_policy`; None: all.
    """

    score: np.ndarray
    outcomes: Outcomes
    group_id: np.ndarray
    forced: np.ndarray | None = None
    is_simulated: bool = False
    allowed: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.score) == 0:
            raise ValueError("a policy cannot be tuned or evaluated on no pairs")

    def tune(self, tau_critical: Floors = None) -> Policy:
        """The cheapest policy on these pairs, see `tune_policy`."""
        limits = {"forced": self.forced, "tau_critical": tau_critical, "allowed": self.allowed}
        return tune_policy(self.score, self.outcomes, **limits)

    def decide(self, policy: Policy) -> np.ndarray:
        """Decisions, (n,)."""
        return decide(self.score, policy, forced=self.forced)

    def spans(self, policy: Policy) -> dict[str, tuple[int, int] | None]:
        """What a pair's membership of each branch may be; None where a rule says it of all pairs: no score reaches the
        threshold, or the gate stops the whole batch.
        """
        is_stopped = self.forced is not None and bool((self.forced != Forced.NONE).all())
        closed = [is_stopped or policy.t_auto > 1, is_stopped or policy.t_clarify >= policy.t_auto]
        closed.append(all(closed))
        return {one.text: None if closed[one] else (0, 1) for one in Decision}

    def take(self, rows: np.ndarray) -> Case:
        """Some of the pairs, at least one."""
        forced = None if self.forced is None else self.forced[rows]
        outcomes = self.outcomes.take(rows)
        return replace(self, score=self.score[rows], outcomes=outcomes, group_id=self.group_id[rows], forced=forced)

    def means(
        self, decision: np.ndarray, draws: Resampler, *, shares: np.ndarray | None = None
    ) -> tuple[Interval, Interval]:
        """Mean realised cost and error rate of the final answers, over the same resamples.

        `decision` (n,); `draws`: over the groups of these pairs; `shares` (3,): of branches that are dealt at random in
        place of the decisions, in expectation over the deals.
        """
        columns = [_expected(table, decision, shares) for table in (self.outcomes.cost, self.outcomes.error)]
        spans = [(0.0, self.outcomes.dearest), (0.0, 1.0)]
        if self.is_simulated and (decision == Decision.HUMAN).all():
            # Not estimated: nothing is left of the model, and the parameters say what people do.
            spans = [None, None]
        cost, error = draws.means(np.column_stack(columns), spans)
        return cost, error


@dataclass(frozen=True)
class Evaluation:
    """What a policy does on a split.

    `branches`: one row per branch, and one for those that are not auto: branch, n, n_forced, and with intervals share,
    model_error (error rate of the model there), final_error (of the answers that go out), lift (model_error over that
    of all pairs: 1 for random pairs; NaN if the model makes no error), cost (mean); `cost`: mean realised cost;
    `accuracy_model`, `accuracy`: of the model alone, and of the answers that go out; `is_degenerate`: whether nobody or
    everybody was intervened on: precision and recall of "not auto" as a detector of errors then say nothing.
    """

    branches: pd.DataFrame
    cost: Interval
    accuracy_model: Interval
    accuracy: Interval
    is_degenerate: bool


def evaluate_policy(case: Case, policy: Policy, draws: Resampler) -> Evaluation:
    """Evaluate a policy on pairs that it was not tuned on; `draws`: over the groups of the case."""
    decision = case.decide(policy)
    model_wrong = case.outcomes.error[:, Decision.AUTO]
    forced = np.zeros(len(decision), bool) if case.forced is None else case.forced != Forced.NONE
    is_auto = decision == Decision.AUTO
    branches = {branch.text: decision == branch for branch in Decision} | {NOT_AUTO: ~is_auto}
    spans = case.spans(policy)
    spans[NOT_AUTO] = spans[Decision.AUTO.text]
    rows: list[dict[str, object]] = []
    for name, taken in branches.items():
        estimates = dict.fromkeys(("share", "model_error", "final_error", "lift", "cost"), NOTHING)
        estimates["share"] = draws.mean(taken, span=spans[name])
        if taken.any():
            draws_of_branch = draws.of(taken)
            estimates["model_error"] = draws_of_branch.mean(model_wrong[taken], span=(0, 1))
            estimates["cost"], estimates["final_error"] = case.take(taken).means(decision[taken], draws_of_branch)
            estimates["lift"] = unless_given(draws.interval(partial(lift, taken, model_wrong)))
        row = {"branch": name, "n": int(taken.sum()), "n_forced": int((taken & forced).sum())}
        rows.append(row | bounded(estimates))
    cost, error = case.means(decision, draws)
    model_error = draws.mean(model_wrong, span=(0, 1))
    is_degenerate = bool(is_auto.all() or not is_auto.any())
    return Evaluation(pd.DataFrame(rows), cost, complement(model_error), complement(error), is_degenerate)


def complement(share: Interval) -> Interval:
    """One minus a share, with its interval."""
    return replace(share, value=1 - share.value, low=1 - share.high, high=1 - share.low)


def unless_given(interval: Interval) -> Interval:
    """The interval, without bounds where no resample gives another value: that is an identity, not an estimate."""
    return interval if interval.low < interval.high else Interval(interval.value)


def lift(chosen: np.ndarray, wrong: np.ndarray, weights: Weights = None) -> np.ndarray:
    """Error rate of the chosen rows over that of all; NaN where nothing is chosen or nothing is wrong."""
    both = weighted_mean(chosen * wrong, weights)
    return ratio(both, weighted_mean(chosen, weights) * weighted_mean(wrong, weights), empty=np.nan)


def readings(chosen: np.ndarray, wrong: np.ndarray) -> dict[str, Statistic]:
    """Interventions (n,) on the model's errors (n,), both 0 or 1, as functions of row weights; NaN if not defined.

    Share of rows intervened on, base_error, precision (share of those that are wrong), recall (share of the wrong that
    are intervened on), lift (precision / base_error). With share 1 precision is the base error, recall and lift are 1,
    whatever the gate: they measure nothing.
    """

    def over(first: np.ndarray, second: np.ndarray, weights: Weights = None) -> np.ndarray:
        return ratio(weighted_mean(first, weights), weighted_mean(second, weights), empty=np.nan)

    return {
        "share": partial(weighted_mean, chosen),
        "base_error": partial(weighted_mean, wrong),
        "precision": partial(over, chosen * wrong, chosen),
        "recall": partial(over, chosen * wrong, wrong),
        "lift": partial(lift, chosen, wrong),
    }


def compare_policies(
    calib: Case,
    test: Case,
    *,
    rivals: Mapping[str, tuple[Case, Case]],
    simplest: tuple[Case, Case],
    tau_critical: Floors,
    draws: Resampler,
) -> pd.DataFrame:
    """Costs on test of the policy, of baselines and of the oracle; everything that is tuned is tuned on calib.

    `rivals`: the pairs of calib and of test with another score or gate, and thresholds that are allowed by it, tuned by
    the same exact scan; `simplest`: the same pairs for one threshold, below which a person takes over; `tau_critical`:
    of the gate behind `forced`; `draws`: over the groups of test. Returns columns policy; cost, difference (paired,
    from the policy: positive is dearer) and accuracy, with intervals; auto, clarify, human (shares). Rows: policy,
    without promise (any threshold allowed), without questions, each rival, one threshold, always auto, always human,
    random at equal coverage (in expectation), oracle (per pair the cheapest branch, knowing all answers).
    """
    decisions = {"policy": test.decide(calib.tune(tau_critical))}
    if calib.allowed is not None:
        decisions[WITHOUT_PROMISE] = test.decide(replace(calib, allowed=None).tune(tau_critical))
    decisions[WITHOUT_QUESTIONS] = _without_questions(calib, test, tau_critical)
    decisions |= {name: judged.decide(tuned.tune()) for name, (tuned, judged) in rivals.items()}
    decisions[ONE_THRESHOLD] = _without_questions(*simplest, None)
    decisions["always auto"] = np.full(len(test.score), Decision.AUTO)
    decisions["always human"] = np.full(len(test.score), Decision.HUMAN)
    decisions["random"] = decisions["policy"]
    decisions["oracle"] = test.outcomes.cost.argmin(axis=1)
    ours = decisions["policy"]
    dealt = {"random": _shares(ours)} if _shares(ours).max() < 1 else {}
    rows = [_compared(name, test, one, ours, draws, shares=dealt.get(name)) for name, one in decisions.items()]
    return pd.DataFrame(rows)


def _without_questions(calib: Case, test: Case, tau_critical: Floors) -> np.ndarray:
    """Decisions on test where a person takes over whatever would be asked about."""
    instead = calib.outcomes.cost[:, [Decision.AUTO, Decision.HUMAN, Decision.HUMAN]]
    policy = replace(calib, outcomes=replace(calib.outcomes, cost=instead)).tune(tau_critical)
    return test.decide(replace(policy, t_clarify=policy.t_auto))


def _compared(
    name: str,
    test: Case,
    decision: np.ndarray,
    of_policy: np.ndarray,
    draws: Resampler,
    *,
    shares: np.ndarray | None,
) -> dict[str, object]:
    """A row of `compare_policies`; `shares` as in `Case.means`."""
    outcomes = test.outcomes
    cost, error = test.means(decision, draws, shares=shares)
    gap = _expected(outcomes.cost, decision, shares) - realised(outcomes.cost, of_policy)
    difference = Interval(0.0) if name == "policy" else draws.mean(gap, span=(-outcomes.dearest, outcomes.dearest))
    estimates = bounded({"cost": cost, "difference": difference, "accuracy": complement(error)})
    shares = _shares(decision) if shares is None else shares
    return {"policy": name, **estimates, **{branch.text: float(shares[branch]) for branch in Decision}}


def _expected(table: np.ndarray, decision: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """What a table (n, 3) has for each pair's decision, or in expectation where shares are dealt, (n,)."""
    return realised(table, decision) if shares is None else table @ shares


@dataclass(frozen=True)
class BeliefCost:
    """The cost of tuning thresholds for people who differ from what is believed of them.

    `believed`: tuned for people as they are believed to be; `promised`: its cost on test if the belief were true;
    `delivered`: its cost on test with real people; `regret`: what more that is, paired, than the cost of the policy
    that is tuned for people as they are.
    """

    believed: Policy
    promised: Interval
    delivered: Interval
    regret: Interval


def cost_of_belief(
    calib: Case,
    test: Case,
    *,
    believed: tuple[Outcomes, Outcomes],
    is_assumed: bool = True,
    tau_critical: Floors = None,
    draws: Resampler,
) -> BeliefCost:
    """Tune for people as they are believed to be, let real ones answer, and compare with having known.

    `calib`, `test`: with the outcomes of real people; `believed`: of the same pairs with such people, on calib and on
    test: those who make no error, or other ones; `is_assumed`: whether parameters, and no recorded answers, say how
    these people err; `draws`: over the groups of test.
    """
    believed_calib, believed_test = (
        replace(case, outcomes=people, is_simulated=is_assumed)
        for case, people in zip((calib, test), believed, strict=True)
    )
    trusting, real = believed_calib.tune(tau_critical), calib.tune(tau_critical)
    by_belief, by_knowledge = test.decide(trusting), test.decide(real)
    promised, _ = believed_test.means(by_belief, draws)
    delivered, _ = test.means(by_belief, draws)
    gap = realised(test.outcomes.cost, by_belief) - realised(test.outcomes.cost, by_knowledge)
    regret = draws.mean(gap, span=(-test.outcomes.dearest, test.outcomes.dearest))
    if trusting == real:
        # One policy: that it costs what it costs is no estimate.
        regret = Interval(0.0)
    return BeliefCost(trusting, promised, delivered, regret)


def _shares(decision: np.ndarray) -> np.ndarray:
    """Share of each branch, (3,)."""
    return np.bincount(decision, minlength=len(Decision)) / len(decision)
