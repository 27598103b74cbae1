"""The prediction table, and the one way from logits to an answer."""

import ast

import numpy as np
import pandas as pd
import pytest

from verdict.base import paths
from verdict.base.labels import Label
from verdict.model.predict import DecisionRule, logits_of, prediction_table
from verdict.stats.scores import softmax, top_class

KEYS = ("pair_id", "image_id", "group_id", "split", "stage", "trial", "seed", "y_true")


def pairs(n=5):
    return pd.DataFrame(
        {
            "pair_id": [f"p{i}" for i in range(n)],
            "image_id": [f"i{i % 3}" for i in range(n)],
            "group_id": [f"g{i % 2}" for i in range(n)],
            "hypothesis": "x",
            "label": ["entailment", "contradiction", "contradiction", "entailment", "contradiction"][:n],
            "split": "val",
        },
        index=range(10, 10 + n),
    )


LOGIT = np.array([-2.0, 0.0, 3.5, 1e-9, -1e-9])


def table():
    return prediction_table(pairs(), LOGIT, stage="03", trial="text1", seed=11)


def test_the_table_holds_keys_truth_and_both_logits():
    found = table()
    assert list(found) == [*KEYS, "logit_0", "logit_1"]
    assert found["y_true"].tolist() == [0, 1, 1, 0, 1]
    assert found["logit_0"].eq(0).all()
    assert np.array_equal(logits_of(found), np.stack([np.zeros(5), LOGIT], axis=1))
    assert found.index.tolist() == list(range(5))
    assert set(found["trial"]) == {"text1"}
    assert set(found["seed"]) == {11}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="1 of 5 logits are not finite"):
        prediction_table(pairs(), np.array([0.0, 1.0, value, 2.0, 3.0]), stage="s", trial="t", seed=0)


def test_logits_of_many_classes_keep_their_order():
    columns = {f"logit_{k}": [float(k), -float(k)] for k in range(11)}
    found = logits_of(pd.DataFrame(dict(sorted(columns.items()))))
    assert found.tolist() == [[float(k) for k in range(11)], [-float(k) for k in range(11)]]


def test_probabilities_by_hand():
    probs = DecisionRule(temperature=2.0).probabilities(np.array([[0.0, 3.0]]))
    assert probs[0, Label.CONTRADICTION] == pytest.approx(1 / (1 + np.exp(-3.0 / 2.0)))
    assert probs.sum(axis=1) == pytest.approx(1)


def test_the_threshold_belongs_to_its_label():
    logits = np.log([[0.25, 0.75], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
    assert DecisionRule().decide(logits).tolist() == [1, 1, 0, 0]
    assert DecisionRule(label=Label.ENTAILMENT).decide(logits).tolist() == [1, 1, 0, 0]
    assert DecisionRule(threshold=0.72).decide(logits).tolist() == [1, 0, 0, 0]
    assert DecisionRule(threshold=0.28, label=Label.ENTAILMENT).decide(logits).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("tied", [[0.0, 0.0], [-3.5, -3.5], [1e300, 1e300], [0.0, -0.0], [2.0, 2.0, 1.0]])
def test_a_tie_is_answered_by_one_rule_whatever_the_temperature(tied):
    logits = np.array([tied])
    assert top_class(logits).tolist() == top_class(softmax(logits)).tolist() == [0]
    for temperature in (0.3, 1.0, 7.0):
        assert DecisionRule(temperature).decide(logits).tolist() == [0]


@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0, 1e3])
def test_temperature_leaves_the_larger_class(temperature):
    logits = np.random.default_rng(1).normal(size=(997, 2)) * 5
    rule = DecisionRule(temperature=temperature)
    assert rule == DecisionRule(temperature, 0.5) and DecisionRule() == DecisionRule(1.0)
    assert np.array_equal(rule.probabilities(logits).argmax(axis=1), logits.argmax(axis=1))
    assert np.array_equal(rule.decide(logits), logits.argmax(axis=1))


def test_turning_the_classes_round_turns_the_decision_round():
    logits = np.random.default_rng(2).normal(size=(101, 2))
    rule, turned = DecisionRule(1.5, 0.7, Label.CONTRADICTION), DecisionRule(1.5, 0.7, Label.ENTAILMENT)
    assert np.array_equal(rule.decide(logits), 1 - turned.decide(logits[:, ::-1]))


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.3, 1.7, float("nan")])
def test_a_threshold_outside_zero_and_one_is_refused(threshold):
    with pytest.raises(ValueError, match="did you pass a logit"):
        DecisionRule(threshold=threshold)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        DecisionRule(temperature=temperature)


def test_one_decision_path():
    """Only this module compares a probability or a logit of the model with a threshold of the rule."""
    for path in paths.LIBRARY.rglob("*.py"):
        # The defects of the study are written out in a module of their own, to be switched on.
        if path.name in ("predict.py", "defects.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                text = ast.unparse(node)
                is_threshold = ">" in text and ("threshold" in text or "0.5" in text)
                assert not (is_threshold and ("prob" in text or "logit" in text)), f"{path.name}: {text}"
