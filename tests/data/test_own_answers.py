"""What a model said, in every form, as logits: the same of the same, and each refusal by name."""

import json
import time

import numpy as np
import pytest
from scipy import special, stats

from verdict.base.labels import class_names
from verdict.data.own.answers import FORMS, LEAST_WORTH, find_form, look_like_probs, said, word_ids, worth_of
from verdict.stats.metrics import bin_index, ece_interval
from verdict.stats.scores import log_softmax, softmax
from verdict.stats.uncertainty import Resampler

SENTENCE, NAMES, N = class_names(), ("cat", "dog", "emu"), 37
LOGITS = 3 * np.random.default_rng(1).normal(size=(N, 3))
BINARY = np.random.default_rng(2).normal(size=(N, 2)) * 3


def read(columns, classes=SENTENCE, **options):
    return said(find_form(list(columns), classes, **options), columns, lambda row: f"row {row + 1}")


def by_class(prefix, values, names):
    return {f"{prefix}_{name}": values[:, k] for k, name in enumerate(names)}


@pytest.mark.parametrize(
    ("logits", "names", "classes"), [(BINARY, ("yes", "no"), SENTENCE), (LOGITS, NAMES, NAMES), (LOGITS, "012", NAMES)]
)
def test_one_model_in_every_form_has_one_softmax(logits, names, classes):
    forms = [
        by_class("logit", logits, names),
        by_class("logit", logits.astype(np.float16), names),
        by_class("log_softmax", log_softmax(logits), names),
        by_class("LogProb", log_softmax(logits).astype(str), names),
        by_class("prob", softmax(logits), names),
        dict(reversed(by_class("P", softmax(logits), names).items())),
        {"top_logprobs": [json.dumps(dict(zip(names, row, strict=True))) for row in log_softmax(logits).tolist()]}
        if names != "012"
        else by_class("p", softmax(logits), names),
    ]
    for columns in forms:
        limit = 2e-2 if next(iter(columns.values()))[0].__class__ is np.float16 else 1e-9
        found = read(columns, classes)
        np.testing.assert_allclose(softmax(found.logits), softmax(logits), atol=limit)
        assert found.counts == {"n_rows": N}, list(columns)


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"logit": BINARY[:, 0] - BINARY[:, 1]}, SENTENCE),
        ({"logit_no": BINARY[:, 1] - BINARY[:, 0]}, SENTENCE),
        ({"prob_yes": softmax(BINARY)[:, 0]}, SENTENCE),
        ({"p": softmax(BINARY)[:, 1]}, ("off", "on")),
        ({"logit": BINARY[:, 1] - BINARY[:, 0]}, ("off", "on")),
        ({"logprob_entailment": log_softmax(BINARY)[:, 0]}, SENTENCE),
        ({"probability_contradiction": softmax(BINARY)[:, 1]}, SENTENCE),
    ],
)
def test_of_two_classes_one_column_is_enough(columns, classes):
    np.testing.assert_allclose(softmax(read(columns, classes).logits), softmax(BINARY), atol=1e-9)


def test_a_token_that_a_list_lacks_has_at_most_the_least_listed_and_the_rest():
    lists = [
        [{"token": token, "logprob": np.log(p)} for token, p in ((" Yes", 0.6), ("yes", 0.1), ("Well", 0.05))],
        {"No.": np.log(0.9), "Hm": np.log(0.08)},
        {"Maybe": np.log(0.5), "Perhaps": np.log(0.25)},
        [["yes", np.log(0.5)], ["no", np.log(0.25)]],
    ]  # fmt: skip
    found = read({"top_logprobs": lists})
    # The first list leaves 0.3 and the second 0.1, but no token beside a list has more than the least on it.
    expected = [[0.7, 0.05], [0.08, 0.9], [0.25, 0.25], [0.5, 0.25]]
    np.testing.assert_allclose(np.exp(found.logits), expected, atol=1e-12)
    assert found.counts == {"n_rows": 4, "n_bounded": 4, "n_undecided": 1, "n_elsewhere": 1}
    as_text = read({"top_logprobs": [json.dumps(one) for one in lists]})
    np.testing.assert_array_equal(as_text.logits, found.logits)
    blank = read({"logprob_yes": ["-0.1", ""], "logprob_no": ["-3", "-0.2"]})
    assert blank.logits[1, 0] == pytest.approx(np.log(1 - np.exp(-0.2))) and blank.counts["n_bounded"] == 1


def test_what_has_no_logarithm_is_clipped_and_counted():
    found = read({"prob_yes": [1.0, 0.5, 0.0]})
    np.testing.assert_allclose(found.logits[:, 0] - found.logits[:, 1], np.log(1e12) * np.array([1, 0, -1]))
    assert found.counts["n_clipped"] == 2
    found = read({"logprob_yes": [0.0, -40.0], "logprob_no": [-np.inf, 0.0]}, smallest=1e-6)
    assert found.logits[0, 1] == np.log(1e-6) and found.logits[1, 0] == -40 and found.counts["n_clipped"] == 1


def test_sampled_answers_are_smoothed_and_know_how_unsure_they_are():
    found = read({"samples": ["yes;yes;no", '["Yes.", "no"]', "true"]})
    np.testing.assert_allclose(np.exp(found.logits), [[2.5 / 4, 1.5 / 4], [0.5, 0.5], [1.5 / 2, 0.5 / 2]])
    assert found.counts == {"n_rows": 3, "n_samples": 6}
    counts = read({"n_yes": [2, 1, 1], "n_samples": [3, 2, 1]})
    np.testing.assert_allclose(counts.logits, found.logits)
    both = read({"count_no": [1, 1, 0], "count_yes": [2, 1, 1]})
    np.testing.assert_allclose(both.sd, found.sd)
    rng = np.random.default_rng(0)
    drawn = rng.beta(2.5, 1.5, 200_000)
    assert found.sd[0] == pytest.approx([drawn.std()] * 2, rel=0.01)


SPREAD, N_GROUPS, PER_GROUP = 2.0, 250, 4


def shares(counts, k):
    """Probabilities (n, 2) by how many of k sampled answers were yes."""
    return softmax(read({"count_yes": counts, "count_no": k - counts}).logits)


def sampled(rng, k, slope):
    """Counts of yes among k answers, truths and groups: x says how often yes is answered, slope * x how often it is
    true; both are alike within a group of questions about one image.
    """
    groups = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    x, luck = (np.sqrt(0.5) * (rng.normal(size=N_GROUPS)[groups] + rng.normal(size=len(groups))) for _ in range(2))
    y_true = (stats.norm.cdf(luck) > special.expit(slope * SPREAD * x)).astype(int)
    return rng.binomial(k, special.expit(SPREAD * x)), y_true, groups


def population(k, slope):
    """ECE and accuracy of the shares of k answers, share of cases that are at least 0.8 sure and error rate among
    these, over all images and all answers that could be drawn: by quadrature over x.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    x, weights, counts = SPREAD * nodes, weights / weights.sum(), np.arange(k + 1)
    probs = shares(counts, k)
    chance = stats.binom.pmf(counts[:, None], k, special.expit(x)) * weights
    true = special.expit(slope * x)
    right = (chance * np.where(probs.argmax(axis=1)[:, None] == 0, true, 1 - true)).sum(axis=1)
    chance, confidence = chance.sum(axis=1), probs.max(axis=1)
    gaps, sure = np.bincount(bin_index(confidence), right - chance * confidence), confidence >= 0.8
    return np.abs(gaps).sum(), right.sum(), chance[sure].sum(), 1 - right[sure].sum() / chance[sure].sum()


@pytest.mark.parametrize("k", [5, 20])
def test_intervals_of_sampled_answers_hold_the_choice_of_images_and_of_answers(k, slope=0.5, n_samples=200):
    """What is judged is the share of k answers, not the probability behind them. 2,000 samples gave, for its ECE, 0.960
    (k = 5) and 0.965 (k = 20).
    """
    truth, covered = population(k, slope), np.zeros(4)
    for seed in range(n_samples):
        counts, y_true, groups = sampled(np.random.default_rng([k, seed]), k, slope)
        probs, draws = shares(counts, k), Resampler(groups, 300, 0.95, seed)
        hit, sure = (probs.argmax(axis=1) == y_true).astype(float), probs.max(axis=1) >= 0.8
        found = [ece_interval(probs, y_true, draws), draws.mean(hit), draws.mean(sure)]
        found.append(draws.of(sure).mean(1 - hit[sure]))
        covered += [one.low <= value <= one.high for one, value in zip(found, truth, strict=True)]
    # The standard error of 0.95 in 200 samples is 0.015.
    assert ((covered / n_samples >= 0.905) & (covered / n_samples <= 0.99)).all(), covered / n_samples
    # A model whose shares of endless answers are calibrated: few answers, smoothed, are not.
    assert population(5, 1.0)[0] > 0.015 > population(20, 1.0)[0] > 0.005


def test_a_bare_answer_says_its_class_alone():
    found = read({"prediction": ["yes", "No.", "TRUE"]})
    assert found.logits.argmax(axis=1).tolist() == [0, 1, 0]
    assert len(np.unique(found.logits.max(axis=1))) == 1, "nothing is known of how sure it is"
    # `answer` belongs to a question where there is one.
    assert find_form(["question", "answer", "prob_yes"], SENTENCE).others == ()
    assert find_form(["answer"], SENTENCE).kind == "answer"


def test_a_bare_answer_is_worth_what_answers_of_its_class_were():
    answers = np.eye(3)[[0, 0, 0, 0, 1, 1]]
    worth = worth_of(answers, np.array([0, 0, 0, 1, 2, 2]))
    # Three of four, and none of two, with half an answer more of each class; nothing is known of the third.
    assert softmax(worth[0] * np.eye(3)[:1])[0, 0] == pytest.approx(3.5 / 5.5)
    assert worth[1:].tolist() == [LEAST_WORTH, LEAST_WORTH]


def test_several_forms_are_told_and_one_is_chosen():
    columns = {"logit": BINARY[:, 0], "prob_yes": softmax(BINARY)[:, 0], "id": np.arange(N)}
    assert find_form(list(columns), SENTENCE).others == ("probs",)
    assert find_form(list(columns), SENTENCE, kind="probs").names == ["prob_yes"]
    with pytest.raises(ValueError, match=r"no column says top_k; .*which say"):
        find_form(list(columns), SENTENCE, kind="top_k")
    assert set(FORMS) >= {"logits", "probs"}


def test_parts_of_a_table_give_what_the_whole_gives():
    columns = {"prob_yes": np.linspace(0, 1, N)}
    form, whole = find_form(list(columns), SENTENCE), read(columns)
    parts = [said(form, {"prob_yes": part}, str) for part in np.array_split(columns["prob_yes"], 5)]
    np.testing.assert_array_equal(np.concatenate([part.logits for part in parts]), whole.logits)
    assert sum(part.counts.get("n_clipped", 0) for part in parts) == whole.counts["n_clipped"] == 2


@pytest.mark.parametrize(
    ("columns", "classes", "message"),
    [
        ({"image": [1]}, SENTENCE, "no column says what the model said: found .*image"),
        ({"logit_cat": [1.0], "logit_dog": [2.0]}, NAMES, "are not logit_<class> for each of .*emu"),
        ({"prob_cat": [0.2], "prob_dog": [0.2], "prob_emu": [0.2]}, NAMES, "sum to less than 1.*row 1"),
        ({"prob_yes": [0.2, 0.9], "prob_no": [0.8, 0.9]}, SENTENCE, "more than 1.*1 of 2 rows, the first is row 2"),
        ({"prob_yes": [0.2, np.nan]}, SENTENCE, "^probabilities must be finite .*row 2"),
        ({"prob_yes": [0.2, np.inf]}, SENTENCE, "^probabilities must be finite .*row 2"),
        ({"prob_yes": [0.2, 93.0]}, SENTENCE, r"must lie in \[0, 1\].*percentages.*row 2"),
        ({"logprob_yes": [-0.2, 0.9], "logprob_no": [-2.0, -1.0]}, SENTENCE, "at most 0; did you give logits.*row 2"),
        ({"logit_yes": [1.0, np.nan], "logit_no": [1.0, 2.0]}, SENTENCE, "must be finite.*row 2"),
        ({"logit_yes": [1.0, 1e5]}, SENTENCE, "logits beyond 10000.*row 2"),
        ({"prob_yes": ["0.3", "high"]}, SENTENCE, "row 2, column 'prob_yes': 'high' is not a number"),
        ({"prob_yes": ["0.3", ""]}, SENTENCE, "row 2, column 'prob_yes': is empty"),
        ({"n_yes": [3]}, SENTENCE, "need the number of samples too"),
        ({"n_yes": [3, 4], "k": [5, 3]}, SENTENCE, "whole numbers, none below 0.*row 2"),
        ({"count_yes": [0], "count_no": [0]}, SENTENCE, "without a sampled answer"),
        ({"samples": ["yes;no", "yes;maybe"]}, SENTENCE, "row 2, .* 'maybe' is none of .*; take it out of the row"),
        ({"prediction": ["yes", "0"]}, SENTENCE, "row 2, column 'prediction': the answer '0' is none of"),
        ({"top_logprobs": ["{}", "{oops"]}, SENTENCE, "row 2, column 'top_logprobs': .*is not JSON"),
        ({"top_logprobs": ["[3]"]}, SENTENCE, "row 1, column 'top_logprobs': .*no list of tokens"),
        ({"top_logprobs": ['{"yes": 0.5}']}, SENTENCE, "at most 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_row_and_column(columns, classes, message):
    with pytest.raises(ValueError, match=message):
        read(columns, classes)


def test_words_that_mean_two_classes_mean_none():
    assert word_ids(("Cat", "cat", "dog")) == {"dog": 2}
    assert word_ids(SENTENCE)["yes"] == 0 and "0" not in word_ids(SENTENCE)


def test_a_million_rows_a_minute():
    n = 50_000
    lists = [{"yes": -0.1, " no": -3.0, "Yes": -5.0, "The": -6.0, "It": -7.0}] * n
    text = [json.dumps(lists[0])] * n
    started = time.process_time()
    read({"top_logprobs": text})
    assert time.process_time() - started < 60 * n / 1e6


@pytest.mark.parametrize(("n_classes", "decimals"), [(2, 2), (3, 4), (10, 2), (10, 6), (100, 3)])
def test_rounded_probabilities_look_like_probabilities_and_logits_do_not(n_classes, decimals):
    rng = np.random.default_rng(n_classes)
    probs = rng.dirichlet(np.ones(n_classes), 200).round(decimals)
    assert look_like_probs(probs)
    assert not look_like_probs(np.eye(n_classes)), "votes or logits, who knows"
    assert not look_like_probs(np.vstack([probs, rng.normal(0, 2, n_classes)]))
    assert not look_like_probs(rng.uniform(0, 1, (8, n_classes)))
