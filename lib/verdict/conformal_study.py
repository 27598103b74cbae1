"""What the pages measure of conformal sets: thresholds from one half of the calibration split, coverage elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.calibrate import Temperature
from verdict.calibration_study import FOR_SETS, STREAM, rows_of
from verdict.conformal import (
    Aps,
    Lac,
    conformal_rank,
    coverage_by_class,
    coverage_by_size,
    expected_coverage,
    summary,
)
from verdict.evaluation import Selection
from verdict.labels import Split
from verdict.numbers import Number
from verdict.predict import logits_of
from verdict.scores import softmax
from verdict.stage import Stage
from verdict.uncertainty import Interval, group_weights, percentile_interval, with_bounds

KINDS = ("marginal", "class-wise")
APS, RAPS = "adaptive", "adaptive, short"
SCORE_OF = {KINDS[0]: "score", KINDS[1]: "score", APS: "score_aps", RAPS: "score_raps"}
FIT_KEY, PREDICT_KEY = (STREAM["sets"], 10), (STREAM["sets"], 11)


@dataclass(frozen=True)
class Sets:
    """Fitted conformal sets by level.

    Attributes
    ----------
    fits : mapping of (alpha, kind) to Lac or Aps
        Kind is "marginal" (one threshold), "class-wise" (one a class), "adaptive" (APS) or "adaptive, short" (RAPS).
    policy_alpha : float
        The level that the policy uses, with one threshold.
    scores : DataFrame
        group_id, y_true, and the true class's scores: score (1 - its probability), score_aps, score_raps, of the rows
        that set the thresholds.
    """

    fits: dict[tuple[float, str], Lac | Aps]
    policy_alpha: float
    scores: pd.DataFrame

    @property
    def policy(self) -> Lac:
        """The sets that the policy uses."""
        return self.fits[self.policy_alpha, KINDS[0]]

    def table(self) -> pd.DataFrame:
        """Every threshold: alpha, kind, class_id, qhat, n, penalty, free_rank."""
        rows = []
        for (alpha, kind), fit in self.fits.items():
            adaptive = isinstance(fit, Aps)
            extra = {"penalty": fit.penalty if adaptive else 0.0, "free_rank": fit.free_rank if adaptive else 0}
            for k, (qhat, n) in enumerate(zip(np.atleast_1d(fit.qhat), np.atleast_1d(fit.n), strict=True)):
                rows.append({"alpha": alpha, "kind": kind, "class_id": k, "qhat": float(qhat), "n": int(n), **extra})
        return pd.DataFrame(rows)

    @classmethod
    def from_tables(cls, table: pd.DataFrame, scores: pd.DataFrame, policy_alpha: float) -> Sets:
        """What `table` and `scores` were written as."""
        fits: dict[tuple[float, str], Lac | Aps] = {}
        for (alpha, kind), part in table.groupby(["alpha", "kind"], sort=False):
            ordered = part.sort_values("class_id")
            if kind in (APS, RAPS):
                qhat, n, penalty, free_rank = ordered.iloc[0][["qhat", "n", "penalty", "free_rank"]]
                fit = Aps(float(alpha), float(qhat), int(n), True, float(penalty), int(free_rank))
            else:
                fit = Lac(float(alpha), ordered["qhat"].to_numpy(), ordered["n"].to_numpy())
            fits[float(alpha), str(kind)] = fit
        return cls(fits, policy_alpha, scores)


def fit_sets(stage: Stage, kept: Selection, halves: pd.DataFrame, fitted: Temperature) -> Sets:
    """Thresholds at every level of the parameters, from the half that did not fit the temperature.

    Adaptive sets are randomised, which makes their promise sharp; the draws depend on the seed of the parameters.
    """
    rows = rows_of(stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed), halves, FOR_SETS)
    probs, y_true = fitted.transform(logits_of(rows)), rows["y_true"].to_numpy()
    chosen = stage.params.policy.conformal_alpha
    alphas = sorted({*stage.params.calibrate.alphas, chosen})
    fits: dict[tuple[float, str], Lac | Aps] = {
        (alpha, kind): Lac.fit(probs, y_true, alpha=alpha, by_class=kind == KINDS[1])
        for alpha in alphas
        for kind in KINDS
    }
    true = np.arange(len(rows)), y_true
    scores = rows[["group_id", "y_true"]].assign(score=1 - probs[true])
    raps = {"penalty": stage.params.calibrate.raps_penalty, "free_rank": stage.params.calibrate.raps_free_rank}
    for kind, settings in ((APS, {}), (RAPS, raps)):
        for alpha in alphas:
            fits[alpha, kind] = Aps.fit(probs, y_true, alpha=alpha, rng=stage.rng(*FIT_KEY), **settings)
        scores[SCORE_OF[kind]] = fits[alphas[0], kind].scores(probs, rng=stage.rng(*FIT_KEY))[true]
    return Sets(fits, chosen, scores)


def sets_of(stage: Stage, fit: Lac | Aps, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sets, booleans (n, n_classes), and the scores that they follow from, (n, n_classes)."""
    if isinstance(fit, Lac):
        return fit.predict(probs), 1 - probs
    scores = fit.scores(probs, rng=stage.rng(*PREDICT_KEY))
    return scores <= fit.qhat, scores


def load_sets(stage: Stage) -> Sets:
    """The sets of the calibration stage."""
    table, scores = (
        pd.read_parquet(stage.upstream("07_calibration", f"{name}.parquet")) for name in ("thresholds", "set_scores")
    )
    return Sets.from_tables(table, scores, stage.params.policy.conformal_alpha)


def coverage_table(stage: Stage, sets: Sets, tables: Sequence[pd.DataFrame], temperature: float) -> pd.DataFrame:
    """Coverage and size of the sets on some splits.

    Returns
    -------
    DataFrame
        split, level (1 - alpha), kind, qhat (of the first class where there is one a class), coverage with its interval
        (see `coverage_interval`), chance_low and chance_high (the central 95 % of the coverage that sets which keep
        their promise show on exchangeable rows), mean_size, share_empty, share_single, share_several.
    """
    rows = []
    for table in tables:
        probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
        for (alpha, kind), fit in sorted(sets.fits.items(), key=_level_then_kind):
            found, scores = sets_of(stage, fit, probs)
            shares, true = summary(found, y_true), scores[np.arange(len(table)), y_true]
            own = sets.scores.assign(score=sets.scores[SCORE_OF[kind]])
            interval = coverage_interval(stage, own, fit, table, true, by_class=kind == KINDS[1])
            n_fit, first = int(np.min(fit.n)), float(np.atleast_1d(fit.qhat)[0])
            _, low, high = expected_coverage(n_fit, alpha, n_test=len(table)) if n_fit else (0.0, np.nan, np.nan)
            rows.append(
                {"split": str(table["split"].iloc[0]), "level": 1 - alpha, "kind": kind, "qhat": first}
                | with_bounds("coverage", interval)
                | {"chance_low": low, "chance_high": high}
                | {name: shares[name] for name in ("mean_size", "share_empty", "share_single", "share_several")}
            )
    return pd.DataFrame(rows)


def _level_then_kind(entry: tuple[tuple[float, str], Lac | Aps]) -> tuple[float, int]:
    alpha, kind = entry[0]
    return alpha, list(SCORE_OF).index(kind)


def coverage_interval(
    stage: Stage, scores: pd.DataFrame, fit: Lac | Aps, table: pd.DataFrame, new_scores: np.ndarray, *, by_class: bool
) -> Interval:
    """Coverage with an interval that resamples the image groups of both sides: of the threshold and of the split.

    The promise is an average over calibration samples; with the threshold held fixed, an interval over test groups
    alone would call an unlucky threshold a broken promise.

    Parameters
    ----------
    stage : Stage
    scores : DataFrame
        group_id, y_true, score of the rows that set the threshold.
    fit : Lac or Aps
    table : prediction table, n rows
    new_scores : (n,) float
        Of the true class, of the same kind.
    by_class : bool
        Whether each class has a threshold of its own.
    """
    settings, y_true = stage.params.statistics, table["y_true"].to_numpy()
    qhat_of = np.broadcast_to(fit.qhat, np.size(fit.qhat) if np.ndim(fit.qhat) else y_true.max() + 1)
    is_covered = new_scores <= qhat_of[y_true]
    value = float(is_covered.mean())
    if min(scores["group_id"].nunique(), table["group_id"].nunique()) < 2:
        return Interval(value, float("nan"), float("nan"))
    fitted = group_weights(scores["group_id"], settings.n_resamples, stage.rng(STREAM["sets"], 0))
    judged = group_weights(table["group_id"], settings.n_resamples, stage.rng(STREAM["sets"], 1))
    hits = np.zeros(settings.n_resamples)
    for k in range(len(qhat_of)):
        own = scores["y_true"].to_numpy() == k if by_class else np.ones(len(scores), dtype=bool)
        order = np.argsort(scores["score"].to_numpy()[own], kind="stable")
        qhat = _quantiles(scores["score"].to_numpy()[own][order], fitted[:, own][:, order], fit.alpha)
        rows = y_true == k
        hits += ((new_scores[rows] <= qhat[:, None]) * judged[:, rows]).sum(axis=1)
    return percentile_interval(value, hits / judged.sum(axis=1), level=settings.level)


def _quantiles(ordered: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """The conformal quantile of ordered scores for each row of weights, (n_resamples,)."""
    counts = np.cumsum(weights, axis=1, dtype=np.int64)
    total = counts[:, -1] if counts.shape[1] else np.zeros(len(weights), dtype=np.int64)
    ranks = np.array([conformal_rank(int(n), alpha) for n in total])
    place = (counts < ranks[:, None]).sum(axis=1)
    return np.append(ordered, np.inf)[np.where(ranks > total, len(ordered), place)]


def brief_coverage(found: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the marginal sets by split, for display: split, level, coverage with interval, size, share_empty."""
    columns = ["split", "level", "coverage", "coverage_low", "coverage_high", "mean_size", "share_empty"]
    return found.loc[found["kind"] == KINDS[0], columns]


def class_coverage(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Coverage of each true class at the policy's level: level, kind, class, n, coverage (Wilson), mean_size."""
    found = _at_policy_level(stage, sets, table, temperature, coverage_by_class)
    found["class"] = [stage.classes[k] for k in found["class"]]
    found = found.rename(columns={"low": "coverage_low", "high": "coverage_high"})
    return found[["level", "kind", "class", "n", "coverage", "coverage_low", "coverage_high", "mean_size"]]


def size_coverage(stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Sets by size at the policy's level: level, kind, size, n, coverage (Wilson); only sizes that occur.

    An empty set covers nothing.
    """
    found = _at_policy_level(stage, sets, table, temperature, coverage_by_size)
    found = found[found["n"] > 0].rename(columns={"low": "coverage_low", "high": "coverage_high"})
    return found[["level", "kind", "size", "n", "coverage", "coverage_low", "coverage_high"]].reset_index(drop=True)


def _at_policy_level(
    stage: Stage, sets: Sets, table: pd.DataFrame, temperature: float, measure: Callable[..., pd.DataFrame]
) -> pd.DataFrame:
    probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
    parts = [
        measure(sets_of(stage, fit, probs)[0], y_true).assign(level=1 - alpha, kind=kind)
        for (alpha, kind), fit in sets.fits.items()
        if alpha == sets.policy_alpha
    ]
    return pd.concat(parts, ignore_index=True)


def store_coverage(stage: Stage, found: pd.DataFrame, sets: Sets, *, split: str, n: int, prefix: str) -> None:
    """Numbers of the policy's level, and by how much the worst level is shown to be missed.

    `<prefix>.level`, `.coverage`, `.set_size`, `.share_empty`, `.share_single`; `.coverage_shortfall` is the level
    minus the upper bound of coverage, the largest over all levels of sets with one threshold, 0 if none is positive.
    """
    own = found[found["split"] == split]
    used = own[np.isclose(own["level"], 1 - sets.policy_alpha) & (own["kind"] == KINDS[0])].iloc[0]
    bounds = (used["coverage_low"], used["coverage_high"])
    shared = {"n": n, "split": split}
    stage.numbers[f"{prefix}.level"] = Number(float(used["level"]), unit="%")
    if np.isfinite(bounds).all():
        stage.numbers[f"{prefix}.coverage"] = Number(used["coverage"], *bounds, unit="%", **shared)
    else:
        stage.numbers[f"{prefix}.coverage"] = Number(used["coverage"], unit="%", **shared)
    stage.numbers[f"{prefix}.set_size"] = Number(used["mean_size"], **shared)
    for name in ("share_empty", "share_single"):
        stage.numbers[f"{prefix}.{name}"] = Number(used[name], unit="%", **shared)
    plain = own[own["kind"] == KINDS[0]]
    shortfall = float(np.nan_to_num(plain["level"] - plain["coverage_high"]).max())
    stage.numbers[f"{prefix}.coverage_shortfall"] = Number(max(0.0, shortfall), unit="%", **shared)
