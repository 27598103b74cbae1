"""What the pages measure of conformal sets: thresholds from one half of the calibration split, coverage elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.calibrate import Temperature
from verdict.calibration_study import FOR_SETS, STREAM, rows_of, spread
from verdict.conformal import Lac, conformal_rank, coverage_by_class, expected_coverage, summary
from verdict.evaluation import Selection
from verdict.labels import Split, class_names
from verdict.numbers import Number
from verdict.predict import logits_of
from verdict.scores import softmax
from verdict.stage import Stage
from verdict.uncertainty import Interval, group_weights, percentile_interval

KINDS = ("marginal", "class-wise")


@dataclass(frozen=True)
class Sets:
    """Fitted conformal sets by level.

    Attributes
    ----------
    fits : mapping of (alpha, kind) to Lac
        Kind is "marginal" (one threshold) or "class-wise" (one a class).
    policy_alpha : float
        The level that the policy uses, with one threshold.
    scores : DataFrame
        group_id, y_true and score (1 - probability of the true class) of the rows that set the thresholds.
    """

    fits: dict[tuple[float, str], Lac]
    policy_alpha: float
    scores: pd.DataFrame

    @property
    def policy(self) -> Lac:
        """The sets that the policy uses."""
        return self.fits[self.policy_alpha, KINDS[0]]

    def table(self) -> pd.DataFrame:
        """Every threshold: alpha, kind, class_id, qhat, n."""
        rows = [
            {"alpha": alpha, "kind": kind, "class_id": k, "qhat": float(fit.qhat[k]), "n": int(fit.n[k])}
            for (alpha, kind), fit in self.fits.items()
            for k in range(len(fit.qhat))
        ]
        return pd.DataFrame(rows)

    @classmethod
    def from_tables(cls, table: pd.DataFrame, scores: pd.DataFrame, policy_alpha: float) -> Sets:
        """What `table` and `scores` were written as."""
        fits = {}
        for (alpha, kind), part in table.groupby(["alpha", "kind"], sort=False):
            ordered = part.sort_values("class_id")
            fits[float(alpha), str(kind)] = Lac(float(alpha), ordered["qhat"].to_numpy(), ordered["n"].to_numpy())
        return cls(fits, policy_alpha, scores)


def fit_sets(stage: Stage, kept: Selection, halves: pd.DataFrame, fitted: Temperature) -> Sets:
    """Thresholds at every level of the parameters, from the half that did not fit the temperature."""
    rows = rows_of(stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed), halves, FOR_SETS)
    probs, y_true = fitted.transform(logits_of(rows)), rows["y_true"].to_numpy()
    chosen = stage.params.policy.conformal_alpha
    alphas = sorted({*stage.params.calibrate.alphas, chosen})
    fits = {
        (alpha, kind): Lac.fit(probs, y_true, alpha=alpha, by_class=kind == KINDS[1])
        for alpha in alphas
        for kind in KINDS
    }
    scores = rows[["group_id", "y_true"]].assign(score=1 - probs[np.arange(len(rows)), y_true])
    return Sets(fits, chosen, scores)


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
        for (alpha, kind), fit in sets.fits.items():
            found = fit.predict(probs)
            shares = summary(found, y_true)
            scores, by_class = 1 - probs[np.arange(len(table)), y_true], kind == KINDS[1]
            interval = coverage_interval(stage, sets.scores, fit, table, scores, by_class=by_class)
            n_fit = int(fit.n.min())
            _, low, high = expected_coverage(n_fit, alpha, n_test=len(table)) if n_fit else (0.0, np.nan, np.nan)
            rows.append(
                {"split": str(table["split"].iloc[0]), "level": 1 - alpha, "kind": kind, "qhat": float(fit.qhat[0])}
                | spread("coverage", interval)
                | {"chance_low": low, "chance_high": high}
                | {name: shares[name] for name in ("mean_size", "share_empty", "share_single", "share_several")}
            )
    return pd.DataFrame(rows)


def coverage_interval(
    stage: Stage, scores: pd.DataFrame, fit: Lac, table: pd.DataFrame, new_scores: np.ndarray, *, by_class: bool
) -> Interval:
    """Coverage with an interval that resamples the image groups of both sides: of the threshold and of the split.

    The promise is an average over calibration samples; with the threshold held fixed, an interval over test groups
    alone would call an unlucky threshold a broken promise.

    Parameters
    ----------
    stage : Stage
    scores : DataFrame
        group_id, y_true, score of the rows that set the threshold.
    fit : Lac
    table : prediction table, n rows
    new_scores : (n,) float
        1 - probability of the true class.
    by_class : bool
        Whether each class has a threshold of its own.
    """
    settings, y_true = stage.params.statistics, table["y_true"].to_numpy()
    is_covered = new_scores <= fit.qhat[y_true]
    value = float(is_covered.mean())
    if min(scores["group_id"].nunique(), table["group_id"].nunique()) < 2:
        return Interval(value, float("nan"), float("nan"))
    fitted = group_weights(scores["group_id"], settings.n_resamples, stage.rng(STREAM["sets"], 0))
    judged = group_weights(table["group_id"], settings.n_resamples, stage.rng(STREAM["sets"], 1))
    hits = np.zeros(settings.n_resamples)
    for k in range(len(fit.qhat)):
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


def class_coverage(sets: Sets, table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Coverage of each true class: level, kind, class, n, coverage with Wilson interval, mean_size."""
    probs, y_true = softmax(logits_of(table) / temperature), table["y_true"].to_numpy()
    parts = [
        coverage_by_class(fit.predict(probs), y_true).assign(level=1 - alpha, kind=kind)
        for (alpha, kind), fit in sets.fits.items()
    ]
    found = pd.concat(parts, ignore_index=True)
    found["class"] = [class_names()[k] for k in found["class"]]
    found = found.rename(columns={"low": "coverage_low", "high": "coverage_high"})
    return found[["level", "kind", "class", "n", "coverage", "coverage_low", "coverage_high", "mean_size"]]


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
