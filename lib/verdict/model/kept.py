"""A trained network put together again from stored weights, and its answers: to stored pairs, other images and words.

The kept model of a report is asked by signals, interpretation, explanations, defects and the export, all through here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from verdict.base.files.images import ImageStore
from verdict.base.params import ModelParams
from verdict.model.backend import keras, set_threads
from verdict.model.features import Encoders, Features, Prefix, frozen_prefix, load_encoders, load_network
from verdict.model.fit import Rows, load_weights, predict_all, predict_logits, read_once, read_weights, trained_part
from verdict.model.network import STATES, FreezePlan, Network, build_suffix
from verdict.model.selection import Selection
from verdict.workflow.stage import Stage
from verdict.workflow.stages import FEATURES, TRIAL_STAGE, WARMUP_STAGE, weights_file

NOTHING = Features(pd.Series(dtype=int), pd.Series(dtype=int), *(np.empty(0) for _ in range(3)))


@dataclass(frozen=True)
class KeptModel:
    """A trained network with its weights, and what it reads with.

    `features` are the stored prefixes of the same freeze plan, or `NOTHING`; `batch` images or hypotheses are encoded
    at a time.
    """

    network: Network
    encoders: Encoders
    plan: FreezePlan
    features: Features = NOTHING
    images: ImageStore | None = None
    batch: int = 256

    @cached_property
    def suffix(self) -> Any:
        """The trained part."""
        return trained_part(self.network, self.plan)

    @cached_property
    def watcher(self) -> keras.Model:
        """The same graph with every state of the fusion head as output."""
        return build_suffix(self.network, self.plan, watched=STATES)

    @cached_property
    def prefixes(self) -> tuple[Prefix, Prefix]:
        """The frozen parts of vision and text, as stored features were made."""
        cuts = (("vision", self.plan.vision_blocks), ("text", self.plan.text_blocks))
        return tuple(frozen_prefix(self.network, side, [depth]) for side, depth in cuts)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches that the vision encoder cuts an image into."""
        (height, width), (rows, columns) = self.encoders.image_size, self.network.vision.patch_size
        return int(height // rows), int(width // columns)

    def parts(self, items: Sequence) -> Iterator[Sequence]:
        """Batches of items, in order, of the size in which they are encoded."""
        return (items[start : start + self.batch] for start in range(0, len(items), self.batch))

    def pictures(self, image_ids: Sequence[str]) -> np.ndarray:
        """Images at the vision encoder's size, uint8 (n, H, W, 3)."""
        return self.images.load(list(image_ids), size=self.encoders.image_size)

    def seen(self, image_ids: Sequence, pixels: Iterable[np.ndarray], features: Features | None = None) -> Features:
        """Features in which images are these pixels, batch by batch in the encoder's range, whatever was stored."""
        tokens = [self.prefixes[0](part)[0] for part in pixels]
        rows = pd.Series(np.arange(len(image_ids)), index=image_ids)
        return replace(features or self.features, image_rows=rows, image_tokens=np.concatenate(tokens))

    def read(self, hypotheses: Sequence[str], features: Features | None = None) -> Features:
        """Features in which these distinct hypotheses take the place of those stored."""
        token_ids, padding_mask = self.encoders.tokens(list(hypotheses))
        hidden = [
            self.prefixes[1]({"token_ids": ids, "padding_mask": mask})[0]
            for ids, mask in zip(self.parts(token_ids), self.parts(padding_mask), strict=True)
        ]
        rows = pd.Series(np.arange(len(hypotheses)), index=hypotheses)
        return replace(
            features or self.features, text_rows=rows, hidden=np.concatenate(hidden), padding_mask=padding_mask
        )

    def logits(self, pairs: pd.DataFrame, features: Features | None = None) -> np.ndarray:
        """Logits of CONTRADICTION of pairs with image_id and hypothesis, float64 (n,)."""
        features = features or self.features
        return predict_logits(self.suffix, features, _unlabelled(features, pairs))

    def answers(
        self, pairs: pd.DataFrame, image_ids: Sequence, views: Iterable[np.ndarray], features: Features | None = None
    ) -> Iterator[np.ndarray]:
        """`logits` of pairs for each view of their images, uint8 (n_images, H, W, 3); hypotheses are read once."""
        read, logit = None, np.empty(len(pairs))
        for view in views:
            seen = self.seen(image_ids, [self.encoders.pixels(view)], features)
            read = read or read_once(self.suffix, seen, _unlabelled(seen, pairs))
            for part, suffix, known, rows in read:
                logit[part] = predict_logits(suffix, replace(known, image_tokens=seen.image_tokens), rows)
            yield logit.copy()

    def outputs(self, model: keras.Model, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
        """Outputs of another model with the inputs of the suffix, by name, in the order of the pairs."""
        return predict_all(model, self.features, _unlabelled(self.features, pairs))


def _unlabelled(features: Features, pairs: pd.DataFrame) -> Rows:
    """Where pairs stand in features; labels play no part in answers."""
    return Rows(*features.rows(pairs), np.zeros(len(pairs), dtype=np.int64))


def open_model(
    params: ModelParams, plan: FreezePlan, weights: Path, *, dropout: float = 0.0, **reads: object
) -> KeptModel:
    """A network on the presets of `params` with stored weights; `reads` are fields of `KeptModel`."""
    encoders = load_encoders(params)
    network = load_network(params, dropout=dropout, seed=0, encoders=encoders)
    load_weights(network, read_weights(weights))
    return KeptModel(network, encoders, plan, **reads)


def load_model(stage: Stage, kept: Selection, *, features: bool = True) -> KeptModel:
    """The kept model of a stage that needs the data, the trials and, where they are wanted, the features."""
    trial = stage.all_params.trial(kept.trial)
    plan = FreezePlan(trial.vision_blocks, trial.text_blocks)
    weights = stage.upstream(TRIAL_STAGE, weights_file(kept.seed), kept.trial)
    return _load(stage, plan, weights, features=features)


def load_warmup(stage: Stage) -> KeptModel:
    """The network after the warm-up, with its dropout: where short fits start."""
    weights = stage.upstream(WARMUP_STAGE, "weights.npz")
    return _load(stage, FreezePlan(), weights, dropout=stage.params.training.warmup.dropout)


def _load(stage: Stage, plan: FreezePlan, weights: Path, *, features: bool = True, dropout: float = 0.0) -> KeptModel:
    set_threads(stage.threads)
    reads = {
        "features": Features.open(stage.upstream_folder(FEATURES), plan) if features else NOTHING,
        "images": ImageStore.open(stage.upstream("01_data", "images/images.parquet").parent),
        "batch": stage.all_params.execution.feature_batch,
    }
    return open_model(stage.params.model, plan, weights, dropout=dropout, **reads)
