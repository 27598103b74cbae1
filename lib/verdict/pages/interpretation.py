"""What attention weights say, whether the answer depends on the places that they point at, and how far a layer tells
classes apart: the states of the very graph that answers, and its answers to masked images.

Tokens of an image are those without a place (the class token, first) and then its patches, row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from verdict.base.labels import Label, Split
from verdict.base.numbers import EXACT, POINTS, named
from verdict.model.kept import KeptModel
from verdict.model.network import STATES
from verdict.model.predict import RAW, right_of, two_class
from verdict.model.trials import shuffle_images
from verdict.pages.tables import GAP, SHARE
from verdict.stats.uncertainty import NOTHING, Interval, Weights, bounded, with_bounds
from verdict.stats.weighted import ratio, row_weights
from verdict.workflow.stage import Stage

ATTENDED, RANDOM, CONTRAST, LEAST = "most attended", "random", "most contrast", "least attended"
# Smallest and largest value of what masking does to a pair; a logit has none.
SPANS = {"prob": SHARE, "flipped": SHARE, "logit_change": None}


def split_tokens(attention: np.ndarray, n_patches: int) -> tuple[np.ndarray, np.ndarray]:
    """Attention (..., n_tokens) as the share of tokens without a place (...) and weights (..., n_patches)."""
    n_other = attention.shape[-1] - n_patches
    if n_other < 0:
        raise ValueError(f"expected at least {n_patches} tokens, one a patch, got {attention.shape[-1]}")
    return attention[..., :n_other].sum(axis=-1), attention[..., n_other:]


def relative_entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy over the last axis as a share of the largest possible: 0 all on one, 1 even, NaN where the sum is 0."""
    with np.errstate(invalid="ignore"):
        return stats.entropy(weights.astype(np.float64), axis=-1) / np.log(weights.shape[-1])


def head_statistics(attention: np.ndarray, n_patches: int, groups: np.ndarray, *, stage: Stage) -> pd.DataFrame:
    """Share of the class token and `relative_entropy` over patches of attention (n_pairs, n_heads, n_tokens).

    Returns head, class_token, entropy with intervals over groups; numbers `attention.…` of the averages over heads.
    """
    share, patches = split_tokens(attention, n_patches)
    spread = relative_entropy(patches)
    heads = [("all heads", share.mean(axis=1), spread.mean(axis=1))]
    heads += [(f"head {k + 1}", share[:, k], spread[:, k]) for k in range(attention.shape[1])]
    resampler, rows = stage.resampler(groups), []
    for name, of_token, of_patches in heads:
        found = {"class_token": resampler.mean(of_token, span=SHARE), "entropy": resampler.mean(of_patches, span=SHARE)}
        rows.append({"head": name} | bounded(found))
        if name == "all heads":
            stage.estimates("attention", found, {"class_token": "%"}, n=len(attention), split="test")
    return pd.DataFrame(rows)


def logit_gap(table: pd.DataFrame, logit: np.ndarray) -> float:
    """Largest difference between stored logits and others for the same pairs, relative to logits above one."""
    stored = table["logit_1"].to_numpy()
    return float(np.max(np.abs(logit - stored) / np.maximum(1.0, np.abs(stored))))


def drawn_checks(stage: Stage, table: pd.DataFrame, logit: np.ndarray, exchanged: np.ndarray) -> pd.DataFrame:
    """Whether the logit beside the attention is the stored one, and hangs on the image: quantity, measured.

    Numbers `attention.n_pairs`, `.logit_gap`, and with the image exchanged `.image_effect` (mean |Δ logit|) and
    `.image_flips` (share of answers that change).
    """
    resampler, shared = stage.resampler(table["group_id"].to_numpy()), {"n": len(table), "split": "test"}
    moved = resampler.mean(np.abs(exchanged - logit))
    flipped = resampler.mean(_answers(exchanged) != _answers(logit), span=SHARE)
    stage.number("attention.n_pairs", len(table), split="test", unit="count")
    gap = stage.number("attention.logit_gap", logit_gap(table, logit), kind=EXACT, **shared)
    stage.estimates("attention", {"image_effect": moved, "image_flips": flipped}, {"image_flips": "%"}, **shared)
    quantities = {"largest gap to a stored logit": gap, "mean change of the logit with another image": moved}
    quantities["share of answers that change with another image"] = flipped
    return pd.DataFrame([{"quantity": words} | with_bounds("measured", one) for words, one in quantities.items()])


def example_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The first right and wrong answer to each label by pair id, as far as there are any, with `is_right` and `row`."""
    marked = table.assign(is_right=right_of(table), row=np.arange(len(table)))
    first = marked.sort_values("pair_id", kind="stable").drop_duplicates(["y_true", "is_right"])
    return first.sort_values(["y_true", "is_right"], ascending=[True, False], ignore_index=True)


def patch_counts(shares: Sequence[float], n_patches: int) -> list[int]:
    """Numbers of patches that shares of an image come to: whole, at least one, each once, ascending."""
    return sorted({max(1, round(share * n_patches)) for share in shares})


def by_patch(pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(..., H, W, C) → (..., rows, H / rows, columns, W / columns, C), without a copy where possible."""
    (rows, columns), (height, width, channels) = grid, pixels.shape[-3:]
    if height % rows or width % columns:
        raise ValueError(f"an image of {height} x {width} pixels is not a grid of {rows} x {columns} patches")
    return pixels.reshape(*pixels.shape[:-3], rows, height // rows, columns, width // columns, channels)


def patch_contrast(images: np.ndarray, fill: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean absolute difference of each patch of images (n, H, W, 3) to `fill` (H, W, 3), (n, n_patches) grey levels."""
    apart = np.abs(images.astype(np.int16) - fill.astype(np.int16))
    return by_patch(apart, grid).mean(axis=(-4, -2, -1)).reshape(len(images), -1)


def mask_patches(images: np.ndarray, chosen: np.ndarray, fill: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with chosen patches, bool (n, n_patches), replaced by those of the picture `fill`."""
    if chosen.shape != (len(images), grid[0] * grid[1]):
        raise ValueError(f"expected choices of shape {(len(images), grid[0] * grid[1])}, got {chosen.shape}")
    places = chosen.reshape(-1, grid[0], 1, grid[1], 1, 1)
    return np.where(places, by_patch(fill, grid), by_patch(images, grid)).reshape(images.shape)


def mask_orders(weights: np.ndarray, contrast: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Orders of masking patches, by name: (n, n_patches), a permutation in each row. By attention weights (n,
    n_patches), and by contrast (`patch_contrast`), a control that knows where things are, not the hypothesis.
    """
    by_attention, by_contrast = (np.argsort(-values, axis=1, kind="stable") for values in (weights, contrast))
    drawn = rng.permuted(np.tile(np.arange(weights.shape[1]), (len(weights), 1)), axis=1)
    return {ATTENDED: by_attention, CONTRAST: by_contrast, RANDOM: drawn, LEAST: by_attention[:, ::-1]}


def firsts(order: np.ndarray, k: int) -> np.ndarray:
    """Mark the first k patches of each row's order, bool (n, n_patches)."""
    chosen = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(chosen, order[:, :k], True, axis=1)
    return chosen


@dataclass(frozen=True)
class Deletion:
    """Logits of pairs with `counts` of their image's patches masked, ascending: with the whole image `logit`
    (n_pairs,), `masked` by the order's name (n_counts, n_pairs).
    """

    counts: list[int]
    n_patches: int
    logit: np.ndarray
    masked: Mapping[str, np.ndarray]
    groups: np.ndarray

    def outcomes(self, order: str) -> dict[str, np.ndarray]:
        """What masking in an order does, each (n_counts, n_pairs): `prob` of the answer that was given to the whole
        image, `logit_change` |Δ logit|, `flipped` 1 where the answer changes.
        """
        answer, masked = _answers(self.logit), self.masked[order]
        prob = np.stack([_prob(row, answer) for row in masked])
        flipped = np.stack([_answers(row) != answer for row in masked]).astype(np.float64)
        return {"prob": prob, "logit_change": np.abs(masked - self.logit), "flipped": flipped}


def deletion_curves(deletion: Deletion, *, stage: Stage) -> pd.DataFrame:
    """What masking does, none first: order, n_masked, share_masked; with intervals prob, logit_change, flipped."""
    resampler, rows = stage.resampler(deletion.groups), []
    # Nothing masked changes nothing, by definition and not by measurement.
    start = {name: Interval(0.0, 0.0, 0.0) for name in SPANS}
    start["prob"] = resampler.mean(_prob(deletion.logit, _answers(deletion.logit)), span=SPANS["prob"])
    n_counts = len(deletion.counts)
    for order in deletion.masked:
        found = deletion.outcomes(order)
        means = [{name: resampler.mean(found[name][k], span=SPANS[name]) for name in SPANS} for k in range(n_counts)]
        for count, one in zip([0, *deletion.counts], [start, *means], strict=True):
            row = {"order": order, "n_masked": count, "share_masked": count / deletion.n_patches}
            rows.append(row | bounded(one))
    return pd.DataFrame(rows)


def deletion_differences(deletion: Deletion, *, stage: Stage) -> pd.DataFrame:
    """What masking the most attended patches does beyond masking others, on the same pairs; positive: it does more.

    Returns minus (the other order), n_masked ("all": mean over the share masked, from none on, by trapezoids; "least":
    the smallest over numbers of patches), and with intervals fall (of the answer's probability), logit_change, flipped.
    Numbers `masking.<order>.fall`, `.logit_change` and `.flipped` of "all", `.least` of the falls; `.more_at` and
    `.less_at`, the numbers of the `masking.n_patches` at which the fall is shown to be larger, or smaller.
    """
    spans = {"fall": GAP, "flipped": GAP, "logit_change": None}
    units = dict.fromkeys(("fall", "flipped", "least"), POINTS)
    attended, resampler, rows = deletion.outcomes(ATTENDED), stage.resampler(deletion.groups), []
    for order in (name for name in deletion.masked if name != ATTENDED):
        other, key = deletion.outcomes(order), f"masking.{order.replace(' ', '_')}"
        gaps = {name: attended[name] - other[name] for name in attended}
        gaps = {"fall": -gaps.pop("prob"), **gaps}
        parts = {"all": {name: over_shares(gap, deletion.counts) for name, gap in gaps.items()}}
        parts |= {str(count): {name: gap[k] for name, gap in gaps.items()} for k, count in enumerate(deletion.counts)}
        found = {
            count: {name: resampler.mean(one, span=spans[name]) for name, one in part.items()}
            for count, part in parts.items()
        }
        least = resampler.smallest_mean(gaps["fall"], span=GAP)
        rows += [{"minus": order, "n_masked": count} | bounded(one) for count, one in found.items()]
        rows.append({"minus": order, "n_masked": "least"} | bounded({"fall": least}))
        stored = found.pop("all") | {"least": least}
        stage.estimates(key, stored, units, n=len(deletion.logit), split="test")
        falls = {count: one["fall"] for count, one in found.items()}
        shown = {"more_at": [count for count, fall in falls.items() if fall.low > 0]}
        shown["less_at"] = [count for count, fall in falls.items() if fall.high < 0]
        stage.numbers.merge({f"{key}.{name}": named(" and ".join(at)) for name, at in shown.items()})
    stage.number("masking.n_patches", deletion.n_patches, unit="count")
    return pd.DataFrame(rows)


def over_shares(gap: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Mean over the share masked of a difference (n_counts, n_pairs) that is 0 where nothing is: (n_pairs,)."""
    return np.trapezoid(np.vstack([np.zeros_like(gap[:1]), gap]), [0, *counts], axis=0) / counts[-1]


def _answers(logit: np.ndarray) -> np.ndarray:
    return RAW.decide(two_class(logit))


def _prob(logit: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Probability of an answer, (n,)."""
    return RAW.probabilities(two_class(logit))[np.arange(len(logit)), answer]


# Inverse strengths of the probe's penalty, strongest first.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Labelled:
    """States of one layer for the pairs of one split: x is (n, d), y and groups are (n,)."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray


def probe_answers(train: Labelled, tune: Labelled, test: Labelled) -> np.ndarray:
    """Answers of a linear probe of standardised features to the rows of `test`, int (n_test,).

    Its penalty (L2) does best on `tune` after a fit on `train`, the stronger of equal ones; then it is fitted on both.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train.y)) < 2:
        raise ValueError(f"a probe needs two classes to learn from, got {len(train.y)} rows of one")

    def fitted(strength: float, x: np.ndarray, y: np.ndarray):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        return model.fit(x.astype(np.float64), y)

    score = [fitted(strength, train.x, train.y).score(tune.x, tune.y) for strength in STRENGTHS]
    best = STRENGTHS[int(np.argmax(score))]
    both = fitted(best, np.concatenate([train.x, tune.x]), np.concatenate([train.y, tune.y]))
    return both.predict(test.x)


def silhouette(distance: np.ndarray, y: np.ndarray, groups: np.ndarray, weights: Weights = None) -> ArrayLike:
    """Mean silhouette of classes: 1 far apart, 0 no separation, negative mixed; the shape of weights less their last.

    A row's silhouette is (b - a) / max(a, b) with a its mean distance to rows of its class, and b the least mean
    distance to another class, over rows of other groups only: a resample repeats whole groups, and their own copies
    would look like near neighbours. Where a row finds nobody of its class, it has 0; where it finds nobody of another,
    the result is NaN. Distances are (n, n), classes and groups (n,), weights (n,) or (n_resamples, n). Rousseeuw
    (1987), Silhouettes, eq. 2 and 3, for groups of one row.
    """
    weights = row_weights(weights, len(y))
    apart = (np.asarray(groups)[:, None] != np.asarray(groups)).astype(np.float64)
    distance = distance * apart
    own, other = np.zeros(weights.shape), np.full(weights.shape, np.inf)
    for name in np.unique(y):
        inside = y == name
        mass = weights[..., inside]
        mean = ratio(mass @ distance[inside], mass @ apart[inside], empty=np.nan)
        own = np.where(inside, mean, own)
        other = np.where(inside, other, np.minimum(other, mean))
    other = np.where(np.isinf(other), np.nan, other)
    largest = np.fmax(own, other)
    values = np.divide(other - own, largest, out=np.zeros(weights.shape), where=largest != 0)
    values = np.where(np.isnan(own) & np.isfinite(other), 0.0, values)
    # Rows that do not count may be NaN.
    return (weights * np.where(weights > 0, values, 0.0)).sum(axis=-1) / weights.sum(axis=-1)


def layer_scores(
    stage: Stage,
    layers: Mapping[str, tuple[Labelled, Labelled, Labelled]],
    *,
    sample: np.ndarray,
    first: str,
    last: str,
) -> pd.DataFrame:
    """What a linear probe reads from each layer, and how far apart its classes lie.

    `layers`: states of train, tune and test by name, in the network's order, of the same pairs each; `sample`
    (n_sample,) int: rows of test for the silhouette, by Euclidean distances. Returns layer, width, and with intervals
    over groups accuracy (of the probe on test), beyond_first (minus that of the layer `first`), silhouette. Numbers
    `representation.<layer>.accuracy` and `.silhouette`, and `representation.gain`: beyond_first of the layer `last`.
    """
    from sklearn.metrics import pairwise_distances

    hits = {name: (probe_answers(*parts) == parts[2].y).astype(np.float64) for name, parts in layers.items()}
    resampler, rows = stage.resampler(layers[first][2].groups), []
    for name, (_, _, test) in layers.items():
        right = resampler.mean(hits[name], span=SHARE)
        beyond = NOTHING if name == first else resampler.mean(hits[name] - hits[first], span=GAP)
        groups, distance = test.groups[sample], pairwise_distances(test.x[sample].astype(np.float64))
        apart = stage.resampler(groups).interval(partial(silhouette, distance, test.y[sample], groups))
        stage.numbers[f"representation.{name}.accuracy"] = right.number(n=len(test.y), split="test", unit="%")
        stage.numbers[f"representation.{name}.silhouette"] = apart.number(n=len(sample), split="test")
        if name == last:
            stage.numbers["representation.gain"] = beyond.number(n=len(test.y), split="test", unit=POINTS)
        found = {"accuracy": right, "beyond_first": beyond, "silhouette": apart}
        rows.append({"layer": name, "width": test.x.shape[1]} | bounded(found))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Embedding:
    """Points (n, 2) without units, and the perplexity as used."""

    points: np.ndarray
    perplexity: float


def embed(x: np.ndarray, *, perplexity: float, seed: int) -> Embedding:
    """t-SNE of states (n, d) on one thread, so that a seed gives one picture; ValueError for fewer than four points.

    The perplexity is at most a third of the other points, so that small samples can be drawn (van der Maaten and Hinton
    2008, Visualizing data using t-SNE).
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(x) < 4:
        raise ValueError(f"a picture of neighbours needs at least four points, got {len(x)}")
    used = min(perplexity, (len(x) - 1) / 3)
    with threadpool_limits(1):
        model = TSNE(n_components=2, perplexity=used, init="pca", max_iter=1000, random_state=seed)
        points = model.fit_transform(x.astype(np.float32))
    return Embedding(points.astype(np.float64), used)


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
) -> Deletion:
    """Mask patches in several orders, encode each masked image anew, and let the network answer.

    `weights` (n, n_patches): attention, averaged over heads; `fill` uint8 (H, W, 3) stands where a patch is masked.
    """
    images = model.pictures(pairs["image_id"])
    counts = patch_counts(stage.params.interpret.mask_shares, weights.shape[1])
    orders = mask_orders(weights, patch_contrast(images, fill, model.grid), rng)
    chosen = [np.zeros(weights.shape, dtype=bool), *(firsts(order, k) for order in orders.values() for k in counts)]
    logit = np.empty((len(chosen), len(pairs)))
    for rows in model.parts(np.arange(len(pairs))):
        views = (mask_patches(images[rows], marks[rows], fill, model.grid) for marks in chosen)
        logit[:, rows] = list(model.answers(pairs.iloc[rows].assign(image_id=rows), rows, views))
        stage.progress(f"masked images of {rows[-1] + 1:,}/{len(pairs):,} pairs")
    masked = dict(zip(orders, logit[1:].reshape(len(orders), len(counts), -1), strict=True))
    return Deletion(counts, weights.shape[1], logit[0], masked, pairs["group_id"].to_numpy())


def labelled_layers(stage: Stage, model: KeptModel, test: Mapping[str, np.ndarray]) -> dict[str, tuple[Labelled, ...]]:
    """States of each layer for val, calib and test, the last given, as `layer_scores` takes them."""
    tables = [stage.pairs(split) for split in (Split.VAL, Split.CALIB, Split.TEST)]
    states = [observe(model, pairs) for pairs in tables[:2]] + [test]
    y = [np.array([int(Label.parse(label)) for label in pairs["label"]]) for pairs in tables]
    groups = [pairs["group_id"].to_numpy() for pairs in tables]
    return {name: tuple(Labelled(states[k][name], y[k], groups[k]) for k in range(3)) for name in LAYERS}


def draw_examples(model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame, weights: np.ndarray) -> dict[str, list]:
    """Pictures, patch weights by head and titles of `example_pairs`, as `plots.draw_attention` takes them.

    Prediction table, pair table and weights of attention (n, heads, n_tokens) are of the same pairs, row by row.
    """
    chosen = example_pairs(table)
    share, patches = split_tokens(weights[chosen["row"]], model.grid[0] * model.grid[1])
    hypotheses = pairs["hypothesis"].to_numpy()[chosen["row"]]
    labels = [Label(int(y)).text for y in chosen["y_true"]]
    outcomes = ["answered rightly" if right else "answered wrongly" for right in chosen["is_right"]]
    return {
        "images": list(model.pictures(chosen["image_id"])),
        "maps": list(patches.reshape(*patches.shape[:2], *model.grid)),
        "shares": list(share),
        "titles": [f"{h} ({label}; {o})" for h, label, o in zip(hypotheses, labels, outcomes, strict=True)],
    }
