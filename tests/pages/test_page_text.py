"""Sentences of pages that depend on numbers: what is said, and what is not, in every case."""

import pytest

from page_text import numbers_of, told
from verdict.base import paths
from verdict.base.numbers import Number, named
from verdict.report.conditions import chosen_text

UP, DOWN, SPANS, BARE = (0.3, 0.2, 0.4), (-0.3, -0.4, -0.2), (0.1, -0.1, 0.3), Number(0.1, kind="estimate")
BEST = (0.32, 0.22, 0.42)
NOTHING, ABOVE = Number(float("nan"), kind="estimate"), 1.0000000000000002


def of(prefix, *names, value=UP, **more):
    """Numbers below a prefix: one value for all names, and others."""
    return {f"{prefix}.{name}": one for name, one in (dict.fromkeys(names, value) | more).items()}


NAMES = (
    "trial",
    "seed",
    "best",
    "unfrozen",
    "frozen",
    "least_trained",
    "training",
    "training_of_frozen",
    "unfrozen_blocks",
)
COUNTS = {
    "n_others": 4,
    "n_ahead": 0,
    "n_fewer": 0,
    "n_better": 1,
    "n_worse": 0,
    "n_compared": 10,
    "margin": 0.01,
    "n_alike": 1,
}
KEPT = of("selection", "macro_f1", "gain_over_frozen", "gain_of_longer_training", **COUNTS)
KEPT |= {f"selection.{name}": named(f"<{name}>") for name in NAMES}
TESTED = KEPT | of("test", "accuracy", "macro_f1", "hypothesis_only", "shuffled", "gain_over_frozen", n_pairs=9)
TESTED |= of("test", gain_of_longer_training=NOTHING)
ABLATED = {"ablation.n_differences": 3, "ablation.n_shown": 1}
FITTED = of("calibration", n_fit=9, temperature=(2.0, 1.5, 2.5), temperature_at_bound=0, warning=NOTHING)
SCALED = FITTED | of("calibration.test", "ece", "ece_before", "ece_if_calibrated", "nll", "nll_before", "gap")
SCALED |= {"calibration.test.temperature": (1.0, 0.9, 1.1)}
SCALED |= of("calibration.test", "ece_difference", "nll_difference", "aurc_difference", value=SPANS)
MINUS_CALIB = "calibration.test.temperature_minus_calib"
ALL_ROWS = of("calibration.test", "error_minus_calib", "nll_at_1_minus_calib") | {MINUS_CALIB: SPANS}
LINKED = ALL_ROWS | of("calib.linked", "nll", "nll_by_chance", value=1.2)
LINKED |= {"test.linked.nll_by_chance": 1.2, "calibration.is_of_clip": 0}
MIXED = of("zero_shot", "taught", "held_out", n_held_out=9, held_out_gap=UP, taught_gap=DOWN)
SETS = of("calibration.test", "level", "coverage", "set_size", "share_single", "share_empty", shortfall_allowed=0.05)
SETS |= of("calibration.test", "coverage_shortfall", "adaptive_shortfall", "class_shortfall", value=SPANS)
PEOPLE = of("policy", "human_accuracy", value=0.9, is_simulated=1, errs_by_class=0, errs_where_hard=0)
PEOPLE |= of("policy", n_splits_not_asked=0, glance_accuracy=0.8, glance_wanted=0.8, n_own_prices=0)
THRESHOLDS = PEOPLE | of("policy", t_auto=0.8, t_clarify=0.4)
GAINS = ("auto", "human", "no_score", "no_questions", "one_threshold", "pooled", "composite")
GAINS = tuple(f"gain_over_{name}" for name in GAINS)
SHARES = ("n_pairs", "auto_share", "auto_error", "clarify_share", "human_share", "cost", "cost_oracle")
DECIDED = PEOPLE | of("policy.test", *SHARES, *GAINS)
DECIDED |= of("policy", "price_human", "price_clarify", "price_error", value=1)
DECIDED |= of("policy.test", n_parts=4, n_parts_saving=1, parts_saving=7)
DECIDED |= of("policy", score=1, is_composite=1, is_max_probability=0, n_models=5)
OTHER_SCORE = DECIDED | {"policy.is_composite": 0}
RANKED = of(
    "policy", "score_gain", score=1, n_scores=3, n_scores_alike=1, is_composite=1, is_max_probability=0, n_models=5
)
RANKED |= of("policy.test", "aurc", "aurc_one_model", "gain_of_mean", n_helping=2, n_signals=5, n_harming=0)
RANKED |= of(
    "policy.test", *(f"aurc_gain_over_{name}" for name in ("composite", "max_probability", "pooled", "one_model"))
)
BY_MAXIMUM = {name: value for name, value in RANKED.items() if "over_max" not in name} | {
    "policy.is_max_probability": 1
}
JUDGED = ("guessing", "macro_f1", "macro_f1_change", "ece", "level", "coverage", "auto_error", "policy_cost")
JUDGED += ("accuracy", "gain_over_guessing", "auto_share", "policy_gain", "alarm_cost")
GENERATED, BY_HAND = of("independent", *JUDGED, n_pairs=40), of("independent_hand", *JUDGED, n_pairs=40)
IMAGES = {"independent.n_images": 7, "independent_hand.n_images": 7}
ALARM_BY_HAND = of("independent_hand", batch_p=0.001, is_foreign=1, unwatched_share=0.66, unwatched_error=0.15)
BOTH = PEOPLE | GENERATED | BY_HAND | IMAGES
HELD = of("policy.promise", error=0.05, confidence=0.95, n_limits=0, n_kept=3, n_tested=7, n_rows=97, n_groups=31)
HELD |= of("policy.promise", is_by_group=1, n_needed=47, n_more=16)
HELD |= of("policy.test", "cost_without_promise", "gain_over_no_promise", promise_excess=-0.01)
PRICED = of("policy", price_human=1, price_clarify=0.25, price_asking_pays=0.6, asking_share=0.03)
FACTS = of("policy", fact_refutes=0.5, fact_proves=0.4, worth_refutes=0.5, worth_proves=0.4)
STRANGE = of("foreign", rate_batch=0.01, rate_pair=0.01) | of("test", "foreign_share", batch_p=0.4, is_foreign=0)
STRANGE |= of("test", batch_alarms=0.002, batch_alarms_n=1000)
NOTICED = STRANGE | IMAGES | of("independent", "foreign_share", "foreign_auroc", batch_p=0.001, is_foreign=1)
RACE = {"defect.ranking.published": 0.4, "defect.ranking.lead": 0.1}
RACE |= {"defect.ranking.n_races": 3, "defect.ranking.reversed": 0.2}
EPOCHS = RACE | of("defect.criterion", n_runs=4, n_other_epoch=1, cost=-0.1, n_ranks_changed=2)
EPOCHS |= of("defect.ablation", n_published=7, n_ours=2)
EXCHANGED = of("defect", "names.ours", "names.defect", "recall.ours", "recall.defect", "guard.defect")
READ = of("data", n_pairs=9, n_classes=3, n_shared_rows=0, n_tuning=0) | of("data.test", n_pairs=5, accuracy=UP)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "of 99 test rows none goes out alone"), (0.5, "In 50 % of test rows"), (1, "All 99 test rows")],
)
def test_a_recorded_report_begins_with_how_many_go_out_alone(share, words):
    """Also where the others are partly asked about and partly handed over."""
    text = (paths.NOTEBOOKS / "index_recorded.md").read_text(encoding="utf-8").partition("A recorded model")[0]
    shares = {"policy.test.auto_share": Number(share, unit="%"), "policy.test.auto_error": UP if share else NOTHING}
    numbers = numbers_of(shares | {"policy.test.n_pairs": 99})
    assert words in numbers.format(chosen_text(text, numbers))


def no(*splits):
    return {f"{split}.{name}": n for split in splits for name, n in (("accuracy", NOTHING), ("n_images", 0))}


MARGIN, ONE = "within 0.01 macro-F1 of", "{p}.gain_over_frozen"
PAGE_04, PAGE_05 = ("04_model_selection", "Kept: "), ("05_test", 'has("test.gain_over_frozen")')
ABLATION, VAL = ("04_model_selection", "ablation.n_differences"), ("05_test", "Val prefers")
FIT, SCALING = ("07_calibration", "Fitted on {{ calibration.n_fit }}"), ("07_calibration", "As it comes")
PARTS, WHOLE, PROMISE = (
    ("07_calibration", words) for words in ("n_families_off", "Test minus all of calib", "Sets that promise")
)
SIGNALS, RANKING, LIMITS, ANSWER = (
    ("08_policy", words) for words in ("All of these signals", "The score in use is", "No case goes", "chooses nothing")
)
PEOPLE_ARE, PAID, ORACLE, HANDOVER, PAYING = (
    ("08_with_people", words)
    for words in ("People err.", "Prices{% if", "An oracle that knew", "Handing over gains", "What a fact can be worth")
)
KEEPING, AT_HOME = ("08_policy", "thresholds in the sequence"), ("08_policy", "As a batch test is")
APART = ("09_independent_set", "called foreign: nothing of it")
MISSING, ELSEWHERE = ("09_independent_set", "stays open"), ("09_independent_set", "The policy lets")
ORDER, CHOICE, GUARD = (("13_defects", words) for words in ("closest of", "defect.criterion", "The guard against"))
LEAK, SUMMED = (("13_defects", words) for words in ("The leaking fits have seen", "Of the study's defects"))
LEAKED = of("defect", *(f"{name}.difference" for name in ("leak", "leak_pair", "leak_image", "leak_not", "scale")))
LEAKED |= of("defect.leak", n_images_ours=0, n_images=9, n_pairs=12) | of("defect", "scale_fitted.difference")
LEAKED |= of("defect", "names.difference", "threshold.difference", "parent.ratio", "attention.logit_change")
LOGITS = ("01_recorded", "classes were read")
AHEAD, BOUGHT, BREAKS = (
    ("09_independent_set", words)
    for words in ("estimates are off", "**Labels do not make", "Which of the two costs more")
)
NOTICING = ("09_independent_set", "The area under the ROC curve")
TOGETHER = ("01_recorded", "one person does not reach it")
SKILLS, CARRIED = (("09_independent_set", words) for words in ("the worst change on", "with a largest shortfall over"))
FALLEN = of("independent", "worst_change", guessing=0.3, worst_accuracy=(0.5, 0.4, 0.6), n_compared=2, n_fallen=1)
FALLEN |= of("independent", worst_family=named("a"), fallen=named("a"), not_fallen=named("b"))
TRAVELLED = of("independent", "oracle_temperature", "excess_nll", "level", "coverage", coverage_shortfall=UP)
TRAVELLED |= {"calibration.temperature_all": UP}
WAYS = tuple(f"forecast_{way}_error" for way in ("confidence", "difference", "threshold"))
FORETOLD = of("independent", *WAYS, n_forecasts=3, n_forecasts_off=3, n_forecasts_near=0, n_forecasts_high=3)
FORETOLD["test.n_forecasts_high"] = 1
FORETOLD |= {"forecast.margin": 0.05}
LABELLED = of("independent.bought", "coverage", "auto_error", "cost", "saved", groups=40, labels=320, is_enough=1)
LABELLED |= of("independent.bought", kept=0.85, broken=0.05, pays_after=400, testing=24, needed=20)
LABELLED |= of("independent.bought", "saved_by_labels") | of("independent", unwatched_share=0.57, unwatched_error=0.04)
HALVED = {f"{split}.accuracy_change": DOWN for split in ("independent", "independent_images", "independent_sentences")}
HALVED |= of("independent", images_minus_sentences=DOWN, interaction=SPANS, gain_over_guessing=UP, alarm_cost=DOWN)
HALVED |= {"independent_images.alarm_cost": UP, "independent.is_foreign": 1, "independent_sentences.alarm_cost": UP}
HALVED |= {"test.alarm_cost": UP, "independent_images.policy_cost": 1.5, "independent_images.always_auto": UP}
HALVED |= PEOPLE
HALVED |= {
    f"{split}.unwatched_{name}": UP
    for split in ("independent", "independent_images", "independent_sentences")
    for name in ("share", "error")
}
ALARMED = HALVED | {
    "foreign.rate_batch": 0.01,
    "independent_images.is_foreign": 1,
    "independent_sentences.is_foreign": 1,
}
MASKED = ("06_interpretation", "masking.most_contrast.logit_change")
JOINED = of("data.people", "whole", "whole_by_majority", "accuracy", share_asked=0.1, value=(0.97, 0.96, 0.98))
JOINED |= {"published.whole": (0.99, 0.985, 0.995), "data.test.accuracy": UP}


def by_interval(where, base, name, up, down, spans):
    """The three sentences of an interval; one without bounds shows nothing."""
    for value, said in ((UP, up), (DOWN, down), (SPANS, spans), (BARE, spans)):
        yield where, base, {name: value}, said, *({up, down, spans} - {said})


def signals(models, views, asked):
    return {"policy.n_models": models, "policy.n_views": views, "policy.n_questioned": asked}


NO_SEEDS, NO_VIEWS = "no models of several seeds", "no changed views of its inputs"
NO_QUESTIONS = "no questions whose right answer follows from a label."
CASES = [
    (PAGE_04, KEPT, {"selection.n_others": 0}, "seed <seed>: it is the only candidate. Its", "shown to be better"),
    (PAGE_04, KEPT, {}, "none trains fewer parameters. Its macro-F1", "train as few"),
    *(
        (
            PAGE_04,
            KEPT,
            {"selection.n_alike": 3, "selection.lead": lead},
            f"3 within the margin that train as few {words}",
        )
        for lead, words in (
            (SPANS, "it scores best, 0.10 [-0.10, 0.30] above the next: no difference is shown."),
            (UP, "it scores best, 0.30 [0.20, 0.40] above the next. Its"),
        )
    ),
    (PAGE_04, KEPT, {"selection.n_ahead": 2}, f"fewest parameters of those shown to lie {MARGIN} the best, **<best>**"),
    (PAGE_04, KEPT, {}, "it scores best on val, and none trains fewer parameters. Its", "only candidate", "the fewest"),
    (PAGE_04, KEPT, {"selection.n_fewer": 2}, f"none that trains fewer parameters is shown to lie {MARGIN} it (un"),
    (PAGE_04, KEPT, {}, "shown to be better than 1 and worse than 0 of 4 other candidates"),
    *by_interval(PAGE_04, KEPT, "selection.gain_over_frozen", "Unfreezing <unfrozen_blocks> adds", "costs", "shows"),
    *by_interval(PAGE_05, TESTED, "test.gain_over_frozen", "<unfrozen_blocks> adds", "costs", "shows no change"),
    (PAGE_05, TESTED, {}, "**<unfrozen>** minus **<frozen>**; training <training>.", "longer"),
    (
        PAGE_04,
        KEPT,
        {},
        "rates of the later epochs (**<frozen>** minus **<least_trained>**), adds",
    ),
    (
        PAGE_04,
        KEPT,
        {"selection.gain_over_frozen": NOTHING},
        "No two candidates of this profile show",
        "Unfreezing adds",
    ),
    (ABLATION, {"ablation.n_differences": 0}, {}, "No trial of this profile differs", "Of all"),
    *(
        (ABLATION, ABLATED, of(f"ablation.{factor}", accuracy=gap, trial=named("a"), twin=named("b")), said, *unsaid)
        for factor, gap, said, *unsaid in (
            ("oversampling", SPANS, "Oversampling alone (**a** minus **b**) changes accuracy by", "Augmentation"),
            ("oversampling", SPANS, "on all pairs (no difference shown). Of all 3 differences"),
            ("augmentation", UP, "Augmentation alone (**a** minus **b**)", "no difference shown", "Oversampling"),
        )
    ),
    *(
        (VAL, {"val.threshold": 0.4, "test.n_turned": 3}, {"test.threshold_gain": gain}, said, *unsaid)
        for gain, said, *unsaid in (
            (UP, "half.", "no diff"),
            (DOWN, "half.", "no diff"),
            (SPANS, "no diff"),
            (BARE, "no diff"),
        )
    ),
    (VAL, {"val.threshold": 0.5, "test.n_turned": 0}, {}, "which changes no answer on test.", "macro-F1", "no diff"),
    (("05_test", "Of {{ published"), {}, {}, "", "Of ", "study"),
    (("05_test", "Of {{ published"), of("published", n_repeated=6, n_inside=2), {}, "Of 6 published scores"),
    (FIT, FITTED, {}, "Above one: on these rows of calib less sure probabilities have the lower loss.", "Warning"),
    (FIT, FITTED, {"calibration.temperature": (0.5, 0.4, 0.6)}, "Below one: on these rows of calib surer", "Warning"),
    (FIT, FITTED, {"calibration.temperature": (1.0, 0.9, 1.1)}, "That it differs from one is not shown", "Warning"),
    (
        FIT,
        FITTED,
        {"calibration.temperature_at_bound": 1},
        "less sure probabilities have the lower loss. **Warning: in some",
    ),
    (FIT, FITTED, {"calibration.temperature_at_bound": 2}, "**Warning: in some", "Above", "slope"),
    (FIT, FITTED, {"calibration.warning": named("20 are few")}, "**Warning: 20 are few.**", "slope", "in some"),
    (SCALING, SCALED, {"calibration.warning": named("20 are few")}, "**Warning: 20 are few.**", "in some"),
    (SCALING, SCALED, {"calibration.temperature_at_bound": 1}, "**Warning: in some resamples"),
    (SCALING, SCALED, {}, "no difference is shown", "Warning", "Ranking"),
    (SCALING, SCALED, {"calibration.test.aurc_difference": UP}, "Ranking gets worse: AURC rises by"),
    (SCALING, SCALED | MIXED, {"calibration.is_of_clip": 1}, "no one temperature mends both."),
    (SCALING, SCALED | MIXED, {"calibration.is_of_clip": 1, "zero_shot.taught_gap": SPANS}, "elsewhere.", "mends"),
    (SCALING, SCALED | MIXED, {"calibration.is_of_clip": 0}, "no difference is shown", "couples"),
    *(
        (
            SCALING,
            SCALED | {f"calibration.test.{other}_difference": BARE},
            {f"calibration.test.{score}_difference": gap},
            said,
        )
        for score, other in (("ece", "nll"), ("nll", "ece"))
        for gap, said in ((DOWN, "scaling lowers it"), (UP, "**scaling makes it worse**"))
    ),
    (
        PARTS,
        of("calibration.test", n_families=4),
        {"calibration.test.n_families_off": 0},
        "no part is shown",
        "is off on",
    ),
    (
        PARTS,
        of("calibration.test", n_families=4) | {"calibration.test.families_off": named("colour +2.6 points")},
        {"calibration.test.n_families_off": 2},
        "is off on",
        "no part is shown",
    ),
    (WHOLE, ALL_ROWS, {"calibration.is_of_clip": 1}, "The pages on probes and shift"),
    *(
        (WHOLE, ALL_ROWS | {"calibration.is_of_clip": 0}, {MINUS_CALIB: apart}, said, unsaid, "probes", "handwriting")
        for apart, said, unsaid in (
            *((shown, "**One temperature does not serve both**", "is not shown") for shown in (UP, DOWN)),
            *((open_, "would not serve both is not shown", "both**") for open_ in (SPANS, BARE)),
        )
    ),
    (WHOLE, LINKED, {"test.linked.nll": 1.3}, "other handwriting", "probes"),
    (WHOLE, LINKED, {"test.linked.nll": 1.3, "calibration.is_of_clip": 1}, "probes", "handwriting"),
    *(
        (SCALING, SCALED, {f"calibration.test.{name}": value}, said, *unsaid)
        for name, value, said, *unsaid in (
            ("ece_before", UP, "the model **is told from a calibrated one** on test", "not told"),
            ("ece_before", (0.01, 0.0, 0.02), "the model is not told from a calibrated one on test", "**is told"),
            ("gap", UP, "the model is **too sure** there, by 0.30", "not sure"),
            ("gap", DOWN, "the model is **not sure enough** there, by -0.30", "too sure"),
            ("gap", SPANS, "no average miss is shown there (0.10", "sure**"),
            ("temperature", (0.5, 0.4, 0.6), "is below one: they ask for surer probabilities.", "less sure"),
            ("temperature", (1.5, 1.4, 1.6), "is above one: they ask for less sure probabilities.", "wrong way"),
            ("temperature", (0.5, 0.4, 0.6), "**this T goes the wrong way**"),
        )
    ),
    *(
        (PROMISE, SETS, {"calibration.test.coverage_shortfall": gap}, said, unsaid)
        for gap, said, unsaid in (
            (UP, "**the promise is shown to be missed.**", "less than"),
            ((0.03, 0.02, 0.04), "**the promise is shown to be missed, by less than is allowed.**", "neither a"),
            (DOWN, "less than is allowed (0.05).", "the promise is"),
            *((gap, "**neither a miss nor less than is allowed (0.05) is", "missed") for gap in (SPANS, BARE)),
        )
    ),
    *(
        (PROMISE, SETS, {f"calibration.test.{name}_shortfall": gap}, said, unsaid)
        for name, missed, kept in (
            ("adaptive", ": **they miss their promise** (short ones charge for no class", "allowed (short"),
            ("short", ": **they miss it**.", "of the short ones -0.30 [-0.40, -0.20]: less than is allowed."),
            ("class", "**they miss it there.**", "by -0.30 [-0.40, -0.20]: less than is allowed."),
        )
        for gap, said, unsaid in ((UP, missed, kept), (DOWN, kept, missed))
    ),
    (PROMISE, SETS, {}, "**whether they keep it in each class is not known.**", "Marginal sets promise"),
    (PROMISE, SETS, {"calibration.test.marginal_class_shortfall": UP}, "Marginal sets promise no class anything: in"),
    (PROMISE, {name: n for name, n in SETS.items() if "class" not in name}, {}, "the same sets).", "worst class"),
    *(
        (
            ("01_data", "data.train.n_words"),
            {"data.train.n_words": n, "data.train.n_artefacts": uneven},
            {},
            said,
            unsaid,
        )
        for n, uneven, said, unsaid in (
            (0, 0, "No word of train", "Each"),
            (7, 0, "Each of the 7 frequent words", "more often with one"),
            (7, 2, "Of 7 frequent words of train, 2 stand more often", "none goes"),
        )
    ),
    (SIGNALS, signals(2, 3, 9), {}, "All of these signals are at hand.", "This data"),
    (SIGNALS, signals(1, 0, 0), {}, "These are the signals that one answer of one model gives.", "This data"),
    (SIGNALS, signals(1, 3, 9), {}, f"This data has {NO_SEEDS}.", " and "),
    (SIGNALS, signals(2, 0, 9), {}, f"This data has {NO_VIEWS}.", " and "),
    (SIGNALS, signals(2, 3, 0), {}, f"This data has {NO_QUESTIONS}", " and "),
    (SIGNALS, signals(1, 0, 9), {}, f"This data has {NO_SEEDS} and {NO_VIEWS}."),
    (SIGNALS, signals(1, 3, 0), {}, f"This data has {NO_SEEDS} and {NO_QUESTIONS}"),
    (SIGNALS, signals(2, 0, 0), {}, f"This data has {NO_VIEWS} and {NO_QUESTIONS}"),
    *(
        (LIMITS, THRESHOLDS, {"policy.t_auto": auto, "policy.t_clarify": ask}, said)
        for auto, ask, said in (
            (0.8, 0.4, "goes out alone from a score of 0.8 on; is asked about from 0.4 on; the others go to"),
            (0.8, 0.8, "goes out alone from a score of 0.8 on; none is asked about; the others go to"),
            (0.8, 0.0, "from a score of 0.8 on; is asked about from 0 on; no score is too low"),
            (0.0, 0.0, "from a score of 0 on; none is asked about; no score is too low"),
            (ABOVE, 0.4, "No case goes out alone; cases are asked about from 0.4 on; the others go to"),
            (ABOVE, ABOVE, "No case goes out alone; none is asked about; the others go to"),
        )
    ),
    (LIMITS, THRESHOLDS, {}, "go to a simulated person whose errors fall on all cases alike."),
    (
        LIMITS,
        THRESHOLDS,
        {"policy.errs_by_class": 1},
        "go to a simulated person whose errors depend on the true class.",
    ),
    (LIMITS, THRESHOLDS, {"policy.errs_where_hard": 1}, "go to a simulated person who errs more where the model errs."),
    (LIMITS, THRESHOLDS, {"policy.is_simulated": 0}, "go to one recorded annotator of each case.", "simulated"),
    (
        LIMITS,
        THRESHOLDS | {"policy.is_simulated": 0},
        {"policy.n_splits_not_asked": 1},
        "each case (of splits where nobody",
    ),
    (ANSWER, DECIDED, {}, "go out alone, 0.30 [0.20, 0.40] of them wrong. Another", "chooses nothing", "Promised"),
    (
        ANSWER,
        DECIDED,
        {"policy.test.auto_share": 0},
        "**Nothing goes out alone: the policy only chooses",
        "of them wrong",
    ),
    (
        ANSWER,
        DECIDED,
        {"policy.test.auto_share": 1},
        "**Everything goes out alone, so",
        "Nothing goes",
    ),
    (PAID, DECIDED, {"policy.is_max_probability": 1}, "Prices and", "maximum probability"),
    (PAID, DECIDED, {"policy.test.auto_share": 0}, "Prices and", "sking"),
    (PAID, DECIDED, {}, "Prices and people are [assumed]"),
    (ORACLE, DECIDED, {}, "An oracle that knew the truth would cost 0.30", "promise", "one policy"),
    (PAID, DECIDED, {"policy.is_simulated": 0}, "Prices are [assumed]", "simulated"),
    (
        PEOPLE_ARE,
        DECIDED,
        {},
        "are simulated; the latter guesses now and then, so as not",
        "recorded",
        "own.",
        "nobody",
    ),
    (
        PEOPLE_ARE,
        DECIDED,
        {"policy.glance_accuracy": 0.9, "policy.glance_wanted": 0.95},
        "right on 0.95 of the tuning cases, but nobody",
        "guesses",
    ),
    (PEOPLE_ARE, DECIDED, {"policy.is_simulated": 0}, "drawn from those whose answers were recorded", "simulated"),
    (PEOPLE_ARE, DECIDED, {"policy.n_own_prices": 2}, "for an error whose class has no price of its own."),
    *(
        case
        for where, name, rival in (
            (PAID, "auto", "always acting alone"),
            (PAID, "human", "a simulated person for every case"),
        )
        for case in by_interval(
            *(where, DECIDED, f"policy.test.gain_over_{name}", f"it saves 0.30 [0.20, 0.40] against {rival}"),
            f"**it is dearer than {rival}** (saved: -0.30 [-0.40, -0.20])",
            f"no difference to {rival} is shown (0.1",
        )
    ),
    *by_interval(
        *(HANDOVER, {}, "policy.test.handover_gain", "Handing over gains accuracy: on the cases"),
        *("**Handing over loses accuracy:** on the cases", "Whether handing over gains accuracy is not shown: on the"),
    ),
    (
        ORACLE,
        DECIDED,
        {},
        "Of its 4 parts (score, gate, questions), taken away one at a time, 1 is shown to save anything (7), un",
    ),
    (ORACLE, DECIDED, {"policy.test.n_parts_saving": 0}, "0 are shown to save anything, unadjusted"),
    *by_interval(
        *(ORACLE, DECIDED, "policy.test.gain_over_one_threshold", "All of them together save 0.30"),
        *("**are dearer than one threshold on the largest", "are not shown to save anything against one threshold"),
    ),
    *by_interval(
        *(PAID, DECIDED, "policy.test.gain_over_no_score", "as its score it would cost 0.30 [0.20, 0.40] more."),
        *(
            "as its score it would **be cheaper** (-0.30",
            "as its score it would not be shown to cost more or less (0.1",
        ),
    ),
    *by_interval(
        *(PAID, DECIDED, "policy.test.gain_over_pooled", "to the answer it saves 0.30 [0.20, 0.40]."),
        *("**is dearer: the simpler score is cheaper** (saved: -0.30", "to the answer it shows no difference (0.1"),
    ),
    *by_interval(
        *(PAID, OTHER_SCORE, "policy.test.gain_over_composite", "calib chose the 1, it saves 0.30 [0.20, 0.40]."),
        *("calib chose the 1, it **is dearer** (saved: -0.30", "calib chose the 1, it shows no difference (0.1"),
    ),
    (PAID, OTHER_SCORE, {}, "Prices and people", "mean probability"),
    (PAID, DECIDED, {"policy.n_models": 1}, "Prices and people", "mean probability"),
    (RANKING, RANKED, {}, "The score in use is the **1**, the best of 3 on calib's first part. On test it is 0.30"),
    (RANKING, RANKED | {"policy.is_composite": 0}, {}, "smaller than the composite's by 0.30 [0.20, 0.40]. On test"),
    (
        RANKING,
        RANKED | {"policy.is_composite": 0},
        {"policy.score_gain": SPANS},
        "shows no difference to the composite's (0.1",
    ),
    (
        RANKING,
        RANKED,
        {"policy.n_scores_alike": 2},
        "the first of 2 that rank alike, and best, on calib's first part. On",
    ),
    (RANKING, RANKED, {"policy.test.aurc_gain_over_one_model": UP}, "Maximum", "of one answer"),
    *by_interval(
        *(RANKING, RANKED, "policy.test.gain_of_mean", "model's; that of the mean **would be right more often**, by"),
        *("of the mean would be right less often, by", "of the mean is not shown to be right more or less often"),
    ),
    (RANKING, RANKED, {"policy.n_models": 1}, "Maximum", "The answer stays"),
    (RANKING, BY_MAXIMUM, {}, "The composite of one answer of one model ranks worse"),
    (RANKING, BY_MAXIMUM, {"policy.test.aurc_gain_over_one_model": 0}, "The score in use", "of one answer"),
    *(
        case
        for changed, name, words in (
            ({"policy.is_composite": 0}, "composite", "There the composite"),
            ({}, "max_probability", "Maximum probability alone"),
            ({}, "pooled", "The mean probability of the 5 models"),
            (
                {"policy.test.aurc_gain_over_max_probability": BEST},
                "one_model",
                "The composite of one answer of one model",
            ),
        )
        for case in by_interval(
            *(RANKING, RANKED | changed, f"policy.test.aurc_gain_over_{name}", f"{words} ranks worse, by 0.30"),
            *(f"{words} **ranks better** (difference -0.30", f"{words} shows no difference (0.1"),
        )
    ),
    (ANSWER, DECIDED | HELD, {"policy.test.n_changed_by_promise": 0}, "without it every test case is decided alike."),
    (
        ANSWER,
        DECIDED | HELD,
        {"policy.test.n_changed_by_promise": 9},
        "test does not show it broken. A case costs",
        "Here prices",
    ),
    (KEEPING, HELD, {}, "3 of the 7 thresholds in the sequence keep the promise, shown by the betting test", "**No"),
    (KEEPING, HELD, {"policy.promise.n_kept": 0}, "**No threshold keeps the promise**, so nothing", "in the sequence"),
    (KEEPING, HELD, {"policy.promise.is_by_group": 0}, "the exact binomial test on 97 rows", "betting"),
    (KEEPING, HELD, {"policy.promise.n_needed": NOTHING}, "no number of groups would be enough", "would have to"),
    (KEEPING, HELD, {"policy.promise.n_more": 0}, "47 groups would have to test it, which there are", "more"),
    (KEEPING, {}, {}, "", "promise"),
    (ANSWER, DECIDED | HELD, {}, "test does not show it broken", "**no threshold"),
    (ANSWER, DECIDED | HELD, {"policy.promise.error": 0.4}, "test shows it kept. A case costs", "broken"),
    (ANSWER, DECIDED | HELD, {"policy.promise.n_kept": 0}, "**no threshold keeps it**", "does not show it broken"),
    (ANSWER, DECIDED | HELD, {"policy.test.promise_excess": 0.01}, "**test shows it broken**", "does not show"),
    (ANSWER, DECIDED | HELD, {"policy.test.promise_excess": NOTHING}, "the cheapest policy lets nothing out alone"),
    *by_interval(
        *(ORACLE, DECIDED | HELD, "policy.test.gain_over_no_promise", "Here the policy is cheaper than thresholds"),
        *(
            "The promise costs: the cheapest",
            "That the promise costs anything against the cheapest thresholds without it",
        ),
    ),
    *by_interval(
        *(PAID, DECIDED, "policy.test.gain_over_no_questions", "Asking saves 0.30 [0.20, 0.40] against a person"),
        *("**Asking makes it dearer** than a person", "That asking saves anything against a person in"),
    ),
    (PAYING, PRICED, {}, "it is 0.25", "**", "fact"),
    (PAYING, PRICED, {"policy.price_clarify": 0.7}, "up to a price of 0.6; **at 0.7 it asks about fewer**"),
    (PAYING, PRICED, {"policy.price_asking_pays": NOTHING}, "**Not even a free question would be asked about 0.03"),
    (
        PAYING,
        PRICED | FACTS,
        {},
        "price is below the share times 1: 0.5 for a fact that refutes, 0.4 for one that proves.",
        "forbids",
    ),
    (PAYING, PRICED | FACTS, {"calibration.is_of_clip": 1}, "On the tuning cases", "fact"),
    (PAYING, PRICED | FACTS | HELD, {}, ", and for more where the promise forbids to act alone."),
    (
        AT_HOME,
        STRANGE,
        {},
        "As a batch test is not called foreign (p = 0.4); of 1,000 random halves",
        "**called foreign**",
    ),
    (AT_HOME, STRANGE, {"test.is_foreign": 1}, "As a batch test is **called foreign** (p = 0.4)", "not called"),
    (AT_HOME, STRANGE, {"test.foreign_share": NOTHING}, "As a batch test is not", "Of test"),
    (AT_HOME, {}, {}, "", "foreign"),
    (APART, NOTICED, {}, "set is called foreign: nothing of it goes out alone; of its", "hand-written"),
    (APART, NOTICED, {"independent.is_foreign": 0}, "the generated set is **not called foreign**", "nothing of it"),
    (ELSEWHERE, BOTH | NOTICED, no("independent_hand"), "it is called foreign, and nothing goes out alone", "lets"),
    (
        *(ELSEWHERE, BOTH | NOTICED, no("independent_hand") | {"independent.is_foreign": 0}),
        *("**It is not noticed.** The policy lets", "Without a label"),
    ),
    (HANDOVER, {}, {"policy.test.handover_gain": NOTHING}, "No case is handed over", "accuracy"),
    (MISSING, BOTH, {}, "", "This data"),
    (MISSING, BOTH, no("independent_hand"), "does not have the hand-written independent set", "generated"),
    (MISSING, BOTH, no("independent"), "does not have the generated independent set", "hand-written"),
    (MISSING, BOTH, no("independent", "independent_hand"), "**This data has no independent set"),
    (MISSING, PEOPLE | GENERATED, no("independent_hand"), "", "This data"),
    (
        ELSEWHERE,
        BOTH,
        {},
        "On the generated independent set (40 pairs, 7 images) the model is right on",
        "no independent",
    ),
    (ELSEWHERE, BOTH, {}, "On the hand-written independent set (40 pairs, 7 images) the model is right on"),
    (ELSEWHERE, BOTH | ALARM_BY_HAND, {}, "0.15 of them wrong: there the alarm costs"),
    (ELSEWHERE, BOTH | ALARM_BY_HAND, {"independent_hand.unwatched_share": 0}, "right on", "there the alarm costs"),
    (ELSEWHERE, BOTH, no("independent_hand"), "On the generated", "hand-written"),
    (ELSEWHERE, BOTH, no("independent"), "On the hand-written", "generated"),
    (ELSEWHERE, BOTH, no("independent", "independent_hand"), "This data has no independent set, so nothing", "On the"),
    (ELSEWHERE, PEOPLE | GENERATED, {}, "On the independent set (40 rows) the model is right", "generated", "hand"),
    *(
        case
        for split, other in (("independent", "independent_hand"), ("independent_hand", "independent"))
        for where in [(ELSEWHERE, BOTH | no(other))]
        for case in (
            *by_interval(
                *(*where, f"{split}.gain_over_guessing", "0.30 [0.20, 0.40] more than guessing"),
                *(
                    "**worse than guessing** (the difference: -0.30",
                    "**No better than guessing is shown** (the difference",
                ),
            ),
            *by_interval(
                *(
                    *where,
                    f"{split}.policy_gain",
                    "it saves 0.30 [0.20, 0.40] against a simulated person for every case",
                ),
                *(
                    "**it is dearer than a simulated person for every case**",
                    "no difference to a simulated person for every case is shown",
                ),
            ),
            (*where, {f"{split}.auto_share": 0}, "go out alone: it saves", "of them wrong"),
            (*where, {"policy.is_simulated": 0}, "against a person for every case", "simulated"),
            (*where, {}, "go out alone, 0.30 [0.20, 0.40] of them wrong: it saves"),
        )
    ),
    (ORDER, EPOCHS, {}, "In the closest of 3 races the better mean leads by 0.1", "single candidate"),
    (ORDER, EPOCHS, {"defect.ranking.n_races": 0}, "This profile has a single candidate", "closest", "leads"),
    (
        CHOICE,
        EPOCHS,
        {},
        "1 of 4 runs with more than one epoch would keep another one by loss; over all",
        "None of",
        "No run",
    ),
    (CHOICE, EPOCHS, {"defect.criterion.n_other_epoch": 0}, "None of the 4 runs with more than one epoch", "No run"),
    (CHOICE, EPOCHS, {"defect.criterion.n_runs": 0}, "No run of this profile has more than one epoch", "None of"),
    (CHOICE, EPOCHS, {}, "differ in 7 settings, of which oversampling is one. A trial of this profile that overs"),
    (LEAK, LEAKED, {}, "**Fits differ there without a leak, so that", "no change is shown"),
    (LEAK, LEAKED, {"defect.leak_not.difference": SPANS}, "of which they had seen nothing.", "**Fits differ"),
    (LEAK, LEAKED, {"defect.leak_not.difference": NOTHING}, "whose image alone they had seen.", "nothing", "**Fits"),
    (SUMMED, LEAKED, {}, "by 0.30 [0.20, 0.40] (not put down to the leak: pairs that they never"),
    (SUMMED, LEAKED, {"defect.leak_not.difference": SPANS}, "by 0.30 [0.20, 0.40], on pairs", "no change"),
    (CHOICE, EPOCHS, {"defect.ablation.n_ours": NOTHING}, "This profile has no trial that oversamples", "its twin"),
    *(
        (GUARD, EXCHANGED, {"defect.guard.ours": guard}, said, *unsaid)
        for guard, said, *unsaid in (
            ((0.8, 0.7, 0.9), "which shows the exchange", "no exchange"),
            ((0.2, 0.1, 0.3), "which shows the exchange", "no exchange"),
            ((0.5, 0.4, 0.6), "it sees no exchange", "which shows"),
            (NOTHING, "it sees no exchange", "which shows"),
        )
    ),
    (LOGITS, READ, {}, "No row of one split occurs again in another. Nobody's answers", "tune the policy", "**"),
    (LOGITS, READ, {"data.n_shared_rows": 2}, "**2 rows of one split occur again in another.**", "No row"),
    (LOGITS, READ, {"data.n_shared_rows": NOTHING}, "Most rows equal others", "No row", "occur again in"),
    (LOGITS, READ, {"data.people.accuracy": UP}, "No row", "Nobody's answers"),
    (LOGITS, READ, {"data.n_tuning": 4}, "4 of its rows, drawn at random, tune the policy"),
    (NOTICING, STRANGE, {"foreign.n_halves": 2}, "lies farther from train than", "calib"),
    (NOTICING, STRANGE, {"foreign.n_halves": 1}, "lies farther from calib than", "train"),
    (AHEAD, {}, {}, "", "estimates"),
    (AHEAD, FORETOLD, {}, "On the independent set **3 of 3 estimates are off** by more than", "Seeds", "hand"),
    (AHEAD, FORETOLD, {"independent.n_forecasts_off": 0}, "none of 3 estimates is shown to be off by more than", "**"),
    (AHEAD, FORETOLD, {"independent.n_forecasts_high": 2}, "2 of them are shown to promise too much (1 on test)."),
    (AHEAD, FORETOLD, {"independent.n_forecasts_high": 0}, "(confidence above a threshold).", "too much"),
    (SKILLS, {}, {}, "", "families"),
    (SKILLS, FALLEN, {}, "gives 0.3. Shown to fall, adjusted for their number: 1 (a); no fall is", "no better"),
    (SKILLS, FALLEN, {"independent.worst_accuracy": SPANS}, "**no better than guessing is shown**."),
    (SKILLS, FALLEN, {"independent.n_fallen": 0}, "None is shown to fall, adjusted for their number.", "least"),
    (CARRIED, {}, {}, "", "calib"),
    *(
        (CARRIED, TRAVELLED, {"independent.coverage_shortfall": gap}, said, unsaid, "On test")
        for gap, said, unsaid in ((UP, "broken there.**", "no miss"), (SPANS, "no miss is shown.", "broken"))
    ),
    (CARRIED, TRAVELLED | ALL_ROWS, {"calibration.test.temperature": UP}, "On test the best is 0.30", "already"),
    (
        CARRIED,
        TRAVELLED | ALL_ROWS | {MINUS_CALIB: UP},
        {"calibration.test.temperature": UP},
        "[already there they differ]",
    ),
    (
        AHEAD,
        FORETOLD,
        {},
        "confidence fell by less than accuracy did. Answers are wrong above the threshold",
        "fell by more",
    ),
    (
        *(AHEAD, FORETOLD | of("independent", *WAYS, "forecast_seeds_error", "forecast_seeds", value=DOWN), {}),
        *("by more than accuracy did. Answers are right below the threshold, too. Seeds differ more", "by less"),
    ),
    (AHEAD, FORETOLD, of("independent", *WAYS, value=SPANS), "(confidence above a threshold).", "fell", "Answers"),
    (BOUGHT, {}, {}, "", "labels"),
    (BOUGHT, LABELLED, {}, "With 40 labelled groups (320 labels) a threshold keeps the promise in 0.85", "do not"),
    (
        BOUGHT,
        LABELLED,
        {},
        "calib's own thresholds without the alarm, so that they have paid after 400 cases.",
        "nothing is",
    ),
    (
        BOUGHT,
        LABELLED,
        {"independent.bought.is_enough": 0},
        "**Labels do not make the promise valid again.**",
        "With 40",
    ),
    (
        BOUGHT,
        LABELLED,
        {"independent.bought.is_enough": 0, "independent.bought.needed": 296},
        "of the most, 40 groups (320 labels), 24 test it, and it takes 296 groups to keep it in four draws of five",
        "do not make",
    ),
    (
        *(BOUGHT, LABELLED, {"independent.bought.saved_by_labels": DOWN, "independent.bought.kept": 0}),
        *("those let 0.57 go out alone under no promise, 0.04 of it wrong, while here no threshold keeps one", "paid"),
    ),
    *by_interval(
        *(BOUGHT, LABELLED, "independent.bought.saved_by_labels", "The labels save 0.30"),
        *("**It is dearer than what calib's own", "Against calib's own thresholds without the alarm no difference"),
    ),
    (
        BOUGHT,
        LABELLED,
        {"independent.bought.auto_error": NOTHING},
        "goes out alone; what does not is asked about",
        "of it wrong",
    ),
    *by_interval(
        *(BOUGHT, LABELLED, "independent.bought.saved", "less than handing everything over"),
        *("**dearer than handing everything over**", "nothing is shown to be saved"),
    ),
    (BREAKS, {}, {}, "", "images"),
    *by_interval(
        *(BREAKS, HALVED, "independent.images_minus_sentences", "**New sentences cost more than new images**"),
        *("**New images cost more than new sentences**", "Which of the two costs more is not shown"),
    ),
    *by_interval(
        *(BREAKS, HALVED, "independent.interaction", "lose less than the two losses add up to"),
        *("lose more than the two losses add up to", "do more or less than add up is not shown"),
    ),
    (BREAKS, HALVED, {}, "both by -0.30", "As a batch"),
    (
        *(BREAKS, HALVED | {"independent.interaction": UP}, {"independent.gain_over_guessing": SPANS}),
        *("at the rate of guessing there is no more to lose", "break again"),
    ),
    (
        *(BREAKS, HALVED | {"foreign.rate_batch": 0.01, "independent_images.is_foreign": 1}),
        *({"independent_sentences.is_foreign": 0}, "new images are called foreign; new sentences are **not**"),
    ),
    (BREAKS, ALARMED, {}, "The alarm costs 0.30 [0.20, 0.40] a case on new images alone", "not** called"),
    (BREAKS, ALARMED, {"independent_images.unwatched_share": 0}, "As a batch", "The alarm costs"),
    (BREAKS, ALARMED, {}, "On new images the policy costs 1.5, always acting alone 0.30 [0.20, 0.40]."),
    (BREAKS, ALARMED, {"independent_sentences.is_foreign": 0}, "**not**", "too."),
    (BREAKS, ALARMED, {"independent_images.is_foreign": 0}, "**not** called foreign; new sentences are.", "alarm"),
    *by_interval(
        *(MASKED, {}, MASKED[1], "the logit, too, moves more than"),
        *("the logit moves **less** than", "no difference from patches of most contrast is shown"),
    ),
    (TOGETHER, {}, {}, "", "people"),
    (TOGETHER, JOINED, {"published.whole": NOTHING}, "by the majority; the model alone is on", "arXiv"),
    (TOGETHER, JOINED, {}, "**one person does not reach it**, **and neither does the majority**", "is above"),
    (TOGETHER, JOINED, {"data.people.whole": (0.999, 0.998, 1.0)}, "one person is above it, **and neither", "reach"),
    (TOGETHER, JOINED, {"data.people.whole_by_majority": (0.99, 0.98, 1.0)}, "the majority is not shown to differ"),
]


@pytest.mark.parametrize(("where", "base", "changes", "said", "unsaid"), [(*case[:4], case[4:]) for case in CASES])
def test_a_page_says_what_its_numbers_bear_out(where, base, changes, said, unsaid):
    text = told(*where, numbers_of(base | changes))
    assert said in text and (said or not text)
    assert not [words for words in unsaid if words in text]
