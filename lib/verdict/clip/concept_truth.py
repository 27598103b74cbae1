"""Foregrounds and descriptors that are found in pictures, against what the source knows of its pictures."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from verdict.clip import concepts, parts
from verdict.clip.concept_setup import Setup, mean_of, store
from verdict.clip.concepts import Seen
from verdict.clip.descriptors import nearest
from verdict.clip.keys import last_keys
from verdict.clip.variants import WHOLE
from verdict.numbers import POINTS
from verdict.uncertainty import with_bounds


def foreground_table(setup: Setup) -> pd.DataFrame:
    """Agreement of foregrounds with the true masks, by method and features; no rows where masks are unknown.

    Returns
    -------
    DataFrame
        label, value, low, high: mean intersection over union of pixels. Numbers `concepts.iou`, `.iou_keys`,
        `.iou_random`, `.iou_limit` (the best choice of whole patches) and `.iou_gain`, the last row.
    """
    shown = setup.shown
    if shown.masks is None:
        return pd.DataFrame(columns=["label", "value", "low", "high"])
    reader = setup.readers[WHOLE]
    grid, features = (reader.grid, reader.grid), {"last tokens": reader.patches(shown.images)}
    features["keys of the last block"] = last_keys(setup.study.encoder, shown.images)
    found = {}
    for name, values in features.items():
        found[f"spectral cut, {name}"] = _by_class(parts.foreground_spectral, values, shown.y_true, grid)
        found[f"first component, {name}"] = _by_class(parts.foreground_principal, values, shown.y_true, grid)
    used = found["spectral cut, last tokens"]
    found["as many patches at random"] = parts.shuffled_masks(used, setup.stage.rng("concepts.masks"))
    found["every patch"] = np.ones_like(used)
    found["the best choice of patches"] = best_patches(shown.masks, grid)
    pixels = {name: parts.to_pixels(masks, *shown.masks.shape[1:]) for name, masks in found.items()}
    overlap = {name: parts.intersection_over_union(masks, shown.masks) for name, masks in pixels.items()}
    rows = {name: mean_of(setup, values, span=(0, 1)) for name, values in overlap.items()}
    for number, name in _IOU_NUMBERS.items():
        store(setup, number, rows[name])
    gain = overlap["spectral cut, last tokens"] - overlap["as many patches at random"]
    rows["the cut minus random patches, paired"] = mean_of(setup, gain, span=(-1, 1))
    store(setup, "iou_gain", rows["the cut minus random patches, paired"])
    return pd.DataFrame([{"label": name, **asdict(r)} for name, r in rows.items()])


_IOU_NUMBERS = {
    "iou": "spectral cut, last tokens",
    "iou_keys": "spectral cut, keys of the last block",
    "iou_random": "as many patches at random",
    "iou_limit": "the best choice of patches",
}


def _by_class(find, features: np.ndarray, y_true: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    masks = np.zeros((len(y_true), *grid), dtype=bool)
    for label in np.unique(y_true):
        own = np.flatnonzero(y_true == label)
        masks[own] = find(features[own], grid)
    return masks


def best_patches(masks: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The choice of whole patches that agrees best with masks of pixels: what no method on this grid can exceed.

    Patches are taken in the order of their share of the object; the best set is one of these prefixes.
    """
    n, height, width = masks.shape
    owner = parts.to_pixels(np.arange(grid[0] * grid[1]).reshape(1, *grid), height, width)[0].ravel()
    sizes = np.bincount(owner, minlength=grid[0] * grid[1])
    found = np.zeros((n, grid[0] * grid[1]), dtype=bool)
    for row, mask in enumerate(masks.reshape(n, -1)):
        inside = np.bincount(owner[mask], minlength=len(sizes))
        order = np.argsort(-inside / sizes, kind="stable")
        both, area = np.cumsum(inside[order]), np.cumsum(sizes[order])
        found[row, order[: 1 + (both / (area + mask.sum() - both)).argmax()]] = True
    return found.reshape(n, *grid)


def truth_of_descriptors(setup: Setup, seen: Seen) -> pd.DataFrame:
    """How many of a picture's descriptors are true of it, by where they come from; no rows where nothing is known.

    Returns
    -------
    DataFrame
        descriptors, n_each (mean number), is_true, false_red (share of the descriptors of pictures without red that
        name it), with intervals. Numbers `concepts.true_parts`, `.true_bare` (parts without a red outline),
        `.true_nearest`, `.true_class`, `.true_bank`, `.true_gain` (parts minus nearest to the whole picture) and
        `.red_gain` (false red with outlines minus without, paired).
    """
    shown = setup.shown
    if shown.truth is None:
        return pd.DataFrame(columns=["descriptors", "n_each", "is_true", "false_red"])
    reader = setup.readers[WHOLE]
    cosine = np.asarray(reader.images(shown.images)) @ setup.words(reader).bank.T
    n_bank, order = len(setup.bank), nearest(cosine, len(setup.bank))
    ranked = [order[row, : len(ids)] for row, ids in enumerate(seen.visual)]
    chosen = {
        "parts": ("of the picture's parts", seen.is_visual(n_bank)),
        "bare": ("of its parts, pointed at without red", setup.look(WHOLE, outline=False).is_visual(n_bank)),
        "nearest": ("as many, nearest to the whole picture", concepts.memberships(ranked, n_bank)),
        "class": ("of the class that it is given", seen.is_textual(n_bank)[seen.answer]),
        "bank": ("all of the bank", np.ones_like(shown.truth)),
    }
    rows, shares, reds = [], {}, {}
    for name, (words, has) in chosen.items():
        sizes = has.sum(axis=1)
        shares[name] = np.divide((has & shown.truth).sum(axis=1), sizes, out=np.full(len(has), np.nan), where=sizes > 0)
        reds[name] = _false_red(setup, has)
        found = mean_of(setup, shares[name], span=(0, 1) if name != "bank" else None)
        store(setup, f"true_{name}", found, unit="%")
        red = with_bounds("false_red", mean_of(setup, reds[name], span=(0, 1) if name != "bank" else None))
        each = with_bounds("n_each", mean_of(setup, sizes))
        rows.append({"descriptors": words, **each, **with_bounds("is_true", found), **red})
    store(setup, "true_gain", mean_of(setup, shares["parts"] - shares["nearest"], span=(-1, 1)), unit=POINTS)
    store(setup, "red_gain", mean_of(setup, reds["parts"] - reds["bare"], span=(-1, 1)), unit=POINTS)
    return pd.DataFrame(rows)


def _false_red(setup: Setup, has: np.ndarray) -> np.ndarray:
    """Share of each picture's descriptors that name red, (n,); NaN for a picture with red in it or no descriptor."""
    is_red = np.array([("colour", "red") in one.words for one in setup.bank])
    shows_red = setup.shown.truth[:, is_red].any(axis=1)
    sizes = np.where(shows_red, 0, has.sum(axis=1))
    return np.divide(has[:, is_red].sum(axis=1), sizes, out=np.full(len(has), np.nan), where=sizes > 0)
