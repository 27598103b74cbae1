"""What pictures and classes share, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from verdict.clip import concept_knowledge
from verdict.clip.bank import Material
from verdict.clip.concepts import Seen
from verdict.clip.variants import UNTRAINED, WHOLE
from verdict.numbers import ESTIMATE, Number, Numbers
from verdict.params import load_params
from verdict.stage import Stage


def test_the_table_of_estimators_is_arithmetic():
    numbers = Numbers()
    stage = SimpleNamespace(number=lambda name, value, **told: numbers.__setitem__(name, Number(float(value), **told)))
    table = concept_knowledge.arithmetic_table(stage).set_index("shared")
    assert numbers["concepts.published_two"].value == table.loc[2, "as_published"]
    assert table.loc[2, "as_published"] == pytest.approx(8.006, abs=5e-4)
    assert table.loc[0, "as_published"] == 0 and np.isnan(table.loc[0, "as_printed"])
    assert table["mutual_information"].tolist() == pytest.approx([0, 0, *np.log([2, 5, 15])])


def test_the_gap_of_right_and_wrong_is_weighted():
    values, right = np.array([1.0, 3.0, 10.0]), np.array([True, True, False])
    assert concept_knowledge._gap(values, right, None) == pytest.approx(2 - 10)
    weights = np.array([[1, 1, 1], [0, 2, 1]])
    assert concept_knowledge._gap(values, right, weights) == pytest.approx([-8, -7])


def test_correlation_over_models_is_pearsons():
    rng = np.random.default_rng(1)
    values, right = rng.normal(size=(5, 13)), rng.normal(size=(5, 13))
    weights = rng.integers(0, 3, (4, 13))
    found = concept_knowledge._correlation(values, right, weights)
    for row, chosen in zip(found, weights, strict=True):
        means = [(part * chosen).sum(axis=1) / chosen.sum() for part in (values, right)]
        assert row == pytest.approx(np.corrcoef(*means)[0, 1])
    assert concept_knowledge._correlation(values, values, None) == pytest.approx(1)
    assert np.isnan(concept_knowledge._correlation(np.ones((3, 4)), right[:3, :4], None))


N, K, D = 60, 4, 37


def seen_at_random(rng, *, knows):
    """Lists of nine words for each picture and class; where an encoder knows, five of a picture's are its class's."""
    textual = np.stack([rng.permutation(D)[:9] for _ in range(K)])
    y_true = rng.integers(0, K, N)
    visual = [rng.permutation(D)[:9] for _ in range(N)]
    if knows:
        visual = [np.unique(np.concatenate([textual[y][:5], own[:4]])) for own, y in zip(visual, y_true, strict=True)]
    return Seen(None, None, [], visual, y_true, textual), y_true


def test_overlap_is_told_beside_chance_and_beside_other_classes(tmp_path):
    rng = np.random.default_rng(0)
    stage = Stage("12_clip_concepts", "smoke", None, None, tmp_path, load_params("smoke"))
    whole, y_true = seen_at_random(rng, knows=True)
    blank = Seen(None, None, [], seen_at_random(rng, knows=False)[0].visual, y_true, whole.textual)
    shown = Material(np.empty((N, 1, 1, 3)), y_true, np.arange(N) // 2, None, None, None)
    setup = SimpleNamespace(stage=stage, shown=shown, bank=[None] * D)
    table, drawn = concept_knowledge.null_table(setup, {WHOLE: whole, UNTRAINED: blank})
    table, numbers = table.set_index("model"), stage.numbers
    assert drawn.shape == (load_params("smoke").concepts.n_draws,)
    n_visual = np.mean([len(own) for own in whole.visual])
    assert table.loc[WHOLE, "by_chance"] == pytest.approx(n_visual * 9 / D)
    assert drawn.mean() == pytest.approx(table.loc[WHOLE, "by_chance"], abs=0.3)
    # What an encoder knows is found, and what an ignorant one does not know is not: the claim can fail.
    assert numbers["concepts.own_class_gain"].low > 2 and table.loc[UNTRAINED, "own_class_gain_low"] < 0
    for name in ("own_class_gain", "p_exchanged"):
        number = numbers[f"concepts.{name}"]
        assert number.kind == ESTIMATE and number.low == table.loc[WHOLE, f"{name}_low"]
