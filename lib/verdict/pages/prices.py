"""What other prices would do: who answers, what a case costs, and up to which price a question is worth asking."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np
import pandas as pd

from verdict.base.numbers import EXACT, SETTING
from verdict.decide.outcomes import Case
from verdict.decide.policy import Costs, Decision, realised
from verdict.decide.takeover import facts_asked
from verdict.pages.decisions import PolicyStudy
from verdict.pages.tables import SHARE, bounded
from verdict.workflow.stage import Stage

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

    Only ratios of prices count, so that these two say what a third would. Thresholds are chosen on the tuning pairs
    for each row, by the same promise. Returns error, question (minutes; where classes have prices of their own, `error`
    is what the others cost); alone, asked, handed (shares) and cost (minutes a case), with intervals.
    """
    prices, tau, columns = stage.params.policy.costs, stage.params.policy.critical_floor, []
    # Nothing has no multiples.
    errors, questions = (FACTORS if price else (1.0,) for price in (prices.error, prices.clarify))
    grid = [(error, question * prices.clarify) for question in questions for error in errors]
    for error, question in grid:
        changed = {"error": error, "clarify": question}
        calib, test = (at_prices(case, study.costs, **changed) for case in (study.calib, study.test))
        decision = test.decide(calib.tune(tau))
        columns += [decision == branch for branch in Decision] + [realised(test.outcomes.cost, decision)]
    found = study.draws.means(np.column_stack(columns), [SHARE, SHARE, SHARE, None] * len(grid))
    rows = []
    for place, (error, question) in enumerate(grid):
        cells = dict(zip(PANELS, found[4 * place : 4 * place + 4], strict=True))
        rows.append({"error": error * prices.error, "question": question} | bounded(cells))
    return pd.DataFrame(rows)


def panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One map for each quantity of `price_table` by what it is called: a row for each question's price."""
    return {words: table.pivot(index="question", columns="error", values=name) for name, words in PANELS.items()}


def worth_of_asking(stage: Stage, study: PolicyStudy, split: str) -> None:
    """Up to which price a question is worth asking, on the pairs of a split, which tune the policy.

    Numbers, in minutes: `policy.price_asking_pays`, the largest price of a question at which the cheapest policy asks
    about `WORTH_ASKING` of the tuning pairs (`policy.asking_share`), NaN if there is none: the share falls with the
    price, since the least cost is concave in it. Where one fact of two classes is asked, `policy.worth_refutes` and
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
