"""Other prices: the cell in use is the policy's own, only ratios count, and what a question is worth."""

from dataclasses import replace

import numpy as np
import pytest

from simulated_stage import CALIBRATED, KEPT, make_stage, with_people
from verdict.base.params import load_params
from verdict.decide.deferral import gather, people_of
from verdict.decide.policy import Decision, realised
from verdict.pages import decisions, handover


def studied(stage, *, error=None, costs=None):
    """A study by the parameters' people and facts, held to an error rate where one is given."""
    policy = stage.all_params.policy
    changed = policy.model_copy(update={"costs": policy.costs.model_copy(update=costs or {})})
    stage._params = stage.all_params.model_copy(update={"policy": changed})
    calib, test = (gather(stage, split, CALIBRATED, KEPT) for split in ("calib", "test"))
    if error is not None:
        known = decisions.known_of(calib)
        is_first = np.char.endswith(np.asarray(known.groups).astype(str), "0")
        kept = decisions.keep_promise(known.take(is_first), known.take(~is_first), decisions.Promise(error, 0.95))
        calib = replace(calib, promised=kept)
    draws = stage.resampler(test.groups)
    return decisions.run_study(stage, calib, test, people_of(stage, calib.table), draws)


@pytest.fixture
def stage(tmp_path):
    return make_stage("08_policy", tmp_path, sizes={"calib": 2999, "test": 701})


@pytest.mark.parametrize("error", [None, 0.03])
def test_the_cell_of_the_prices_in_use_is_the_policy_itself(stage, error):
    study, numbers = studied(stage, error=error), stage.numbers
    table = handover.price_table(stage, study)
    assert len(table) == len(handover.FACTORS) ** 2 and not table.duplicated(["error", "question"]).any()
    own = table[np.isclose(table["error"], 10.0) & np.isclose(table["question"], 0.25)].iloc[0]
    shares = {"alone": "auto_share", "asked": "clarify_share", "handed": "human_share", "cost": "cost"}
    for column, name in shares.items():
        found, cells = numbers[f"policy.test.{name}"], [column, f"{column}_low", f"{column}_high"]
        assert own[cells].tolist() == pytest.approx([found.value, found.low, found.high])
    maps = handover.panels(table)
    assert list(maps) == list(handover.PANELS.values())
    assert maps["Share that is asked about"].iloc[2, 2] == own["asked"], "the middle cell"
    assert (np.diff(maps["Cost (min a case)"].to_numpy(), axis=1) > 0).all(), "dearer errors cost more"


def test_only_ratios_of_prices_count(stage):
    table = handover.price_table(stage, studied(stage)).set_index(["error", "question"])
    # A person at four times the price is an error and a question at a quarter, and four times the cost.
    other = make_stage("08_policy", stage.folder, sizes={"calib": 2999, "test": 701})
    studied(other, costs={"human": 4.0})
    cell = table.loc[(2.5, 0.0625)]
    assert other.numbers["policy.test.cost"].value == pytest.approx(4 * cell["cost"])
    assert other.numbers["policy.test.clarify_share"].value == pytest.approx(cell["asked"])


def test_prices_of_nothing_have_no_multiples(stage):
    study = studied(stage, costs={"clarify": 0.0})
    table = handover.price_table(stage, study)
    assert len(table) == len(handover.FACTORS) and set(table["question"]) == {0.0}
    assert handover.panels(table)["Cost (min a case)"].shape == (1, 5)


def test_a_question_is_asked_up_to_what_it_is_worth_and_not_beyond(stage):
    study = studied(stage)
    handover.worth_of_asking(stage, study, "calib")
    worth, facts = stage.numbers["policy.price_asking_pays"].value, load_params("smoke").policy.facts
    assert stage.numbers["policy.worth_refutes"].value == facts.refutes * 1.0
    assert stage.numbers["policy.fact_proves"].value == facts.proves

    def asked(price):
        case = handover.at_prices(study.calib, study.costs, error=1.0, clarify=price)
        return np.mean(case.decide(case.tune(0.05)) == Decision.CLARIFY)

    assert asked(worth) >= handover.WORTH_ASKING > asked(worth + 0.01)
    # All thresholds are open: no dearer than the share of a person, but for chance.
    assert 0.25 < worth < facts.refutes + 0.1
    assert stage.numbers["policy.test.clarify_share"].value >= handover.WORTH_ASKING


def test_answers_that_nobody_can_rely_on_are_worth_nothing(stage):
    with_people(stage, clarify_accuracy=0.5)
    handover.worth_of_asking(stage, studied(stage), "calib")
    assert stage.numbers["policy.price_asking_pays"].text == "not defined"
    assert "policy.worth_refutes" not in stage.numbers


def test_what_a_promise_takes_away_is_a_share_of_the_saving(stage):
    study = studied(stage, error=0.02)
    judged = decisions.judge_on_test(stage, study)
    cost, human = study.test.outcomes.cost, study.test.outcomes.cost[:, Decision.HUMAN].mean()
    free = replace(study.calib, allowed=None).tune(0.05)
    freely, kept = (realised(cost, study.test.decide(policy)).mean() for policy in (free, study.policy))
    found = stage.numbers["policy.test.given_up"]
    assert found.value == pytest.approx((kept - freely) / (human - freely)) and 0 < found.value < 1
    assert found.low < found.value < found.high and judged["value"].iloc[-1] == found
    assert stage.claim("cheap", "The promise is cheap", "policy.test.given_up", "<=", found.high + 1e-9).holds
    assert stage.claim("free", "The promise is free", "policy.test.given_up", "<=", found.value).holds is False
