"""What the page on independent sets measures: scores, calibration and decisions on splits of another distribution, what
accuracy can be told there without a label, and which half of a pair breaks the model.

Where a source lacks an independent split, tables lack its rows, numbers are not defined, and a sentence says so.
"""

from collections.abc import Mapping
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from verdict.base.labels import HALF_NEW_SPLITS, INDEPENDENT_SPLITS, Split, class_names, in_words
from verdict.base.numbers import COUNT, ESTIMATE, POINTS, SETTING, Number, named
from verdict.decide.deferral import Calibrated, Evidence, case_of, gather, gather_both
from verdict.decide.people import PairHuman
from verdict.decide.policy import Costs, Decision, Policy, realised
from verdict.decide.takeover import People
from verdict.model.predict import RAW, DecisionRule, answers_of, logits_of
from verdict.model.selection import Selection
from verdict.pages.decisions import auto_error, stored_number
from verdict.pages.evaluation import accuracy_by
from verdict.pages.tables import GAP, SHARE
from verdict.stats.metrics import macro_f1_of
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import (
    NOTHING,
    Interval,
    Statistic,
    Weights,
    bounded,
    simultaneous_reach,
    with_bounds,
)
from verdict.stats.weighted import row_weights, weighted_mean
from verdict.workflow.stage import Stage

Tables = Mapping[str, pd.DataFrame]
# Where it cannot help, a policy may cost so much of a person's price more than a person for every case.
DEARER = 0.05


def read_tables(stage: Stage, kept: Selection) -> dict[str, pd.DataFrame]:
    """Prediction tables of test, of the independent splits and of those that are half new, as far as there are any."""
    splits = (Split.TEST, *INDEPENDENT_SPLITS, *HALF_NEW_SPLITS)
    found = {split: stage.predictions(split, trial=kept.trial, seed=kept.seed) for split in splits}
    return {str(split): table for split, table in found.items() if len(table)}


def scores_by_split(stage: Stage, tables: Tables) -> pd.DataFrame:
    """Accuracy and macro-F1 of each split, beside guessing and beside test.

    Returns split, n; with intervals accuracy, guessing (always the split's most frequent class), gain_over_guessing
    (paired), macro_f1, accuracy_change and macro_f1_change (minus test, resampled independently). Numbers
    `<split>.<name>`, `.n_pairs` and `.n_images` of independent splits, not defined where one is absent.
    """
    rows, of_test = [], {}
    for split, table in tables.items():
        draws, (hit, common, macro) = stage.resampler(table["group_id"]), _answers(table)
        means = draws.means(np.column_stack([hit, common, hit - common]), [SHARE, SHARE, GAP])
        found = dict(zip(("accuracy", "guessing", "gain_over_guessing"), means, strict=True))
        found["macro_f1"] = draws.interval(macro)
        drawn = {"accuracy": draws.replicates(partial(weighted_mean, hit)), "macro_f1": draws.replicates(macro)}
        of_test = of_test or {name: (found[name].value, drawn[name]) for name in drawn}
        for name, (value, replicates) in of_test.items():
            change = draws.around(found[name].value - value, drawn[name] - replicates)
            found[f"{name}_change"] = NOTHING if split == Split.TEST else change
        rows.append({"split": split, "n": len(table)} | bounded(found))
        if split != Split.TEST:
            counts = {"n_pairs": len(table)} | ({} if stage.is_recorded else {"n_images": table["image_id"].nunique()})
            stage.estimates(split, found, _UNITS, n=len(table), split=split)
            stage.counts(split, counts, split=split)
    _fill(stage, tables, (*_UNITS, "n_pairs", "n_images"))
    return pd.DataFrame(rows)


_UNITS = {"accuracy": "%", "guessing": "%", "gain_over_guessing": POINTS, "macro_f1": ""}
_UNITS |= {"accuracy_change": POINTS, "macro_f1_change": ""}


def _answers(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, Statistic]:
    """Whether each answer is right, whether the split's most frequent class is, each (n,), and macro-F1."""
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    answer, n_classes = RAW.decide(logits), logits.shape[1]
    common = int(np.bincount(y_true, minlength=n_classes).argmax())
    return (answer == y_true).astype(float), (y_true == common).astype(float), macro_f1_of(y_true, answer, n_classes)


def skills(stage: Stage, tables: Tables) -> pd.DataFrame:
    """Accuracy by family of statements and split, but for those that are half new: family, n, value, low, high, split,
    label, group, and on the independent set change (from test; bounds hold for all families at once); by family.
    Number `independent.n_families`; see `_store_changes`.
    """
    tables = {split: table for split, table in tables.items() if split not in HALF_NEW_SPLITS}
    pairs = stage.pairs(*tables)
    n_families = pairs["family"].nunique() if "family" in pairs else 0
    stage.number("independent.n_families", n_families, unit="count")
    if not n_families:
        return pd.DataFrame(columns=["family", "n", "value", "low", "high", "split", "label", "group"])
    parts = [accuracy_by(table, pairs, "family", stage=stage).assign(split=split) for split, table in tables.items()]
    found = pd.concat(parts).rename(columns={"label": "family"}).sort_values("family", kind="stable", ignore_index=True)
    changes = _store_changes(stage, tables, pairs, found) if Split.INDEPENDENT in tables else found[["family", "split"]]
    return found.assign(label=found["family"], group=found["split"]).merge(changes, how="left", on=["family", "split"])


def _store_changes(stage: Stage, tables: Tables, pairs: pd.DataFrame, skills: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on the independent set minus that on test by family (of two groups or more in both): family, split,
    change with bounds that hold for all at once.

    Numbers `independent.n_compared`, `.n_fallen` (shown to), in words with changes `.fallen`, the largest, and
    `.not_fallen`, the largest rises; `.worst_family`, its `.worst_change` (paying for the pick), and `.worst_accuracy`.
    """
    of_pair, changes, drawn = pairs.set_index("pair_id")["family"], {}, []
    for family in sorted(of_pair.dropna().unique()):
        ends = []
        for table in (tables[Split.TEST], tables[Split.INDEPENDENT]):
            chosen = (of_pair.reindex(table["pair_id"]) == family).to_numpy()
            draws, hit = stage.resampler(table["group_id"][chosen]), _answers(table)[0][chosen]
            if draws.n_groups >= 2:
                ends.append((hit.mean(), draws.replicates(partial(weighted_mean, hit))))
        if len(ends) == 2:
            changes[family] = ends[1][0] - ends[0][0]
            drawn.append(ends[1][1] - ends[0][1])
    stage.number("independent.n_compared", len(changes), unit="count")
    if not changes:
        return skills[["family", "split"]]
    values = np.array([*changes.values()])
    reach = simultaneous_reach(values, np.transpose(drawn), level=stage.params.statistics.level)
    bounds = {"change": values, "change_low": values - reach, "change_high": values + reach}
    found = pd.DataFrame({"family": [*changes], "split": str(Split.INDEPENDENT)} | bounds)
    ordered = found.sort_values("change", kind="stable")
    has_fallen = ordered["change_high"] < 0
    stage.number("independent.n_fallen", has_fallen.sum(), unit="count")
    for name, rows in {"fallen": ordered[has_fallen], "not_fallen": ordered[~has_fallen][::-1]}.items():
        told = (f"{in_words(one.family)} {100 * one.change:+.1f} points" for one in rows.head(3).itertuples())
        stage.numbers[f"independent.{name}"] = named(", ".join(told))
    worst = ordered["family"].iloc[0]
    stage.numbers["independent.worst_family"] = named(worst)
    own = skills[(skills["family"] == worst) & (skills["split"] == Split.INDEPENDENT)].iloc[0]
    # As the largest of several: see `uncertainty.largest`.
    stored = {
        "worst_change": Interval(*found[[*bounds]].min()),
        "worst_accuracy": Interval(*own[["value", "low", "high"]]),
    }
    units = {"worst_change": POINTS, "worst_accuracy": "%"}
    stage.estimates("independent", stored, units, n=int(own["n"]), split=Split.INDEPENDENT)
    return found


def hand_written(stage: Stage, tables: Tables, temperature: float) -> pd.DataFrame:
    """Every hand-written sentence, if there is any, with the model's answer: image (number from 1), image_id,
    hypothesis, label, answer, prob (calibrated, of the answer), is_right.
    """
    columns = ["image", "image_id", "hypothesis", "label", "answer", "prob", "is_right"]
    if Split.INDEPENDENT_HAND not in tables:
        return pd.DataFrame(columns=columns)
    table = tables[Split.INDEPENDENT_HAND]
    pairs = stage.pairs(Split.INDEPENDENT_HAND).set_index("pair_id")
    logits = logits_of(table)
    answer, probs = DecisionRule(temperature).decide(logits), softmax(logits / temperature)
    names = np.array(class_names(), dtype=object)
    found = table[["image_id"]].reset_index(drop=True)
    found["hypothesis"] = pairs["hypothesis"].reindex(table["pair_id"]).to_numpy()
    found["image"] = pd.factorize(found["image_id"], sort=True)[0] + 1
    found["label"], found["answer"] = names[table["y_true"].to_numpy()], names[answer]
    found["prob"], found["is_right"] = probs[np.arange(len(table)), answer], answer == table["y_true"].to_numpy()
    return found[columns].sort_values("image", kind="stable", ignore_index=True)


def gallery_of(stage: Stage, sentences: pd.DataFrame) -> dict:
    """Images and titles of the hand-written set, in the order of their numbers, for `show_gallery`."""
    images = stage.images()
    by_image = sentences.groupby(["image", "image_id"], sort=True)["is_right"]
    titles = [f"{number}: {int(right.sum())} of {len(right)} right" for (number, _), right in by_image]
    return {"images": [images.thumbnail(image_id) for (_, image_id), _ in by_image], "titles": titles}


def gather_splits(stage: Stage, tables: Tables, calibrated: Calibrated, kept: Selection) -> dict[str, Evidence]:
    """Evidence of each split; of test only the pairs that did not tune the policy."""
    elsewhere = {split: gather(stage, split, calibrated, kept) for split in tables if split != Split.TEST}
    return {str(Split.TEST): gather_both(stage, calibrated, kept)[1]} | elsewhere


def decisions_by_split(stage: Stage, evidence: Mapping, people: People, costs: Costs, policy: Policy) -> pd.DataFrame:
    """What the policy does on each split of `Evidence`.

    Returns split, n; auto, clarify, human (shares); auto_error (of what went out alone), error (of final answers,
    expected over people), cost, always_auto, always_human (means), gain (over always_human, paired); of the policy
    without the gates for what is foreign unwatched_share (out alone), unwatched_error (of these), unwatched_cost and
    alarm_cost (paired: what that would save); with intervals. Numbers of independent splits: `<split>.auto_share`,
    `.policy_cost`, `.always_auto`, `.policy_gain`, `.auto_error`, `.unwatched_<…>`; of all `.alarm_cost`.
    """
    stored = {"auto_share": ("auto", "%"), "policy_cost": ("cost", "min"), "policy_gain": ("gain", "min")}
    stored |= {"always_auto": ("always_auto", "min"), "unwatched_share": ("unwatched_share", "%")}
    of_test = {"alarm_cost": ("alarm_cost", "min")}
    rows = []
    for split, found in evidence.items():
        draws = stage.resampler(found.groups)
        case, free = (case_of(one, people, costs) for one in (found, found.unwatched))
        decision, unwatched, dearest = case.decide(policy), free.decide(policy), case.outcomes.dearest
        spans, human = case.spans(policy), case.outcomes.cost[:, Decision.HUMAN]
        row = {branch.text: draws.mean(decision == branch, span=spans[branch.text]) for branch in Decision}
        row["auto_error"], row["unwatched_error"] = (auto_error(stage, one, policy, split) for one in (case, free))
        row["cost"], row["error"] = case.means(decision, draws)
        row["unwatched_cost"] = free.means(unwatched, draws)[0]
        alone = draws.mean(unwatched == Decision.AUTO, span=free.spans(policy)[Decision.AUTO.text])
        dearer = realised(case.outcomes.cost, decision) - realised(case.outcomes.cost, unwatched)
        row |= {"unwatched_share": alone, "alarm_cost": draws.mean(dearer)}
        for branch in (Decision.AUTO, Decision.HUMAN):
            row[f"always_{branch.text}"] = case.means(np.full(len(found), branch), draws)[0]
        # Where all is handed over, the policy is a person for every case: an identity, and no estimate.
        is_human = bool((decision == Decision.HUMAN).all())
        saved = human - realised(case.outcomes.cost, decision)
        row["gain"] = draws.mean(saved, span=None if is_human else (-dearest, dearest))
        if split != Split.TEST and people.is_simulated and len(np.unique(human.round(9))) <= len(stage.classes):
            # The parameters and calib say what people do here, and nothing of this split but the mix of its classes.
            given = ("always_human", "cost", "error") if is_human else ("always_human",)
            row |= {name: Interval(row[name].value) for name in given}
        rows.append({"split": split, "n": len(found)} | bounded(row))
        for name, (column, unit) in (of_test if split == Split.TEST else of_test | stored).items():
            stage.numbers[f"{split}.{name}"] = stored_number(row[column], draws, n=len(found), split=split, unit=unit)
        if split != Split.TEST:
            for name in ("auto_error", "unwatched_error"):
                stage.numbers[f"{split}.{name}"] = row[name]
    _fill(stage, evidence, (*stored, "auto_error", "unwatched_error"))
    return pd.DataFrame(rows)


def told_people(people: People) -> str:
    """What a caption adds where simulated people differ between test and the other splits; "" where they do not."""
    if not (people.is_simulated and isinstance(people.careful, PairHuman)):
        return ""
    return "; on test alone simulated people err more where the model errs, so costs there do not compare with others"


def store_transfer(stage: Stage, found: pd.DataFrame, tables: Tables) -> None:
    """Numbers of the independent splits from `transfer`: its columns `excess_nll`, `ece`, ..."""
    names = ("excess_nll", "oracle_temperature", "ece", "ece_at_oracle")
    for row in found[found["split"] != Split.TEST].to_dict("records"):
        stored = {name: Interval.from_columns(row, name) for name in names}
        stage.estimates(row["split"], stored, n=row["n"], split=row["split"])
    _fill(stage, tables, (*names, "coverage"))


def _fill(stage: Stage, present: Mapping[str, object], names: tuple[str, ...]) -> None:
    """Give absent splits numbers that say so, so that prose which names them can be rendered."""
    for split in (split for split in INDEPENDENT_SPLITS if split not in present):
        for name in names:
            value, kind = (0.0, COUNT) if name.startswith("n_") else (np.nan, ESTIMATE)
            stage.numbers[f"{split}.{name}"] = Number(value, split=str(split), kind=kind)


# What a split holds that test does not.
NEW: Mapping[Split, str] = {
    Split.TEST: "nothing",
    Split.INDEPENDENT_IMAGES: "images",
    Split.INDEPENDENT_SENTENCES: "sentences",
    Split.INDEPENDENT: "both",
}


def cell_table(tables: Tables, sources: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The four cells side by side: new (what is), n, and each value of `sources` with its interval, which are
    tables of one row a split by the value's name. No rows where a cell is missing.
    """
    if not set(NEW) <= set(tables):
        return pd.DataFrame()
    rows = []
    for split, new in NEW.items():
        row: dict[str, object] = {"new": new, "n": len(tables[split])}
        for name, source in sources.items():
            own = source[source["split"] == split].iloc[0].fillna(np.nan)  # None where nothing went out alone
            row |= with_bounds(name, Interval.from_columns(own, name))
        rows.append(row)
    return pd.DataFrame(rows)


def store_contrasts(stage: Stage, tables: Tables) -> None:
    """Where there are all cells, numbers `independent.images_minus_sentences`: accuracy with new images alone minus
    that with new sentences alone; `.interaction`: by how much both lose less (above zero) than the two losses together.
    """
    if not set(NEW) <= set(tables):
        return
    value, drawn = {}, {}
    for split in NEW:
        hit, draws = _answers(tables[split])[0], stage.resampler(tables[split]["group_id"])
        value[split], drawn[split] = hit.mean(), draws.replicates(partial(weighted_mean, hit))
    old, images, words, both = NEW
    signs = {"images_minus_sentences": {images: 1, words: -1}, "interaction": {both: 1, images: -1, words: -1, old: 1}}
    for name, sign in signs.items():
        mean, replicates = (sum(by * of[split] for split, by in sign.items()) for of in (value, drawn))
        n, found = sum(len(tables[split]) for split in sign), draws.around(float(mean), np.asarray(replicates))
        stage.estimates("independent", {name: found}, {name: POINTS}, n=n, split=Split.INDEPENDENT)


# So far off, up or down, an estimate is still of use.
MARGIN = 0.05
CONFIDENCE, DIFFERENCE = "mean confidence", "difference of confidences"
THRESHOLD, SEEDS = "confidence above a threshold", "agreement of seeds"
_KEYS = {CONFIDENCE: "confidence", DIFFERENCE: "difference", THRESHOLD: "threshold", SEEDS: "seeds"}
OFF, NEAR, OPEN = "off", "near", "not shown"


def mean_of(values: np.ndarray, rows: slice) -> Statistic:
    """Mean of values (n,) of some rows, as a function of the weights of all rows."""
    return lambda weights: weighted_mean(values, None if weights is None else weights[..., rows])


def thresholded(known: np.ndarray, is_wrong: np.ndarray, new: np.ndarray) -> Statistic:
    """Share of new confidences (m,) from the threshold on below which as many of the known (n,) lie as are wrong.

    Garg et al. (2022), Leveraging unlabeled data to predict out-of-distribution performance, ICLR, equations 1 and 2.
    """
    by_known, by_new = np.argsort(known, kind="stable"), np.argsort(new, kind="stable")
    thresholds, ordered = np.append(known[by_known], np.inf), new[by_new]

    def share(weights: Weights) -> np.ndarray:
        counts = np.atleast_2d(row_weights(weights, len(known) + len(new)))
        of_known, of_new = counts[:, : len(known)], np.cumsum(counts[:, len(known) :][:, by_new], axis=1)
        below = np.cumsum(of_known[:, by_known], axis=1) <= (of_known @ is_wrong)[:, None]
        first = np.searchsorted(ordered, thresholds[below.sum(axis=1)], side="left")
        under = np.where(first > 0, of_new[np.arange(len(of_new)), first - 1], 0.0)
        found = 1 - under / of_new[:, -1]
        return found[0] if weights is None else found

    return share


def forecasts(stage: Stage, tables: Tables, calibrated: Calibrated, kept: Selection) -> pd.DataFrame:
    """Estimates of accuracy without labels, by split: method, estimate, truth and error (their difference), and
    verdict: whether the error is shown to be beyond `MARGIN` ("off"), within it ("near"), or neither.

    None can be right for every shift: the same inputs admit other labels. Each assumes something that held on calib.
    The agreement of seeds is judged by the accuracy of a mean seed. Intervals resample the groups of calib and of the
    split together. Numbers of independent splits: `<split>.forecast_<key>`, `.forecast_<key>_error`, `.n_forecasts`,
    `.n_forecasts_off`, `.n_forecasts_near`; of all `.n_forecasts_high` (shown to lie above the truth).

    Guillory et al. (2021), Predicting with confidence on unseen distributions, ICCV, section 3.2 (without regression);
    Jiang et al. (2022), Assessing generalization of SGD via disagreement, ICLR, section 3; `thresholded`.
    """
    stage.number("forecast.margin", MARGIN, unit=POINTS, kind=SETTING)
    known, rows = stage.predictions(Split.CALIB, trial=kept.trial, seed=calibrated.seed), []
    for split, table in tables.items():
        draws = stage.resampler(np.concatenate([known["group_id"], table["group_id"]]))
        asked = {seed: stage.predictions(split, trial=kept.trial, seed=seed) for seed in calibrated.temperatures}
        statistics, found = _statistics(known, table, asked, calibrated.temperature), {}
        for name, (estimate, truth) in statistics.items():
            value, true = float(estimate(None)), float(truth(None))
            drawn, drawn_true = draws.replicates(estimate), draws.replicates(truth)
            row = {"estimate": draws.around(value, drawn), "truth": draws.around(true, drawn_true)}
            found[name] = row["error"] = draws.around(value - true, drawn - drawn_true)
            told = {"split": split, "n": len(table), "method": name, "verdict": judged(found[name])}
            rows.append(told | bounded(row))
            if split != Split.TEST:
                key, shared = f"forecast_{_KEYS[name]}", {"n": len(table), "split": split}
                stored = {key: row["estimate"], f"{key}_error": row["error"]}
                stage.estimates(split, stored, {key: "%", f"{key}_error": POINTS}, **shared)
        verdicts = [judged(error) for error in found.values()]
        counts = {"_high": sum(error.low > 0 for error in found.values())}
        if split != Split.TEST:
            counts |= {"": len(found), "_off": verdicts.count(OFF), "_near": verdicts.count(NEAR)}
        stage.counts(split, {f"n_forecasts{end}": n for end, n in counts.items()}, split=split)
    return pd.DataFrame(rows)


def _statistics(known: pd.DataFrame, new: pd.DataFrame, asked: Mapping, temperature: float) -> dict[str, tuple]:
    """`Statistic`s of estimate and truth by method, of the weights of known and new rows, in this order."""
    first, rest = slice(0, len(known)), slice(len(known), None)
    hit, hit_new = (_answers(table)[0] for table in (known, new))
    sure, sure_new = (softmax(logits_of(table) / temperature).max(axis=1) for table in (known, new))
    mean, truth = mean_of(sure_new, rest), mean_of(hit_new, rest)
    gap = mean_of(hit - sure, first)
    found = {CONFIDENCE: (mean, truth), DIFFERENCE: (lambda weights: mean(weights) + gap(weights), truth)}
    found[THRESHOLD] = (thresholded(sure, 1 - hit, sure_new), truth)
    if len(asked) > 1:
        answers = [answers_of(table) for table in asked.values()]
        alike = np.mean([one == other for one, other in combinations(answers, 2)], axis=0)
        right = np.mean([one == new["y_true"].to_numpy() for one in answers], axis=0)
        found[SEEDS] = (mean_of(alike, rest), mean_of(right, rest))
    return found


def judged(error: Interval, margin: float = MARGIN) -> str:
    """Whether an error is shown to lie outside the margin, inside it, or neither."""
    if error.low > margin or error.high < -margin:
        return OFF
    return NEAR if -margin <= error.low and error.high <= margin else OPEN
