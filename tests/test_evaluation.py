"""Evaluation on a simulated stage: hand values, ties, the choice."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from verdict import evaluation
from verdict.numbers import Number
from verdict.predict import prediction_table

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


def test_the_gain_of_a_trial_over_itself_is_nothing():
    stage = simulated({"only": 0.7}, {"only": 10})
    kept = evaluation.choose(stage, evaluation.rank_trials(stage))
    number = kept.numbers["selection.gain_over_frozen"]
    assert (number.value, number.low, number.high) == (0.0, 0.0, 0.0)


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
