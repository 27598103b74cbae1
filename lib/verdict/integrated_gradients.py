"""Integrated gradients of one answer, over the patches of its image and the tokens of its hypothesis.

    attribution_i = (x_i - x'_i) ∫₀¹ ∂f / ∂x_i (x' + a (x - x')) da        (Sundararajan et al. 2017, eq. 1)

f is the margin of the answer that was given: the logit z of contradiction, or -z for entailment. x are pixels and token
embeddings together; x' is the image in one flat colour, its own median, and every word replaced by [PAD]. The
attributions sum to f(x) - f(x'); what the sum misses is the completeness gap of the numerical integral.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from verdict.backend import keras
from verdict.data.images import ImageStore
from verdict.evaluation import Selection
from verdict.labels import Label
from verdict.model import Network, head_states
from verdict.probe import KeptModel, load_kept_model
from verdict.stage import Stage

STEPS_AT_A_TIME = 16


@dataclass(frozen=True)
class Attribution:
    """What carried one answer.

    Attributes
    ----------
    pair_id : str
    image : uint8 (H, W, 3)
        As the model sees it, before its own scaling.
    patches : float (rows, columns)
        Sum over the pixels and channels of each patch.
    tokens : tuple of str, (n_words,)
    words : float (n_words,)
        Sum over the width of each token's embedding; [CLS] and [SEP] have none, their baseline being themselves.
    margin, baseline_margin : float
        f(x) and f(x').
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
    """Attributions of some pairs by the kept model.

    Parameters
    ----------
    chosen : DataFrame
        pair_id, image_id, hypothesis and answer (class id that the model gave).
    n_steps : int
        Nodes of the Gauss-Legendre rule on the path.
    """
    model = load_kept_model(stage, kept)
    images = ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent)
    found = []
    for row in chosen.itertuples():
        stage.progress(f"explaining {row.pair_id}")
        shown = images.load([row.image_id], size=model.encoders.image_size)
        found.append(attribute(model, shown, str(row.hypothesis), int(row.answer), str(row.pair_id), n_steps=n_steps))
    return found


def attribute(
    model: KeptModel, shown: np.ndarray, hypothesis: str, answer: int, pair_id: str, *, n_steps: int
) -> Attribution:
    """Attribution of one pair; `shown` is uint8 (1, H, W, 3) at the model's size."""
    token_ids, padding_mask = model.encoders.tokens([hypothesis])
    flat = np.broadcast_to(np.rint(np.median(shown, axis=(1, 2), keepdims=True)), shown.shape).astype(np.uint8)
    sign = 1.0 if answer == Label.CONTRADICTION else -1.0
    pixels, words, margins = integrate(
        model.network,
        model.encoders.pixels(shown),
        model.encoders.pixels(flat),
        (token_ids, _without_words(model, token_ids)),
        padding_mask,
        sign=sign,
        n_steps=n_steps,
    )
    patch = np.broadcast_to(model.network.vision.patch_size, 2)
    tokenizer = model.encoders.preprocessor.tokenizer
    n_words = int(padding_mask.sum())
    return Attribution(
        pair_id,
        shown[0],
        sum_patches(pixels, patch),
        tuple(str(tokenizer.id_to_token(int(token))) for token in token_ids[0, :n_words]),
        words[:n_words],
        *margins,
    )


def integrate(
    network: Network,
    pixels: np.ndarray,
    flat: np.ndarray,
    token_ids: tuple[np.ndarray, np.ndarray],
    padding_mask: np.ndarray,
    *,
    sign: float,
    n_steps: int,
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Attributions of pixels (H, W) and of token positions (n_words,), and the margins f(x) and f(x').

    Parameters
    ----------
    pixels, flat : float32 (1, H, W, 3)
        The image and its baseline in the model's own range.
    token_ids : two int32 arrays (1, n_words)
        The words and their baseline.
    padding_mask : int32 (1, n_words)
    sign : float
        1 or -1: of the logit in the margin.
    n_steps : int
    """
    if keras.backend.backend() != "torch":
        raise RuntimeError(f"integrated gradients need the torch backend, this is {keras.backend.backend()}")
    embed = network.text.get_layer("token_and_position_embedding")
    # A call outside `predict` leaves a graph; what is fixed along the path needs none.
    with torch.no_grad():
        ends = [(_tensor(flat), embed(_tensor(token_ids[1]))), (_tensor(pixels), embed(_tensor(token_ids[0])))]
        margins = [sign * float(_logit(network, *end, padding_mask)[0]) for end in ends]
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    total = [torch.zeros_like(part) for part in ends[0]]
    for start in range(0, n_steps, STEPS_AT_A_TIME):
        part = slice(start, start + STEPS_AT_A_TIME)
        place = torch.tensor((nodes[part] + 1) / 2, dtype=torch.float32, device=ends[0][0].device)
        points = [
            (low + place.view(-1, *[1] * (low.ndim - 1)) * (high - low)).requires_grad_()
            for low, high in zip(*ends, strict=True)
        ]
        logits = _logit(network, *points, padding_mask.repeat(len(place), axis=0))
        weight = torch.tensor(weights[part] / 2, dtype=torch.float32, device=place.device)
        # Each point's logit depends on its own row alone, so one backward pass gives every row's gradient.
        gradients = torch.autograd.grad((logits * weight).sum(), points)
        total = [have + more.sum(dim=0, keepdim=True) for have, more in zip(total, gradients, strict=True)]
    moved = [(high - low) * slope for low, high, slope in zip(*ends, total, strict=True)]
    by_pixel, by_word = (sign * part[0].sum(dim=-1).cpu().numpy().astype(np.float64) for part in moved)
    return by_pixel, by_word, (margins[1], margins[0])


def sum_patches(by_pixel: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Attributions of pixels (H, W) added up by patch, (H / patch height, W / patch width)."""
    rows, columns = by_pixel.shape[0] // patch[0], by_pixel.shape[1] // patch[1]
    return by_pixel.reshape(rows, patch[0], columns, patch[1]).sum(axis=(1, 3))


def _without_words(model: KeptModel, token_ids: np.ndarray) -> np.ndarray:
    """The same positions with every token but [CLS] and [SEP] replaced by [PAD]."""
    tokenizer = model.encoders.preprocessor.tokenizer
    is_frame = np.isin(token_ids, (tokenizer.cls_token_id, tokenizer.sep_token_id))
    return np.where(is_frame, token_ids, tokenizer.pad_token_id).astype(np.int32)


def _logit(network: Network, pixels: Any, embedded: Any, padding_mask: np.ndarray) -> Any:
    """Logits (n,) of the whole network from pixels and embedded tokens, in inference mode, with a graph."""
    hidden = network.text.get_layer("embeddings_layer_norm")(embedded)
    for block in network.text_layers:
        hidden = block(hidden, padding_mask=_tensor(padding_mask), training=False)
    image_tokens = network.vision(pixels, training=False)
    states = head_states(network.head, network.head["take_cls_token"](hidden), image_tokens)
    return states["logit"][:, 0]


def _tensor(array: np.ndarray) -> Any:
    return keras.ops.convert_to_tensor(array)
