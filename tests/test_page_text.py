"""Sentences of pages that depend on numbers: what is said, and what is not, in every case."""

import pytest

from page_text import numbers_of, told
from verdict.numbers import Number, Numbers, named
from verdict.report.conditions import chosen_text

UP, DOWN, SPANS, BARE = (0.3, 0.2, 0.4), (-0.3, -0.4, -0.2), (0.1, -0.1, 0.3), Number(0.1, kind="estimate")
NOTHING = Number(float("nan"), kind="estimate")


def test_a_name_is_shown_as_it_is_and_can_be_asked_for():
    numbers = Numbers({"selection.trial": named("text_2"), "selection.best": named("")})
    source = '{% if has("selection.trial") %}{{ selection.trial }}{% endif %}{% if has("selection.best") %}x{% endif %}'
    assert numbers.format(chosen_text(source, numbers)) == "text_2"
    assert numbers["selection.best"].text == "not defined"


def kept(n_others=4, n_ahead=0, n_fewer=0, gain=UP, longer=SPANS):
    names = ("trial", "seed", "best", "unfrozen", "frozen", "least_trained", "training", "training_of_frozen")
    numbers = Numbers({f"selection.{name}": named(f"<{name}>") for name in names})
    counts = {"n_others": n_others, "n_ahead": n_ahead, "n_fewer": n_fewer, "n_better": 1, "n_worse": 0}
    more = {"macro_f1": (0.8, 0.7, 0.9), "margin": 0.01, "n_compared": 10, "gain_over_frozen": gain}
    values = counts | more | {"gain_of_longer_training": longer}
    numbers.merge(numbers_of(**{f"selection__{name}": value for name, value in values.items()}))
    return numbers


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"n_others": 0}, "seed <seed>: it is the only candidate. Its macro-F1"),
        (
            {"n_ahead": 2, "n_fewer": 1},
            "fewest parameters of those shown to lie within 0.01 macro-F1 of the best, **<best>**",
        ),
        ({}, "it scores best on val, and none trains fewer parameters. Its"),
        (
            {"n_fewer": 2},
            "none that trains fewer parameters is shown to lie within 0.01 macro-F1 of it (by one interval",
        ),
    ],
)
def test_page_04_says_why_a_trial_is_kept(counts, reason):
    said = told("04_model_selection", "Kept: ", kept(**counts))
    assert reason in said and said.startswith("Kept: **<trial>**")
    assert ("shown to be better than 1 and worse than 0 of 4" in said) == (counts.get("n_others") != 0)


@pytest.mark.parametrize(
    ("gain", "verb"),
    [(UP, "adds macro-F1"), (DOWN, "costs macro-F1"), (SPANS, "shows no change"), (BARE, "shows no change")],
)
@pytest.mark.parametrize(("page", "prefix"), [("04_model_selection", "selection"), ("05_test", "test")])
def test_what_unfreezing_adds_is_said_by_its_interval(page, prefix, gain, verb):
    numbers = kept(gain=gain)
    shares = dict.fromkeys(("accuracy", "macro_f1", "hypothesis_only", "shuffled"), (0.8, 0.7, 0.9))
    gains = {name: numbers[f"selection.{name}"] for name in ("gain_over_frozen", "gain_of_longer_training")}
    numbers.merge(numbers_of(test__n_pairs=9, **{f"test__{name}": v for name, v in (shares | gains).items()}))
    said = told(page, f'has("{prefix}.gain_over_frozen")', numbers)
    assert f"Unfreezing (**<unfrozen>** minus **<frozen>**; training <training>) {verb}" in said
    assert "Longer training alone (**<frozen>** minus **<least_trained>**; training <training_of_frozen>)" in said


def test_what_was_not_compared_is_not_told():
    alone = told("04_model_selection", "Kept: ", kept(longer=NOTHING))
    assert "Unfreezing (" in alone and "Longer" not in alone
    none = told("04_model_selection", "Kept: ", kept(gain=NOTHING, longer=NOTHING))
    assert none.endswith("No two candidates of this profile show what unfreezing adds.")


def test_page_04_says_what_one_change_does():
    where = ("04_model_selection", "ablation.n_differences.value == 0")
    assert told(*where, numbers_of(ablation__n_differences=0.0)).startswith("No trial of this profile differs")
    for factor, gap in (("oversampling", SPANS), ("augmentation", UP)):
        numbers = numbers_of(ablation__n_differences=3, ablation__n_shown=1, **{f"ablation__{factor}__accuracy": gap})
        numbers.merge({f"ablation.{factor}.trial": named("a"), f"ablation.{factor}.twin": named("b")})
        said = told(*where, numbers)
        assert said.startswith(f"{factor.capitalize()} alone (**a** minus **b**) changes accuracy by")
        assert (
            ("(no difference shown)" in said) == (gap is SPANS) and "Of all 3 differences" in said and " 1 are" in said
        )


@pytest.mark.parametrize(("gain", "is_said"), [(UP, False), (DOWN, False), (SPANS, True), (BARE, True)])
def test_page_05_says_where_a_threshold_changes_nothing(gain, is_said):
    numbers = numbers_of(val__threshold=0.4, test__n_turned=3, test__threshold_gain=gain)
    assert ("no difference is shown" in told("05_test", "Val prefers", numbers)) == is_said


def test_page_05_repeats_a_study_or_says_that_it_does_not():
    where = ("05_test", "published.n_repeated")
    assert told(*where, Numbers()) == "This profile repeats no published study."
    assert "Of 6 published scores" in told(*where, numbers_of(published__n_repeated=6, published__n_inside=2))


@pytest.mark.parametrize(
    ("interval", "at_bound", "warning", "said", "unsaid"),
    [
        ((2.0, 1.5, 2.5), 0, "", ["Above one", "The slope of the curve changes sign"], ["Warning"]),
        ((0.5, 0.4, 0.6), 0, "", ["Below one"], ["Warning"]),
        ((1.0, 0.9, 1.1), 0, "", ["That it differs from one is not shown"], ["Warning"]),
        ((2.0, 1.5, 1096.0), 1, "", ["Above one", "**Warning: in some resamples"], ["slope"]),
        ((2.0, 1.5, 2.5), 0, "20 rows are few", ["Above one", "**Warning: 20 rows are few.**"], ["slope"]),
        ((1096.0, 1000.0, 1096.0), 2, "T = 1096 is …", ["**Warning: T = 1096 is ….**"], ["Above", "slope"]),
    ],
)
def test_page_07_says_what_a_temperature_means_and_what_to_fear(interval, at_bound, warning, said, unsaid):
    numbers = numbers_of(
        calibration__n_fit=9, calibration__temperature=interval, calibration__temperature_at_bound=at_bound
    )
    numbers["calibration.warning"] = named(warning)
    text = told("07_calibration", "Fitted on {{ calibration.n_fit }}", numbers)
    assert all(words in text for words in said) and not any(words in text for words in unsaid)
    parts = ("ece", "ece_before", "ece_if_calibrated", "nll", "nll_before")
    numbers.merge(numbers_of(**{f"calibration__test__{name}": (0.2, 0.1, 0.3) for name in parts}))
    for score in ("ece", "nll", "aurc"):
        numbers[f"calibration.test.{score}_difference"] = Number(*SPANS)
    assert ("Warning" in told("07_calibration", "At T = ", numbers)) == ("**" in text)


@pytest.mark.parametrize(
    ("change", "words"),
    [(DOWN, "lowers it"), (UP, "**scaling makes it worse**"), (SPANS, "no difference"), (BARE, "no difference")],
)
def test_page_07_says_what_scaling_does_by_its_interval(change, words):
    parts = ("ece", "ece_before", "ece_if_calibrated", "nll", "nll_before")
    numbers = numbers_of(**{f"calibration__test__{name}": (0.2, 0.1, 0.3) for name in parts})
    changes = {f"calibration__test__{score}_difference": change for score in ("ece", "nll", "aurc")}
    numbers.merge(numbers_of(calibration__temperature=2.0, calibration__temperature_at_bound=0.0, **changes))
    said = told("07_calibration", "At T = ", numbers)
    assert said.count(words) == 2 and ("Ranking gets worse" in said) == (change is UP)


def test_page_07_counts_parts_that_are_off_and_says_whose_temperature_it_is():
    for n, words in ((0, "no part is shown to be off"), (2, "a probability is off on average")):
        numbers = numbers_of(calibration__test__n_families_off=n, calibration__test__n_families=4)
        assert words in told("07_calibration", "n_families_off", numbers)
    parts = dict.fromkeys(
        ("calibration__temperature_all", "calibration__test__ece_all", "calibration__test__error"), UP
    )
    for is_clip in (0, 1):
        numbers = numbers_of(calibration__n_calib=9, calibration__is_of_clip=is_clip, **parts)
        assert ("pages on probes" in told("07_calibration", "Fitted on all", numbers)) == bool(is_clip)


@pytest.mark.parametrize(("shortfall", "is_missed"), [(UP, True), (SPANS, False), (DOWN, False), (BARE, False)])
def test_page_07_says_whether_a_promise_is_missed(shortfall, is_missed):
    names = ("level", "coverage", "set_size", "share_single", "share_empty")
    numbers = numbers_of(**{f"calibration__test__{name}": UP for name in names})
    numbers.merge(numbers_of(calibration__test__coverage_shortfall=shortfall))
    said = told("07_calibration", "Sets that promise", numbers)
    assert ("**the promise is shown to be missed.**" in said) == is_missed
    assert ("no level is shown to be missed" in said) != is_missed


@pytest.mark.parametrize(
    ("models", "views", "asked", "said"),
    [
        (2, 3, 9, "All signals are there."),
        (1, 0, 0, "These are the signals that one answer of one model gives."),
        (1, 3, 9, "This data has no models of several seeds."),
        (2, 0, 9, "This data has no changed views of its inputs."),
        (2, 3, 0, "This data has no questions whose right answer follows from a label."),
        (1, 0, 9, "This data has no models of several seeds and no changed views of its inputs."),
        (1, 3, 0, "This data has no models of several seeds and no questions whose right answer follows from a label."),
        (
            2,
            0,
            0,
            "This data has no changed views of its inputs and no questions whose right answer follows from a label.",
        ),
    ],
)
def test_page_08_names_the_signals_that_are_missing(models, views, asked, said):
    numbers = numbers_of(policy__n_models=models, policy__n_views=views, policy__n_questioned=asked)
    assert told("08_policy", "All signals are there", numbers) == said


def people(is_simulated=1, errs_by_class=0, n_splits_not_asked=0):
    values = {"is_simulated": is_simulated, "errs_by_class": errs_by_class, "n_splits_not_asked": n_splits_not_asked}
    return numbers_of(**{f"policy__{name}": value for name, value in values.items()})


@pytest.mark.parametrize(
    ("t_auto", "t_clarify", "said"),
    [
        (0.8, 0.4, "goes out alone from a score of 0.8 on; is asked about from 0.4 on; the others go to"),
        (0.8, 0.8, "goes out alone from a score of 0.8 on; none is asked about; the others go to"),
        (0.8, 0.0, "from a score of 0.8 on; is asked about from 0 on; no score is too low"),
        (0.0, 0.0, "from a score of 0 on; none is asked about; no score is too low"),
        (1.0000000000000002, 0.4, "No case goes out alone; cases are asked about from 0.4 on; the others go to"),
        (1.0000000000000002, 1.0000000000000002, "No case goes out alone; none is asked about; the others go to"),
    ],
)
def test_page_08_says_what_the_thresholds_mean(t_auto, t_clarify, said):
    numbers = numbers_of(policy__t_auto=t_auto, policy__t_clarify=t_clarify)
    numbers.merge({**people(), **numbers_of(policy__human_accuracy=0.9, policy__glance_accuracy=0.8)})
    assert said in told("08_policy", "No case goes out alone", numbers)


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ({}, "a simulated person whose errors fall on all cases alike."),
        ({"errs_by_class": 1}, "a simulated person whose errors depend on the true class."),
        ({"is_simulated": 0}, "one recorded annotator of each case."),
        (
            {"is_simulated": 0, "n_splits_not_asked": 1},
            "one recorded annotator of each case (of splits where nobody was asked, one who",
        ),
    ],
)
def test_page_08_says_who_takes_over(who, said):
    thresholds = numbers_of(policy__t_auto=0.8, policy__t_clarify=0.4)
    thresholds.merge({**people(**who), **numbers_of(policy__human_accuracy=0.9, policy__glance_accuracy=0.8)})
    assert f"the others go to {said}" in told("08_policy", "No case goes out alone", thresholds)


def answered(auto_share=0.5, gain=UP, who=None, n_own_prices=0, **more):
    shown = dict.fromkeys(("n_pairs", "auto_error", "clarify_share", "human_share", "cost", "cost_oracle"), 0.5)
    gains = {f"gain_over_{name}": gain for name in ("auto", "human", "max_probability", "entropy")}
    numbers = numbers_of(**{f"policy__test__{k}": v for k, v in (shown | gains | more).items()})
    prices = {f"policy__{name}": 1.0 for name in ("price_human", "price_clarify", "price_error", "human_accuracy")}
    numbers.merge(numbers_of(policy__test__auto_share=auto_share, policy__n_own_prices=n_own_prices, **prices))
    numbers.merge(people(**(who or {})))
    return told("08_policy", "An oracle that knew the truth", numbers)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (UP, "it saves 0.30 [0.20, 0.40] against always acting alone;"),
        (DOWN, "**it is dearer than thresholds on entropy alone** (saved: -0.30 [-0.40, -0.20])."),
        (SPANS, "no difference to always asking a simulated person is shown (0.10 [-0.10, 0.30]);"),
        (BARE, "no difference to thresholds on maximum probability alone is shown (0.1);"),
    ],
)
def test_page_08_says_what_the_policy_saves_by_the_interval(gain, said):
    assert said in answered(gain=gain)
    assert "same composite of one answer" not in answered(gain=gain)
    assert "**it is dearer than the same composite of one answer" in answered(gain=gain, gain_over_one_model=DOWN)


def test_page_08_says_in_bold_that_a_policy_is_degenerate():
    assert "The policy is not degenerate" in answered() and "of them wrong" in answered()
    assert "**DEGENERATE POLICY: everybody was intervened on" in answered(0.0) and "of them wrong" not in answered(0.0)
    assert "**DEGENERATE POLICY: nobody was intervened on" in answered(1.0)


def test_page_08_says_whose_prices_and_people_these_are():
    assert "people are simulated, right on 1 by the parameters" in answered() and "some classes" not in answered()
    recorded = answered(who={"is_simulated": 0}, n_own_prices=2)
    assert "always asking a person" in recorded and "people are those whose answers were recorded" in recorded
    assert "for an error (some classes have a price of their own);" in recorded


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (UP, "Handing over gains accuracy: on the cases"),
        (DOWN, "**Handing over loses accuracy:** on the cases"),
        (SPANS, "Whether handing over gains accuracy is not shown: on the cases"),
        (BARE, "Whether handing over gains accuracy is not shown: on the cases"),
        (NOTHING, "No case is handed over"),
    ],
)
def test_page_08_says_whether_handing_over_helps(gain, said):
    assert told("08_policy", "Handing over gains", numbers_of(policy__test__handover_gain=gain)).startswith(said)


def elsewhere(split="independent", n_images=7, accuracy=(0.8, 0.7, 0.9), gain=UP, auto_share=0.5, saved=UP):
    names = ("guessing", "macro_f1", "macro_f1_change", "ece", "level", "coverage", "auto_error", "policy_cost")
    values = dict.fromkeys(names, 0.5) | {"accuracy": accuracy, "gain_over_guessing": gain, "n_pairs": 40.0}
    values |= {"auto_share": auto_share, "policy_gain": saved} | ({} if n_images is None else {"n_images": n_images})
    return numbers_of(**{f"{split}__{name}": value for name, value in values.items()})


def both(first, second):
    numbers = people()
    numbers.merge({**first, **second})
    return [told("09_independent_set", words, numbers) for words in ("stays open", "The policy lets")]


ABSENT = {"accuracy": NOTHING, "n_images": 0}


def test_page_09_names_the_sets_that_are_missing():
    hand = {"split": "independent_hand"}
    missing, answer = both(elsewhere(), elsewhere(**hand))
    assert missing == "" and "On the generated independent set (40 pairs, 7 images)" in answer
    assert "On the hand-written independent set (40 pairs, 7 images)" in answer
    missing, answer = both(elsewhere(), elsewhere(**hand, **ABSENT))
    assert "does not have the hand-written independent set" in missing and "hand-written" not in answer
    missing, answer = both(elsewhere(**ABSENT), elsewhere(**hand))
    assert "does not have the generated independent set" in missing and "generated" not in answer
    missing, answer = both(elsewhere(**ABSENT), elsewhere(**hand, **ABSENT))
    assert missing.startswith("**This data has no independent set") and answer.startswith(
        "This data has no independent"
    )


def test_page_09_does_not_call_saved_logits_generated_or_written_by_hand():
    missing, answer = both(elsewhere(n_images=None), elsewhere("independent_hand", **ABSENT))
    assert missing == "" and answer.startswith("On the independent set (40 rows) the model is right on")


@pytest.mark.parametrize("split", ["independent", "independent_hand"])
def test_page_09_says_guessing_costs_and_errors_by_their_intervals(split):
    other = elsewhere("independent" if split == "independent_hand" else "independent_hand", **ABSENT)
    for gain, words in (
        (UP, "0.30 [0.20, 0.40] more than always giving"),
        (DOWN, "**worse than guessing**: that minus"),
    ):
        assert words in both(elsewhere(split, gain=gain), other)[1]
    for gain in (SPANS, BARE):
        assert "**no better than guessing is shown**: that minus" in both(elsewhere(split, gain=gain), other)[1]
    for saved, words in (
        (UP, "it saves 0.30"),
        (DOWN, "**it is dearer than always"),
        (SPANS, "no difference to always"),
    ):
        assert words in both(elsewhere(split, saved=saved), other)[1]
    assert "of them wrong" in both(elsewhere(split), other)[1]
    assert "of them wrong" not in both(elsewhere(split, auto_share=0.0), other)[1]


def test_page_13_says_what_a_race_shows():
    numbers = numbers_of(repro__total_min=3.0, defect__ranking__published=0.4, defect__ranking__n_races=0.0)
    said = told("13_reproducibility", "In the closest of", numbers)
    assert "a single candidate" in said and "not defined" not in said and "change places in 0.4" in said
    numbers = numbers_of(repro__total_min=3.0, defect__ranking__published=0.4, defect__ranking__n_races=3.0)
    numbers.merge(numbers_of(defect__ranking__lead=0.1, defect__ranking__reversed=0.2))
    assert "In the closest of 3 races the better mean leads by 0.1" in told("13_reproducibility", "closest of", numbers)


@pytest.mark.parametrize(
    ("n_runs", "n_other", "said"),
    [
        (0, 0, "No run of this profile has more than one epoch"),
        (4, 0, "None of the 4 runs with more than one epoch"),
        (4, 1, "1 of 4 runs with more than one epoch would keep another one by loss; over all"),
    ],
)
def test_page_13_says_what_the_choice_of_an_epoch_costs(n_runs, n_other, said):
    values = {"n_runs": n_runs, "n_other_epoch": n_other, "cost": -0.1, "n_ranks_changed": 2}
    numbers = numbers_of(**{f"defect__criterion__{k}": v for k, v in values.items()}, defect__ablation__n_published=7)
    for ours, words in ((NOTHING, "no trial that oversamples"), (Number(2.0), "differs from its twin in 2.")):
        whole = told("13_reproducibility", "defect.criterion", Numbers({**numbers, "defect.ablation.n_ours": ours}))
        assert whole.startswith(said) and words in whole and "differ in 7 settings" in whole


@pytest.mark.parametrize(
    ("guard", "is_seen"), [((0.8, 0.7, 0.9), True), ((0.2, 0.1, 0.3), True), ((0.5, 0.4, 0.6), False), (NOTHING, False)]
)
def test_page_13_says_whether_the_guard_sees_an_exchange(guard, is_seen):
    names = ("names__ours", "names__defect", "recall__ours", "recall__defect", "guard__defect")
    numbers = numbers_of(defect__guard__ours=guard, **{f"defect__{name}": 0.5 for name in names})
    assert ("which shows the exchange" in told("13_reproducibility", "The guard against it", numbers)) == is_seen


def test_page_01_says_what_saved_logits_share_and_who_was_asked():
    counts = {"n_pairs": 9, "n_classes": 3, "test__n_pairs": 5, "test__accuracy": UP}
    for shared, tuning, asked in ((0, 0, NOTHING), (2, 4, Number(0.9))):
        values = counts | {"n_shared_rows": shared, "n_tuning": tuning, "people__accuracy": asked}
        said = told("01_recorded", "rows of saved logits", numbers_of(**{f"data__{k}": v for k, v in values.items()}))
        assert ("**2 rows of one split occur again in another.**" in said) == bool(shared)
        assert ("No row of one split occurs again" in said) != bool(shared)
        assert ("Nobody's answers" in said) == (asked is NOTHING) and ("4 of its rows" in said) == bool(tuning)
