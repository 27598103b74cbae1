"""Evaluation on a simulated stage: hand values, ties, the choice; and how the pages on training judge their claims."""

import ast
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import STATISTICS, Measuring
from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.base.params import TrialParams
from verdict.model.predict import prediction_table
from verdict.pages import evaluation
from verdict.stats.metrics import ece, ece_interval
from verdict.stats.uncertainty import clustered_mcnemar, wilson
from verdict.workflow.code_digest import code_cells

FIT = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1, "epochs": 3, "patience": 3, "schedule": "cosine"}


def table_of(logit: list[float], labels: list[str], groups: list[str] | None = None, *, seed: int = 11) -> pd.DataFrame:
    n = len(logit)
    groups = groups or [f"i{k}" for k in range(n)]
    pairs = pd.DataFrame({"image_id": groups, "group_id": groups, "split": "val", "label": labels})
    pairs["pair_id"] = [f"p{k}" for k in range(n)]
    return prediction_table(pairs, np.asarray(logit), stage="s", trial="t", seed=seed)


class SimulatedStage(Measuring):
    """What evaluation asks of a stage, over prediction tables by trial and seed; the cheapest unfreezes nothing."""

    given = ""

    def __init__(self, tables: dict[tuple[str, int], pd.DataFrame], n_trainable: dict[str, int], **options: dict):
        names = tuple(dict.fromkeys(name for name, _ in tables))
        places = {"parent": "warmup", "vision_blocks": 0}
        self.tables, self.n_trainable, self.numbers = tables, n_trainable, Numbers()
        frozen = min(n_trainable.values(), default=0)
        depth = {name: {"text_blocks": int(n_trainable.get(name, 0) > frozen)} for name in names}
        settings = {name: FIT | places | depth[name] | options.get(name, {}) for name in names}
        trials = tuple(TrialParams(name=name, **settings[name]) for name in names)
        training = SimpleNamespace(seeds=tuple(sorted({seed for _, seed in tables})), trials=trials, margin=0.01)
        self.params = SimpleNamespace(statistics=STATISTICS, training=training)

    def predictions(self, *splits: str, trial: str, seed: int) -> pd.DataFrame:
        return self.tables[trial, seed]


def random_answers(right: float, seed: int, n: int = 307) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(0, 2, n)
    is_right = rng.random(n) < right
    sign = np.where(is_right, 1, -1) * np.where(truth == 1, 1, -1)
    return table_of(list(2.0 * sign), [("entailment", "contradiction")[t] for t in truth], seed=seed)


def seeded(shares: dict[str, list[float]], n_trainable: dict[str, int], **options: dict) -> SimulatedStage:
    """Trials by the share of right answers of each seed."""
    tables = {
        (name, seed): random_answers(share, 100 * k + seed)
        for k, (name, by_seed) in enumerate(shares.items())
        for seed, share in enumerate(by_seed, start=1)
    }
    return SimulatedStage(tables, n_trainable, **options)


def simulated(shares: dict[str, float], n_trainable: dict[str, int]) -> SimulatedStage:
    return seeded({name: [share] * 3 for name, share in shares.items()}, n_trainable)


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    monkeypatch.setattr(evaluation, "n_trainable", lambda stage, trial: stage.n_trainable[trial])


def test_estimates_by_hand():
    stage = SimulatedStage(
        {("t", 11): table_of([1, -1, 1, 1], ["contradiction", "entailment", "entailment", "contradiction"])}, {}
    )
    numbers = evaluation.estimate(stage.tables["t", 11], prefix="x", stage=stage)
    assert numbers["x.accuracy"].value == 3 / 4
    assert numbers["x.macro_f1"].value == pytest.approx((2 * 1 / (2 * 1 + 1) + 2 * 2 / (2 * 2 + 1)) / 2)
    p = 1 / (1 + np.exp(-1.0))
    assert numbers["x.nll"].value == pytest.approx(-(3 * np.log(p) + np.log(1 - p)) / 4)
    assert numbers["x.n_pairs"] == Number(4, unit="count", split="val")


def test_accuracy_of_a_group_without_mistakes_has_an_interval():
    table = table_of([1, 1, -1, -1, 1, 1], ["contradiction"] * 2 + ["entailment"] * 4)
    pairs = pd.DataFrame({"pair_id": table["pair_id"], "family": ["a", "a", "a", "a", "b", "b"]})
    stage = SimulatedStage({("t", 11): table}, {})
    found = evaluation.accuracy_by(table, pairs, "family", stage=stage).set_index("label")
    evaluation.best_and_worst(stage, evaluation.accuracy_by(table, pairs, "family", stage=stage))
    assert (stage.numbers["test.best_family"].words, stage.numbers["test.worst_family"].words) == ("a", "b")
    assert stage.numbers["test.worst_family_accuracy"].high == found.loc["b", "high"]
    assert found.loc["a", "value"] == 1.0 and found.loc["a", "low"] < 0.9
    assert found.loc["b", "value"] == 0.0 and found.loc["b", "high"] > 0.1


def test_the_kept_seed_stands_among_the_others_of_its_trial():
    stage = seeded({"a": [0.6, 0.9, 0.7], "b": [0.99, 0.99, 0.99]}, {"a": 1, "b": 2})
    rows = [
        (trial, seed, evaluation.estimate(table, prefix="run", stage=stage, names=("macro_f1",))["run.macro_f1"].value)
        for (trial, seed), table in stage.tables.items()
    ]
    scores = pd.DataFrame(rows, columns=["trial", "seed", "macro_f1"])
    evaluation.over_seeds(stage, SimpleNamespace(trial="a", seed=3), scores)
    numbers = stage.numbers
    assert (numbers["test.n_other_seeds"].value, numbers["test.n_better_seeds"].value) == (2, 1)
    mean = numbers["test.seeds_macro_f1"]
    assert mean.value == pytest.approx(scores[scores["trial"] == "a"]["macro_f1"].mean())
    assert mean.low < mean.value < mean.high and mean.seeds == (1, 2, 3)


def test_no_difference_shown_is_not_as_good():
    """Two seeds that lie far apart show no difference between any two trials: the worst of five has no claim to win."""
    shares = {"cheap": [0.74, 0.88], "a": [0.80, 0.90], "b": [0.83, 0.89], "c": [0.80, 0.92], "dear": [0.87, 0.91]}
    stage = seeded(shares, {"cheap": 1, "a": 2, "b": 3, "c": 4, "dear": 5})
    ranking = evaluation.rank_trials(stage).set_index("trial")
    assert set(evaluation.differences(stage)["verdict"]) == {"no difference shown"}
    assert ranking.loc["cheap", "macro_f1"] == ranking["macro_f1"].min() < ranking["macro_f1"].max() - 0.05
    kept = evaluation.choose(stage, ranking.reset_index())
    assert kept.trial == ranking["macro_f1"].idxmax() != "cheap"
    counts = [kept.numbers[f"selection.{name}"].value for name in ("n_ahead", "n_fewer", "margin")]
    assert counts == [0, 4, 0.01] and kept.numbers["selection.best"].text == kept.trial


def turned(stage: SimulatedStage, trial: str, n: int) -> dict[tuple[str, int], pd.DataFrame]:
    """The tables of a trial in which n answers that were right are wrong."""
    found = {}
    for (name, seed), table in stage.tables.items():
        if name == trial:
            right = np.flatnonzero((table["logit_1"] > 0) == (table["y_true"] == 1))
            found[seed] = table.assign(
                logit_1=np.where(np.isin(np.arange(len(table)), right[:n]), -1, 1) * table["logit_1"]
            )
    return found


@pytest.mark.parametrize(("n_turned", "kept"), [(0, "cheap"), (3, "cheap"), (36, "dear"), (90, "dear")])
def test_the_smallest_of_those_shown_to_be_close_is_kept(n_turned, kept):
    n = 4001
    dear = {("dear", s): random_answers(0.85, s, n) for s in (1, 2, 3)}
    stage = SimulatedStage(dear, {"cheap": 10, "dear": 99})
    cheap = {("cheap", seed): table for seed, table in turned(stage, "dear", n_turned).items()}
    stage = SimulatedStage({**cheap, **dear}, {"cheap": 10, "dear": 99})
    ranking = evaluation.rank_trials(stage).set_index("trial")
    assert ranking.loc["cheap", "difference"] == pytest.approx(-n_turned / n, abs=2e-4)
    assert ranking.loc["dear", "within_margin"] and ranking.loc["cheap", "within_margin"] == (kept == "cheap")
    selection = evaluation.choose(stage, ranking.reset_index())
    assert selection.trial == kept
    assert selection.numbers["selection.n_ahead"].value == (n_turned > 0 and kept == "cheap")


def answering(right: dict[str, list[list[int]]], groups: list[str]) -> SimulatedStage:
    """Trials whose answers to contradictions are right (1) or wrong (0), one list a seed."""
    tables = {
        (name, seed): table_of([1.0 if r else -1.0 for r in row], ["contradiction"] * len(row), groups, seed=seed)
        for name, rows in right.items()
        for seed, row in enumerate(rows)
    }
    return SimulatedStage(tables, dict.fromkeys(right, 1))


def test_discordant_answers_are_counted_over_seeds_and_tested_by_image():
    groups = list("aabbccdd")
    first = [[0, 0, 1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0, 1, 0]]
    second = [[1, 1, 1, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 1, 1]]
    stage = answering({"a": first, "b": second}, groups)
    row = evaluation.differences(stage).iloc[0]
    assert (row["trial"], row["minus"]) == ("b", "a")
    # Seed 0: three gains, one loss. Seed 1: three gains.
    assert (row["n01"], row["n10"]) == (6, 1)
    assert row["accuracy"] == pytest.approx(5 / 16)
    right = [np.ravel(first).astype(bool), np.ravel(second).astype(bool)]
    assert row["p_clustered"] == pytest.approx(clustered_mcnemar(*right, groups * 2))
    assert row["p_holm"] == row["p_clustered"]
    # A test that takes rows for independent has no place beside it.
    assert "p_mcnemar" not in row


def test_p_values_are_adjusted_for_all_pairs_of_trials():
    stage = simulated({"a": 0.8, "b": 0.8, "c": 0.8}, {"a": 1, "b": 2, "c": 3})
    table = evaluation.differences(stage)
    assert list(zip(table["trial"], table["minus"], strict=True)) == [("b", "a"), ("c", "a"), ("c", "b")]
    ordered = np.sort(table["p_clustered"])
    assert table["p_holm"].min() == pytest.approx(min(1, 3 * ordered[0]))
    assert (table["p_holm"] >= table["p_clustered"]).all()
    assert set(table["verdict"]) == {"no difference shown"}


def test_a_verdict_takes_the_interval_and_the_adjusted_test():
    stage = simulated({"cheap": 0.6, "dear": 0.9, "other": 0.9}, {"cheap": 1, "dear": 3, "other": 4})
    table = evaluation.differences(stage).set_index(["trial", "minus"])
    assert table["verdict"].to_dict() == {
        ("dear", "cheap"): "different",
        ("other", "cheap"): "different",
        ("other", "dear"): "no difference shown",
    }
    kept = evaluation.choose(stage, evaluation.rank_trials(stage))
    evaluation.store_standing(stage, kept, table.reset_index())
    counts = [stage.numbers[f"selection.{name}"].value for name in ("n_others", "n_better", "n_worse", "n_compared")]
    assert counts == [2, 1, 0, 3]


def test_neither_the_interval_nor_the_test_alone_makes_a_verdict(monkeypatch):
    stage = simulated({"cheap": 0.6, "dear": 0.9}, {"cheap": 10, "dear": 99})
    monkeypatch.setattr(evaluation, "holm", lambda p: np.full(len(p), 0.051))
    table = evaluation.differences(stage)
    assert table["macro_f1_low"].iloc[0] > 0 and table["verdict"].tolist() == ["no difference shown"]
    # Equal on average: the interval contains zero, whatever the test would say.
    monkeypatch.setattr(evaluation, "holm", lambda p: np.zeros(len(p)))
    equal = evaluation.differences(simulated({"cheap": 0.8, "dear": 0.8}, {"cheap": 10, "dear": 99}))
    assert equal["verdict"].tolist() == ["no difference shown"]


def test_one_candidate_has_nothing_to_be_compared_with():
    stage = simulated({"only": 0.7}, {"only": 10})
    table = evaluation.differences(stage)
    assert table.empty and {"p_holm", "verdict"} <= set(table)
    kept = evaluation.choose(stage, evaluation.rank_trials(stage))
    assert (kept.trial, kept.frozen, kept.unfrozen) == ("only", "", "")
    evaluation.store_standing(stage, kept, table)
    assert stage.numbers["selection.n_others"].value == 0


def test_where_the_frozen_one_is_kept_the_best_of_the_others_is_compared_with_it():
    stage = simulated({"cheap": 0.9, "dear": 0.8, "worse": 0.6}, {"cheap": 10, "dear": 99, "worse": 50})
    kept = evaluation.choose(stage, evaluation.rank_trials(stage))
    assert (kept.trial, kept.frozen, kept.unfrozen) == ("cheap", "cheap", "dear")
    assert kept.table["unfrozen"].tolist() == ["dear"]


def test_the_kept_trial_stands_beside_the_frozen_one_that_was_trained_alike():
    continued = {"parent": "start", "epochs": 2, "patience": 2}
    options = {"longer": continued, "deep": {**continued, "text_blocks": 1}}
    counts = {"start": 10, "longer": 10, "deep": 99}
    stage = seeded({"start": [0.6, 0.62], "longer": [0.7, 0.71], "deep": [0.9, 0.91]}, counts, **options)
    ranking = evaluation.rank_trials(stage)
    kept = evaluation.choose(stage, ranking)
    assert (kept.trial, kept.frozen, kept.unfrozen) == ("deep", "longer", "deep")
    assert ranking.set_index("trial")["epochs"].to_dict() == {"start": "3", "longer": "3 + 2", "deep": "3 + 2"}


def test_runs_that_answer_other_pairs_are_refused():
    stage = simulated({"only": 0.7}, {"only": 10})
    stage.tables["only", 2] = stage.tables["only", 2].iloc[::-1].reset_index(drop=True)
    with pytest.raises(ValueError, match="do not answer the same pairs"):
        evaluation.collect(stage, "only", "val")


def test_confident_mistakes_come_with_their_base_rate():
    table = table_of([4.0, 3.0, -4.0, 0.1], ["contradiction", "entailment", "entailment", "entailment"])
    pairs = pd.DataFrame({"pair_id": table["pair_id"], "hypothesis": list("abcd")})
    mistakes, base = evaluation.confident_mistakes(table, pairs, above=0.9, stage=SimulatedStage({}, {}))
    assert mistakes["hypothesis"].tolist() == ["b", "d"]
    assert base.set_index("answers")["n_confident"].to_dict() == {"right": 2, "wrong": 1, "all": 3}


def test_the_share_of_confident_answers_knows_images_not_rows():
    """Two images of forty rows each, all right and all confident: that is two observations, not eighty."""
    groups = ["a"] * 40 + ["b"] * 40
    table = table_of([4.0] * 80, ["contradiction"] * 80, groups)
    pairs = pd.DataFrame({"pair_id": table["pair_id"], "hypothesis": "x"})
    _, base = evaluation.confident_mistakes(table, pairs, above=0.9, stage=SimulatedStage({}, {}))
    row = base.set_index("answers").loc["right"]
    assert row["share_confident_low"] == pytest.approx(1 - wilson(0, 2)[1])
    wrong = base.set_index("answers").loc["wrong"]
    assert wrong["n"] == 0 and np.isnan(wrong["share_confident"])
    accuracy = evaluation.estimate(table, prefix="x", stage=SimulatedStage({}, {}))["x.accuracy"]
    assert (accuracy.value, accuracy.low) == (1.0, row["share_confident_low"])


def test_macro_f1_is_over_the_declared_classes():
    """A class that no row of a comparison has still counts as one of three."""
    table = table_of([1, -1, 1, -1], ["contradiction", "entailment"] * 2).assign(logit_2=-9.0)
    stage = SimulatedStage({("t", 1): table}, {"t": 1})
    answers = evaluation.collect(stage, "t", "val")
    assert evaluation.mean_score(stage, answers).value == pytest.approx(2 / 3)
    assert evaluation.estimate(table, prefix="x", stage=stage)["x.macro_f1"].value == pytest.approx(2 / 3)


def test_one_quantity_has_one_interval():
    stage = simulated({"a": 0.8}, {"a": 1})
    table = stage.tables["a", 1]
    found = evaluation.estimate(table, prefix="x", stage=stage)["x.accuracy"]
    parts = evaluation.accuracy_by(table, pd.DataFrame({"pair_id": table["pair_id"]}), "family", stage=stage).iloc[0]
    shuffled = evaluation.estimate(table.sample(frac=1, random_state=1), prefix="x", stage=stage)["x.accuracy"]
    assert (found.low, found.high) == (parts["low"], parts["high"]) == (shuffled.low, shuffled.high)


def test_the_ece_of_a_table_is_that_of_the_page_on_calibration():
    """Its value lies in its own interval, also where chance explains all of it."""
    stage = simulated({"a": 0.8}, {"a": 1})
    table = stage.tables["a", 1]
    found = evaluation.estimate(table, prefix="x", stage=stage, names=("ece",))["x.ece"]
    probs = evaluation.RAW.probabilities(evaluation.logits_of(table))
    expected = ece_interval(probs, table["y_true"], stage.resampler(table["group_id"]))
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert found.low <= found.value <= found.high
    stage.params.statistics = SimpleNamespace(**{**vars(STATISTICS), "ece_bins": 2})
    coarse = evaluation.estimate(table, prefix="x", stage=stage, names=("ece",))["x.ece"]
    assert coarse.value == pytest.approx(ece(probs, table["y_true"], n_bins=2))


def test_a_score_without_spread_has_no_interval():
    table = table_of([9.0] * 6, ["contradiction"] * 6)
    found = evaluation.estimate(table, prefix="x", stage=SimulatedStage({}, {}))
    assert found["x.macro_f1"].low is None and found["x.nll"].low is None and found["x.macro_f1"].kind == "estimate"


def test_trials_that_answer_alike_may_differ_on_other_images():
    stage = simulated({"a": 0.8}, {"a": 1})
    answers = evaluation.collect(stage, "a", "val")
    gap = evaluation.mean_score(stage, answers, answers)
    assert (gap.value, gap.low, gap.high) == (0.0, -wilson(0, 307)[1], wilson(0, 307)[1])


def test_noise_of_the_best_counts_trials_that_are_equal():
    """The frozen trial, and one that was trained for longer, are no equals of the others."""
    options = {"long": {"epochs": 9}}
    counts = {"frozen": 1, "long": 2, "a": 2, "b": 2, "c": 2}
    stage = seeded({name: [0.8, 0.8, 0.8] for name in counts}, counts, **options)
    rows = [
        (name, 0.8 + 0.01 * seed * k - 0.3 * (name == "frozen"))
        for k, name in enumerate(("a", "b", "c", "frozen", "long"))
        for seed in (1, 2, 3)
    ]
    scores = pd.DataFrame(rows, columns=["trial", "macro_f1"])
    found = evaluation.noise_of_best(stage, scores, evaluation.Selection("a", 1, "frozen", "a"))
    found = found.set_index("quantity")["value"]
    pooled = np.sqrt((0 + 0.01**2 + 0.02**2) / 3)
    assert found["candidates"] == 3
    assert found["SD of one run (pooled over seeds)"] == pytest.approx(pooled)
    assert found["lead of the best, were they equal"] == pytest.approx(0.8463 * pooled / np.sqrt(3), rel=1e-3)
    assert found["lead of the best observed"] == pytest.approx(0.02)


def claims_of(page):
    """Source of statement, comparison and keywords of each claim of a notebook, by id."""
    for cell in code_cells(paths.NOTEBOOKS / f"{page}.ipynb"):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "stage.claim":
                options = {keyword.arg for keyword in node.keywords}
                yield node.args[0].value, ast.unparse(node.args[1]), node.args[3].value, options


@pytest.mark.parametrize("page", ["02_warmup", "04_model_selection", "05_test"])
def test_claims_are_judged_as_they_are_worded(page):
    """What beats, or lies above, has a direction; what is at chance lies within a margin."""
    found = list(claims_of(page))
    assert found
    for name, statement, comparison, options in found:
        is_equivalence = "at chance" in statement
        assert is_equivalence or "beats" in statement or "above" in statement or "gain_statement" in statement, name
        assert comparison == ("within" if is_equivalence else ">"), name
        assert ("margin" in options) == is_equivalence, name
