"""The kept network seen from inside: the states of the very graph that answers, and its answers to masked images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from verdict.base.labels import Label, Split
from verdict.model.kept import KeptModel
from verdict.model.network import STATES
from verdict.model.trials import shuffle_images
from verdict.pages import attention
from verdict.workflow.stage import Stage

# Layers whose states are kept, in the order of computation, in the words of the page.
LAYERS = {
    "take_cls_token": "the hypothesis alone",
    "xattn": "what it attends to in the image",
    "xattn_norm": "both together",
    "mlp_1": "the hidden layer before the logit",
}
N_FILL_IMAGES = 256


def observe(model: KeptModel, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
    """States of the fusion head for pairs, from stored features, in inference mode and in the order of the pairs: by
    name (`model.STATES`) `attention` (n, heads, n_tokens), `logit` (n,) in float64, others (n, width).
    """
    states = model.outputs(model.watcher, pairs)
    flat = {name: states[name].reshape(len(pairs), -1) for name in STATES}
    return flat | {"attention": states["attention"][:, :, 0, :], "logit": flat["logit"][:, 0].astype(np.float64)}


def observe_exchanged(model: KeptModel, pairs: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Logits of pairs when each is shown another group's image, (n,)."""
    return observe(model, shuffle_images(pairs, rng))["logit"]


def answer_pictures(model: KeptModel, pairs: pd.DataFrame, pictures: np.ndarray) -> np.ndarray:
    """Logits of pairs whose images are given and encoded anew, one a pair: uint8 (n, H, W, 3) → float64 (n,)."""
    logit, shown = np.empty(len(pairs)), pairs.assign(image_id=np.arange(len(pairs)))
    for rows in model.parts(np.arange(len(pairs))):
        seen = model.seen(rows, [model.encoders.pixels(pictures[rows])])
        logit[rows] = model.logits(shown.iloc[rows], seen)
    return logit


def usual_picture(model: KeptModel, image_ids: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """The median of up to `N_FILL_IMAGES` images, pixel by pixel: what is usually at a place, uint8 (H, W, 3)."""
    distinct = np.unique(np.asarray(image_ids, dtype=object))
    chosen = rng.permutation(len(distinct))[:N_FILL_IMAGES]
    return np.median(model.pictures(distinct[np.sort(chosen)]), axis=0).astype(np.uint8)


def sample_rows(n: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `wanted` of n rows, drawn without replacement, ascending."""
    return np.sort(rng.permutation(n)[:wanted])


def delete_patches(
    stage: Stage, model: KeptModel, pairs: pd.DataFrame, weights: np.ndarray, fill: np.ndarray, rng: np.random.Generator
) -> attention.Deletion:
    """Mask patches in several orders, encode each masked image anew, and let the network answer.

    `weights` (n, n_patches): attention, averaged over heads; `fill` uint8 (H, W, 3) stands where a patch is masked.
    """
    images = model.pictures(pairs["image_id"])
    counts = attention.patch_counts(stage.params.interpret.mask_shares, weights.shape[1])
    orders = attention.mask_orders(weights, attention.patch_contrast(images, fill, model.grid), rng)
    masked: dict[str, np.ndarray] = {}
    for name, order in orders.items():
        shown = (attention.mask_patches(images, attention.firsts(order, count), fill, model.grid) for count in counts)
        masked[name] = np.stack([answer_pictures(model, pairs, pictures) for pictures in shown])
        stage.progress(f"masked {len(masked)}/{len(orders)} orders")
    whole = answer_pictures(model, pairs, images)
    return attention.Deletion(counts, weights.shape[1], whole, masked, pairs["group_id"].to_numpy())


def labelled_layers(
    stage: Stage, model: KeptModel, test: Mapping[str, np.ndarray]
) -> dict[str, tuple[attention.Labelled, attention.Labelled, attention.Labelled]]:
    """States of each layer for val, calib and test, the last given, as `attention.layer_scores` takes them."""
    tables = [stage.pairs(split) for split in (Split.VAL, Split.CALIB, Split.TEST)]
    states = [observe(model, pairs) for pairs in tables[:2]] + [test]
    y = [np.array([int(Label.parse(label)) for label in pairs["label"]]) for pairs in tables]
    groups = [pairs["group_id"].to_numpy() for pairs in tables]
    return {name: tuple(attention.Labelled(states[k][name], y[k], groups[k]) for k in range(3)) for name in LAYERS}


def draw_examples(model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame, weights: np.ndarray) -> dict[str, list]:
    """Pictures, patch weights by head and titles of `attention.example_pairs`, as `plots.draw_attention` takes them.

    Prediction table, pair table and weights of attention (n, heads, n_tokens) are of the same pairs, row by row.
    """
    chosen = attention.example_pairs(table)
    share, patches = attention.split_tokens(weights[chosen["row"]], model.grid[0] * model.grid[1])
    hypotheses = pairs["hypothesis"].to_numpy()[chosen["row"]]
    labels = [Label(int(y)).text for y in chosen["y_true"]]
    outcomes = ["answered rightly" if right else "answered wrongly" for right in chosen["is_right"]]
    return {
        "images": list(model.pictures(chosen["image_id"])),
        "maps": list(patches.reshape(*patches.shape[:2], *model.grid)),
        "shares": list(share),
        "titles": [f"{h} ({label}; {o})" for h, label, o in zip(hypotheses, labels, outcomes, strict=True)],
    }
