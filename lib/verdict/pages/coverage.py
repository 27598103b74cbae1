"""What the calibration page measures of conformal sets: whether they cover as often as they promise.

Their thresholds come from the half of the calibration split that fitted no temperature (see `calibration`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import POINTS, SETTING
from verdict.decide.sets import Threshold, adaptive_scores, conformal_quantile, conformal_rank, coverage_by, lac_scores
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.model.selection import Selection
from verdict.pages.calibration import FOR_SETS, FOR_TEMPERATURE, rows_of
from verdict.pages.tables import SHARE
from verdict.stats import uncertainty
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, bounded, columns_of, with_bounds
from verdict.workflow.stage import Stage

KINDS = ("marginal", "class-wise")
APS, RAPS = "adaptive", "adaptive, short"
SCORE_OF = {KINDS[0]: "score", KINDS[1]: "score", APS: "score_aps", RAPS: "score_raps"}
LARGEST = ", largest over levels"
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
    """Scores of a kind of sets, (n, n_classes), at every level; `draws` names the random numbers of adaptive ones."""
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

    Stores the largest over the classes that have one, of class-wise sets `<prefix>.class_shortfall`, and of marginal
    ones, which promise no class a level, `.marginal_class_shortfall`; nothing where none has.
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
        if judged and kind in KINDS:
            name = f"{'marginal_' * (kind == KINDS[0])}class_shortfall"
            stage.estimates(prefix, {name: most}, {name: POINTS}, n=len(table), split="test")
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


def shortfalls(stage: Stage, sets: Sets, prefix: str) -> pd.DataFrame:
    """By kind of sets its largest shortfall with bounds: kind, largest (over levels or classes), shortfall, is_missed
    (shown to lie above zero), is_small (shown to lie below `<prefix>.shortfall_allowed`: half of the misses that the
    policy's level allows).
    """
    stage.number(f"{prefix}.shortfall_allowed", allowed := sets.policy_alpha / 2, unit=POINTS, kind=SETTING)
    kinds, rows = zip((KINDS[0], APS, RAPS, KINDS[1]), ("coverage", "adaptive", "short", "class"), strict=True), []
    for kind, name in kinds:
        if one := stage.numbers.get(f"{prefix}.{name}_shortfall"):
            row = {"kind": kind, "largest": "over classes" if kind == KINDS[1] else "over levels"}
            told = {"is_missed": (one.low or 0) > 0, "is_small": one.high is not None and one.high < allowed}
            rows.append(row | with_bounds("shortfall", one) | told)
    return pd.DataFrame(rows)
