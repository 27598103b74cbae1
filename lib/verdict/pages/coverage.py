"""What the pages measure of conformal sets: thresholds from one half of the calibration split, coverage elsewhere."""

from __future__ import annotations

import math
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
from verdict.pages.tables import NOTHING, SHARE, bounded, store
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Interval, Resampler, simultaneous_reach, with_bounds
from verdict.workflow.stage import Stage

KINDS = ("marginal", "class-wise")
APS, RAPS = "adaptive", "adaptive, short"
SCORE_OF = {KINDS[0]: "score", KINDS[1]: "score", APS: "score_aps", RAPS: "score_raps"}
LARGEST = "marginal, largest shortfall"
# Names of the random numbers of adaptive sets, the same at every level: of the rows that fit them, and of new rows.
FIT, PREDICT = "conformal.fit", "conformal.predict"


@dataclass(frozen=True)
class Sets:
    """Fitted conformal sets: a threshold by level and kind.

    `policy_qhat`: the threshold of marginal sets that the policy uses, at its level, from the rows that fitted the
    temperature: its score must be fixed before the others test what is promised of it.
    `scores`: group_id, y_true, and the true class's scores: score (1 - its probability), score_aps, score_raps, of the
    rows that set the thresholds.
    """

    fits: dict[tuple[float, str], Threshold]
    policy_alpha: float
    scores: pd.DataFrame
    policy_qhat: float = math.nan

    @property
    def policy(self) -> pd.DataFrame:
        """The threshold that the policy uses, as a table of one row: alpha, qhat."""
        return pd.DataFrame({"alpha": [self.policy_alpha], "qhat": [self.policy_qhat]})


def scores_of(stage: Stage, kind: str, probs: np.ndarray, draws: str) -> np.ndarray:
    """Scores of one kind of sets, (n, n_classes), the same at every level.

    Adaptive sets are randomised, which makes their promise sharp; `draws` names their random numbers.
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
    kinds = {name: kind for kind, name in SCORE_OF.items()}
    scores = {name: scores_of(stage, kind, probs, FIT)[true] for name, kind in kinds.items()}
    qhat = conformal_quantile(missed, stage.params.policy.conformal_alpha)
    return _fitted(stage, rows[["group_id", "y_true"]].assign(**scores), qhat)


def _fitted(stage: Stage, scores: pd.DataFrame, qhat: float) -> Sets:
    chosen, y_true, fits = stage.params.policy.conformal_alpha, scores["y_true"].to_numpy(), {}
    for alpha in sorted({*stage.params.calibrate.alphas, chosen}):
        for kind, name in SCORE_OF.items():
            by_class = {"y_true": y_true, "n_classes": len(stage.classes)} if kind == KINDS[1] else {}
            fits[alpha, kind] = Threshold.fit(scores[name], alpha, **by_class)
    return Sets(fits, chosen, scores, qhat)


def load_sets(stage: Stage) -> Sets:
    """The sets of the calibration stage, again from the scores behind its thresholds."""
    qhat = pd.read_parquet(stage.upstream("07_calibration", "policy_sets.parquet"))["qhat"].item()
    return _fitted(stage, pd.read_parquet(stage.upstream("07_calibration", "set_scores.parquet")), qhat)


def coverage_table(stage: Stage, sets: Sets, tables: Sequence[pd.DataFrame], temperature: float) -> pd.DataFrame:
    """Coverage and size of the sets on some splits.

    Returns split, level (1 - alpha), kind, qhat (of the first class where there is one a class), and with bounds:
    coverage (see `covered`), shortfall (level minus coverage; bounds that hold for all levels of a kind at once),
    mean_size, share_empty and share_single (over groups of the split, the thresholds as they are). The last row of a
    split holds the largest shortfall of the marginal sets; its lower bound pays for its having been picked.
    """
    rows = []
    for table in tables:
        found = [row for kind in SCORE_OF for row in _coverage_rows(stage, sets, kind, table, temperature)]
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
    coverages, drawn = covered(stage, own, fits, table, true, by_class=kind == KINDS[1])
    for fit, interval in zip(fits, coverages, strict=True):
        size = (scores <= fit.qhat).sum(axis=1)
        columns = np.column_stack([size, size == 0, size == 1])
        means = resampler.means(columns.astype(np.float64), [(0, probs.shape[1]), SHARE, SHARE])
        sizes = dict(zip(("mean_size", "share_empty", "share_single"), means, strict=True))
        row = place | {"level": 1 - fit.alpha, "kind": kind, "qhat": float(fit.qhat[0])}
        rows.append(row | bounded({"coverage": interval, "shortfall": NOTHING} | sizes))
    found = np.array([row["coverage"] for row in rows])
    reach = simultaneous_reach(found, drawn.T, level=stage.params.statistics.level)
    for row, far in zip(rows, reach, strict=True):
        # Never within the row's own bounds, which alone count groups where all rows are covered.
        low, high = min(row["coverage_low"], row["coverage"] - far), max(row["coverage_high"], row["coverage"] + far)
        row.update(with_bounds("shortfall", Interval(*(row["level"] - end for end in (row["coverage"], high, low)))))
    if kind == KINDS[0]:
        # The upper bound fails only if that of the level with the truly largest shortfall does: each is its own.
        high = max(row["level"] - row["coverage_low"] for row in rows)
        most = Interval(max(row["shortfall"] for row in rows), max(row["shortfall_low"] for row in rows), high)
        rows.append(place | {"level": np.nan, "kind": LARGEST} | with_bounds("shortfall", most))
    return rows


def covered(
    stage: Stage,
    scores: pd.DataFrame,
    fits: Sequence[Threshold],
    table: pd.DataFrame,
    new_scores: np.ndarray,
    *,
    by_class: bool,
) -> tuple[list[Interval], np.ndarray]:
    """Coverage at some levels, with intervals that resample the groups of both sides: of the threshold, of the split.

    The promise is an average over calibration samples; with the threshold held fixed, an interval over test groups
    alone would call an unlucky threshold a broken promise.

    `scores`: group_id, y_true, score of the rows that set the threshold; `fits`: one a level; `table` prediction table,
    n rows; `new_scores` (n,) float: of the true class, of the same kind; `by_class`: whether each class has a threshold
    of its own. Returns coverages, one a level, and their replicates (n_levels,
    n_resamples); NaN where one of the sides has a single group.
    """
    y_true = table["y_true"].to_numpy()
    fitting, judging = stage.resampler(scores["group_id"]), stage.resampler(table["group_id"])
    drawn = np.full((len(fits), judging.n_resamples), np.nan)
    if min(fitting.n_groups, judging.n_groups) >= 2:
        alphas = [fit.alpha for fit in fits]
        drawn = _hits(scores, alphas, y_true, new_scores, fitting, judging, by_class=by_class)
    found = []
    for fit, replicates in zip(fits, drawn, strict=True):
        is_covered = new_scores <= (fit.qhat[y_true] if by_class else fit.qhat)
        one_sided = np.isfinite(replicates).all() and (is_covered.all() or not is_covered.any())
        around = judging.around(float(is_covered.mean()), replicates)
        found.append(judging.mean(is_covered, span=(0, 1)) if one_sided else around)
    return found, drawn


def _hits(
    scores: pd.DataFrame,
    alphas: Sequence[float],
    y_true: np.ndarray,
    new_scores: np.ndarray,
    fitting: Resampler,
    judging: Resampler,
    *,
    by_class: bool,
) -> np.ndarray:
    """Coverage at each level in each resample of both sides, (n_levels, n_resamples)."""
    fit_scores, hits = scores["score"].to_numpy(), np.zeros((len(alphas), judging.n_resamples))
    # With one threshold all rows count as one class.
    fit_class, new_class = (scores["y_true"].to_numpy(), y_true) if by_class else (np.zeros(len(scores)), 0 * y_true)
    classes = []
    for k in np.unique(new_class):
        own, rows = np.flatnonzero(fit_class == k), np.flatnonzero(new_class == k)
        classes.append((own[np.argsort(fit_scores[own])], rows[np.argsort(new_scores[rows])]))
    parts = zip(fitting.parts(len(y_true)), judging.parts(len(scores)), strict=True)
    for (which, fitted), (_, judged) in parts:
        n_drawn, resamples = judged.sum(axis=1), np.arange(len(judged))
        for own, rows in classes:
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


def class_coverage(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Coverage of each true class at the policy's level: level, kind, class, n, coverage, mean_size, with bounds."""
    found = _at_policy_level(stage, sets, table, temperature, "class")
    found["class"] = [stage.classes[k] for k in found["class"]]
    return found


def size_coverage(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Sets by size at the policy's level: level, kind, size, n, coverage with bounds; only sizes that occur."""
    found = _at_policy_level(stage, sets, table, temperature, "size")
    return found[found["n"] > 0].reset_index(drop=True)


def _at_policy_level(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float, what: str) -> pd.DataFrame:
    probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
    resampler, parts = stage.resampler(table["group_id"]), []
    for (alpha, kind), fit in sets.fits.items():
        if alpha == sets.policy_alpha:
            part = coverage_by(what, scores_of(stage, kind, probs, PREDICT) <= fit.qhat, y_true, resampler)
            part.insert(0, "level", 1 - alpha)
            part.insert(1, "kind", kind)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def store_coverage(stage: Stage, found: pd.DataFrame, sets: Sets, *, split: str, n: int, prefix: str) -> None:
    """Numbers of the policy's level, and the largest shortfall over all levels of the sets with one threshold.

    `<prefix>.level`, `.coverage`, `.set_size`, `.share_empty`, `.share_single`, `.coverage_shortfall`.
    """
    own = found[found["split"] == split]
    used = at_policy_level(own, sets).iloc[0]
    stage.number(f"{prefix}.level", used["level"], unit="%", kind=SETTING)
    units = {"coverage": "%", "share_empty": "%", "share_single": "%", "coverage_shortfall": POINTS}
    stored = {name: Interval.from_columns(used, name) for name in ("coverage", "share_empty", "share_single")}
    stored["set_size"] = Interval.from_columns(used, "mean_size")
    stored["coverage_shortfall"] = Interval.from_columns(own[own["kind"] == LARGEST].iloc[0], "shortfall")
    store(stage, prefix, stored, units, n=n, split=split)
