"""Short fits of the fusion head that differ in one defect: a leaking warm-up (D03), pixels in another range (D04)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.model.features import Features
from verdict.model.fit import Rows, fit, load_weights, read_weights
from verdict.model.kept import KeptModel, load_warmup
from verdict.model.trials import warmup_splits
from verdict.pages.defects import leaks
from verdict.pages.defects.answers import Effect, not_measured
from verdict.pages.defects_network.kept_answers import compared, features_of, rows_of, zero_to_one
from verdict.pages.tables import store_counts
from verdict.workflow.stage import Stage
from verdict.workflow.stages import WARMUP_STAGE

NUMBERED = {"all": "defect.leak", leaks.PAIR: "defect.leak_pair"}


@dataclass(frozen=True)
class ShortFits:
    """Logits (n_judged,) on the same test pairs of three short fits of the fusion head, from the same start and seed:
    without the defects, on test images as well (D03), and on pixels in the study's range (D04).
    """

    fits: leaks.Fits
    clean: np.ndarray
    leaked: np.ndarray
    zero_to_one: np.ndarray


def short_fits(stage: Stage, judged: pd.DataFrame, *, n_images: int, share: float = leaks.PUBLISHED_SHARE) -> ShortFits:
    """Fit the fusion head three times on few images, from the warm-up's weights: clean, and with D03 and D04 on.

    `judged`: as `leaks.draw_judged` gives them; `n_images`: groups of train and of val, at most; `share` of the judged
    pairs leaks into a fit.
    """
    rng = stage.rng("defects.fits")
    fits = leaks.make_fits(stage.pairs(Split.TRAIN), judged, n_images, share=share, rng=rng)
    val = leaks.draw_groups(stage.pairs(Split.VAL), n_images, rng)
    model = load_warmup(stage)
    shown = pd.concat([fits.clean, val, fits.judged])["image_id"].to_numpy()
    stored, rescaled = model.features, features_of(model, shown, zero_to_one)
    arms = {"clean": (fits.clean, stored), "leaked": (fits.leaked, stored), "zero_to_one": (fits.clean, rescaled)}
    logits = {}
    for name, (train, features) in arms.items():
        stage.progress(f"short fit, {name}")
        logits[name] = _fit_and_answer(stage, model, features, train, val, fits.judged)
    return ShortFits(fits, **logits)


def _fit_and_answer(
    stage: Stage, model: KeptModel, features: Features, train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame
) -> np.ndarray:
    """Fit from the warm-up's weights, whatever was fitted before, and answer test."""
    training = stage.params.training
    load_weights(model.network, read_weights(stage.upstream(WARMUP_STAGE, "weights.npz")))
    with tempfile.TemporaryDirectory(prefix="verdict-") as folder:
        fit(
            model.network,
            model.plan,
            features,
            Rows.of(features, train),
            Rows.of(features, val),
            training.warmup,
            seed=training.warmup_seed,
            batch_size=training.batch_size,
            criterion=training.criterion,
            global_clipnorm=training.global_clipnorm,
            checkpoint=Path(folder) / "state.npz",
        )
    return model.logits(test, features)


def leak_effects(stage: Stage, found: ShortFits, table: pd.DataFrame) -> pd.DataFrame:
    """D03: macro-F1 of the clean and the leaking fit by what the leaking one has seen of the test pairs: numbers
    `defect.leak.…` over all pairs and `defect.leak_pair.…` over those that were seen with their label.
    """
    rows, test = rows_of(table, found.fits.judged), found.fits.judged
    seen = leaks.exposure(found.fits.leaked, test)
    effects = []
    for what in ("all", leaks.PAIR, leaks.IMAGE, leaks.NOT):
        chosen = np.ones(len(test), dtype=bool) if what == "all" else seen == what
        if chosen.any():
            effect = compared(stage, rows[chosen], found.clean[chosen], found.leaked[chosen])
            effects.append(effect.row(seen_in_training=what))
            if what in NUMBERED:
                effect.store(stage, NUMBERED[what])
    for prefix in NUMBERED.values():
        if f"{prefix}.ours" not in stage.numbers:
            not_measured(stage, *(f"{prefix}.{name}" for name in ("ours", "defect", "difference")))
    return pd.DataFrame(effects)


def leak_effect(stage: Stage, found: ShortFits, table: pd.DataFrame) -> Effect:
    """D03: macro-F1 of the clean and the leaking fit on all test pairs."""
    return compared(stage, rows_of(table, found.fits.judged), found.clean, found.leaked)


def rescaled_fit_effect(stage: Stage, found: ShortFits, table: pd.DataFrame) -> Effect:
    """D04: macro-F1 of a head that was fitted on the preset's pixels, and of one fitted on the study's."""
    return compared(stage, rows_of(table, found.fits.judged), found.clean, found.zero_to_one)


def leak_counts(stage: Stage, found: ShortFits) -> pd.DataFrame:
    """D03: images and pairs that training shares with what it is judged on: this report's warm-up, and both fits.

    Numbers `defect.leak.n_images_ours` (of all splits on which something is reported), `.n_images`, `.n_pairs`.
    """
    fits, trained = found.fits, warmup_splits(stage)[0]
    asked = {
        "this report's warm-up, against every reported split": (stage.pairs(trained), leaks.reported(stage.pairs())),
        "the clean fit, against its test images": (fits.clean, fits.judged),
        "the leaking fit, against its test images": (fits.leaked, fits.judged),
    }
    rows = [{"training": name, **leaks.shared_with(*tables)} for name, tables in asked.items()]
    store_counts(stage, "defect.leak", {"n_images_ours": rows[0]["n_images_seen"]})
    seen = {"n_images": rows[2]["n_images_seen"], "n_pairs": rows[2]["n_pairs_seen"]}
    store_counts(stage, "defect.leak", seen, split=str(Split.TEST))
    return pd.DataFrame(rows)
