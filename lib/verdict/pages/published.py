"""Values that a study printed, beside the same quantities of its re-run; and how a published calibration of CLIP went
wrong, as arithmetic that a notebook can show.

There the temperature itself, not its logarithm, was moved by L-BFGS, on cosines without the model's logit scale. The
best T of such cosines lies next to the pole at T = 0; a step across it lands on the plateau of negative T, where every
probability is 1 / n_classes and the answer is the least similar class. Clamping T at 0.01, about 1 / scale, hid it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from verdict.base import paths
from verdict.base.numbers import EXACT, Number, Numbers
from verdict.base.params import ReportParams
from verdict.decide.outcomes import readings
from verdict.decide.temperature import Temperature
from verdict.pages.evaluation import collect, mean_score, n_trainable, per_class
from verdict.stats.metrics import accuracy, ece, nll_of_logits
from verdict.stats.scores import check_labels, softmax, top_class
from verdict.stats.uncertainty import NOTHING, Interval, with_bounds
from verdict.workflow.stage import Stage
from verdict.workflow.stages import CLIP

COLUMNS = ["run", "trial", "quantity", "published", "ours", "ours_low", "ours_high", "verdict", "note"]
N_TRAINABLE = "n_trainable"
NOT_REPEATED, INSIDE = "not repeated here", "inside our interval"


# Each a score on a split.
_SCORES = ("val_macro_f1", "val_accuracy", "test_macro_f1", "test_accuracy")


def read_published(name: str, kind: str = "") -> pd.DataFrame:
    """Published values, which have no interval: a run of the study a row, with the trial that repeats it where there is
    one; of kind `_classes` the kept run's test scores by class, `_people` what model and people reach together.
    FileNotFoundError names the tables that there are.
    """
    folder = paths.LIBRARY / "data"
    path = folder / f"published_{name}{kind}.csv"
    if not path.is_file():
        known = sorted(found.stem.removeprefix("published_") for found in folder.glob("published_*.csv"))
        raise FileNotFoundError(f"no table of published values is called {name + kind!r}; there are {known}")
    return pd.read_csv(path, comment="#").fillna({"trial": "", "note": ""} if not kind else {})


def beside(stage: Stage) -> pd.DataFrame:
    """Published values and ours (means over seeds), if the profile names a table: run, trial, quantity, published, ours
    with interval, verdict (whether the value lies in our interval; of parameters whether it is equal), note.

    Numbers `published.n_repeated` (scores) and `published.n_inside` (those whose published value lies in our interval).
    """
    report: ReportParams = stage.params.report
    if report.published is None:
        return pd.DataFrame(columns=COLUMNS)
    table = read_published(report.published)
    ran = {trial.name for trial in stage.params.training.trials}
    printed = table.melt(["run", "trial", "note"], [N_TRAINABLE, *_SCORES], "quantity", "published", ignore_index=False)
    printed = printed.dropna(subset="published").sort_index(kind="stable")
    found = [_ours(stage, row.trial, row.quantity) if row.trial in ran else NOTHING for row in printed.itertuples()]
    rows = [with_bounds("ours", one) for one in found]
    compared = printed.reset_index(drop=True).join(pd.DataFrame(rows))
    cells = zip(compared["quantity"], compared["published"], found, strict=True)
    compared = compared.assign(verdict=[_verdict(*cell) for cell in cells])[COLUMNS]
    scores = compared[(compared["quantity"] != N_TRAINABLE) & (compared["verdict"] != NOT_REPEATED)]
    stage.number("published.n_repeated", len(scores), unit="count")
    stage.number("published.n_inside", (scores["verdict"] == INSIDE).sum(), n=len(scores), unit="count")
    return compared


def _ours(stage: Stage, trial: str, quantity: str) -> Interval:
    """One quantity of a trial; a count has no interval."""
    if quantity == N_TRAINABLE:
        return Interval(float(n_trainable(stage, trial)))
    split, metric = quantity.split("_", maxsplit=1)
    return mean_score(stage, collect(stage, trial, split), metric=metric)


def _verdict(quantity: str, published: float, ours: Interval) -> str:
    if np.isnan(ours.value):
        return NOT_REPEATED
    if quantity == N_TRAINABLE:
        return "equal" if published == ours.value else "another number"
    if np.isnan(ours.low):
        return "no interval"
    return INSIDE if ours.low <= published <= ours.high else f"{'above' if ours.high < published else 'below'} ours"


def classes_beside(stage: Stage, table: pd.DataFrame, decision: np.ndarray) -> pd.DataFrame:
    """Precision, recall and F1 by true class of the study's kept run, with the name it was printed under, and ours."""
    report: ReportParams = stage.params.report
    if report.published is None:
        return pd.DataFrame()
    published = read_published(report.published, "_classes")
    ours = per_class(table, decision, stage=stage).add_prefix("our_").rename(columns={"our_class": "class"})
    return published.merge(ours, on="class", validate="one_to_one")


CLAMP = (0.01, 100.0)
GATE = 0.6
CLIP_SCALE = 100.0
# Of people, what is told of the published policies for.
ACCURACIES = (1.0, 0.95, 0.9)
N_CLASSES = 10
# Counts of the published runs on 10,000 images: errors of the model (first run: after T), images handed to a person and
# the model's errors among them. The published figures below are derived from these alone.
N_IMAGES = 10_000
N_ERRORS = {"published, T free": 9_997, "published, T clamped": 1_383}
N_HUMAN = {"published, T free": 10_000, "published, T clamped": 2_932}
N_CAUGHT = {"published, T free": 9_997, "published, T clamped": 1_165}


def is_told(stage: Stage) -> bool:
    """Whether a stage tells of published runs: not where it judges predictions on data of the user's own."""
    params = stage.all_params
    return not (params.clip if stage.source == CLIP else params.data).is_own


def clip_like_cosines(n: int, n_classes: int, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Simulated cosines (n, n_classes) of images and class prompts, and true classes (n,): around 0.2, all within a few
    hundredths, of standard deviation 0.02, that of the true class higher by 0.052.
    """
    y_true = rng.integers(n_classes, size=n)
    cosines = 0.2 + 0.02 * rng.standard_normal((n, n_classes))
    cosines[np.arange(n), y_true] += 0.052
    return cosines, y_true


def raw_temperature_path(scores: ArrayLike, y_true: ArrayLike) -> pd.DataFrame:
    """Every T that L-BFGS with unit steps visits when it moves T itself: step, temperature, nll, slope.

    For one parameter L-BFGS is the secant method: the step is the slope times the last measured 1 / curvature. It
    measures only upward curvature; while the NLL curves downwards it steps by the bare slope. Rules of stopping are
    those of PyTorch's optimiser without line search. `scores` (n, n_classes): what was taken for logits. Nocedal and
    Wright (2006), Numerical optimization, algorithm 7.5.
    """
    scores = np.asarray(scores, dtype=np.float64)
    y_true = check_labels(y_true, *scores.shape)
    temperature, inverse_curvature = 1.0, 1.0
    loss, slope = _loss_and_slope(scores, y_true, temperature)
    rows = [(0, temperature, loss, slope)]
    for step in range(1, 51):
        move = -slope * inverse_curvature
        if step == 1:
            move *= min(1.0, 1 / max(abs(slope), 1e-300))
        if abs(slope) <= 1e-7 or abs(slope * inverse_curvature * slope) < 1e-9:
            break
        temperature += move
        new_loss, new_slope = _loss_and_slope(scores, y_true, temperature)
        rows.append((step, temperature, new_loss, new_slope))
        if move * (new_slope - slope) > 1e-10:
            inverse_curvature = move / (new_slope - slope)
        is_still = abs(move) <= 1e-9 or abs(new_loss - loss) < 1e-9
        loss, slope = new_loss, new_slope
        if is_still:
            break
    return pd.DataFrame(rows, columns=["step", "temperature", "nll", "slope"])


def published_failure(scores: ArrayLike, y_true: ArrayLike) -> pd.DataFrame:
    """Four temperatures for the same scores (n, n_classes): as released, moved raw, clamped, and fitted by logarithm.

    Returns rule, temperature, nll, accuracy, mean_confidence, ece, share_to_human (largest probability below `GATE`).
    """
    scores = np.asarray(scores, dtype=np.float64)
    moved = float(raw_temperature_path(scores, y_true)["temperature"].iloc[-1])
    fitted = Temperature.fit(scores, y_true, allow_small=True).temperature
    rules = {"as released": 1.0, "raw T by L-BFGS": moved}
    rules |= {"clamped to [0.01, 100]": float(np.clip(fitted, *CLAMP)), "log T": fitted}
    return pd.DataFrame([{"rule": rule, **_scored(scores, y_true, value)} for rule, value in rules.items()])


def raw_nll_curve(scores: ArrayLike, y_true: ArrayLike, *, n_points: int = 120) -> pd.DataFrame:
    """NLL over T itself on both sides of its pole at T = 0: columns temperature, nll."""
    scores = np.asarray(scores, dtype=np.float64)
    positive = np.geomspace(2e-4, 1e3, n_points)
    grid = np.concatenate([-positive[::-1], positive])
    return pd.DataFrame({"temperature": grid, "nll": [float(nll_of_logits(scores / t, y_true)) for t in grid]})


def store_failure(numbers: Numbers, failure: pd.DataFrame) -> None:
    """Numbers `failure.raw_temperature`, `.raw_nll`, `.nll_at_1`, `.log_temperature` and `.log_nll` of a failure."""
    rows = failure.set_index("rule")
    found = {"nll_at_1": rows.loc["as released", "nll"]}
    for name, rule in (("raw", "raw T by L-BFGS"), ("log", "log T")):
        found |= {f"{name}_{column}": rows.loc[rule, column] for column in ("temperature", "nll")}
    numbers.merge({f"failure.{name}": Number(float(value), kind=EXACT) for name, value in found.items()})


def published_calibration() -> pd.DataFrame:
    """What the published run reports after calibration, and its arithmetic: figure, published, derived, why."""
    right = 1 - N_ERRORS["published, T free"] / N_IMAGES
    rows = [
        ("accuracy at T = -590", 0.0003, right, "the answer is the least similar class"),
        # The distance of two constants, which measures no calibration.
        ("ECE at T = -590", 0.0997, abs(1 / N_CLASSES - right), "every probability is 1 / 10: |1 / 10 - accuracy|"),
        ("conformal threshold at T = -590", 0.1000, 1 / N_CLASSES, "every probability is 1 / 10"),
        ("NLL at T = -590", float("nan"), float(np.log(N_CLASSES)), "ln 10, that of guessing; at T = 1 it was lower"),
        ("clamped T", CLAMP[0], 1 / CLIP_SCALE, "the clamp happens to be 1 / the scale that the cosines lack"),
    ]
    return pd.DataFrame(rows, columns=["figure", "published", "derived", "why"])


def published_policy(accuracies: Sequence[float] = ACCURACIES) -> pd.DataFrame:
    """What the published policies would have shown, from their counts, a row for each run and reading: policy, share,
    base_error, precision, recall, lift (see `readings`), and of the human branch the accuracy of what goes out if
    people are right so often.
    """
    rows = []
    for run, n_errors in N_ERRORS.items():
        n_human, n_caught = N_HUMAN[run], N_CAUGHT[run]
        wrong = (np.arange(N_IMAGES) < n_errors).astype(float)
        to_human = np.concatenate([np.arange(n_errors) < n_caught, np.arange(N_IMAGES - n_errors) < n_human - n_caught])
        others_right = N_IMAGES - n_human - (n_errors - n_caught)
        after = {f"accuracy, people {h:.0%} right": (others_right + h * n_human) / N_IMAGES for h in accuracies}
        for reading, chosen in (("all interventions", np.ones(N_IMAGES)), ("human branch", to_human.astype(float))):
            scores = {name: float(one(None)) for name, one in readings(chosen, wrong).items()}
            told = after if reading == "human branch" else {}
            rows.append({"policy": f"{run}, {reading}", **scores, **told})
    return pd.DataFrame(rows)


def _loss_and_slope(scores: np.ndarray, y_true: np.ndarray, temperature: float) -> tuple[float, float]:
    """Mean NLL and its derivative by T, which is (l_true - sum of p l) / T² on average; T may be negative."""
    scaled = scores / temperature
    true = scores[np.arange(len(y_true)), y_true]
    slope = (true - (softmax(scaled) * scores).sum(axis=1)).mean() / temperature**2
    return float(nll_of_logits(scaled, y_true)), float(slope)


def _scored(scores: np.ndarray, y_true: ArrayLike, temperature: float) -> dict[str, float]:
    probs = softmax(scores / temperature)
    confidence = probs.max(axis=1)
    return {
        "temperature": temperature,
        "nll": float(nll_of_logits(scores / temperature, y_true)),
        "accuracy": float(accuracy(y_true, top_class(probs))),
        "mean_confidence": float(confidence.mean()),
        "ece": float(ece(probs, y_true)),
        "share_to_human": float((confidence < GATE).mean()),
    }
