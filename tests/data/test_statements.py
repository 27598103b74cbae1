"""Properties of hypotheses: lengths, keywords, repeats, artefacts."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from page_text import told
from simulated_stage import make_stage
from verdict.base.numbers import Numbers
from verdict.data.statements import (
    SEMANTIC_WORDS,
    SPATIAL_WORDS,
    balance_grade,
    keyword_flags,
    keyword_table,
    label_artefacts,
    length_quantiles,
    n_telling,
    negation_guard,
    repeated_hypotheses,
    store_sentence_alone,
    words_of,
)
from verdict.stats.uncertainty import Resampler

E, C = "entailment", "contradiction"


def table(*rows):
    return pd.DataFrame(rows, columns=["hypothesis", "label"])


def test_words():
    assert words_of("The DOG isn’t here; a thumbs-up, 16!") == ["the", "dog", "isn't", "here", "a", "thumbs-up", "16"]


def test_lengths_by_hand():
    found = length_quantiles(table(("a b c", E), ("a b", C), ("a b c d e f g", C)))
    rows = found.set_index("label")
    assert rows.loc["all", "mean"] == pytest.approx((3 + 2 + 7) / 3)
    assert rows.loc["all", "q50"] == 3
    assert rows.loc[C, "q25"] == pytest.approx(2 + 0.25 * (7 - 2))
    assert rows.loc[E, ["n", "max"]].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("words", "sentence", "groups"),
    [
        (SPATIAL_WORDS, "Dogs are OUT in the snow", {"outside", "inside"}),
        (SPATIAL_WORDS, "She is next to him", {"near"}),
        (SPATIAL_WORDS, "She is next, to him", set()),
        (SPATIAL_WORDS, "Insider trading on-line", set()),
        (SPATIAL_WORDS, "The right-hand side", {"right"}),
        (SEMANTIC_WORDS, "There are 16 dogs", {"counting"}),
        (SEMANTIC_WORDS, "A woman isn’t sitting", {"gender", "negation", "posture"}),
    ],
)
def test_groups_of_words_are_whole_words(words, sentence, groups):
    flags = keyword_flags([sentence], words)
    assert set(flags.columns[flags.iloc[0]]) == groups


def test_keyword_table_by_hand():
    pairs = table(("no dog", C), ("no cat", C), ("not here", E), ("a dog", E), ("a red dog", E))
    rows = keyword_table(pairs, {"colors": ["red"], "negation": ["no", "not"], "birds": ["crow"]}).set_index("group")
    assert rows.index.tolist() == ["negation", "colors", "birds", "any"]
    assert rows.loc["negation", ["n", "n_entailment", "n_contradiction"]].tolist() == [3, 1, 2]
    assert rows.loc["negation", "share_entailment"] == pytest.approx(1 / 3)
    assert rows.loc["any", "share"] == pytest.approx(4 / 5)
    assert np.isnan(rows.loc["birds", "share_entailment"]) and rows.loc["birds", "balance"] == ""


def test_balance_grades_of_the_study():
    shares = {0.472: "excellent", 0.55: "excellent", 0.429: "good", 0.4: "good", 0.651: "poor", 0.64: "moderate"}
    assert {share: balance_grade(share) for share in shares} == shares


def test_repeats_between_splits():
    pairs = pd.DataFrame(
        {
            "hypothesis": ["A dog", "a cat", "a cow", "a dog ", "a CAT", "a bird", "a dog"],
            "label": [E, E, C, E, C, C, C],
            "split": ["train"] * 3 + ["test"] * 3 + ["val"],
        }
    )
    rows = repeated_hypotheses(pairs).set_index(["left", "right"])
    assert rows.index.tolist() == [("train", "val"), ("train", "test"), ("val", "test")]
    assert rows.loc[("train", "test"), ["n_shared", "n_same_single_label"]].tolist() == [2, 1]
    assert rows.loc[("train", "test"), "share_of_right"] == pytest.approx(2 / 3)
    assert rows.loc[("train", "val"), ["n_shared", "n_same_single_label"]].tolist() == [1, 0]


def test_artefacts_by_hand():
    pairs = table(("no dog", C), ("no cat no", C), ("a dog", E), ("a cat", E))
    rows = label_artefacts(pairs, min_count=2, smoothing=0).set_index("word")
    assert rows.loc["no", ["n", "n_entailment", "n_contradiction"]].tolist() == [2, 0, 2]
    assert rows.loc["no", "pmi_contradiction"] == pytest.approx(math.log2((2 / 8) / ((2 / 8) * (4 / 8))))
    assert rows.loc["no", "pmi_entailment"] == -np.inf
    assert rows.loc["dog", "pmi_entailment"] == pytest.approx(0)
    smooth = label_artefacts(pairs, min_count=2, smoothing=1).set_index("word")
    assert smooth.loc["no", "pmi_contradiction"] == pytest.approx(math.log2((3 / 16) / ((4 / 16) * (8 / 16))))
    assert smooth.index.tolist() == ["a", "no", "cat", "dog"]


def test_rare_words_are_not_listed():
    pairs = table(("rare word", E), ("word", C))
    assert label_artefacts(pairs, min_count=2)["word"].tolist() == ["word"]
    assert label_artefacts(pairs, min_count=3).empty


def resampler(level):
    return partial(Resampler, n_resamples=500, level=level, seed=1)


@pytest.mark.parametrize(("words", "larger", "holds"), [(0.8, 0.5, False), (0.5, 0.5, True), (0.53, 0.5, True)])
def test_what_the_words_give_away_is_told_with_its_interval(tmp_path, words, larger, holds):
    """The gain over the larger class is paired, resamples groups, and bears the claim only with its whole interval."""
    stage, n = make_stage("01_data", tmp_path), 3001
    hits = pd.DataFrame(
        {name: np.arange(n) < share * n for name, share in (("words", words), ("larger_class", larger))}
    )
    labels = {"hypothesis": [f"s{k // 3}" for k in range(n)], "label": [E, C, E] * (n // 3) + [E] * (n % 3)}
    pairs = pd.DataFrame({"group_id": np.arange(n) % 1000, "split": "test", **labels})
    shown = store_sentence_alone(stage.numbers, hits, pairs, stage.resampler)
    found = stage.numbers["data.hypothesis_only"]
    assert found.low < found.value < found.high and (found.n, found.split) == (n, "test")
    assert found.low == pytest.approx(stage.resampler(pairs["group_id"].to_numpy()).mean(hits["words"]).low)
    gain = stage.numbers["data.hypothesis_only_gain"]
    assert gain.value == pytest.approx(words - larger, abs=1e-3)
    assert gain.low < gain.high if words > larger else (gain.low is None and gain.kind == "exact"), "an identity"
    assert stage.claim("a", "Nothing is given away", "data.hypothesis_only_gain", "<=", 0.05).holds == holds
    assert stage.numbers["data.n_telling"].value == pairs["hypothesis"].nunique()
    assert shown["share_right_low"].tolist()[:2] == [number.low for number in stage.numbers.values()][:2]


def test_a_sentence_tells_if_it_is_more_often_true_or_more_often_false():
    balanced = [("a", E), ("a", C), ("b", C), ("b", E)]
    assert n_telling(table(*balanced)) == 0
    assert n_telling(table(*balanced, ("b", C), ("c", E))) == 2


def test_where_no_sentence_tells_the_words_are_right_in_half_by_arithmetic(tmp_path):
    stage, pairs = make_stage("01_data", tmp_path), table(*[(f"s{k // 2}", (E, C)[k % 2]) for k in range(40)])
    hits = pd.DataFrame(
        {"words": pairs["label"] == np.where(np.arange(40) % 4 < 2, E, C), "larger_class": pairs["label"] == E}
    )
    shown = store_sentence_alone(stage.numbers, hits, pairs.assign(group_id=range(40), split="test"), stage.resampler)
    assert {(n.value, n.low, n.kind) for n in list(stage.numbers.values())[:2]} == {(0.5, None, "exact")}
    assert shown["share_right_low"].isna().all() and stage.numbers["data.hypothesis_only_gain"].kind == "exact"


def negated(share, n=211):
    """Pairs of which a share of the negated are contradictions, two to a group; others are all entailed."""
    labels = np.where(np.arange(n) < share * n, C, E)
    pairs = table(*[(f"There is no dog {k}", label) for k, label in enumerate(labels)], *[("A dog", E)] * n)
    return pairs.assign(group_id=[f"g{k // 2}" for k in range(len(pairs))])


def guarded(found):
    """What the page says of a share of contradiction among negated hypotheses."""
    name = "data.train.negation_contradiction"
    return told("01_data", "the labels may be swapped", Numbers({name: found.number(unit="%")}))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.815, "more than half, as in sentences that people write"),
        (0.185, "Look at the pairs before believing any number"),
        (0.5, "no difference from one half is shown"),
    ],
)
def test_negation_tells_swapped_labels(share, words):
    found, n = negation_guard(negated(share), resampler(0.95))
    assert n == 211
    assert found.value == pytest.approx(np.ceil(share * 211) / 211)
    assert found.low < found.value < found.high
    text = guarded(found)
    assert words in text and f"a negation word {found.number(unit='%').text} are contradictions: " in text
    assert text.startswith("**Warning: the labels may be swapped.**") == (share < 0.5)


def test_without_negations_the_guard_says_so():
    pairs = table(("A dog", E)).assign(group_id="g")
    found, n = negation_guard(pairs, resampler(0.95))
    assert n == 0 and np.isnan(found.value)
    assert guarded(found).startswith("No training hypothesis holds a negation word")


def test_where_all_negations_are_of_one_label_the_guard_is_not_certain():
    """106 groups without an exception do not say that there is none."""
    found, _ = negation_guard(negated(1.0), resampler(0.95))
    assert found.high == 1 and 0.95 < found.low < 1
