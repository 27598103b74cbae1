"""What the calibration page measures: temperatures fitted on one half of the calibration split, checked on test.

The other half sets the thresholds of conformal sets, whose coverage is measured elsewhere. Two halves are needed
because the exact coverage guarantee holds only if the rows that set the threshold played no part in the scores
(Angelopoulos and Bates 2023, section 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import EXACT, POINTS, SETTING, named
from verdict.decide.sets import Threshold, adaptive_scores, conformal_quantile, conformal_rank, coverage_by, lac_scores
from verdict.decide.temperature import LOG_T_BOUND, Temperature, fit_isotonic, fit_platt, fit_vector_scaling, nll_curve
from verdict.model.predict import logits_of
from verdict.model.selection import Selection
from verdict.pages.tables import GAP, SHARE, about
from verdict.stats import metrics, uncertainty
from verdict.stats.ranking import Ranked
from verdict.stats.scores import log_softmax, softmax, top_class
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, Statistic, bounded, columns_of, with_bounds
from verdict.stats.weighted import weighted_mean
from verdict.workflow.stage import Stage
from verdict.workflow.stages import CLIP, runs

FOR_TEMPERATURE, FOR_SETS = "temperature", "sets"
CURVE_LOG_T = np.linspace(-2.5, 4.0, 131)


def halve(table: pd.DataFrame, *, share_for_sets: float, rng: np.random.Generator) -> pd.DataFrame:
    """Divide the calibration split in two by group: pair_id, group_id, half ("temperature" or "sets").

    `share_for_sets` in (0, 1) of the groups set conformal thresholds; the others fit the temperature. ValueError for
    fewer than two groups.
    """
    groups = np.unique(table["group_id"].to_numpy(dtype=object))
    if len(groups) < 2:
        raise ValueError(f"the calibration split has {len(groups)} group(s); two are needed, one for each half")
    n_sets = min(max(round(share_for_sets * len(groups)), 1), len(groups) - 1)
    for_sets = set(rng.permutation(groups)[:n_sets])
    half = np.where(table["group_id"].isin(for_sets), FOR_SETS, FOR_TEMPERATURE)
    return table[["pair_id", "group_id"]].reset_index(drop=True).assign(half=half)


def rows_of(table: pd.DataFrame, halves: pd.DataFrame, half: str) -> pd.DataFrame:
    """The rows of one half."""
    wanted = halves.loc[halves["half"] == half, "pair_id"]
    return table[table["pair_id"].isin(wanted)].reset_index(drop=True)


@dataclass(frozen=True)
class FittedTemperature:
    """The kept model's temperature, its interval over groups of the `rows` (prediction table) that fitted it, and
    `by_seed` of the kept trial: seed, is_kept, temperature (with bounds where it is kept), nll_before, nll_after, n,
    converged, at_bound.
    """

    fitted: Temperature
    interval: Interval
    by_seed: pd.DataFrame
    rows: pd.DataFrame

    def curve(self) -> pd.DataFrame:
        """NLL of the fitting rows over log T: columns log_t, nll."""
        logits, y_true = logits_of(self.rows), self.rows["y_true"].to_numpy()
        return pd.DataFrame({"log_t": CURVE_LOG_T, "nll": nll_curve(logits, y_true, CURVE_LOG_T)})


def ends_at_bound(temperature: Interval) -> bool:
    """Whether an end of T's interval is the end of the range that was searched."""
    return bool(np.abs(np.log([temperature.low, temperature.high])).max() > LOG_T_BOUND - 1e-9)


def fit_temperatures(stage: Stage, kept: Selection, halves: pd.DataFrame) -> FittedTemperature:
    """Fit T of each seed of the kept trial on the first half of the calibration split.

    Numbers `calibration.temperature`, `.n_fit` (rows), `.warning` (of the fit, in words), `.temperature_at_bound` (2
    where T is an end of the range that was searched, 1 where an end of its interval is) and `.is_of_clip`.
    """
    rows, fits = {}, {}
    for seed in [seed for trial, seed in runs(stage.all_params) if trial == kept.trial]:
        rows[seed] = rows_of(stage.predictions(Split.CALIB, trial=kept.trial, seed=seed), halves, FOR_TEMPERATURE)
        fits[seed] = Temperature.fit(logits_of(rows[seed]), rows[seed]["y_true"])
    own, fitted = rows[kept.seed], fits[kept.seed]
    interval = fitted.interval(logits_of(own), own["y_true"], stage.resampler(own["group_id"]))
    stage.numbers["calibration.temperature"] = interval.number(**about(stage, own))
    stage.number("calibration.n_fit", len(own), unit="count", split=Split.CALIB)
    stage.numbers["calibration.warning"] = named(fitted.warning)
    bound = 2 if fitted.at_bound else int(ends_at_bound(interval))
    stage.number("calibration.temperature_at_bound", bound, kind=EXACT)
    stage.number("calibration.is_of_clip", stage.source == CLIP, kind=SETTING)
    table = []
    for seed, fit in fits.items():
        found = interval if seed == kept.seed else Interval(fit.temperature)
        row = {"seed": seed, "is_kept": seed == kept.seed} | with_bounds("temperature", found)
        columns = ("nll_before", "nll_after", "n", "converged", "at_bound")
        table.append(row | {name: getattr(fit, name) for name in columns})
    return FittedTemperature(fitted, interval, pd.DataFrame(table), own)


def before_after(stage: Stage, table: pd.DataFrame, fitted: Temperature, *, prefix: str) -> pd.DataFrame:
    """Scores of one split at T = 1 and at the fitted T, and their paired differences: score, before, after, difference.

    Numbers `<prefix>.<score>_before`, `.<score>`, `.<score>_difference`, and `<prefix>.ece_if_calibrated` (see
    `metrics.ece_if_calibrated`).
    """
    logits, y_true = logits_of(table), table["y_true"].to_numpy()
    resampler, n_bins = stage.resampler(table["group_id"]), stage.params.statistics.ece_bins
    places = (logits, logits / fitted.temperature)
    found: dict[str, list[Interval]] = {}
    scores = [_scores(at, y_true) for at in places]
    for name in scores[0]:
        values = [float(score[name](None)) for score in scores]
        drawn = [resampler.replicates(score[name]) for score in scores]
        ends = [resampler.around(*one) for one in zip(values, drawn, strict=True)]
        found[name] = [*ends, resampler.around(values[1] - values[0], drawn[1] - drawn[0])]
    probs = [softmax(at) for at in places]
    for name, equal_mass in (("ece", False), ("ece_equal_mass", True)):
        options = {"n_bins": n_bins, "equal_mass": equal_mass}
        ends = [metrics.ece_interval(at, y_true, resampler, **options) for at in probs]
        found[name] = [*ends, metrics.ece_change(*probs, y_true, resampler, **options)]
    chance = metrics.ece_if_calibrated(probs[1], y_true, resampler, n_bins=n_bins)
    stage.estimates(prefix, {"ece_if_calibrated": chance}, n=len(table), split=str(table["split"].iloc[0]))
    rows = []
    for name, three in found.items():
        columns = dict(zip(("before", "after", "difference"), three, strict=True))
        rows.append({"score": name.replace("_", " ")} | bounded(columns))
        names = (f"{name}_before", name, f"{name}_difference")
        stage.estimates(prefix, dict(zip(names, three, strict=True)), **about(stage, table))
    return pd.DataFrame(rows)


def on_all_rows(stage: Stage, kept: Selection, study: FittedTemperature, table: pd.DataFrame) -> pd.DataFrame:
    """The temperature of half the calibration split beside that of the whole, and what each does on test: fitted_on, n,
    temperature, at_bound, nll, ece.

    Numbers `calibration.temperature_all`, `.n_calib`, `.test.ece_all` and `.error` (which no temperature changes).
    """
    calib = stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    fitted = Temperature.fit(logits_of(calib), calib["y_true"])
    whole = fitted.interval(logits_of(calib), calib["y_true"], stage.resampler(calib["group_id"]))
    stage.numbers["calibration.temperature_all"] = whole.number(**about(stage, calib))
    stage.number("calibration.n_calib", len(calib), unit="count", split=Split.CALIB)
    logits, y_true, resampler = logits_of(table), table["y_true"].to_numpy(), stage.resampler(table["group_id"])
    n_bins, rows = stage.params.statistics.ece_bins, []
    fits = {"the part that is used": (study.rows, study.interval), "the whole split": (calib, whole)}
    for name, (rows_fitted, found) in fits.items():
        row = {"fitted_on": name, "n": len(rows_fitted)} | with_bounds("temperature", found)
        row["at_bound"] = ends_at_bound(found)
        row |= with_bounds("nll", resampler.interval(_scores(logits / found.value, y_true)["nll"]))
        error = metrics.ece_interval(softmax(logits / found.value), y_true, resampler, n_bins=n_bins)
        rows.append(row | with_bounds("ece", error))
    wrong = resampler.mean(top_class(logits) != y_true, span=SHARE)
    shared = {"n": len(table), "split": str(table["split"].iloc[0])}
    stage.estimates("calibration.test", {"error": wrong, "ece_all": error}, {"error": "%"}, **shared)
    return pd.DataFrame(rows)


def reliability(stage: Stage, table: pd.DataFrame, fitted: Temperature) -> dict[str, pd.DataFrame]:
    """Reliability diagrams before and after scaling, with intervals over groups."""
    draws, n_bins = stage.resampler(table["group_id"]), stage.params.statistics.ece_bins
    probs = {"before": softmax(logits_of(table)), "after": fitted.transform(logits_of(table))}
    return {name: metrics.reliability_curve(one, table["y_true"], draws, n_bins=n_bins) for name, one in probs.items()}


def references(stage: Stage, study: FittedTemperature, table: pd.DataFrame) -> pd.DataFrame:
    """Other calibrators, fitted on the same rows: number of parameters, accuracy, NLL and ECE on a split."""
    logits, y_fit = logits_of(study.rows), study.rows["y_true"].to_numpy()
    methods = {
        "none (T = 1)": (0, softmax),
        "temperature": (1, study.fitted.transform),
        "vector scaling": fit_vector_scaling(logits, y_fit),
        "Platt": fit_platt(logits, y_fit),
        "isotonic": fit_isotonic(logits, y_fit),
    }
    y_true, resampler = table["y_true"].to_numpy(), stage.resampler(table["group_id"])
    n_bins, rows = stage.params.statistics.ece_bins, []
    for name, (n_parameters, transform) in methods.items():
        probs = transform(logits_of(table))
        found = {"accuracy": resampler.mean(top_class(probs) == y_true, span=SHARE)}
        found["nll"] = resampler.interval(partial(weighted_mean, metrics.nll_of_rows(probs, y_true)))
        found["ece"] = metrics.ece_interval(probs, y_true, resampler, n_bins=n_bins)
        rows.append({"method": name, "n_parameters": n_parameters} | bounded(found))
    return pd.DataFrame(rows)


def gaps_by(stage: Stage, table: pd.DataFrame, pairs: pd.DataFrame, fitted: Temperature) -> pd.DataFrame:
    """Mean confidence minus accuracy by the pairs' family, or by the model's answer without any, after scaling.

    Returns label, n, confidence, accuracy, value (the gap; above zero: too sure), low, high, p_holm; largest gap first.
    p_holm: of a gap of zero, by Student's t with the spread of the resampled groups, adjusted for all rows.
    """
    probs = fitted.transform(logits_of(table))
    confidence, hit = metrics.confidence_and_correct(probs, table["y_true"])
    if "family" in pairs:
        of_row = pairs.set_index("pair_id")["family"].reindex(table["pair_id"]).fillna("other").to_numpy()
    else:
        of_row = np.array([f"answered {name}" for name in stage.classes], dtype=object)[top_class(probs)]
    resampler, rows = stage.resampler(table["group_id"]), []
    for label in sorted(set(of_row)):
        chosen = of_row == label
        own, gap = resampler.of(chosen), (confidence - hit)[chosen]
        found = own.mean(gap, span=GAP)
        p = uncertainty.p_value(found.value, own.replicates(partial(weighted_mean, gap)), n_groups=own.n_groups)
        means = confidence[chosen].mean(), hit[chosen].mean()
        rows.append((str(label), len(gap), *means, found.value, found.low, found.high, p))
    columns = ["label", "n", "confidence", "accuracy", "value", "low", "high", "p_holm"]
    found = pd.DataFrame(rows, columns=columns).assign(p_holm=lambda part: uncertainty.holm(part["p_holm"]))
    return found.sort_values("value", ascending=False, ignore_index=True)


def _scores(logits: np.ndarray, y_true: np.ndarray) -> dict[str, Statistic]:
    """Scores without bins; what they need of each row is computed here, once for all resamples."""
    probs, true = softmax(logits), (np.arange(len(y_true)), y_true)
    of_rows = {"nll": -log_softmax(logits)[true], "brier": metrics.brier_of_rows(probs, y_true)}
    means = {name: partial(weighted_mean, one) for name, one in of_rows.items()}
    return means | {"aurc": Ranked(probs.max(axis=1), top_class(logits) != y_true).aurc}


def transfer(stage: Stage, tables: Sequence[pd.DataFrame], temperature: float) -> pd.DataFrame:
    """How the temperature serves other splits: against none, and against the oracle, which is fitted on the rows that
    it is judged on, so that its NLL is a bound that no temperature beats.

    Returns split, n, oracle_temperature, at_bound, nll_at_1, nll, nll_at_oracle, excess_nll (at T minus at the oracle),
    ece_at_1, ece, ece_at_oracle, with intervals.
    """
    rows, n_bins = [], stage.params.statistics.ece_bins
    for table in tables:
        logits, y_true, resampler = logits_of(table), table["y_true"].to_numpy(), stage.resampler(table["group_id"])
        best = Temperature.fit(logits, y_true)
        oracle = best.interval(logits, y_true, resampler)
        row: dict[str, object] = {"split": str(table["split"].iloc[0]), "n": len(table)}
        row |= with_bounds("oracle_temperature", oracle) | {"at_bound": best.at_bound}
        places, true = {"_at_1": 1.0, "": temperature, "_at_oracle": oracle.value}, (np.arange(len(y_true)), y_true)
        losses = {f"nll{end}": -log_softmax(logits / t)[true] for end, t in places.items()}
        losses["excess_nll"] = losses["nll"] - losses["nll_at_oracle"]
        row |= bounded({name: resampler.interval(partial(weighted_mean, loss)) for name, loss in losses.items()})
        for end, t in places.items():
            row |= with_bounds(f"ece{end}", metrics.ece_interval(softmax(logits / t), y_true, resampler, n_bins=n_bins))
        rows.append(row)
    return pd.DataFrame(rows)


KINDS = ("marginal", "class-wise")
APS, RAPS = "adaptive", "adaptive, short"
SCORE_OF = {KINDS[0]: "score", KINDS[1]: "score", APS: "score_aps", RAPS: "score_raps"}
LARGEST = ", largest shortfall"
# Names of the random numbers of adaptive sets, the same at every level: of the rows that fit them, and of new rows.
FIT, PREDICT = "conformal.fit", "conformal.predict"


@dataclass(frozen=True)
class Sets:
    """Fitted conformal sets: a threshold by level and kind.

    `policy_qhat`: the threshold of marginal sets that the policy uses, at its level, from the rows that fitted the
    temperature: its score must be fixed before the others test what is promised of it. `scores`: group_id, y_true, and
    the true class's scores: score (1 - its probability), score_aps, score_raps, of the rows that set the thresholds.
    """

    fits: dict[tuple[float, str], Threshold]
    policy_alpha: float
    scores: pd.DataFrame
    policy_qhat: float = np.nan

    @property
    def policy(self) -> pd.DataFrame:
        """The threshold that the policy uses, as a table of one row: alpha, qhat."""
        return pd.DataFrame({"alpha": [self.policy_alpha], "qhat": [self.policy_qhat]})


def kinds_of(stage: Stage) -> list[str]:
    """The kinds of sets; short ones only where a class can be charged for, since else they are the adaptive ones."""
    settings = stage.params.calibrate
    is_charged = settings.raps_penalty > 0 and settings.raps_free_rank < len(stage.classes)
    return [kind for kind in SCORE_OF if is_charged or kind != RAPS]


def scores_of(stage: Stage, kind: str, probs: np.ndarray, draws: str) -> np.ndarray:
    """Scores of one kind of sets, (n, n_classes), the same at every level; `draws` names the random numbers that make
    the promise of adaptive sets sharp.
    """
    if kind in KINDS:
        return lac_scores(probs)
    settings = stage.params.calibrate
    raps = {"penalty": settings.raps_penalty, "free_rank": settings.raps_free_rank} if kind == RAPS else {}
    return adaptive_scores(probs, rng=stage.rng(draws), **raps)


def fit_sets(stage: Stage, kept: Selection, halves: pd.DataFrame, fitted: Temperature) -> Sets:
    """Thresholds at every level of the parameters, from the half that did not fit the temperature."""
    calib = stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    rows, own = (rows_of(calib, halves, half) for half in (FOR_SETS, FOR_TEMPERATURE))
    missed = 1 - fitted.transform(logits_of(own))[np.arange(len(own)), own["y_true"].to_numpy()]
    probs, true = fitted.transform(logits_of(rows)), (np.arange(len(rows)), rows["y_true"].to_numpy())
    kinds = {SCORE_OF[kind]: kind for kind in kinds_of(stage)}
    scores = {name: scores_of(stage, kind, probs, FIT)[true] for name, kind in kinds.items()}
    qhat = conformal_quantile(missed, stage.params.policy.conformal_alpha)
    return _fitted(stage, rows[["group_id", "y_true"]].assign(**scores), qhat)


def _fitted(stage: Stage, scores: pd.DataFrame, qhat: float = np.nan) -> Sets:
    chosen, y_true, fits = stage.params.policy.conformal_alpha, scores["y_true"].to_numpy(), {}
    for alpha in sorted({*stage.params.calibrate.alphas, chosen}):
        for kind in kinds_of(stage):
            by_class = {"y_true": y_true, "n_classes": len(stage.classes)} if kind == KINDS[1] else {}
            fits[alpha, kind] = Threshold.fit(scores[SCORE_OF[kind]], alpha, **by_class)
    return Sets(fits, chosen, scores, qhat)


def load_sets(stage: Stage) -> Sets:
    """The sets of the calibration stage, again from the scores behind its thresholds, without the policy's own."""
    return _fitted(stage, pd.read_parquet(stage.upstream("07_calibration", "set_scores.parquet")))


def coverage_table(stage: Stage, sets: Sets, tables: Sequence[pd.DataFrame], temperature: float) -> pd.DataFrame:
    """Coverage and size of the sets on some splits.

    Returns split, level (1 - alpha), kind, qhat (of the first class where there is one a class), and with bounds:
    coverage (see `covered`), shortfall (level minus coverage; bounds hold for all levels of a kind at once), mean_size,
    share_empty, share_single (the thresholds as they are). The last rows of a split hold the largest shortfall of each
    kind; its lower bound pays for its having been picked.
    """
    rows = []
    for table in tables:
        found = [row for kind in kinds_of(stage) for row in _coverage_rows(stage, sets, kind, table, temperature)]
        # Level by level, the kinds in their order; what belongs to no level stands last.
        rows += sorted(found, key=lambda row: (np.isnan(row["level"]), -row["level"]))
    return pd.DataFrame(rows)


def _coverage_rows(stage: Stage, sets: Sets, kind: str, table: pd.DataFrame, temperature: float) -> list[dict]:
    """Rows of `coverage_table` for one kind of sets on one split."""
    probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
    own = sets.scores.assign(score=sets.scores[SCORE_OF[kind]])
    resampler, place, rows = stage.resampler(table["group_id"]), {"split": table["split"].iloc[0]}, []
    fits = [sets.fits[alpha, kind] for alpha in sorted(alpha for alpha, known in sets.fits if known == kind)]
    scores = scores_of(stage, kind, probs, PREDICT)
    true = scores[np.arange(len(table)), y_true]
    coverages, drawn = covered(stage, own, fits, table, true)
    for fit, interval in zip(fits, coverages, strict=True):
        size = (scores <= fit.qhat).sum(axis=1)
        columns = np.column_stack([size, size == 0, size == 1])
        means = resampler.means(columns.astype(np.float64), [(0, probs.shape[1]), SHARE, SHARE])
        sizes = dict(zip(("mean_size", "share_empty", "share_single"), means, strict=True))
        row = place | {"level": 1 - fit.alpha, "kind": kind, "qhat": float(fit.qhat[0])}
        rows.append(row | bounded({"coverage": interval, "shortfall": NOTHING} | sizes))
    most = _add_shortfalls(stage, rows, drawn)
    return [*rows, place | {"level": np.nan, "kind": f"{kind}{LARGEST}"} | with_bounds("shortfall", most)]


def _add_shortfalls(stage: Stage, rows: list[dict], drawn: np.ndarray) -> Interval:
    """Add level minus coverage to rows, with bounds that hold for all of them at once; the largest is returned.

    `drawn`: replicates of the coverages, (n_rows, n_resamples).
    """
    found = np.array([row["coverage"] for row in rows])
    reach = uncertainty.simultaneous_reach(found, drawn.T, level=stage.params.statistics.level)
    for row, far in zip(rows, reach, strict=True):
        # Never within the row's own bounds, which alone count groups where all rows are covered.
        low, high = min(row["coverage_low"], row["coverage"] - far), max(row["coverage_high"], row["coverage"] + far)
        row.update(with_bounds("shortfall", Interval(*(row["level"] - end for end in (row["coverage"], high, low)))))
    # The upper bound fails only if that of the row with the truly largest shortfall does: each is its own.
    high = max(row["level"] - row["coverage_low"] for row in rows)
    return Interval(max(row["shortfall"] for row in rows), max(row["shortfall_low"] for row in rows), high)


def covered(
    stage: Stage, scores: pd.DataFrame, fits: Sequence[Threshold], table: pd.DataFrame, new_scores: np.ndarray
) -> tuple[list[Interval], np.ndarray]:
    """Coverage at some levels, with intervals that resample the groups of both sides: of the threshold, of the split.

    The promise is an average over calibration samples; with the threshold held fixed, an interval over test groups
    alone would call an unlucky threshold a broken promise.

    `scores`: group_id, y_true, score of the rows that set the threshold; `fits`: one a level; `table` prediction table,
    n rows; `new_scores` (n,): of the true class, of the same kind.
    Returns coverages, one a level, and their replicates (n_levels, n_resamples); NaN where one side has one group.
    """
    y_true, by_class, found = table["y_true"].to_numpy(), len(fits[0].qhat) > 1, []
    sides = stage.resampler(scores["group_id"]), (judging := stage.resampler(table["group_id"]))
    drawn = np.full((len(fits), judging.n_resamples), np.nan)
    if min(side.n_groups for side in sides) >= 2:
        # With one threshold all rows count as one class.
        classes = (scores["y_true"].to_numpy(), y_true) if by_class else (np.zeros(len(scores)), 0 * y_true)
        drawn = _hits((scores["score"].to_numpy(), new_scores), classes, sides, [fit.alpha for fit in fits])
    for fit, replicates in zip(fits, drawn, strict=True):
        is_covered = new_scores <= (fit.qhat[y_true] if by_class else fit.qhat)
        one_sided = np.isfinite(replicates).all() and (is_covered.all() or not is_covered.any())
        around = judging.around(float(is_covered.mean()), replicates)
        found.append(judging.mean(is_covered, span=(0, 1)) if one_sided else around)
    return found, drawn


Both = tuple[np.ndarray, np.ndarray]


def _hits(scores: Both, classes: Both, sides: tuple[Resampler, Resampler], alphas: Sequence[float]) -> np.ndarray:
    """Coverage at each level in each resample of both sides, what fits and what is new, (n_levels, n_resamples)."""
    (fit_scores, new_scores), hits = scores, np.zeros((len(alphas), sides[1].n_resamples))
    ordered = []
    for k in np.unique(classes[1]):
        own, rows = (np.flatnonzero(of_row == k) for of_row in classes)
        ordered.append((own[np.argsort(fit_scores[own])], rows[np.argsort(new_scores[rows])]))
    parts = zip(sides[0].parts(len(new_scores)), sides[1].parts(len(fit_scores)), strict=True)
    for (which, fitted), (_, judged) in parts:
        n_drawn, resamples = judged.sum(axis=1), np.arange(len(judged))
        for own, rows in ordered:
            thresholds = _quantiles(fit_scores[own], fitted[:, own], alphas)
            n_below = np.cumsum(judged[:, rows], axis=1, dtype=np.int32)
            for level, threshold in enumerate(thresholds):
                last = np.searchsorted(new_scores[rows], threshold, side="right") - 1
                hits[level, which] += np.where(last < 0, 0, n_below[resamples, last]) / n_drawn
    return hits


def _quantiles(ordered: np.ndarray, weights: np.ndarray, alphas: Sequence[float]) -> np.ndarray:
    """The conformal quantiles of ordered scores for each row of weights, (n_levels, n_resamples)."""
    n, rows = weights.shape[1], np.arange(len(weights))
    # One sum over all resamples: what stands before a resample's first row is taken off.
    counts = np.zeros(weights.size + 1, dtype=np.int32)
    np.cumsum(weights, out=counts[1:])
    before, total = counts[rows * n], counts[(rows + 1) * n] - counts[rows * n]
    (sizes, place), found = np.unique(total, return_inverse=True), []
    for alpha in alphas:
        ranks = np.array([conformal_rank(int(size), alpha) for size in sizes])[place]
        first = np.searchsorted(counts[1:], before + ranks) - rows * n
        found.append(np.append(ordered, np.inf)[np.where(ranks > total, n, first)])
    return np.array(found)


def brief_coverage(found: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the marginal sets by split, for display: split, level, coverage with interval, size, share_empty."""
    columns = ["split", "level", "coverage", "coverage_low", "coverage_high", "mean_size", "share_empty"]
    return found.loc[found["kind"] == KINDS[0], columns]


def at_policy_level(found: pd.DataFrame, sets: Sets) -> pd.DataFrame:
    """The rows of `coverage_table` of the marginal sets at the policy's level, one a split."""
    return found[np.isclose(found["level"], 1 - sets.policy_alpha) & (found["kind"] == KINDS[0])]


def class_coverage(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float, *, prefix: str) -> pd.DataFrame:
    """Coverage of each true class at the policy's level: kind, class, n, coverage (see `covered`), shortfall (bounds
    hold for all classes of a kind at once; NaN for a class of fewer than two groups, here or among the rows that set
    its threshold), mean_size, with bounds; only classes that occur.

    Stores `<prefix>.class_shortfall`: the largest of class-wise sets, which alone promise a level for each class, over
    the classes that have one; nothing where none has.
    """
    probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
    found, rows = _at_policy_level(stage, sets, table, temperature, "class"), []
    for kind, part in found[found["n"] > 0].groupby("kind", sort=False):
        scores, fit = scores_of(stage, str(kind), probs, PREDICT), sets.fits[sets.policy_alpha, str(kind)]
        behind = sets.scores.assign(score=sets.scores[SCORE_OF[str(kind)]])
        own, judged, drawn = part.to_dict("records"), [], []
        for row in own:
            k, is_apart = row["class"], len(fit.qhat) > 1
            its = Threshold(fit.alpha, fit.qhat[[k * is_apart]], fit.n[[k * is_apart]])
            fitting = behind[behind["y_true"] == k] if is_apart else behind
            is_its = y_true == k
            coverage, replicates = covered(stage, fitting, [its], table[is_its], scores[is_its, k])
            row.update({"class": stage.classes[k]} | bounded({"coverage": coverage[0], "shortfall": NOTHING}))
            if np.isfinite(replicates).all():
                judged.append(row)
                drawn.append(replicates[0])
        most = _add_shortfalls(stage, judged, np.array(drawn)) if judged else NOTHING
        if judged and kind == KINDS[1]:
            stage.estimates(prefix, {"class_shortfall": most}, {"class_shortfall": POINTS}, n=len(table), split="test")
        rows += own
    first = ["kind", "class", "n", *columns_of("coverage", "shortfall")]
    return pd.DataFrame(rows)[[*first, *columns_of("mean_size")]]


def size_coverage(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Sets by size at the policy's level: kind, size, n, coverage with bounds; only sizes that occur."""
    found = _at_policy_level(stage, sets, table, temperature, "size")
    return found[found["n"] > 0].drop(columns="level").reset_index(drop=True)


def _at_policy_level(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float, what: str) -> pd.DataFrame:
    probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
    resampler, parts = stage.resampler(table["group_id"]), {}
    for (alpha, kind), fit in sets.fits.items():
        if alpha == sets.policy_alpha:
            covering = scores_of(stage, kind, probs, PREDICT) <= fit.qhat
            parts[1 - alpha, kind] = coverage_by(what, covering, y_true, resampler)
    return pd.concat(parts, names=["level", "kind"]).droplevel(-1).reset_index()


def store_coverage(stage: Stage, found: pd.DataFrame, sets: Sets, *, split: str, n: int, prefix: str) -> None:
    """Numbers at the policy's level, `<prefix>.level`, `.coverage`, `.set_size`, `.share_empty`, `.share_single`, and
    of the sets with one threshold over all levels `.coverage_shortfall`, the largest; `.adaptive_shortfall` and, where
    they are others, `.short_shortfall` likewise.
    """
    own = found[found["split"] == split]
    used = at_policy_level(own, sets).iloc[0]
    stage.number(f"{prefix}.level", used["level"], unit="%", kind=SETTING)
    units = {"coverage": "%", "share_empty": "%", "share_single": "%"}
    stored = {name: Interval.from_columns(used, name) for name in ("coverage", "share_empty", "share_single")}
    stored["set_size"] = Interval.from_columns(used, "mean_size")
    for kind, name in ((KINDS[0], "coverage"), (APS, "adaptive"), (RAPS, "short")):
        for _, row in own[own["kind"] == f"{kind}{LARGEST}"].iterrows():
            stored[f"{name}_shortfall"] = Interval.from_columns(row, "shortfall")
            units[f"{name}_shortfall"] = POINTS
    stage.estimates(prefix, stored, units, n=n, split=split)
