"""What people add: where they are better than the model, what their answers change, what beliefs about them cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from verdict.calibration_study import interval_of, mean_interval
from verdict.deferral import Evidence, case_of, clarified, outcomes_of, people_of
from verdict.humans import ConfusionHuman, ParametricHuman, VoteHuman
from verdict.people import People
from verdict.policy import Decision, Forced
from verdict.policy_evaluation import cost_of_perfect_belief, evaluate_policy
from verdict.policy_study import PolicyStudy
from verdict.raw_temperature import intervention_scores, published_policy
from verdict.signals import entropy_confidence
from verdict.stage import Stage
from verdict.uncertainty import Interval, group_weights, with_bounds
from verdict.weighted import weighted_mean

STREAM = 22
GLANCES, PRICE_FACTORS = (0.8, 0.85, 0.9, 0.95), (0.4, 1.0)
SHARES = np.linspace(0.0, 1.0, 21)
NAMED_SHARES = (0.2, 0.5)
PERFECT, ALIKE, BY_CLASS, REAL = "never errs", "errs on all pairs alike", "errs by class", "as people really are"


def person_right(evidence: Evidence, people: People) -> np.ndarray:
    """Probability that the person who takes over is right, (n,)."""
    chance = people.careful.distribution(evidence.table["pair_id"], evidence.y_true)
    return chance[np.arange(len(evidence)), evidence.y_true]


def handover_table(stage: Stage, study: PolicyStudy, test: Evidence, people: People) -> pd.DataFrame:
    """Who is right where: the model, and the person who takes over, by branch of the policy.

    Returns
    -------
    DataFrame
        pairs, n, model, person (accuracies), gain (person minus model, paired), with intervals. The number
        `policy.test.handover_gain` is the gain on what is handed over; not defined if nothing is.
    """
    decision, forced = study.test.decide(study.policy), test.forced != Forced.NONE
    to_human = decision == Decision.HUMAN
    parts = {
        "handed over": to_human,
        "of these, by the gate": to_human & forced,
        "of these, by the score": to_human & ~forced,
        "asked about": decision == Decision.CLARIFY,
        "out alone": decision == Decision.AUTO,
        "all": np.ones(len(test), dtype=bool),
    }
    right = {"model": (~test.is_wrong).astype(float), "person": person_right(test, people)}
    right["gain"] = right["person"] - right["model"]
    rows = []
    for name, chosen in parts.items():
        row: dict[str, object] = {"pairs": name, "n": int(chosen.sum())}
        for column, values in right.items():
            row |= with_bounds(column, mean_interval(stage, values[chosen], test.groups[chosen], "scores"))
        rows.append(row)
    first = Interval.from_columns(rows[0], "gain")
    number = first.number(n=int(to_human.sum()), split=test.split, unit="%")
    stage.numbers["policy.test.handover_gain"] = number
    return pd.DataFrame(rows)


def handover_template(stage: Stage) -> str:
    """Whether handing over gains accuracy, as a template for `say`; a loss is said in bold."""
    gain = stage.numbers["policy.test.handover_gain"]
    if np.isnan(gain.value):
        return "No pair is handed over, so nothing is gained or lost by it."
    measured = "on the pairs that are handed over a person's accuracy minus the model's is {policy.test.handover_gain}"
    if gain.excludes(0.0):
        return (
            f"Handing over gains accuracy: {measured}."
            if gain.value > 0
            else f"**Handing over loses accuracy:** {measured}."
        )
    return f"Whether handing over gains accuracy is not shown: {measured}."


def clarification_table(stage: Stage, study: PolicyStudy, test: Evidence, people: People) -> pd.DataFrame:
    """What the questions change on the pairs that are asked about, and would change on all of them.

    Returns
    -------
    DataFrame
        pairs, n, information (expected, of the first question, nats), entropy before and after (nats), accuracy before
        and after (expected over the people), gain (paired), with intervals.
    """
    asked = people.ask(test.table["pair_id"], test.y_true, test.probs)
    after = clarified(test, people)[np.arange(len(test)), test.y_true]
    before = (~test.is_wrong).astype(float)
    top = np.log(test.probs.shape[1])
    entropies = [top * (1 - entropy_confidence(probs)) for probs in (test.probs, asked.posterior)]
    is_asked, rows = study.test.decide(study.policy) == Decision.CLARIFY, []
    for name, chosen in {"asked about": is_asked, "all": np.ones(len(test), dtype=bool)}.items():
        row: dict[str, object] = {"pairs": name, "n": int(chosen.sum())}
        means = {"information": asked.information[:, 0], "entropy_before": entropies[0], "entropy_after": entropies[1]}
        row |= {key: float(values[chosen].mean()) if chosen.any() else np.nan for key, values in means.items()}
        for key, values in {"accuracy_before": before, "accuracy_after": after, "gain": after - before}.items():
            row |= with_bounds(key, mean_interval(stage, values[chosen], test.groups[chosen], "scores"))
        rows.append(row)
    return pd.DataFrame(rows)


def question_counts(test: Evidence, people: People) -> pd.DataFrame:
    """Which questions are worth asking: question, first (share of pairs that it is put to first), asked, information.

    Questions that are never chosen are left out. Information is the mean over the pairs that it is put to, in nats.
    """
    asked = people.ask(test.table["pair_id"], test.y_true, test.probs)
    rows = []
    for number, text in enumerate(people.questions.texts):
        here = asked.asked == number
        if here.any():
            first, ever = float(here[:, 0].mean()), float(here.any(axis=1).mean())
            information = float(asked.information[here].mean())
            rows.append({"question": text, "asked_first": first, "asked": ever, "information": information})
    return pd.DataFrame(rows).sort_values("asked_first", ascending=False, kind="stable", ignore_index=True)


def asking_table(stage: Stage, study: PolicyStudy, tuning: Evidence, test: Evidence) -> pd.DataFrame:
    """When asking pays: thresholds tuned anew for better and cheaper answers at a glance, judged on test.

    Returns
    -------
    DataFrame
        glance_accuracy, price (minutes a pair), is_in_use (those of the parameters), shares auto, clarify, human,
        accuracy and cost with intervals.
    """
    own, rows = stage.params.policy.human.clarify_accuracy, []
    n_resamples, tau = stage.params.statistics.n_resamples, stage.params.policy.critical_floor
    for glance, factor in product(sorted({*GLANCES, own}), PRICE_FACTORS):
        people = people_of(stage, tuning.table, clarify_accuracy=glance)
        costs = replace(study.costs, clarify=factor * study.costs.clarify)
        policy = case_of(tuning, people, costs).tune(tau)
        rng = stage.rng(STREAM, 2)
        found = evaluate_policy(case_of(test, people, costs), policy, rng=rng, n_resamples=n_resamples)
        shares = found.branches.set_index("branch")["share"]
        row: dict[str, object] = {"glance_accuracy": glance, "price": costs.clarify}
        row |= {"is_in_use": glance == own and factor == 1.0, **{b.text: float(shares[b.text]) for b in Decision}}
        rows.append(row | with_bounds("accuracy", found.accuracy) | with_bounds("cost", found.cost))
    return pd.DataFrame(rows)


def _believed(evidence: Evidence, tuning: Evidence, people: People) -> dict[str, np.ndarray]:
    """Answers that simpler beliefs expect of a person, learnt from the tuning pairs, (n,) or (n, K)."""
    ids, truth, n_classes = evidence.table["pair_id"], evidence.y_true, evidence.probs.shape[1]
    beliefs: dict[str, np.ndarray] = {PERFECT: truth}
    if isinstance(people.careful, ParametricHuman):
        return beliefs
    accuracy = float(person_right(tuning, people).mean())
    beliefs[ALIKE] = ParametricHuman(accuracy, n_classes=n_classes, seed=0).distribution(ids, truth)
    if isinstance(people.careful, VoteHuman):
        matrix = people.careful.confusion(tuning.table["pair_id"], tuning.y_true)
        beliefs[BY_CLASS] = ConfusionHuman(matrix, seed=0).distribution(ids, truth)
    return beliefs


def belief_table(stage: Stage, study: PolicyStudy, tuning: Evidence, test: Evidence, people: People) -> pd.DataFrame:
    """Thresholds tuned for people as they are believed to be, then answered by people as they are.

    Returns
    -------
    DataFrame
        believed, threshold to act alone, threshold to ask, promised (cost on test if the belief were true), delivered
        (with real people), regret (delivered minus the cost of having known, paired), with intervals.
    """
    tau, n_resamples = stage.params.policy.critical_floor, stage.params.statistics.n_resamples
    expected = [_believed(evidence, tuning, people) for evidence in (tuning, test)]
    rows = []
    for name in (*expected[0], REAL):
        outcomes = tuple(
            outcomes_of(evidence, people, study.costs, human=answers.get(name))
            for evidence, answers in zip((tuning, test), expected, strict=True)
        )
        rng = stage.rng(STREAM, 0)
        found = cost_of_perfect_belief(
            study.calib, study.test, perfect=outcomes, tau_critical=tau, rng=rng, n_resamples=n_resamples
        )
        thresholds = {"threshold to act alone": found.believed.t_auto, "threshold to ask": found.believed.t_clarify}
        row: dict[str, object] = {"a person is believed": name, **thresholds}
        for column in ("promised", "delivered", "regret"):
            row |= with_bounds(column, getattr(found, column))
        rows.append(row)
    return pd.DataFrame(rows)


def deferral_curves(stage: Stage, tuning: Evidence, test: Evidence, people: People) -> dict[str, pd.DataFrame]:
    """Accuracy of all answers if the least trusted share of the pairs is handed over, by what people are like.

    Returns
    -------
    mapping of belief to DataFrame
        share, accuracy, and for real people low and high over image groups. Pairs of equal score go by their ids.
    """
    n, rows = len(test), np.arange(len(test))
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((test.table["pair_id"].to_numpy(dtype=str), test.score))] = rows
    is_handed = rank[:, None] < np.rint(SHARES * n)[None, :]
    alone = (~test.is_wrong).astype(float)[:, None]
    curves = {}
    for name, answers in (_believed(test, tuning, people) | {REAL: None}).items():
        if answers is None:
            right = person_right(test, people)
        else:
            right = (answers == test.y_true).astype(float) if answers.ndim == 1 else answers[rows, test.y_true]
        values = np.where(is_handed, right[:, None], alone)
        curves[name] = pd.DataFrame({"share": SHARES, "accuracy": values.mean(axis=0)})
        if answers is None:
            low, high = _band(stage, values, test.groups)
            curves[name] = curves[name].assign(low=low, high=high)
    return curves


def _band(stage: Stage, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Bounds of the mean of each column over resampled groups, (2, n_columns)."""
    settings = stage.params.statistics
    weights = group_weights(groups, settings.n_resamples, stage.rng(STREAM, 1))
    drawn = weights @ values / weights.sum(axis=1, keepdims=True)
    # Rounded, so that people who are all alike have no spread of rounding noise.
    return np.quantile(drawn, [0.5 - settings.level / 2, 0.5 + settings.level / 2], axis=0).round(12)


def deferral_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The curves at a fifth and at half of the pairs: share handed over, and a column of accuracies for each belief."""
    rows = []
    for share in (0.0, *NAMED_SHARES, 1.0):
        at = {name: curve.iloc[int(np.abs(curve["share"] - share).argmin())] for name, curve in curves.items()}
        row: dict[str, object] = {"share_handed_over": share} | {
            name: float(found["accuracy"]) for name, found in at.items()
        }
        real = at[REAL]
        rows.append(row | {f"{REAL}_low": float(real["low"]), f"{REAL}_high": float(real["high"])})
    return pd.DataFrame(rows)


def readings_table(
    study: PolicyStudy, test: Evidence, accuracies: tuple[float, ...] = (1.0, 0.95, 0.9)
) -> pd.DataFrame:
    """The published degenerate policies and this one, read in the same ways; see `published_policy` for the columns."""
    decision = study.test.decide(study.policy)
    error = study.test.outcomes.error
    to_human = decision == Decision.HUMAN
    others = (1 - error[np.arange(len(decision)), decision])[~to_human].sum()
    after = {f"accuracy, people {h:.0%} right": float((others + h * to_human.sum()) / len(test)) for h in accuracies}
    rows = [
        {"policy": f"this policy, {name}", **intervention_scores(test.is_wrong, chosen), **after}
        for name, chosen in (("all interventions", decision != Decision.AUTO), ("human branch", to_human))
    ]
    return pd.concat([published_policy(accuracies), pd.DataFrame(rows)], ignore_index=True)


def store_lift(stage: Stage, study: PolicyStudy, test: Evidence) -> None:
    """Number `policy.test.lift`: the model's error rate on what does not go out alone, over that of all pairs."""
    intervened = (study.test.decide(study.policy) != Decision.AUTO).astype(float)
    wrong = test.is_wrong.astype(float)
    if not (intervened.any() and wrong.any()):
        stage.number("policy.test.lift", float("nan"), split=test.split)
        return
    statistic = partial(_lift, intervened, wrong)
    stage.numbers["policy.test.lift"] = interval_of(stage, statistic, test.groups, "scores").number(
        n=len(test), split=test.split
    )


def _lift(intervened: np.ndarray, wrong: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    shared = weighted_mean(intervened * wrong, weights)
    return shared / np.maximum(weighted_mean(intervened, weights) * weighted_mean(wrong, weights), 1e-300)
