"""Integrated gradients of one answer, over the patches of its image and the tokens of its hypothesis.

    attribution_i = (x_i - x'_i) ∫₀¹ ∂f / ∂x_i (x' + a (x - x')) da        (Sundararajan et al. 2017, eq. 1)

f is the margin of the answer that was given: the logit z of contradiction, or -z for entailment. x are pixels and token
embeddings together; x' is the image in one flat colour, its own median, and every word replaced by [PAD]. The
attributions sum to f(x) - f(x'); what the sum misses is the completeness gap of the numerical integral.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.labels import Label
from verdict.model.backend import gradients, keras
from verdict.model.kept import KeptModel, load_model
from verdict.model.network import Network, head_states
from verdict.model.selection import Selection
from verdict.workflow.stage import Stage

ops = keras.ops

# Of a large picture; of smaller ones as many steps as hold the pixels of 16 pictures of 224 x 224.
STEPS_AT_A_TIME, PIXELS_AT_A_TIME = 16, 16 * 224**2
# Image and token ids.
Inputs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Attribution:
    """What carried one answer.

    The image is uint8 (H, W, 3) as the model sees it, before its own scaling. Patches (rows, columns) are sums over
    pixels and channels; words (n_words,) are sums over the width of each token's embedding, and [CLS] and [SEP] have
    none, their baseline being themselves. The margins are f(x) and f(x').
    """

    pair_id: str
    image: np.ndarray
    patches: np.ndarray
    tokens: tuple[str, ...]
    words: np.ndarray
    margin: float
    baseline_margin: float

    @property
    def gap(self) -> float:
        """Completeness gap: what the attributions miss, as a share of f(x) - f(x')."""
        moved = self.margin - self.baseline_margin
        missed = abs(float(self.patches.sum() + self.words.sum()) - moved)
        return missed / abs(moved) if moved else float("inf")

    @property
    def share_of_image(self) -> float:
        """Share of the absolute attributions that lies on the image."""
        image, words = np.abs(self.patches).sum(), np.abs(self.words).sum()
        return float(image / (image + words)) if image + words else float("nan")


def attribute_pairs(stage: Stage, kept: Selection, chosen: pd.DataFrame, *, n_steps: int) -> list[Attribution]:
    """Attributions by the kept model of pairs with pair_id, image_id, hypothesis and answer (class id that it gave).

    The path has `n_steps` nodes of the Gauss-Legendre rule.
    """
    model = load_model(stage, kept, features=False)
    attributions = []
    for row in chosen.itertuples():
        stage.progress(f"explaining {row.pair_id}")
        image, hypothesis = model.pictures([row.image_id]), str(row.hypothesis)
        attributions.append(attribute(model, image, hypothesis, int(row.answer), str(row.pair_id), n_steps=n_steps))
    return attributions


def attribute(
    model: KeptModel, shown: np.ndarray, hypothesis: str, answer: int, pair_id: str, *, n_steps: int
) -> Attribution:
    """Attribution of one pair; `shown` is uint8 (1, H, W, 3) at the model's size."""
    tokenizer = model.encoders.preprocessor.tokenizer
    token_ids, padding_mask = model.encoders.tokens([hypothesis])
    # The baseline: every token but [CLS] and [SEP] is [PAD], every pixel the image's median.
    is_frame = np.isin(token_ids, (tokenizer.cls_token_id, tokenizer.sep_token_id))
    padded = np.where(is_frame, token_ids, tokenizer.pad_token_id).astype(np.int32)
    flat = np.broadcast_to(np.rint(np.median(shown, axis=(1, 2), keepdims=True)), shown.shape).astype(np.uint8)
    sides = ((model.encoders.pixels(image), words) for image, words in ((shown, token_ids), (flat, padded)))
    sign = 1.0 if answer == Label.CONTRADICTION else -1.0
    pixels, words, margins = integrate(model.network, *sides, padding_mask, sign=sign, n_steps=n_steps)
    n_words = int(padding_mask.sum())
    tokens = tuple(str(tokenizer.id_to_token(int(token))) for token in token_ids[0, :n_words])
    rows, columns = model.grid
    patches = pixels.reshape(rows, len(pixels) // rows, columns, -1).sum(axis=(1, 3))
    return Attribution(pair_id, shown[0], patches, tokens, words[:n_words], *margins)


def integrate(
    network: Network, shown: Inputs, flat: Inputs, padding_mask: np.ndarray, *, sign: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Attributions of pixels (H, W) and of token positions (n_words,), and the margins f(x) and f(x').

    What is shown and its flat baseline are an image, float32 (1, H, W, 3) in the model's own range, and words, int32
    (1, n_words) as their mask; `sign` is 1 or -1, that of the logit in the margin.
    """
    embed = network.text.get_layer("token_and_position_embedding")
    baseline, answered = (
        (ops.convert_to_tensor(image), embed(ops.convert_to_tensor(words))) for image, words in (flat, shown)
    )
    margins = [
        sign * float(ops.convert_to_numpy(_logit(network, *inputs, padding_mask))[0]) for inputs in (answered, baseline)
    ]
    # The rule's nodes and weights on [-1, 1], moved to [0, 1].
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    nodes, weights = (nodes + 1) / 2, weights / 2
    total = [ops.zeros_like(side) for side in baseline]
    at_a_time = max(STEPS_AT_A_TIME, PIXELS_AT_A_TIME // shown[0][0, ..., 0].size)
    for start in range(0, n_steps, at_a_time):
        steps = slice(start, start + at_a_time)
        place = ops.convert_to_tensor(nodes[steps], dtype="float32")
        weight = ops.convert_to_tensor(weights[steps], dtype="float32")
        points = [
            low + ops.reshape(place, (-1, *[1] * (low.ndim - 1))) * (high - low)
            for low, high in zip(baseline, answered, strict=True)
        ]
        mask = padding_mask.repeat(len(weight), axis=0)

        def weighted(image: Any, words: Any, mask: np.ndarray = mask, weight: Any = weight) -> Any:
            return ops.sum(_logit(network, image, words, mask) * weight)

        # Each point's logit depends on its own row alone, so one backward pass gives every row's gradient.
        slopes = gradients(weighted, points)
        total = [known + ops.sum(slope, axis=0, keepdims=True) for known, slope in zip(total, slopes, strict=True)]
    attributions = [(high - low) * slope for low, high, slope in zip(baseline, answered, total, strict=True)]
    sums = (ops.convert_to_numpy(ops.sum(values[0], axis=-1)) for values in attributions)
    by_pixel, by_word = (sign * values.astype(np.float64) for values in sums)
    return by_pixel, by_word, tuple(margins)


def _logit(network: Network, pixels: Any, embedded: Any, padding_mask: np.ndarray) -> Any:
    """Logits (n,) of the whole network from pixels and embedded tokens, in inference mode, with a graph."""
    hidden = network.text.get_layer("embeddings_layer_norm")(embedded)
    for block in network.text_layers:
        hidden = block(hidden, padding_mask=ops.convert_to_tensor(padding_mask), training=False)
    states = head_states(network.head, hidden[:, :1], network.vision(pixels, training=False))
    return states["logit"][:, 0]
