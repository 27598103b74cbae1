"""What people add: gains and losses by hand, questions that change answers, beliefs that cost."""

import numpy as np
import pytest
from tests.pages.test_decisions import studied

from page_text import told
from simulated_stage import CALIBRATED, KEPT, make_stage
from verdict.base.numbers import EXACT, POINTS
from verdict.decide.deferral import gather, people_of
from verdict.decide.people import VoteHuman
from verdict.decide.policy import Decision
from verdict.decide.takeover import People
from verdict.pages import handover
from verdict.pages.handover import ALIKE, PERFECT, REAL


@pytest.fixture
def stage(tmp_path):
    return make_stage("08_policy", tmp_path)


def with_votes(stage, *, easy=0.99, hard=0.4):
    """People who are good on pairs of even number and poor on the others, whatever the model says."""
    whole = stage.pairs

    def pairs(*splits):
        found = whole(*splits)
        right = np.where(np.arange(len(found)) % 2 == 0, easy, hard)
        is_entailed = (found["label"] == "entailment").to_numpy()
        found["votes_entailment"] = np.rint(100 * np.where(is_entailed, right, 1 - right))
        found["votes_contradiction"] = 100 - found["votes_entailment"]
        return found

    stage.pairs = pairs
    return studied(stage, kind="votes")


def test_who_is_right_where(stage):
    study, _, test, people = studied(stage)
    table = handover.handover_table(stage, study, test, people).set_index("cases")
    decision = study.test.decide(study.policy)
    assert table["n"].to_dict() == {
        "handed over": int((decision == Decision.HUMAN).sum()),
        "of these, by the gate": int((test.forced != 0).sum()),
        "of these, by the score": int(((decision == Decision.HUMAN) & (test.forced == 0)).sum()),
        "asked about": int((decision == Decision.CLARIFY).sum()),
        "out alone": int((decision == Decision.AUTO).sum()),
        "all": len(test),
    }
    assert table.loc["all", "person"] == 0.95 and np.isnan(table.loc["all", "person_low"]), "an assumption"
    assert table.loc["all", "model"] == pytest.approx(1 - test.is_wrong.mean())
    handed = table.loc["handed over"]
    assert handed["gain"] == pytest.approx(handed["person"] - handed["model"])
    assert stage.numbers["policy.test.handover_gain"].value == pytest.approx(handed["gain"])
    gain = stage.numbers["policy.test.handover_gain"]
    assert (gain.unit, gain.low) == (POINTS, handed["gain_low"]) and "percentage points" in gain.text
    assert told("08_with_people", "Handing over gains", stage.numbers).startswith("Handing over gains accuracy: on the")


def test_answers_to_questions_are_worked_out_once_for_all_beliefs(stage, monkeypatch):
    """With a thousand classes each time takes seconds: once for each accuracy and side, and once for all beliefs."""
    study, tuning, test, people = studied(stage)
    whole, asked = People.clarified, []
    monkeypatch.setattr(People, "clarified", lambda *given: asked.append(0) or whole(*given))
    n = 2 * len(handover.asking_table(stage, study, tuning, test)["glance_accuracy"].unique())
    assert len(asked) == n
    handover.belief_table(stage, study, tuning, test, people)
    assert len(asked) == n + 2


def test_nobody_handed_over_is_said(stage):
    study, _, test, people = studied(stage)
    object.__setattr__(study, "policy", study.policy.__class__(0.0, 0.0, None))
    object.__setattr__(study, "test", study.test.__class__(study.test.score, study.test.outcomes, study.test.group_id))
    table = handover.handover_table(stage, study, test, people)
    assert table["n"].iloc[0] == 0
    assert np.isnan(stage.numbers["policy.test.handover_gain"].value)
    claim = stage.claim("people_help", "A person is better there", "policy.test.handover_gain", ">", 0.0)
    assert claim.holds is None and claim.verdict == "not applicable"


def test_people_who_were_recorded_may_be_worse_and_the_claim_fails(stage):
    study, _, test, people = with_votes(stage, easy=0.6, hard=0.4)
    assert not people.is_simulated and people.n_recorded(test.table["pair_id"]) == len(test)
    object.__setattr__(study, "policy", study.policy.__class__(1.0, 1.0, study.policy.tau_critical))
    table = handover.handover_table(stage, study, test, people).set_index("cases")
    assert table.loc["handed over", "person_low"] < table.loc["handed over", "person"]
    claim = stage.claim("people_help", "A person is better there", "policy.test.handover_gain", ">", 0.0)
    assert claim.holds is False


def test_where_the_model_is_never_wrong_the_gain_is_bounded_by_what_a_person_can_be(stage):
    study, _, test, people = studied(stage)
    ids = (~test.is_wrong).nonzero()[0]
    right = test.take(np.isin(np.arange(len(test)), ids))
    own = study.__class__(*[getattr(study, name) for name in study.__dataclass_fields__])
    object.__setattr__(own, "test", study.test.take(ids))
    object.__setattr__(own, "draws", stage.resampler(right.groups))
    row = handover.handover_table(stage, own, right, people).set_index("cases").loc["all"]
    assert row["gain"] == pytest.approx(-0.05) and row["gain_low"] == pytest.approx(-0.05)
    assert -0.05 < row["gain_high"] < 0.0


def test_questions_lower_doubt_and_raise_accuracy(stage):
    study, _, test, people = studied(stage)
    table = handover.clarification_table(study, test, people).set_index("cases")
    everything = table.loc["all"]
    assert everything["entropy_after"] < everything["entropy_before"]
    assert 0 < everything["information"] < np.log(2)
    assert everything["gain_low"] > 0
    assert everything["gain"] == pytest.approx(everything["accuracy_after"] - everything["accuracy_before"])
    counts = handover.question_counts(test, people, study.draws)
    assert counts["asked"].tolist() == [1.0], "there is one question, and it is put to every pair"


def test_beliefs_about_people_who_were_recorded(stage):
    study, tuning, test, people = with_votes(stage)
    assert isinstance(people.careful, VoteHuman)
    table = handover.belief_table(stage, study, tuning, test, people).set_index("a person is believed")
    assert list(table.index) == [PERFECT, ALIKE, handover.BY_CLASS, REAL]
    assert table.loc[REAL, "regret"] == 0 and np.isnan(table.loc[REAL, "regret_low"])
    assert table.loc[REAL, "promised"] == pytest.approx(table.loc[REAL, "delivered"])
    assert table.loc[PERFECT, "promised"] < table.loc[PERFECT, "delivered"]
    assert table.loc[PERFECT, "delivered"] == pytest.approx(stage.numbers["policy.test.cost_delivered"].value)
    assert table.loc[PERFECT, "regret"] == pytest.approx(stage.numbers["policy.test.regret"].value)


def test_believing_that_people_err_on_all_pairs_alike_promises_too_much_where_they_are_asked(stage):
    """They err where the model errs, which is what is handed over."""
    study, tuning, test, people = studied(stage, accuracy=0.96, accuracy_on_errors=0.7)
    assert people.is_simulated
    table = handover.belief_table(stage, study, tuning, test, people).set_index("a person is believed")
    assert list(table.index) == [PERFECT, ALIKE, handover.BY_CLASS, REAL]
    assert table.loc[ALIKE, "promised"] < table.loc[ALIKE, "delivered"]
    right = handover.person_right(test, people.careful)
    assert right[test.is_wrong] == pytest.approx(0.7) and right[~test.is_wrong] == pytest.approx(0.96)


def test_a_simulated_person_is_as_believed_but_for_perfection(stage):
    study, tuning, test, people = studied(stage)
    table = handover.belief_table(stage, study, tuning, test, people)
    assert table["a person is believed"].tolist() == [PERFECT, REAL]


def test_believing_in_perfect_people_costs_something_when_they_are_poor(stage):
    handover.belief_table(stage, *studied(stage, accuracy=0.7, clarify_accuracy=0.7))
    numbers = stage.numbers
    assert numbers["policy.test.cost_promised"].high < numbers["policy.test.cost_delivered"].low
    assert numbers["policy.test.regret"].low > 0


def test_where_everybody_is_asked_a_belief_is_no_estimate(stage):
    rng = np.random.default_rng(0)
    for key, table in stage.tables.items():
        stage.tables[key] = table.assign(logit_1=rng.normal(0, 1e-3, len(table)))
    handover.belief_table(stage, *studied(stage))
    promised = stage.numbers["policy.test.cost_promised"]
    assert (promised.value, promised.low, promised.kind) == (pytest.approx(1.0), None, EXACT)


def test_deferral_by_hand(stage):
    _, tuning, test, people = with_votes(stage)
    curves = handover.deferral_curves(tuning, test, people, stage.resampler(test.groups))
    assert set(curves) == {PERFECT, ALIKE, handover.BY_CLASS, REAL}
    right = handover.person_right(test, people.careful)
    for name, last in {PERFECT: 1.0, REAL: right.mean()}.items():
        assert curves[name]["accuracy"].iloc[0] == pytest.approx(1 - test.is_wrong.mean())
        assert curves[name]["accuracy"].iloc[-1] == pytest.approx(last)
    # A fifth of the pairs, those with the lowest scores, are answered by people.
    order = np.lexsort((test.table["pair_id"].to_numpy(dtype=str), test.score))
    handed = order[: round(0.2 * len(test))]
    expected = (~test.is_wrong).astype(float)
    expected[handed] = right[handed]
    shown = handover.deferral_table(curves).set_index("share_handed_over")
    assert shown.loc[0.2, REAL] == pytest.approx(expected.mean())
    assert (shown[f"{REAL}_low"] <= shown[REAL]).all() and (shown[REAL] <= shown[f"{REAL}_high"]).all()
    assert (shown[PERFECT] >= shown[REAL]).all()


def test_rows_in_another_order_are_deferred_alike(stage):
    _, tuning, test, people = studied(stage)
    rng = np.random.default_rng(0)
    curves = handover.deferral_curves(tuning, test, people, stage.resampler(test.groups))
    order = rng.permutation(len(test))
    for key, table in list(stage.tables.items()):
        if key[0] == "test":
            stage.tables[key] = table.iloc[order].reset_index(drop=True)
    again = gather(stage, "test", CALIBRATED, KEPT)
    other = handover.deferral_curves(tuning, again, people_of(stage, tuning.table), stage.resampler(again.groups))
    for column in ("accuracy", "low", "high"):
        assert other[REAL][column].tolist() == pytest.approx(curves[REAL][column].tolist(), nan_ok=True)


def test_published_policies_and_this_one_are_read_alike(stage):
    study, _, test, _ = studied(stage)
    table = handover.readings_table(stage, study, test).set_index("policy")
    clamped = table.loc["published, T clamped, all interventions"]
    # Precision is the base error rate and recall one, by identity.
    assert (clamped["precision"], clamped["recall"], clamped["lift"]) == (0.1383, 1.0, 1.0)
    branch = table.loc["published, T clamped, human branch"]
    assert branch["recall"] == pytest.approx(1165 / 1383)
    assert branch["precision"] == pytest.approx(1165 / 2932)
    after = [branch[f"accuracy, people {h} right"] for h in ("100%", "95%", "90%")]
    assert after == pytest.approx([0.9782, 0.96354, 0.94888])
    assert table.loc["published, T free, human branch", "accuracy, people 100% right"] == 1.0
    handed = table.index.str.endswith("human branch")
    assert (table["accuracy, people 95% right"].notna() == handed).all()
    to_human = study.test.decide(study.policy) == Decision.HUMAN
    ours = table.loc["this policy, human branch", "accuracy, people 100% right"]
    assert ours == pytest.approx(1 - (test.is_wrong & ~to_human).mean()), "the model's own answer elsewhere"
    own = table.loc["this policy, all interventions"]
    intervened, wrong = study.test.decide(study.policy) != Decision.AUTO, test.is_wrong
    assert own["precision"] == pytest.approx(wrong[intervened].mean())
    assert own["recall"] == pytest.approx(intervened[wrong].mean())
    lift = stage.numbers["policy.test.lift"]
    assert (lift.value, lift.low) == pytest.approx((own["lift"], own["lift_low"]))
    assert lift.low > 1
    branch = study.evaluation.branches.set_index("branch").loc["not auto"]
    assert own[["precision", "precision_low", "precision_high"]].tolist() == pytest.approx(
        branch[["model_error", "model_error_low", "model_error_high"]].tolist()
    ), "one quantity has one interval"
    assert own["precision_low"] < own["precision"] < own["precision_high"] and np.isnan(clamped["precision_low"])
    assert stage.numbers["policy.n_published"].value == 4


@pytest.mark.parametrize("source", ["csv", "recorded"])
def test_own_data_get_no_history_of_published_runs(stage, source):
    study, _, test, _ = studied(stage)
    data = stage.all_params.data.model_copy(update={"source": source})
    stage._params = stage.all_params.model_copy(update={"data": data})
    assert not len(handover.readings_table(stage, study, test))
    assert stage.numbers["policy.n_published"].value == 0


def test_better_answers_at_a_glance_are_asked_for_more(stage):
    study, tuning, test, people = studied(stage)
    table = handover.asking_table(stage, study, tuning, test)
    in_use = table[table["is_in_use"]]
    assert len(in_use) == 1
    assert not table.duplicated("glance_accuracy").any()
    cost, real = stage.numbers["policy.test.cost"], handover.belief_table(stage, study, tuning, test, people)
    # One cost, three tables: the policy, the glance in use, people as they are.
    bounds = [cost.value, cost.low, cost.high]
    assert in_use[["cost", "cost_low", "cost_high"]].iloc[0].tolist() == bounds
    assert real[["delivered", "delivered_low", "delivered_high"]].iloc[-1].tolist() == bounds
    assert in_use["asked_about"].iloc[0] == stage.numbers["policy.test.clarify_share"].value
    best, worst = table.iloc[-1], table.iloc[0]
    assert (best["glance_accuracy"], worst["glance_accuracy"]) == (0.95, 0.8)
    assert best["asked_about"] > worst["asked_about"] and best["cost"] < worst["cost"]


def test_a_glance_that_nobody_has_is_not_listed(stage, monkeypatch):
    """Recorded people are never made better than they are: wishes above that end at one accuracy, with one row."""
    study, tuning, test, _ = studied(stage)

    def attainable(stage, table, *, clarify_accuracy):
        return people_of(stage, table, clarify_accuracy=min(clarify_accuracy, 0.85))

    monkeypatch.setattr(handover, "people_of", attainable)
    table = handover.asking_table(stage, study, tuning, test)
    assert table["glance_accuracy"].unique().tolist() == [0.8, 0.85]
    assert table["is_in_use"].sum() == 1
