"""The tables of the page on concepts, by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from verdict.base.numbers import ESTIMATE
from verdict.base.params import load_params
from verdict.clip import UNTRAINED, WHOLE
from verdict.clip.concepts import concept_study, parts
from verdict.clip.concepts.activations import Seen
from verdict.clip.concepts.setup import Material, Setup
from verdict.workflow.stage import Stage


def test_correlation_over_models_is_pearsons():
    rng = np.random.default_rng(1)
    values, right = rng.normal(size=(5, 13)), rng.normal(size=(5, 13))
    weights = rng.integers(0, 3, (4, 13))
    found = concept_study.correlation(values, right, weights)
    for row, chosen in zip(found, weights, strict=True):
        means = [(part * chosen).sum(axis=1) / chosen.sum() for part in (values, right)]
        assert row == pytest.approx(np.corrcoef(*means)[0, 1])
    assert concept_study.correlation(values, values, None) == pytest.approx(1)
    assert np.isnan(concept_study.correlation(np.ones((3, 4)), right[:3, :4], None))


N, K, D = 60, 4, 37


def seen_at_random(rng, *, knows):
    """Lists of nine words for each picture and class; where an encoder knows, five of a picture's are its class's."""
    textual = np.stack([rng.permutation(D)[:9] for _ in range(K)])
    y_true = rng.integers(0, K, N)
    visual = [rng.permutation(D)[:9] for _ in range(N)]
    if knows:
        visual = [np.unique(np.concatenate([textual[y][:5], own[:4]])) for own, y in zip(visual, y_true, strict=True)]
    return Seen(None, None, None, visual, y_true, textual), y_true


def test_overlap_is_told_beside_chance_and_beside_other_classes(tmp_path):
    rng = np.random.default_rng(0)
    stage = Stage("12_clip_concepts", "smoke", None, None, tmp_path, load_params("smoke"))
    whole, y_true = seen_at_random(rng, knows=True)
    blank = Seen(None, None, None, seen_at_random(rng, knows=False)[0].visual, y_true, whole.textual)
    shown = Material(np.empty((N, 1, 1, 3)), y_true, np.arange(N) // 2)
    setup = Setup(stage, None, {}, None, [None] * D, shown)
    table, drawn = concept_study.null_table(setup, {WHOLE: whole, UNTRAINED: blank})
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


@pytest.mark.parametrize(("who_knows", "n_more"), [(UNTRAINED, 1), (WHOLE, 0)])
def test_relatives_that_share_more_and_are_right_less_often_are_counted(tmp_path, who_knows, n_more):
    """The relative answers half of the pictures wrongly; who knows shares five words more with what it answers."""
    rng = np.random.default_rng(1)
    blank, y_true = seen_at_random(rng, knows=False)
    own = np.where(np.arange(N) % 2, y_true, (y_true + 1) % K)
    everyone = {name: replace(blank, answer=answer) for name, answer in ((WHOLE, y_true), (UNTRAINED, own))}
    knows = everyone[who_knows]
    shared = [np.unique([*knows.textual[y][:5], *some[:4]]) for y, some in zip(knows.answer, knows.visual, strict=True)]
    everyone[who_knows] = replace(knows, visual=shared)
    stage = Stage("12_clip_concepts", "smoke", None, None, tmp_path, load_params("smoke"))
    setup = Setup(stage, None, {}, None, [None] * D, Material(np.empty((N, 1, 1, 3)), y_true, np.arange(N) // 2))
    concept_study.knowledge_table(setup, {name: replace(one, is_fallback=False) for name, one in everyone.items()})
    found = [stage.numbers[f"concepts.{name}"].value for name in ("n_relatives", "n_share_more")]
    assert found == [1, n_more]


def test_methods_that_find_the_object_better_than_the_cut_of_tokens_are_told(tmp_path):
    """Keys know the object, tokens are noise."""
    rng = np.random.default_rng(2)
    is_object = np.zeros((N, 4, 4), dtype=bool)
    is_object[:, 1:3, 1:3] = True
    tokens = rng.normal(size=(N, 16, 5))
    keys = np.where(is_object.reshape(N, 16, 1), [1.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0]) + 0.01 * tokens
    stage = Stage("12_clip_concepts", "smoke", None, None, tmp_path, load_params("smoke"))
    reader = SimpleNamespace(patches=lambda images: tokens, encoder=SimpleNamespace(grid=4))
    study = SimpleNamespace(encoder=SimpleNamespace(last_keys=lambda images: keys))
    masks = is_object.repeat(2, axis=1).repeat(2, axis=2)
    shown = Material(np.empty((N, 8, 8, 3)), np.arange(N) % K, np.arange(N) // 2, masks)
    concept_study.foreground_table(Setup(stage, study, {WHOLE: reader}, None, [], shown))
    found = [stage.numbers[f"concepts.n_methods{end}"].value for end in ("", "_better", "_worse")]
    assert found[:2] == [3, 2] and stage.numbers["concepts.best_method"].words.endswith("keys of the last block")
    assert stage.numbers["concepts.iou_best"].value > 0.9 > 2 * stage.numbers["concepts.iou"].value


def test_encoders_that_share_more_of_what_they_answer_rightly_are_counted(tmp_path):
    is_right, noise = np.arange(N) % 3 > 0, np.random.default_rng(3).normal(size=N)
    stage = Stage("12_clip_concepts", "smoke", None, None, tmp_path, load_params("smoke"))
    setup = Setup(stage, None, {}, None, [], Material(np.empty((N, 1, 1, 3)), np.zeros(N), np.arange(N)))
    of = {
        name: pd.DataFrame({"is_right": is_right, "auc_published": noise + sign * 5 * is_right})
        for name, sign in ((WHOLE, 1), ("a", -1), ("b", -1))
    }
    concept_study.right_and_wrong(setup, of)
    assert [stage.numbers[f"concepts.n_right_{how}"].value for how in ("more", "less")] == [1, 2]


def test_each_class_is_described_by_its_own_words_under_every_template():
    """A text's vector says which classes and descriptors are in it."""
    names, words = ["cat", "dog", "owl"], ["fur", "wings", "a tail", "two eyes", "claws"]

    def texts(texts):
        assert len(texts) == 3 * 2 * 2
        found = np.array([[float(word in text) for word in (*names, *words)] for text in texts])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    study = SimpleNamespace(pictures=SimpleNamespace(templates=("a {}", "this is a {}")))
    setup = SimpleNamespace(texts=words, classes=pd.DataFrame({"name": names}), study=study)
    chosen = np.array([[0, 2], [2, 4], [1, 3]])
    vectors = concept_study.described_classes(setup, SimpleNamespace(texts=texts), chosen)
    for row, (vector, ids) in enumerate(zip(vectors, chosen, strict=True)):
        assert set(np.flatnonzero(vector)) == {row, *(len(names) + ids)}
        # Each of the two descriptors is in half of the texts, the name in all.
        assert vector[row] == pytest.approx(2 * vector[len(names) + ids[0]])


def test_no_choice_of_patches_is_better_than_the_best_one():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 9, 6)) < 0.4
    best = concept_study.best_patches(masks, (3, 2))
    reached = parts.intersection_over_union(parts.to_pixels(best, 9, 6), masks)
    for code in range(1, 2**6):
        choice = np.array([bool(code >> k & 1) for k in range(6)]).reshape(1, 3, 2).repeat(3, axis=0)
        other = parts.intersection_over_union(parts.to_pixels(choice, 9, 6), masks)
        assert (other <= reached + 1e-12).all()
