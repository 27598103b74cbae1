"""Telling unknown classes from known ones by a score of the similarities.

In-distribution images are the positives: every score is higher the more an image looks like one of the known classes.
Cosines are as they come from unit embeddings; logits are cosines times the model's logit scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import entr, logsumexp

from verdict.clip.robustness.robustness import intervals
from verdict.stats.ranking import auroc
from verdict.stats.scores import softmax
from verdict.stats.uncertainty import Resampler, Weights, bounded
from verdict.stats.weighted import ratio, totals

KEPT = 0.95


def mcm(cosines: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Maximum concept matching: largest softmax of cosines (n, n_classes) over a temperature, (n,) in (0, 1].

    Ming et al. (2022), Delving into out-of-distribution detection with vision-language representations, eq. 2.
    """
    return softmax(cosines / temperature).max(axis=1)


def scores(cosines: np.ndarray, logit_scale: float) -> dict[str, np.ndarray]:
    """Every score of one batch of images, from cosines (n, n_classes) and the model's logit scale.

    Hendrycks and Gimpel (2017), A baseline for detecting misclassified and out-of-distribution examples, for MSP; Liu
    et al. (2020), Energy-based out-of-distribution detection, eq. 4.
    """
    logits = cosines * logit_scale
    return {
        "MCM": mcm(cosines),
        "largest cosine": cosines.max(axis=1),
        "MSP": softmax(logits).max(axis=1),
        "energy": logsumexp(logits, axis=1),
        "negative entropy": -entr(softmax(logits)).sum(axis=1),
    }


def false_positive_rate(score: np.ndarray, is_known: np.ndarray, weights: Weights = None) -> np.ndarray:
    """Share of unknown images that pass the highest threshold which at least 95 % of the known ones pass.

    A score (n,) equal to the threshold passes. NaN if a side is empty. Weights as in `verdict.stats.weighted`.
    """
    # Rows at or above each distinct score, from the highest on, (..., n_distinct).
    values, cells = np.unique(-score, return_inverse=True)
    known, unknown = (totals(weights, cells, len(values), side).cumsum(axis=-1) for side in (is_known, ~is_known))
    is_enough = known >= KEPT * known[..., -1:] - 1e-9
    place = is_enough.argmax(axis=-1)[..., None]
    passed = np.take_along_axis(unknown, place, axis=-1)[..., 0]
    found = ratio(passed, unknown[..., -1], empty=np.nan)
    return np.where(known[..., -1] > 0, found, np.nan)[()]


def detection(score: np.ndarray, is_known: np.ndarray, weights: Weights = None) -> dict[str, np.ndarray]:
    """AUROC, and FPR at 95 % kept."""
    return {"auroc": auroc(score, is_known, weights), "fpr95": false_positive_rate(score, is_known, weights)}


def detection_table(
    known: Mapping[str, np.ndarray],
    unknown: Mapping[str, np.ndarray],
    known_resampler: Resampler,
    unknown_resampler: Resampler,
) -> tuple[pd.DataFrame, np.ndarray]:
    """How well each score tells known from unknown images, with intervals over images of both sides.

    Each side is resampled by itself, so that their sizes stay; the same resamples serve every score of `known`
    (n_known,) and `unknown` (n_unknown,). One row a score: score, the two of `detection`, each with `_low` and
    `_high`; n_known, n_unknown. Beside the table: resamples of auroc (n_resamples, n_scores).
    """
    n_known, n_unknown = len(known_resampler.groups), len(unknown_resampler.groups)
    weights = np.hstack([side.weights() for side in (known_resampler, unknown_resampler)])
    is_known = np.arange(n_known + n_unknown) < n_known
    smaller = min(known_resampler, unknown_resampler, key=lambda side: side.n_groups)
    rows, aurocs = [], []
    for name in known:
        score = np.concatenate([known[name], unknown[name]])
        found, drawn = intervals(partial(detection, score, is_known), known_resampler, weights)
        for metric, one in found.items():
            # Bounds for a metric that no resample moves are those of a share of the groups of one side.
            if one.low == one.high:
                found[metric] = smaller.mean(np.full(len(smaller.groups), one.value), span=(0, 1))
        rows.append({"score": name, **bounded(found)})
        aurocs.append(drawn["auroc"])
    return pd.DataFrame(rows).assign(n_known=n_known, n_unknown=n_unknown), np.stack(aurocs, axis=1)
