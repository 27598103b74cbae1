"""Defects of the published study that take the network to show, each switched on for a network of this report: the kept
model's answers to pixels in the study's range (D04) and beside the study's maps (D09), too much set free (D06), and
short fits of heads that differ in one defect, a leaking warm-up (D03) or pixels in another range (D04).

The study's wrapper for attention maps fuses words and image, and then gives the head the class token of the words from
before the fusion: the image decides the map, and nothing of the answer that is printed beside it. In the study every
word asked for the image, not the class token alone, which changes the maps and not the answers.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.labels import Split
from verdict.base.numbers import EXACT
from verdict.base.params import ModelParams
from verdict.model.backend import keras
from verdict.model.features import Features
from verdict.model.fit import Rows, Shown, fit, load_weights, read_weights
from verdict.model.kept import KeptModel, load_warmup
from verdict.model.network import FreezePlan, Network, apply_plan, build_suffix
from verdict.model.predict import RAW, logits_of, two_class
from verdict.model.trials import shuffle_images, warmup_splits
from verdict.pages import defects_training as leaks
from verdict.pages.defects import Effect
from verdict.pages.defects_training import Fits, Shape
from verdict.pages.evaluation import SeedAnswers, mean_score
from verdict.pages.reproducibility import compare_again
from verdict.stats.uncertainty import NOTHING
from verdict.workflow.stage import Stage
from verdict.workflow.stages import WARMUP_STAGE

# Seeds of each short fit: two leave Student's law no say.
N_FITS = 3


def features_of(model: KeptModel, image_ids: np.ndarray, to_pixels: Callable[[np.ndarray], np.ndarray]) -> Features:
    """The stored features with the tokens of these images, any number of times each, computed again by `to_pixels`."""
    names = pd.unique(np.asarray(image_ids, dtype=object))
    return model.seen(names, (to_pixels(model.pictures(part)) for part in model.parts(names)))


def again(stage: Stage, model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """`reproducibility.compare_again` of pairs, answered from their pixels on, a few hundred images at a time."""
    names, logit, done = pd.unique(pairs["image_id"]), np.empty(len(pairs)), 0
    for shown in model.parts(names):
        rows = np.flatnonzero(pairs["image_id"].isin(set(shown)))
        logit[rows] = model.logits(pairs.iloc[rows], features_of(model, shown, model.encoders.pixels))
        done += len(shown)
        stage.progress(f"answered again {done:,}/{len(names):,} images")
    return compare_again(stage, two_class(logit), logits_of(rows_of(table, pairs)))


def rows_of(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Predictions of some pairs, in their order."""
    return table.set_index("pair_id", drop=False).loc[pairs["pair_id"]].reset_index(drop=True)


def compared(stage: Stage, rows: pd.DataFrame, ours: np.ndarray, defect: np.ndarray) -> Effect:
    """Macro-F1 of two sets of logits of CONTRADICTION for the same rows of a prediction table: (n,), or of several fits
    (n_fits, n), whose mean is taken, and whose intervals cover training again.
    """
    y_true, groups = rows["y_true"].to_numpy(), rows["group_id"].to_numpy()
    given = [[RAW.decide(two_class(logit)) for logit in np.atleast_2d(logits)] for logits in (ours, defect)]
    sides = [SeedAnswers(y_true, groups, np.stack(answers), tuple(range(len(answers)))) for answers in given]
    found = [mean_score(stage, side) for side in sides]
    return Effect(*found, mean_score(stage, sides[1], sides[0]), len(rows), str(rows["split"].iloc[0]))


def zero_to_one(images: np.ndarray) -> np.ndarray:
    """The study's pixels, uint8 → [0, 1], whatever range the encoder was trained on. Wrong for its preset."""
    return images.astype(np.float32) / 255


def pixel_ranges(model: KeptModel, pairs: pd.DataFrame) -> pd.DataFrame:
    """The range of what reaches the vision encoder, as the preset wants it and as the study gave it."""
    images, rows = model.pictures(pd.unique(pairs["image_id"])), []
    for name, to_pixels in (("the preset's own", model.encoders.pixels), ("zero to one", zero_to_one)):
        pixels = to_pixels(images)
        extremes = {"lowest": float(pixels.min()), "mean": float(pixels.mean()), "highest": float(pixels.max())}
        rows.append({"pixels": name, **extremes})
    return pd.DataFrame(rows)


def scale_effect(stage: Stage, model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """Macro-F1 of the kept model as it is, and shown pixels in the study's range."""
    rows = rows_of(table, pairs)
    logit = model.logits(pairs, features_of(model, pairs["image_id"].to_numpy(), zero_to_one))
    return compared(stage, rows, logits_of(rows)[:, 1], logit)


def build_published_wrapper(network: Network, plan: FreezePlan) -> keras.Model:
    """The study's wrapper around a trained network; inputs as `model.build_suffix`, outputs `logit` (b, 1), `attention`
    (b, heads, 1, n_tokens), and `xattn_norm` (b, 1, d), the fused token, which the wrapper's head never sees.
    """
    watched = build_suffix(network, plan, watched=("take_cls_token", "attention", "xattn_norm"))
    states, head = dict(watched.output), network.head
    unfused = states.pop("take_cls_token")
    logit = head["logit"](head["drop_1"](head["mlp_1"](head["flatten_cls"](unfused))))
    return keras.Model(watched.input, {**states, "logit": logit}, name="published_wrapper")


def wrapper_logits(model: KeptModel, wrapper: keras.Model, pairs: pd.DataFrame) -> np.ndarray:
    """Logits of the study's wrapper, (n,)."""
    return model.outputs(wrapper, pairs)["logit"][:, 0].astype(np.float64)


def attention_effect(stage: Stage, model: KeptModel, table: pd.DataFrame, pairs: pd.DataFrame) -> Effect:
    """Macro-F1 of the kept model and of the answers that the study's wrapper would print beside its maps.

    Numbers `defect.attention.logit_change` and `.model_logit_change` (largest absolute change of a logit when each pair
    is shown another pair's image) and `.agreement` (share of pairs on which wrapper and model agree).
    """
    wrapper = build_published_wrapper(model.network, model.plan)
    other = shuffle_images(pairs, stage.rng("defects.shuffle"))
    rows, shared = rows_of(table, pairs), {"n": len(pairs), "split": str(Split.TEST)}
    shown, model_shown = wrapper_logits(model, wrapper, pairs), logits_of(rows)[:, 1]
    moved = {"logit_change": shown - wrapper_logits(model, wrapper, other)}
    moved["model_logit_change"] = model_shown - model.logits(other)
    for name, change in moved.items():
        stage.number(f"defect.attention.{name}", np.abs(change).max(), kind=EXACT, **shared)
    agree = RAW.decide(two_class(shown)) == RAW.decide(two_class(model_shown))
    share = stage.resampler(rows["group_id"].to_numpy()).mean(agree, span=(0, 1))
    stage.numbers["defect.attention.agreement"] = share.number(unit="%", **shared)
    return compared(stage, rows, model_shown, shown)


def with_one_vision_block(network: Network, plan: FreezePlan) -> FreezePlan:
    """What the study meant to train: one block of vision, where the network has any."""
    return replace(plan, vision_blocks=min(1, len(network.vision_layers)))


def free_the_parent(network: Network, plan: FreezePlan) -> None:
    """Follow a plan, then set the encoder around its vision blocks trainable, as the study did. Wrong."""
    apply_plan(network, plan)
    if plan.vision_blocks:
        encoder = network.vision.get_layer("vit_encoder")
        encoder.trainable = True
        # On torch Keras has passed this down to every weight; on tensorflow each keeps its own flag.
        for weight in encoder.weights:
            weight.trainable = True


def trained_layers(network: Network) -> dict[str, int]:
    """Trainable parameters by layer: blocks by encoder and name, layers of the head by name, others by their path."""
    owners = {f"vision.{block.name}": block for block in network.vision_layers}
    owners |= {f"text.{block.name}": block for block in network.text_layers}
    owners |= {f"head.{name}": layer for name, layer in network.head.items()}
    owner_of = {id(weight): name for name, layer in owners.items() for weight in layer.variables}
    found: dict[str, int] = {}
    for weight in network.model.trainable_variables:
        name = owner_of.get(id(weight), weight.path.rsplit("/", 1)[0].replace("/", "."))
        found[name] = found.get(name, 0) + int(np.prod(weight.shape))
    return found


def unfreezing_table(network: Network, plan: FreezePlan) -> pd.DataFrame:
    """Layers that train under a plan and once the parent is set free: layer, planned, with_defect (parameters)."""
    apply_plan(network, plan)
    planned = trained_layers(network)
    free_the_parent(network, plan)
    freed = trained_layers(network)
    names = [*planned, *(name for name in freed if name not in planned)]
    rows = [(name, planned.get(name, 0), freed.get(name, 0)) for name in names]
    return pd.DataFrame(rows, columns=["layer", "planned", "with_defect"])


def shape_of(network: Network, params: ModelParams) -> Shape:
    """The sizes that decide how many parameters a network has."""
    vision, text = network.vision, network.text
    sides = (len(network.vision_layers), len(network.text_layers), vision.hidden_dim, text.hidden_dim)
    return Shape(*sides, vision.mlp_dim, text.intermediate_dim, params.heads, params.key_dim, params.mlp_dim)


def short_fits(stage: Stage, judged: pd.DataFrame, *, n_images: int, share: float = leaks.PUBLISHED_SHARE) -> Fits:
    """Fit the fusion head on few images in three ways, each with the same seeds from the warm-up's weights: `clean`,
    `leaked` on test images as well (D03), and `zero_to_one` on pixels in the study's range (D04).

    `judged`: by `draw_judged`; `n_images`: groups of train and of val, at most; `share` of the judged pairs leaks.
    """
    rng = stage.rng("defects.fits")
    fits = leaks.make_fits(stage.pairs(Split.TRAIN), judged, n_images, share=share, rng=rng)
    val = leaks.draw_groups(stage.pairs(Split.VAL), n_images, rng)
    model = load_warmup(stage)
    shown = pd.concat([fits.clean, val, judged])["image_id"].to_numpy()
    stored, rescaled = model.features, features_of(model, shown, zero_to_one)
    arms = {"clean": (fits.clean, stored), "leaked": (fits.leaked, stored), "zero_to_one": (fits.clean, rescaled)}
    logits = {}
    for name, (train, features) in arms.items():
        stage.progress(f"short fits, {name}")
        asked = (train, val, judged)
        logits[name] = np.stack([_fit_and_answer(stage, model, features, asked, seed) for seed in fit_seeds(stage)])
    return replace(fits, logits=logits)


def fit_seeds(stage: Stage) -> tuple[int, ...]:
    """Seeds of the short fits."""
    return tuple(stage.params.training.seeds[:N_FITS])


def _fit_and_answer(
    stage: Stage, model: KeptModel, features: Features, tables: Sequence[pd.DataFrame], seed: int
) -> np.ndarray:
    """Fit the first table from the warm-up's weights, whatever was fitted before, and answer the last."""
    training = stage.params.training
    load_weights(model.network, read_weights(stage.upstream(WARMUP_STAGE, "weights.npz")))
    with tempfile.TemporaryDirectory(prefix="verdict-") as folder:
        shown = Shown(features, *(Rows.of(features, table) for table in tables[:2]))
        state = Path(folder) / "state.npz"
        fit(model.network, model.plan, shown, training.warmup, training, seed=seed, checkpoint=state)
    return model.logits(tables[2], features)


NUMBERED = {
    "all": "defect.leak",
    leaks.PAIR: "defect.leak_pair",
    leaks.IMAGE: "defect.leak_image",
    leaks.NOT: "defect.leak_not",
}


def leak_effects(stage: Stage, found: Fits, table: pd.DataFrame) -> pd.DataFrame:
    """D03: macro-F1 of the clean and the leaking fits by what the leaking ones have seen of the test pairs: numbers
    `defect.leak.…` over all pairs, `defect.leak_pair.…` over those that were seen with their label,
    `defect.leak_image.…` over those whose image alone was, and `defect.leak_not.…` over the others.
    """
    rows, seen, effects = rows_of(table, found.judged), leaks.exposure(found.leaked, found.judged), []
    for what, name in NUMBERED.items():
        chosen = np.ones(len(rows), dtype=bool) if what == "all" else seen == what
        if chosen.any():
            effect = compared(stage, rows[chosen], *(found.logits[arm][:, chosen] for arm in ("clean", "leaked")))
            effects.append(effect.row(seen_in_training=what))
            effect.store(stage, name, seeds=fit_seeds(stage))
        else:
            stage.estimates(name, dict.fromkeys(("ours", "defect", "difference"), NOTHING))
    return pd.DataFrame(effects)


def fit_effect(stage: Stage, found: Fits, table: pd.DataFrame, defect: str) -> Effect:
    """Macro-F1 on all test pairs of the clean fits, and of those that are `leaked` (D03) or `zero_to_one` (D04)."""
    return compared(stage, rows_of(table, found.judged), found.logits["clean"], found.logits[defect])


def leak_counts(stage: Stage, found: Fits) -> pd.DataFrame:
    """D03: images and pairs that training shares with what it is judged on: this report's warm-up, and both fits.

    Numbers `defect.leak.n_images_ours` (of all splits on which something is reported), `.n_images`, `.n_pairs`.
    """
    trained = stage.pairs(warmup_splits(stage)[0])
    asked = {
        "this report's warm-up, against every reported split": (trained, leaks.reported(stage.pairs())),
        "the clean fit, against its test images": (found.clean, found.judged),
        "the leaking fit, against its test images": (found.leaked, found.judged),
    }
    rows = [{"training": name, **leaks.shared_with(*tables)} for name, tables in asked.items()]
    stage.counts("defect.leak", {"n_images_ours": rows[0]["n_images_seen"]})
    seen = {"n_images": rows[2]["n_images_seen"], "n_pairs": rows[2]["n_pairs_seen"]}
    stage.counts("defect.leak", seen, split=str(Split.TEST))
    return pd.DataFrame(rows)
