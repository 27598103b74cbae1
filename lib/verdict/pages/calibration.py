"""What the calibration page measures: temperatures fitted on one half of the calibration split, checked on test.

The other half sets the thresholds of conformal sets, whose coverage `pages.coverage` measures. Two halves are needed
because the exact coverage guarantee holds only if the rows that set the threshold played no part in the scores
(Angelopoulos and Bates 2023, section 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from verdict.base.labels import Split, in_words
from verdict.base.numbers import EXACT, POINTS, SETTING, named
from verdict.decide import temperature as calibrators
from verdict.decide.temperature import LOG_T_BOUND, Temperature, nll_curve
from verdict.model.predict import logits_of
from verdict.model.selection import Selection
from verdict.pages.tables import GAP, SHARE, about
from verdict.stats import metrics, uncertainty
from verdict.stats.ranking import Ranked
from verdict.stats.scores import log_softmax, softmax, top_class
from verdict.stats.uncertainty import Interval, Statistic, bounded, with_bounds
from verdict.stats.weighted import weighted_mean
from verdict.workflow.stage import Stage
from verdict.workflow.stages import CLIP, runs

FOR_TEMPERATURE, FOR_SETS = "temperature", "sets"
CURVE_LOG_T = np.linspace(-2.5, 4.0, 131)


def halve(table: pd.DataFrame, *, share_for_sets: float, rng: np.random.Generator) -> pd.DataFrame:
    """Divide the calibration split in two by group: pair_id, group_id, half ("temperature" or "sets").

    `share_for_sets` in (0, 1) of the groups set conformal thresholds; the others fit T. ValueError for fewer than two.
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
    """Scores of one split at T = 1 and at the fitted T, and their paired differences: score (the gap is mean confidence
    minus accuracy), before, after, difference.

    Numbers `<prefix>.<score>_before`, `.<score>`, `.<score>_difference`, and `.ece_if_calibrated` (see `metrics`).
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
        units = dict.fromkeys(names, POINTS if name == "gap" else "")
        stage.estimates(prefix, dict(zip(names, three, strict=True)), units, **about(stage, table))
    return pd.DataFrame(rows)


def calib_beside_test(stage: Stage, kept: Selection, study: FittedTemperature, table: pd.DataFrame) -> pd.DataFrame:
    """The part of calib that fits T, all of it, and test itself: fitted_on, n, error and nll_at_1 of these rows, their
    best temperature, at_bound, and what it does on test, nll_on_test and ece_on_test.

    Numbers `calibration.temperature_all`, `.n_calib`, `.test.ece_all`, `.test.temperature` (best of its rows),
    `.test.error`; test minus all of calib (independent): `.test.<name>_minus_calib` of error, nll_at_1 and temperature.
    """
    calib = stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    on_test, y_test, judging = logits_of(table), table["y_true"].to_numpy(), stage.resampler(table["group_id"])
    names, n_bins, rows, ends = ("error", "nll_at_1", "temperature"), stage.params.statistics.ece_bins, [], []
    for name, own in {"a part of calib, in use": study.rows, "all of calib": calib, "test itself": table}.items():
        logits, y_true, draws = logits_of(own), own["y_true"].to_numpy(), stage.resampler(own["group_id"])
        losses = (top_class(logits) != y_true).astype(float), metrics.nll_of_logit_rows(logits, y_true)
        values = [*(loss.mean() for loss in losses), Temperature.fit(logits, y_true).temperature]
        drawn = [draws.replicates(partial(weighted_mean, loss)) for loss in losses]
        drawn.append(calibrators.temperature_replicates(logits, y_true, draws))
        ends.append((np.array(values), np.array(drawn)))
        found = dict(zip(names, map(draws.around, values, drawn), strict=True))
        found["error"] = draws.mean(losses[0], span=SHARE)
        scaled = on_test / values[-1]
        there = {"nll_on_test": judging.interval(_scores(scaled, y_test)["nll"])}
        there["ece_on_test"] = metrics.ece_interval(softmax(scaled), y_test, judging, n_bins=n_bins)
        row = {"fitted_on": name, "n": len(own)} | bounded(found) | {"at_bound": ends_at_bound(found["temperature"])}
        rows.append(row | bounded(there))
    changes = map(judging.around, *(after - before for before, after in zip(ends[1], ends[2], strict=True)))
    told = {f"{name}_minus_calib": change for name, change in zip(names, changes, strict=True)}
    told |= {name: Interval.from_columns(rows[2], name) for name in ("error", "temperature")}
    told["ece_all"] = Interval.from_columns(rows[1], "ece_on_test")
    stage.estimates("calibration.test", told, {"error": "%", "error_minus_calib": POINTS}, **about(stage, table))
    whole = Interval.from_columns(rows[1], "temperature")
    stage.numbers["calibration.temperature_all"] = whole.number(**about(stage, calib))
    stage.number("calibration.n_calib", len(calib), unit="count", split=Split.CALIB)
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
        "none (T = 1)": calibrators.Calibrator(0, softmax),
        "temperature": calibrators.Calibrator(1, study.fitted.transform),
        "vector scaling": calibrators.fit_vector_scaling(logits, y_fit),
        "Platt": calibrators.fit_platt(logits, y_fit),
        "isotonic": calibrators.fit_isotonic(logits, y_fit),
    }
    y_true, resampler = table["y_true"].to_numpy(), stage.resampler(table["group_id"])
    n_bins, rows = stage.params.statistics.ece_bins, []
    for name, method in methods.items():
        probs = method.transform(logits_of(table))
        found = {"accuracy": resampler.mean(top_class(probs) == y_true, span=SHARE)}
        found["nll"] = resampler.interval(partial(weighted_mean, metrics.nll_of_rows(probs, y_true)))
        found["ece"] = metrics.ece_interval(probs, y_true, resampler, n_bins=n_bins)
        rows.append({"method": name, "n_parameters": method.n_parameters} | bounded(found))
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


def store_gaps(stage: Stage, gaps: pd.DataFrame) -> None:
    """Numbers `calibration.test.n_families`, `.n_families_off` (gap not zero), `.families_off` (widest, in words)."""
    off = gaps[gaps["p_holm"] < 1 - stage.params.statistics.level].sort_values("value", key=abs, ascending=False)
    stage.counts("calibration.test", {"n_families": len(gaps), "n_families_off": len(off)}, split=str(Split.TEST))
    told = ", ".join(f"{in_words(one.label)} {100 * one.value:+.1f} points" for one in off.head(3).itertuples())
    stage.numbers["calibration.test.families_off"] = named(told)


def _scores(logits: np.ndarray, y_true: np.ndarray) -> dict[str, Statistic]:
    """Scores without bins; what they need of each row is computed here, once for all resamples."""
    probs, true = softmax(logits), (np.arange(len(y_true)), y_true)
    of_rows = {"nll": -log_softmax(logits)[true], "brier": metrics.brier_of_rows(probs, y_true)}
    means = {name: partial(weighted_mean, one) for name, one in of_rows.items()}
    wrong = top_class(logits) != y_true
    means["gap"] = partial(weighted_mean, probs.max(axis=1) - ~wrong)
    return means | {"aurc": Ranked(probs.max(axis=1), wrong).aurc}


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
