"""What people add: where they are better than the model, what their answers change, what beliefs about them cost, and
what other prices would do.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT, POINTS, SETTING
from verdict.decide.deferral import Evidence, case_of, clarified, outcomes_of, people_of
from verdict.decide.outcomes import NOT_AUTO, Case, complement, cost_of_belief, readings, unless_given
from verdict.decide.people import ConfusionHuman, Human, PairHuman, ParametricHuman
from verdict.decide.policy import Costs, Decision, Forced, realised
from verdict.decide.signals import entropy_confidence
from verdict.decide.takeover import People, facts_asked
from verdict.pages.decisions import PolicyStudy, stored_number
from verdict.pages.published import ACCURACIES, is_told, published_policy
from verdict.pages.tables import GAP, SHARE, by_part
from verdict.stats.uncertainty import Interval, Resampler, bounded
from verdict.workflow.stage import Stage

GLANCES = (0.8, 0.85, 0.9, 0.95)
SHARES = np.linspace(0.0, 1.0, 21)
NAMED_SHARES = (0.2, 0.5)
PERFECT, ALIKE, BY_CLASS, REAL = "never errs", "errs on all cases alike", "errs by class", "as people really are"


def person_right(evidence: Evidence, person: Human) -> np.ndarray:
    """Probability that a person is right, (n,)."""
    chance = person.distribution(evidence.table["pair_id"], evidence.y_true)
    return chance[np.arange(len(evidence)), evidence.y_true]


def handover_table(stage: Stage, study: PolicyStudy, test: Evidence, people: People) -> pd.DataFrame:
    """Who is right where, the model or the person who takes over, by branch of the policy: cases, n, model, person
    (accuracies), gain (paired), with intervals; a simulated person who is as good on every pair has none.

    Number `policy.test.handover_gain`: the gain on what is handed over, not defined if nothing is.
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
    columns = {"model": (model, SHARE), "person": (person, None if people.is_simulated else SHARE)}
    columns["gain"] = (person - model, (reach[0] - 1, reach[1]))
    table = by_part(study.draws, parts, columns)
    gain, n = Interval.from_columns(table.iloc[0], "gain"), int(to_human.sum())
    stage.numbers["policy.test.handover_gain"] = gain.number(n=n, split=test.split, unit=POINTS)
    return table


def clarification_table(study: PolicyStudy, test: Evidence, people: People) -> pd.DataFrame:
    """What the questions change on the pairs that are asked about, and would change on all: cases, n, information
    (expected, of the first question, nats), entropy before and after (nats), accuracy before and after (expected over
    the people), gain (paired), with intervals.
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
        "accuracy_before": (before, SHARE),
        "accuracy_after": (after, SHARE),
        "gain": (after - before, GAP),
    }
    is_asked = study.test.decide(study.policy) == Decision.CLARIFY
    return by_part(study.draws, {"asked about": is_asked, "all": np.ones(len(test), dtype=bool)}, columns)


def question_counts(test: Evidence, people: People, draws: Resampler) -> pd.DataFrame:
    """Which questions are worth asking, of those that are ever chosen: question, asked_first and asked (shares of
    pairs), information (mean over the pairs that it is put to, nats), with intervals.
    """
    asked = people.ask(test.table["pair_id"], test.y_true, test.probs)
    top, rows = np.log(test.probs.shape[1]), []
    for number, text in enumerate(people.questions.texts):
        if (here := asked.asked == number).any():
            put, told = here.any(axis=1), (asked.information * here).sum(axis=1)
            shares = {"asked_first": draws.mean(here[:, 0], span=SHARE), "asked": draws.mean(put, span=SHARE)}
            shares["information"] = draws.of(put).mean(told[put], span=(0.0, top))
            rows.append({"question": text} | bounded(shares))
    return pd.DataFrame(rows).sort_values("asked_first", ascending=False, kind="stable", ignore_index=True)


def asking_table(stage: Stage, study: PolicyStudy, tuning: Evidence, test: Evidence) -> pd.DataFrame:
    """When asking pays: thresholds tuned anew for better and worse answers to questions, judged on test.

    Returns glance_accuracy (on the tuning pairs; nobody is made better than who takes over, so that several wishes may
    share a row), is_in_use (that of the parameters); asked_about (share), accuracy and cost with intervals.
    """
    own, rows = stage.params.policy.human.clarify_accuracy, []
    tau = stage.params.policy.critical_floor
    wanted = [people_of(stage, tuning.table, clarify_accuracy=glance) for glance in (own, *GLANCES)]
    reached = [round(float(person_right(tuning, people.hasty).mean()), 6) for people in wanted]
    for glance, people in sorted(dict(zip(reversed(reached), reversed(wanted), strict=True)).items()):
        calib, case = (case_of(evidence, people, study.costs) for evidence in (tuning, test))
        policy = replace(calib, allowed=study.calib.allowed).tune(tau)
        decision = case.decide(policy)
        cost, error = case.means(decision, study.draws)
        asked = study.draws.mean(decision == Decision.CLARIFY, span=case.spans(policy)[Decision.CLARIFY.text])
        row = {"glance_accuracy": glance, "is_in_use": glance == reached[0]}
        rows.append(row | bounded({"asked_about": asked, "accuracy": complement(error), "cost": cost}))
    return pd.DataFrame(rows)


def _believed(evidence: Evidence, tuning: Evidence, people: People) -> dict[str, np.ndarray]:
    """Answers that simpler beliefs expect of a person, learnt from the tuning pairs, (n,) or (n, K)."""
    ids, truth, n_classes = evidence.table["pair_id"], evidence.y_true, evidence.probs.shape[1]
    beliefs: dict[str, np.ndarray] = {PERFECT: truth}
    if isinstance(people.careful, ParametricHuman):
        return beliefs
    accuracy = float(person_right(tuning, people.careful).mean())
    beliefs[ALIKE] = ParametricHuman(accuracy, n_classes=n_classes, seed=0).distribution(ids, truth)
    if isinstance(people.careful, PairHuman):
        matrix = people.careful.confusion(tuning.table["pair_id"], tuning.y_true)
        beliefs[BY_CLASS] = ConfusionHuman(matrix, seed=0).distribution(ids, truth)
    return beliefs


def belief_table(stage: Stage, study: PolicyStudy, tuning: Evidence, test: Evidence, people: People) -> pd.DataFrame:
    """Thresholds tuned for people as they are believed to be, then answered by people as they are: promised (cost on
    test if the belief were true), delivered (with real people), regret (over having known, paired), with intervals.

    Numbers `policy.test.cost_promised`, `.cost_delivered` and `.regret` of the belief in people who never err.
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
        costs = {"promised": found.promised, "delivered": found.delivered, "regret": found.regret}
        for column, cost in costs.items() if name == PERFECT else ():
            short = column if column == "regret" else f"cost_{column}"
            number = stored_number(cost, study.draws, n=len(test), split=test.split, unit="min")
            stage.numbers[f"policy.test.{short}"] = number
        policy = found.believed
        thresholds = {"threshold to act alone": policy.t_auto, "threshold to ask": policy.t_clarify}
        rows.append({"a person is believed": name, **thresholds} | bounded(costs))
    return pd.DataFrame(rows)


def deferral_curves(tuning: Evidence, test: Evidence, people: People, draws: Resampler) -> dict[str, pd.DataFrame]:
    """Accuracy of all answers if the least trusted share of the pairs (of equal score by ids) is handed over, by what
    people are like: share, accuracy, low and high over groups.
    """
    places = np.arange(len(test))
    rank = np.lexsort((test.table["pair_id"].to_numpy(dtype=str), test.score)).argsort()
    is_handed = rank[:, None] < np.rint(SHARES * len(test))[None, :]
    alone = (~test.is_wrong).astype(float)[:, None]
    curves = {}
    for name, answers in (_believed(test, tuning, people) | {REAL: None}).items():
        if answers is None:
            right = person_right(test, people.careful)
        else:
            right = (answers == test.y_true).astype(float) if answers.ndim == 1 else answers[places, test.y_true]
        found = draws.means(np.where(is_handed, right[:, None], alone), [None] * len(SHARES))
        rows = [(share, one.value, one.low, one.high) for share, one in zip(SHARES, found, strict=True)]
        curves[name] = pd.DataFrame(rows, columns=["share", "accuracy", "low", "high"])
    return curves


def deferral_table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The curves at a fifth and at half of the pairs: share handed over, and accuracies with intervals by belief."""
    rows = []
    for share in (0.0, *NAMED_SHARES, 1.0):
        near = {name: curve.iloc[int(np.abs(curve["share"] - share).argmin())] for name, curve in curves.items()}
        found = {name: Interval(at["accuracy"], at["low"], at["high"]) for name, at in near.items()}
        rows.append({"share_handed_over": share} | bounded(found))
    return pd.DataFrame(rows)


def readings_table(stage: Stage, study: PolicyStudy, test: Evidence) -> pd.DataFrame:
    """The published degenerate policies, of which counts are known, and this one, read in the same ways; see
    `published_policy`. No rows on data of the user's own. Number `policy.n_published`: rows of published runs.
    """
    published = published_policy()
    stage.number("policy.n_published", len(published) if is_told(stage) else 0, unit="count")
    if not is_told(stage):
        return published.head(0)
    decision, branches = study.test.decide(study.policy), study.evaluation.branches.set_index("branch")
    wrong, to_human = test.is_wrong.astype(float), decision == Decision.HUMAN
    after = {f"accuracy, people {h:.0%} right": np.where(to_human, h, 1 - wrong) for h in ACCURACIES}
    rows = []
    parts = {
        NOT_AUTO: ("all interventions", decision != Decision.AUTO),
        Decision.HUMAN.text: ("human branch", to_human),
    }
    for branch, (name, chosen) in parts.items():
        statistics = readings(chosen.astype(float), wrong)
        found = {column: unless_given(study.draws.interval(statistic)) for column, statistic in statistics.items()}
        found["precision"] = Interval.from_columns(branches.loc[branch], "model_error")
        if name == "human branch":
            found |= {column: study.draws.mean(values) for column, values in after.items()}
        rows.append({"policy": f"this policy, {name}"} | bounded(found))
    return pd.concat([published, pd.DataFrame(rows)], ignore_index=True)[list(rows[-1])]


FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
# A question that is put about fewer cases than this is not worth its branch.
WORTH_ASKING = 0.03
# The price of a question is sought in steps of a hundredth of a person's, up to twice that.
_STEPS, _MOST = 100, 2
PANELS = {
    "alone": "Share that goes out alone",
    "asked": "Share that is asked about",
    "handed": "Share that is handed over",
    "cost": "Cost (min a case)",
}


def at_prices(case: Case, costs: Costs, *, error: float, clarify: float) -> Case:
    """The same answers with the price of every error multiplied by `error`, and that of a question set to `clarify`."""
    own, fees = np.array([0.0, costs.clarify, costs.human]), np.array([0.0, clarify, costs.human])
    outcomes = case.outcomes
    paid = replace(outcomes, cost=(outcomes.cost - own) * error + fees, dearest=outcomes.dearest * error + fees.max())
    return replace(case, outcomes=paid)


def price_table(stage: Stage, study: PolicyStudy) -> pd.DataFrame:
    """Policies tuned for other prices of an error and of a question, judged on test; a person keeps its price.

    Only ratios of prices count, so that these two say what a third would. Thresholds are chosen on the tuning pairs for
    each row, by the same promise. Returns error, question (minutes; where classes have prices of their own, `error` is
    what the others cost); alone, asked, handed (shares) and cost (minutes a case), with intervals.
    """
    prices, tau, columns, spans = stage.params.policy.costs, stage.params.policy.critical_floor, [], []
    # Nothing has no multiples.
    errors, questions = (FACTORS if price else (1.0,) for price in (prices.error, prices.clarify))
    grid = [(error, question * prices.clarify) for question in questions for error in errors]
    for error, question in grid:
        changed = {"error": error, "clarify": question}
        calib, test = (at_prices(case, study.costs, **changed) for case in (study.calib, study.test))
        policy = calib.tune(tau)
        decision, spans = test.decide(policy), [*spans, *test.spans(policy).values(), None]
        columns += [decision == branch for branch in Decision] + [realised(test.outcomes.cost, decision)]
    found = study.draws.means(np.column_stack(columns), spans)
    rows = []
    for place, (error, question) in enumerate(grid):
        cells = dict(zip(PANELS, found[4 * place : 4 * place + 4], strict=True))
        rows.append({"error": error * prices.error, "question": question} | bounded(cells))
    return pd.DataFrame(rows)


def panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One map for each quantity of `price_table` by what it is called: a row for each question's price."""
    return {words: table.pivot(index="question", columns="error", values=name) for name, words in PANELS.items()}


def worth_of_asking(stage: Stage, study: PolicyStudy, split: str) -> None:
    """Numbers, in minutes: `policy.price_asking_pays`, the largest price of a question at which the cheapest policy
    asks about `WORTH_ASKING` of the tuning pairs (`policy.asking_share`), NaN if there is none: the share falls with
    the price, since the least cost is concave in it. Where one fact of two classes is asked, `policy.worth_refutes` and
    `.worth_proves`: the share that it settles times the price of a person.
    """
    tau, step = stage.params.policy.critical_floor, study.costs.human / _STEPS

    def is_too_dear(price: float) -> bool:
        case = at_prices(study.calib, study.costs, error=1.0, clarify=price * step)
        return float(np.mean(case.decide(case.tune(tau)) == Decision.CLARIFY)) < WORTH_ASKING

    steps = bisect_left(range(_MOST * _STEPS + 1), True, key=is_too_dear)
    worth = (steps - 1) * step if steps else float("nan")
    shared = {"n": len(study.calib.score), "split": split}
    stage.number("policy.price_asking_pays", worth, unit="min", kind=EXACT, **shared)
    stage.number("policy.asking_share", WORTH_ASKING, unit="%", kind=SETTING)
    for name, share in facts_asked(stage.params.policy, stage.classes) or ():
        stage.number(f"policy.worth_{name}", share * study.costs.human, unit="min", kind=SETTING)
