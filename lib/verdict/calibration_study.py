"""What the calibration page measures: temperatures fitted on one half of the calibration split, checked on test.

The other half sets the conformal thresholds. Two halves are needed because the exact coverage guarantee holds only if
the rows that set the threshold played no part in the scores (Angelopoulos and Bates 2023, section 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pandas as pd

from verdict.calibrate import Isotonic, Platt, Temperature, VectorScaling, nll_curve
from verdict.evaluation import Selection
from verdict.labels import Split
from verdict.metrics import (
    accuracy,
    aurc,
    brier,
    ece,
    ece_if_calibrated,
    nll,
    nll_of_logits,
    reliability_curve,
    weighted_mean,
)
from verdict.numbers import Numbers
from verdict.predict import logits_of
from verdict.scores import softmax
from verdict.stage import Stage
from verdict.stages import runs
from verdict.uncertainty import Interval, Statistic, percentile_interval, replicates, wilson, with_bounds

FOR_TEMPERATURE, FOR_SETS = "temperature", "sets"
STREAM = {"halves": 31, "temperature": 32, "scores": 33, "families": 34, "chance": 35, "reliability": 36, "sets": 37}
BINNED = frozenset({"ece"})
CURVE_LOG_T = np.linspace(-2.5, 4.0, 131)


def halve(table: pd.DataFrame, *, share_for_sets: float, rng: np.random.Generator) -> pd.DataFrame:
    """Divide the calibration split in two by group.

    Parameters
    ----------
    table : DataFrame with pair_id and group_id
    share_for_sets : float in (0, 1)
        Share of the groups that set conformal thresholds; the others fit the temperature. Neither is empty.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        pair_id, group_id, half ("temperature" or "sets"), in the order of the table.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
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
class Study:
    """The kept model's temperature with everything that describes it.

    Attributes
    ----------
    fitted : Temperature
    interval : Interval
        Of T, over groups of the rows that fitted it.
    by_seed : DataFrame
        seed, is_kept, temperature, nll_before, nll_after, n, converged, at_bound: the kept trial's models.
    rows : prediction table
        The rows that fitted it.
    """

    fitted: Temperature
    interval: Interval
    by_seed: pd.DataFrame
    rows: pd.DataFrame

    def curve(self) -> pd.DataFrame:
        """NLL of the fitting rows over log T: columns log_t, nll."""
        logits, y_true = logits_of(self.rows), self.rows["y_true"].to_numpy()
        return pd.DataFrame({"log_t": CURVE_LOG_T, "nll": nll_curve(logits, y_true, CURVE_LOG_T)})

    @property
    def warning(self) -> str:
        """What must be known before T is used, in bold; or that there is nothing."""
        if self.fitted.warning:
            return f"**Warning: {self.fitted.warning}.**"
        return "The slope of the curve changes sign at the optimum, inside the range that was searched."


def fit_temperatures(stage: Stage, kept: Selection, halves: pd.DataFrame) -> Study:
    """Fit T of each seed of the kept trial on the first half of the calibration split.

    Stores the number `calibration.temperature`.
    """
    rows, fits = {}, {}
    for seed in [seed for trial, seed in runs(stage.all_params) if trial == kept.trial]:
        rows[seed] = rows_of(stage.predictions(Split.CALIB, trial=kept.trial, seed=seed), halves, FOR_TEMPERATURE)
        fits[seed] = Temperature.fit(logits_of(rows[seed]), rows[seed]["y_true"])
    own, settings = rows[kept.seed], stage.params.statistics
    interval = fits[kept.seed].interval(
        logits_of(own),
        own["y_true"],
        own["group_id"],
        n_resamples=settings.n_resamples,
        rng=stage.rng(STREAM["temperature"]),
        level=settings.level,
    )
    stage.numbers["calibration.temperature"] = interval.number(n=len(own), split=Split.CALIB, seeds=(kept.seed,))
    columns = ("temperature", "nll_before", "nll_after", "n", "converged", "at_bound")
    table = [
        {"seed": seed, "is_kept": seed == kept.seed} | {name: getattr(fit, name) for name in columns}
        for seed, fit in fits.items()
    ]
    return Study(fits[kept.seed], interval, pd.DataFrame(table), own)


def scores(y_true: np.ndarray, n_bins: int) -> dict[str, Callable[..., np.ndarray]]:
    """The scores of probabilities that the page reports, each a function of (probs, weights)."""

    def of(metric: Callable[..., np.ndarray], **settings: int) -> Callable[..., np.ndarray]:
        return lambda probs, weights: metric(probs, y_true, weights, **settings)

    return {
        "nll": of(nll),
        "brier": of(brier),
        "ece": of(ece, n_bins=n_bins),
        "aurc": lambda probs, weights: aurc(probs.max(axis=1), probs.argmax(axis=1) != y_true, weights),
    }


def before_after(stage: Stage, table: pd.DataFrame, fitted: Temperature, *, prefix: str) -> pd.DataFrame:
    """Scores of one split at T = 1 and at the fitted T, and their paired differences.

    Returns
    -------
    DataFrame
        score, before, after, difference (after - before), each with interval. The same stand as the numbers
        `<prefix>.<score>_before`, `<prefix>.<score>` and `<prefix>.<score>_difference`.
    """
    logits, y_true = logits_of(table), table["y_true"].to_numpy()
    raw, scaled = softmax(logits), fitted.transform(logits)
    shared = {"n": len(table), "split": str(table["split"].iloc[0]), "seeds": (int(table["seed"].iloc[0]),)}
    found, rows = Numbers(), []
    for name, score in scores(y_true, stage.params.calibrate.ece_bins).items():
        statistics = {
            "before": partial(score, raw),
            "after": partial(score, scaled),
            "difference": lambda weights, score=score: score(scaled, weights) - score(raw, weights),
        }
        row: dict[str, object] = {"score": name.replace("_", " ")}
        for column, statistic in statistics.items():
            interval = interval_of(
                stage,
                statistic,
                table["group_id"],
                "scores",
                is_binned=name in BINNED,
                floor=-np.inf if column == "difference" else 0.0,
            )
            row |= with_bounds(column, interval)
            found[f"{prefix}.{name}" + ("" if column == "after" else f"_{column}")] = interval.number(**shared)
        rows.append(row)
    stage.numbers.merge(found)
    return pd.DataFrame(rows)


def on_all_rows(stage: Stage, kept: Selection, study: Study, table: pd.DataFrame, *, prefix: str) -> pd.DataFrame:
    """The temperature of half the calibration split beside that of the whole split, and what each does on test.

    Returns
    -------
    DataFrame
        fitted_on, n, temperature, nll, ece, with intervals. Also the numbers `calibration.temperature_all`,
        `<prefix>.ece_all` and `<prefix>.error` (share of wrong answers, which no temperature changes).
    """
    calib = stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    logits, y_fit, settings = logits_of(calib), calib["y_true"], stage.params.statistics
    drawn = {"n_resamples": settings.n_resamples, "level": settings.level}
    rng = stage.rng(STREAM["temperature"], 1)
    whole = Temperature.fit(logits, y_fit).interval(logits, y_fit, calib["group_id"], rng=rng, **drawn)
    stage.numbers["calibration.temperature_all"] = whole.number(n=len(calib), split=Split.CALIB, seeds=(kept.seed,))
    y_true, groups, rows = table["y_true"].to_numpy(), table["group_id"], []
    measures, names = scores(y_true, stage.params.calibrate.ece_bins), ("the half that is used", "the whole split")
    for name, n, found in zip(names, (len(study.rows), len(calib)), (study.interval, whole), strict=True):
        row: dict[str, object] = {"fitted_on": name, "n": n} | with_bounds("temperature", found)
        for score in ("nll", "ece"):
            statistic = partial(measures[score], softmax(logits_of(table) / found.value))
            is_binned = score in BINNED
            row |= with_bounds(score, interval_of(stage, statistic, groups, "scores", is_binned=is_binned, floor=0.0))
        rows.append(row)
    wrong, shared = logits_of(table).argmax(axis=1) != y_true, {"n": len(table), "split": str(table["split"].iloc[0])}
    error = mean_interval(stage, wrong.astype(float), groups.to_numpy(), "scores")
    stage.numbers[f"{prefix}.error"] = error.number(unit="%", **shared)
    ece_all = Interval.from_columns(rows[-1], "ece")
    stage.numbers[f"{prefix}.ece_all"] = ece_all.number(**shared)
    return pd.DataFrame(rows)


def chance_ece(stage: Stage, table: pd.DataFrame, fitted: Temperature, *, prefix: str) -> None:
    """Number `<prefix>.ece_if_calibrated`; see `metrics.ece_if_calibrated`."""
    resampler, n_bins = stage.resampler(table["group_id"]), stage.params.calibrate.ece_bins
    found = ece_if_calibrated(fitted.transform(logits_of(table)), table["y_true"], resampler, n_bins=n_bins)
    shared = {"n": len(table), "split": str(table["split"].iloc[0])}
    stage.numbers[f"{prefix}.ece_if_calibrated"] = found.number(**shared)


def reliability(stage: Stage, table: pd.DataFrame, fitted: Temperature) -> dict[str, pd.DataFrame]:
    """Reliability diagrams before and after scaling, with bands over groups."""
    logits, settings = logits_of(table), stage.params.statistics
    return {
        name: reliability_curve(
            probs,
            table["y_true"],
            n_bins=stage.params.calibrate.ece_bins,
            level=settings.level,
            groups=table["group_id"],
            n_resamples=settings.n_resamples,
            rng=stage.rng(STREAM["reliability"]),
        )
        for name, probs in {"before": softmax(logits), "after": fitted.transform(logits)}.items()
    }


def references(stage: Stage, study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Other calibrators, fitted on the same rows: number of parameters, accuracy, NLL and ECE on a split."""
    logits, y_fit = logits_of(study.rows), study.rows["y_true"].to_numpy()
    n_classes = logits.shape[1]
    isotonic = Isotonic.fit(logits, y_fit)
    methods = {
        "none (T = 1)": (0, softmax),
        "temperature": (1, study.fitted.transform),
        "vector scaling": (2 * n_classes, VectorScaling.fit(logits, y_fit).transform),
        "Platt": (2 * n_classes, Platt.fit(logits, y_fit).transform),
        "isotonic": (sum(len(fit.X_thresholds_) for fit in isotonic.by_class), isotonic.transform),
    }
    y_true, rows = table["y_true"].to_numpy(), []
    for name, (n_parameters, transform) in methods.items():
        probs = transform(logits_of(table))
        row: dict[str, object] = {"method": name, "n_parameters": n_parameters}
        row["accuracy"] = float(accuracy(y_true, probs.argmax(axis=1)))
        for score in ("nll", "ece"):
            statistic = partial(scores(y_true, stage.params.calibrate.ece_bins)[score], probs)
            found = interval_of(stage, statistic, table["group_id"], "scores", is_binned=score in BINNED, floor=0.0)
            row |= with_bounds(score, found)
        rows.append(row)
    return pd.DataFrame(rows)


def gaps_by(
    stage: Stage, table: pd.DataFrame, pairs: pd.DataFrame, fitted: Temperature, *, column: str = "family"
) -> pd.DataFrame:
    """Mean confidence minus accuracy by a column of the pair table, after scaling.

    Returns
    -------
    DataFrame
        label, n, confidence, accuracy, value (the gap; above zero: too sure), low, high; largest gap first. Pairs
        without the column are told apart by the model's answer. Rows of one image only have no interval.
    """
    probs = fitted.transform(logits_of(table))
    hit = (probs.argmax(axis=1) == table["y_true"].to_numpy()).astype(float)
    if column in pairs:
        of_row = pairs.set_index("pair_id")[column].reindex(table["pair_id"]).fillna("other").to_numpy()
    else:
        of_row = np.array([f"answered {name}" for name in stage.classes], dtype=object)[probs.argmax(axis=1)]
    rows = []
    for label in sorted(set(of_row)):
        chosen = of_row == label
        gap = (probs.max(axis=1) - hit)[chosen]
        found = interval_of(stage, partial(weighted_mean, gap), table["group_id"].to_numpy()[chosen], "families")
        means = {"confidence": float(probs.max(axis=1)[chosen].mean()), "accuracy": float(hit[chosen].mean())}
        rows.append({"label": str(label), "n": int(chosen.sum()), **means, **asdict(found)})
    return pd.DataFrame(rows).sort_values("value", ascending=False, ignore_index=True)


def transfer(stage: Stage, tables: Sequence[pd.DataFrame], temperature: float) -> pd.DataFrame:
    """How the temperature serves other splits: against none, and against the one that each split would have chosen.

    Returns
    -------
    DataFrame
        One row a split: split, n, oracle_temperature, at_bound, nll_at_1, nll, nll_at_oracle, excess_nll (at T minus at
        the oracle, with interval), ece_at_1, ece, ece_at_oracle (with intervals). The oracle is fitted on the rows that
        it is judged on; its NLL is a bound that no temperature beats, not a result.
    """
    rows, n_bins = [], stage.params.calibrate.ece_bins
    for table in tables:
        logits, y_true, groups = logits_of(table), table["y_true"].to_numpy(), table["group_id"]
        best = Temperature.fit(logits, y_true)
        oracle = best.temperature
        losses = {t: partial(nll_of_logits, logits / t, y_true) for t in (1.0, temperature, oracle)}
        row: dict[str, object] = {
            "split": str(table["split"].iloc[0]),
            "n": len(table),
            "oracle_temperature": oracle,
            "at_bound": best.at_bound,
        }
        places = {"_at_1": 1.0, "": temperature, "_at_oracle": oracle}
        row |= {f"nll{suffix}": float(losses[t](None)) for suffix, t in places.items()}
        excess = partial(weighted_mean, _row_nll(logits / temperature, y_true) - _row_nll(logits / oracle, y_true))
        row |= with_bounds("excess_nll", interval_of(stage, excess, groups, "scores"))
        for suffix, t in places.items():
            statistic = partial(scores(y_true, n_bins)["ece"], softmax(logits / t))
            error = interval_of(stage, statistic, groups, "scores", is_binned=True, floor=0.0)
            row |= with_bounds(f"ece{suffix}", error)
        rows.append(row)
    return pd.DataFrame(rows)


def interval_of(
    stage: Stage,
    statistic: Statistic,
    groups: pd.Series | np.ndarray,
    stream: str,
    *,
    is_binned: bool = False,
    floor: float = -np.inf,
) -> Interval:
    """Bootstrap interval with the stage's settings; the same stream draws the same groups.

    Repeated rows inflate an error that is made of bins. With `is_binned` the replicates are therefore moved by the
    bias that they show, their mean minus the estimate (Efron and Tibshirani 1993, section 10.2). No replicate lies
    below `floor`.
    """
    settings = stage.params.statistics
    drawn = replicates(statistic, groups, n_resamples=settings.n_resamples, rng=stage.rng(STREAM[stream]))
    value = float(statistic(None))
    if is_binned:
        drawn = drawn - (np.nanmean(drawn) - value) if np.isfinite(drawn).any() else drawn
    return percentile_interval(value, np.maximum(drawn, floor), level=settings.level)


def mean_interval(stage: Stage, values: np.ndarray, groups: np.ndarray, stream: str) -> Interval:
    """Mean of one value a row over resampled groups; no rows: NaN. A share of 0 or 1 has Wilson's interval.

    Values that are all equal, and not such a share, have no spread.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    if values.min() == values.max() and values[0] in (0.0, 1.0):
        return Interval(float(values[0]), *wilson(values.sum(), len(values), level=stage.params.statistics.level))
    if np.ptp(values) < 1e-12:
        return Interval(*[float(values[0])] * 3)
    return interval_of(stage, partial(weighted_mean, values), groups, stream)


def _row_nll(logits: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(y_true)), y_true]
