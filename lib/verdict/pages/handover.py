"""What people add: where they are better than the model, what their answers change, what beliefs about them cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.numbers import POINTS
from verdict.decide.outcomes import complement, cost_of_belief, readings, unless_given
from verdict.decide.people import ConfusionHuman, Human, ParametricHuman, VoteHuman
from verdict.decide.policy import Decision, Forced
from verdict.decide.signals import entropy_confidence
from verdict.decide.takeover import People
from verdict.pages.decisions import PolicyStudy
from verdict.pages.deferral import Evidence, case_of, clarified, outcomes_of, people_of
from verdict.pages.raw_temperature import is_told, published_policy
from verdict.stats.uncertainty import Interval, Resampler, with_bounds
from verdict.workflow.stage import Stage

GLANCES, PRICE_FACTORS = (0.8, 0.85, 0.9, 0.95), (0.4, 1.0)
SHARES = np.linspace(0.0, 1.0, 21)
NAMED_SHARES = (0.2, 0.5)
PERFECT, ALIKE, BY_CLASS, REAL = "never errs", "errs on all cases alike", "errs by class", "as people really are"


def person_right(evidence: Evidence, person: Human) -> np.ndarray:
    """Probability that a person is right, (n,)."""
    chance = person.distribution(evidence.table["pair_id"], evidence.y_true)
    return chance[np.arange(len(evidence)), evidence.y_true]


def handover_table(stage: Stage, study: PolicyStudy, test: Evidence, people: People) -> pd.DataFrame:
    """Who is right where: the model, and the person who takes over, by branch of the policy.

    Returns pairs, n, model, person (accuracies), gain (person minus model, paired), with intervals; a simulated person
    who is as good on every pair has none. The number `policy.test.handover_gain` is the gain on what is handed over, in
    percentage points; not defined if nothing is.
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
    model, person = (~test.is_wrong).astype(float), person_right(test, people.careful)
    reach = (person.min(), person.max()) if people.is_simulated else (0.0, 1.0)
    columns = {
        "model": (model, (0.0, 1.0)),
        "person": (person, None if people.is_simulated else (0.0, 1.0)),
        "gain": (person - model, (reach[0] - 1, reach[1])),
    }
    rows = [{"cases": name, **part_means(study.draws, chosen, columns)} for name, chosen in parts.items()]
    gain = Interval.from_columns(rows[0], "gain")
    stage.numbers["policy.test.handover_gain"] = gain.number(n=rows[0]["n"], split=test.split, unit=POINTS)
    return pd.DataFrame(rows)


def part_means(
    draws: Resampler, chosen: np.ndarray, columns: Mapping[str, tuple[np.ndarray, tuple[float, float] | None]]
) -> dict[str, object]:
    """Count of the chosen rows (n,) bool, and the mean of each column (values, span) over them, with intervals."""
    values = np.column_stack([column for column, _ in columns.values()])[chosen]
    own = draws if chosen.all() else replace(draws, groups=draws.groups[chosen])
    found = own.means(values, [span for _, span in columns.values()])
    row: dict[str, object] = {"n": int(chosen.sum())}
    for name, interval in zip(columns, found, strict=True):
        row |= with_bounds(name, interval)
    return row


def clarification_table(study: PolicyStudy, test: Evidence, people: People) -> pd.DataFrame:
    """What the questions change on the pairs that are asked about, and would change on all of them.

    Returns pairs, n, information (expected, of the first question, nats), entropy before and after (nats), accuracy
    before and after (expected over the people), gain (paired), with intervals.
    """
    asked = people.ask(test.table["pair_id"], test.y_true, test.probs)
    after = clarified(test, people)[np.arange(len(test)), test.y_true]
    before = (~test.is_wrong).astype(float)
    top = np.log(test.probs.shape[1])
    entropies = [top * (1 - entropy_confidence(probs)) for probs in (test.probs, asked.posterior)]
    columns = {
        "information": (asked.information[:, 0], (0.0, top)),
        "entropy_before": (entropies[0], (0.0, top)),
        "entropy_after": (entropies[1], (0.0, top)),
        "accuracy_before": (before, (0.0, 1.0)),
        "accuracy_after": (after, (0.0, 1.0)),
        "gain": (after - before, (-1.0, 1.0)),
    }
    is_asked = study.test.decide(study.policy) == Decision.CLARIFY
    parts = {"asked about": is_asked, "all": np.ones(len(test), dtype=bool)}
    return pd.DataFrame([{"cases": name, **part_means(study.draws, chosen, columns)} for name, chosen in parts.items()])


def question_counts(test: Evidence, people: People, draws: Resampler) -> pd.DataFrame:
    """Which questions are worth asking: question, first (share of pairs that it is put to first), asked, information.

    Questions that are never chosen are left out. Information is the mean over the pairs that it is put to, in nats.
    Intervals over groups.
    """
    asked = people.ask(test.table["pair_id"], test.y_true, test.probs)
    top, rows = np.log(test.probs.shape[1]), []
    for number, text in enumerate(people.questions.texts):
        here = asked.asked == number
        if not here.any():
            continue
        put, told = here.any(axis=1), (asked.information * here).sum(axis=1)
        shares = draws.means(np.column_stack([here[:, 0], put]), [(0, 1), (0, 1)])
        row: dict[str, object] = {"question": text}
        for column, share in zip(("asked_first", "asked"), shares, strict=True):
            row |= with_bounds(column, share)
        told_here = part_means(draws, put, {"information": (told, (0.0, top))})
        rows.append(row | {name: value for name, value in told_here.items() if name != "n"})
    return pd.DataFrame(rows).sort_values("asked_first", ascending=False, kind="stable", ignore_index=True)


def asking_table(stage: Stage, study: PolicyStudy, tuning: Evidence, test: Evidence) -> pd.DataFrame:
    """When asking pays: thresholds tuned anew for better and cheaper answers at a glance, judged on test.

    Returns glance_accuracy (on the tuning pairs; recorded people are never made better than they are, so that several
    wishes may end at one accuracy, which has one row), price (minutes a pair), is_in_use (those of the parameters);
    share asked about, accuracy and cost with intervals.
    """
    own, rows = stage.params.policy.human.clarify_accuracy, []
    tau = stage.params.policy.critical_floor
    wanted = [people_of(stage, tuning.table, clarify_accuracy=glance) for glance in (own, *GLANCES)]
    reached = [round(float(person_right(tuning, people.hasty).mean()), 6) for people in wanted]
    for glance, people in sorted(dict(zip(reversed(reached), reversed(wanted), strict=True)).items()):
        # What is answered has no price.
        answered = [(evidence, clarified(evidence, people)) for evidence in (tuning, test)]
        for factor in PRICE_FACTORS:
            costs = replace(study.costs, clarify=factor * study.costs.clarify)
            calib, case = (case_of(evidence, people, costs, after=after) for evidence, after in answered)
            decision = case.decide(calib.tune(tau))
            cost, error = case.means(decision, study.draws)
            row: dict[str, object] = {"glance_accuracy": glance, "price": costs.clarify}
            row |= {"is_in_use": glance == reached[0] and factor == 1.0}
            row |= with_bounds("asked_about", study.draws.mean(decision == Decision.CLARIFY, span=(0, 1)))
            rows.append(row | with_bounds("accuracy", complement(error)) | with_bounds("cost", cost))
    return pd.DataFrame(rows)


def _believed(evidence: Evidence, tuning: Evidence, people: People) -> dict[str, np.ndarray]:
    """Answers that simpler beliefs expect of a person, learnt from the tuning pairs, (n,) or (n, K)."""
    ids, truth, n_classes = evidence.table["pair_id"], evidence.y_true, evidence.probs.shape[1]
    beliefs: dict[str, np.ndarray] = {PERFECT: truth}
    if isinstance(people.careful, ParametricHuman):
        return beliefs
    accuracy = float(person_right(tuning, people.careful).mean())
    beliefs[ALIKE] = ParametricHuman(accuracy, n_classes=n_classes, seed=0).distribution(ids, truth)
    if isinstance(people.careful, VoteHuman):
        matrix = people.careful.confusion(tuning.table["pair_id"], tuning.y_true)
        beliefs[BY_CLASS] = ConfusionHuman(matrix, seed=0).distribution(ids, truth)
    return beliefs


def belief_table(stage: Stage, study: PolicyStudy, tuning: Evidence, test: Evidence, people: People) -> pd.DataFrame:
    """Thresholds tuned for people as they are believed to be, then answered by people as they are.

    Returns believed, threshold to act alone, threshold to ask, promised (cost on test if the belief were true),
    delivered (with real people), regret (delivered minus the cost of having known, paired), with intervals.
    """
    tau = stage.params.policy.critical_floor
    expected = [_believed(evidence, tuning, people) for evidence in (tuning, test)]
    answered, rows = [clarified(evidence, people) for evidence in (tuning, test)], []
    for name in (*expected[0], REAL):
        outcomes = tuple(
            outcomes_of(evidence, people, study.costs, human=answers.get(name), after=after)
            for evidence, answers, after in zip((tuning, test), expected, answered, strict=True)
        )
        # Recorded people stay what they are; all beliefs about them are assumptions, as simulated people are.
        is_assumed = name != REAL or people.is_simulated
        found = cost_of_belief(
            study.calib, study.test, believed=outcomes, is_assumed=is_assumed, tau_critical=tau, draws=study.draws
        )
        thresholds = {"threshold to act alone": found.believed.t_auto, "threshold to ask": found.believed.t_clarify}
        row: dict[str, object] = {"a person is believed": name, **thresholds}
        for column in ("promised", "delivered", "regret"):
            row |= with_bounds(column, getattr(found, column))
        rows.append(row)
    return pd.DataFrame(rows)


def deferral_curves(tuning: Evidence, test: Evidence, people: People, draws: Resampler) -> dict[str, pd.DataFrame]:
    """Accuracy of all answers if the least trusted share of the pairs is handed over, by what people are like.

    Returns share, accuracy, low and high over groups. Pairs of equal score go by their ids. Where every pair is handed
    to people who are alike, no interval is defined.
    """
    n, rows = len(test), np.arange(len(test))
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((test.table["pair_id"].to_numpy(dtype=str), test.score))] = rows
    is_handed = rank[:, None] < np.rint(SHARES * n)[None, :]
    alone = (~test.is_wrong).astype(float)[:, None]
    curves = {}
    for name, answers in (_believed(test, tuning, people) | {REAL: None}).items():
        if answers is None:
            right = person_right(test, people.careful)
        else:
            right = (answers == test.y_true).astype(float) if answers.ndim == 1 else answers[rows, test.y_true]
        found = draws.means(np.where(is_handed, right[:, None], alone), [None] * len(SHARES))
        curves[name] = pd.DataFrame(
            [{"share": share, "accuracy": i.value} for share, i in zip(SHARES, found, strict=True)]
        )
        curves[name] = curves[name].assign(low=[i.low for i in found], high=[i.high for i in found])
    return curves


def deferral_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The curves at a fifth and at half of the pairs: share handed over, and accuracies with intervals by belief."""
    rows = []
    for share in (0.0, *NAMED_SHARES, 1.0):
        row: dict[str, object] = {"share_handed_over": share}
        for name, curve in curves.items():
            at = curve.iloc[int(np.abs(curve["share"] - share).argmin())]
            row |= with_bounds(name, Interval(float(at["accuracy"]), float(at["low"]), float(at["high"])))
        rows.append(row)
    return pd.DataFrame(rows)


def readings_table(
    stage: Stage, study: PolicyStudy, test: Evidence, accuracies: tuple[float, ...] = (1.0, 0.95, 0.9)
) -> pd.DataFrame:
    """The published degenerate policies and this one, read in the same ways; see `published_policy` for the columns.

    What is published are counts; this policy's values have intervals. On data of the user's own no published run is
    told of, and there are no rows. Number `policy.n_published`: rows of published runs.
    """
    published = published_policy(accuracies)
    stage.number("policy.n_published", len(published) if is_told(stage) else 0, unit="count")
    if not is_told(stage):
        return published.head(0)
    decision = study.test.decide(study.policy)
    wrong, error = test.is_wrong.astype(float), study.test.outcomes.error
    to_human = decision == Decision.HUMAN
    right = 1 - error[np.arange(len(decision)), decision]
    after = {f"accuracy, people {h:.0%} right": np.where(to_human, h, right) for h in accuracies}
    rows = []
    for name, chosen in (("all interventions", decision != Decision.AUTO), ("human branch", to_human)):
        row: dict[str, object] = {"policy": f"this policy, {name}"}
        for column, statistic in readings(chosen.astype(float), wrong).items():
            row |= with_bounds(column, unless_given(study.draws.interval(statistic)))
        for column, values in after.items():
            row |= with_bounds(column, study.draws.mean(values))
        rows.append(row)
    return pd.concat([published, pd.DataFrame(rows)], ignore_index=True)[list(rows[0])]
