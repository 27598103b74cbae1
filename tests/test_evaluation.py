"""Evaluation on a simulated stage: hand values, ties, the choice."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from verdict import evaluation
from verdict.numbers import Number
from verdict.predict import prediction_table
from verdict.uncertainty import clustered_mcnemar, mcnemar

SETTINGS = SimpleNamespace(n_resamples=200, level=0.95, seed=3)


def table_of(logit: list[float], labels: list[str], groups: list[str] | None = None, *, seed: int = 11) -> pd.DataFrame:
    n = len(logit)
    pairs = pd.DataFrame(
        {
            "pair_id": [f"p{k}" for k in range(n)],
            "image_id": groups or [f"i{k}" for k in range(n)],
            "group_id": groups or [f"i{k}" for k in range(n)],
            "split": "val",
            "label": labels,
        }
    )
    return prediction_table(pairs, np.asarray(logit), stage="s", trial="t", seed=seed)


class SimulatedStage:
    """What evaluation asks of a stage, over prediction tables by trial and seed."""

    def __init__(self, tables: dict[tuple[str, int], pd.DataFrame], n_trainable: dict[str, int]):
        seeds = tuple(sorted({seed for _, seed in tables}))
        trials = tuple(
            SimpleNamespace(name=name, role="candidate") for name in dict.fromkeys(name for name, _ in tables)
        )
        training = SimpleNamespace(seeds=seeds, trials=trials)
        self.params = SimpleNamespace(statistics=SETTINGS, training=training)
        self.tables, self.counts = tables, n_trainable

    def rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([SETTINGS.seed, *key])

    def predictions(self, *splits: str, trial: str, seed: int) -> pd.DataFrame:
        return self.tables[trial, seed]


def random_answers(right: float, seed: int, n: int = 307) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(0, 2, n)
    is_right = rng.random(n) < right
    sign = np.where(is_right, 1, -1) * np.where(truth == 1, 1, -1)
    return table_of(list(2.0 * sign), [("entailment", "contradiction")[t] for t in truth], seed=seed)


def simulated(shares: dict[str, float], n_trainable: dict[str, int]) -> SimulatedStage:
    tables = {
        (name, s): random_answers(share, 100 * k + s)
        for k, (name, share) in enumerate(shares.items())
        for s in (1, 2, 3)
    }
    return SimulatedStage(tables, n_trainable)


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    monkeypatch.setattr(evaluation, "n_trainable", lambda stage, trial: stage.counts[trial])


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
    table = table_of([1, 1, -1, -1, 1], ["contradiction", "contradiction", "entailment", "entailment", "entailment"])
    pairs = pd.DataFrame({"pair_id": table["pair_id"], "family": ["a", "a", "a", "a", "b"]})
    stage = SimulatedStage({("t", 11): table}, {})
    found = evaluation.accuracy_by(table, pairs, "family", stage=stage).set_index("label")
    assert found.loc["a", "value"] == 1.0 and found.loc["a", "low"] < 0.9
    assert found.loc["b", "value"] == 0.0 and found.loc["b", "high"] > 0.1


def test_a_clear_difference_is_kept_and_a_tie_goes_to_the_cheaper():
    clear = simulated({"cheap": 0.6, "dear": 0.9}, {"cheap": 10, "dear": 99})
    assert evaluation.choose(clear, evaluation.rank_trials(clear)).trial == "dear"
    tied = simulated({"cheap": 0.8, "dear": 0.8}, {"cheap": 10, "dear": 99})
    assert evaluation.rank_trials(tied)["is_tied"].all()
    assert evaluation.choose(tied, evaluation.rank_trials(tied)).trial == "cheap"


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
    assert row["p_mcnemar"] == pytest.approx(mcnemar(*right)) == pytest.approx(2 * (1 + 7) / 2**7)
    assert row["p_clustered"] == pytest.approx(clustered_mcnemar(*right, groups * 2))
    assert row["p_holm"] == row["p_clustered"]


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
    ranking = evaluation.rank_trials(stage).set_index("trial")
    assert ranking["is_tied"].to_dict() == {"cheap": False, "dear": True, "other": True}
    assert evaluation.choose(stage, ranking.reset_index()).trial == "dear"


def test_neither_the_interval_nor_the_test_alone_makes_a_verdict(monkeypatch):
    stage = simulated({"cheap": 0.6, "dear": 0.9}, {"cheap": 10, "dear": 99})
    monkeypatch.setattr(evaluation, "holm", lambda p: np.full(len(p), 0.051))
    table = evaluation.differences(stage)
    assert table["macro_f1_low"].iloc[0] > 0 and table["verdict"].tolist() == ["no difference shown"]
    assert evaluation.rank_trials(stage)["is_tied"].all()
    # Equal on average: the interval contains zero, whatever the test would say.
    monkeypatch.setattr(evaluation, "holm", lambda p: np.zeros(len(p)))
    equal = evaluation.differences(simulated({"cheap": 0.8, "dear": 0.8}, {"cheap": 10, "dear": 99}))
    assert equal["verdict"].tolist() == ["no difference shown"]


def test_one_candidate_has_nothing_to_be_compared_with():
    stage = simulated({"only": 0.7}, {"only": 10})
    table = evaluation.differences(stage)
    assert table.empty and {"p_holm", "verdict"} <= set(table)
    assert evaluation.rank_trials(stage, pairwise=table)["is_tied"].tolist() == [True]


def test_controls_are_named_by_what_they_are_not_shown():
    shown = SimpleNamespace(image="shown", text="shown")
    assert evaluation._missing(SimpleNamespace(image="blank", text="shown")) == "without the image"
    assert evaluation._missing(SimpleNamespace(image="shown", text="blank")) == "without the hypothesis"
    assert evaluation._missing(SimpleNamespace(image="blank", text="blank")) == "without the image and the hypothesis"
    assert evaluation._missing(shown) == "as a control"


def test_the_gain_of_a_trial_over_itself_is_nothing():
    stage = simulated({"only": 0.7}, {"only": 10})
    kept = evaluation.choose(stage, evaluation.rank_trials(stage))
    number = kept.numbers["selection.gain_over_frozen"]
    assert (number.value, number.low, number.high) == (0.0, 0.0, 0.0)


def test_where_the_cheapest_is_kept_the_best_of_the_others_is_compared_with_it():
    stage = simulated({"cheap": 0.8, "dear": 0.8, "worse": 0.6}, {"cheap": 10, "dear": 99, "worse": 50})
    kept = evaluation.choose(stage, evaluation.rank_trials(stage))
    assert (kept.trial, kept.cheapest, kept.unfrozen) == ("cheap", "cheap", "dear")
    number = kept.numbers["selection.gain_over_frozen"]
    assert number.low < 0 < number.high
    assert kept.numbers["selection.n_trainable_unfrozen"].value == 99
    assert kept.table["unfrozen"].tolist() == ["dear"]


def test_runs_that_answer_other_pairs_are_refused():
    stage = simulated({"only": 0.7}, {"only": 10})
    stage.tables["only", 2] = stage.tables["only", 2].iloc[::-1].reset_index(drop=True)
    with pytest.raises(ValueError, match="do not answer the same pairs"):
        evaluation.collect(stage, "only", "val")


def test_confident_mistakes_come_with_their_base_rate():
    table = table_of([4.0, 3.0, -4.0, 0.1], ["contradiction", "entailment", "entailment", "entailment"])
    pairs = pd.DataFrame({"pair_id": table["pair_id"], "hypothesis": list("abcd")})
    mistakes, base = evaluation.confident_mistakes(table, pairs, above=0.9)
    assert mistakes["hypothesis"].tolist() == ["b", "d"]
    assert base.set_index("answers")["n_confident"].to_dict() == {"right": 2, "wrong": 1, "all": 3}


def test_noise_of_the_best_grows_with_the_spread_of_seeds():
    stage = simulated({"a": 0.8, "b": 0.8, "c": 0.8}, {})
    scores = pd.DataFrame(
        [
            {"trial": t, "seed": s, "role": "candidate", "macro_f1": 0.8 + 0.01 * s * k}
            for k, t in enumerate("abc")
            for s in (1, 2, 3)
        ]
    )
    found = evaluation.noise_of_best(stage, scores).set_index("quantity")["value"]
    pooled = np.sqrt((0 + 0.01**2 + 0.02**2) / 3)
    assert found["SD of one run (pooled over seeds)"] == pytest.approx(pooled)
    assert found["lead of the best expected from noise"] == pytest.approx(0.8463 * pooled / np.sqrt(3), rel=1e-3)
