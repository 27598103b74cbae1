"""Labelled pictures for a dual encoder: embedded scenes, a public corpus, or somebody's own folder or table.

Whatever the source, the result is the same: pictures of one size, a table with a row for each, names of the classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.files.hub import check_preset
from verdict.base.files.images import read_image
from verdict.base.files.picture_files import LOOK_S, find_damaged, refuse_damaged
from verdict.base.params import ClipFolderParams, ClipParams, Params
from verdict.clip.pictures import corpora, own_pictures, scenes
from verdict.clip.pictures.own_pictures import SPLITS
from verdict.clip.pictures.words import ENSEMBLE
from verdict.data.digits.digits import ATTRIBUTION
from verdict.data.digits.scenes import handwriting_pools

SCENE_PX = 48
CLIP_PX = 224  # of the published encoders


@dataclass(frozen=True, eq=False)
class Pictures:
    """n labelled pictures, uint8 (n, height, width, 3).

    `table`: image_id, group_id (the independent unit), split (train, val, calib, test), y (index of the class); for
    scenes the words of every factor, and `held_out`: whether the couple of digit and colour was kept from the training
    of the shipped encoder. `templates` are sentences with `{}` for the class, the first of them the plain one.
    `masks`, bool (n, height, width), is the foreground, where the source knows it. `attribution` says whose pictures
    they are, and under which terms they may be used.
    """

    images: np.ndarray
    table: pd.DataFrame
    class_names: tuple[str, ...]
    templates: tuple[str, ...] = ENSEMBLE
    masks: np.ndarray | None = None
    attribution: str = ""

    @property
    def is_scenes(self) -> bool:
        """Whether pictures are scenes of digits, of which every factor is known."""
        return "digit" in self.table

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, int (n_split,)."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())


def build(params: ClipParams, *, px: int = CLIP_PX) -> Pictures:
    """The pictures that parameters ask for; the same parameters give the same pictures.

    `px` is the side of somebody's own pictures where the parameters state none: that of the encoder.
    """
    if params.source == "digits":
        return of_scenes(params.n, seed=params.seed)
    if params.source in ("folder", "csv"):
        return of_folder(params.folder, n=params.n, seed=params.seed, is_table=params.source == "csv", px=px)
    name = str(params.source)
    return of_corpus(corpora.read(name, corpora.locate(name, **getattr(params, name).model_dump())), params)


def of_scenes(n: Mapping[str, int], *, seed: int) -> Pictures:
    """Scenes of one digit each; every split has handwriting of its own, unseen by the shipped encoder.

    The independent unit is the handwriting sample: several pictures show the same one.
    """
    pools = handwriting_pools()
    images, masks, tables = [], [], []
    for split in SPLITS:
        rng = np.random.default_rng([seed, *f"clip {split}".encode()])
        drawn = scenes.draw(n[split], pools[split], rng=rng)
        shown, mask = scenes.render(drawn, rng=rng, px=SCENE_PX)
        held = scenes.is_held_out(drawn.factors["digit"], drawn.factors["colour"])
        ids = [f"scene-{split}-{k:05d}" for k in range(n[split])]
        table = drawn.table().assign(image_id=ids, split=split, y=drawn.factors["digit"], held_out=held)
        images.append(shown)
        masks.append(mask)
        tables.append(table.rename(columns={"writing": "group_id"}))
    table = pd.concat(tables, ignore_index=True)
    return Pictures(np.concatenate(images), table, scenes.DIGITS, ENSEMBLE, np.concatenate(masks), ATTRIBUTION)


def check_inputs(params: Params) -> None:
    """Open the dual encoder's own pictures and its model, as its first stage will; nothing is downloaded.

    What cannot be used is refused with file, line and cause, or parameter and cause.
    """
    clip = params.clip
    if clip.source in ("folder", "csv"):
        own = own_pictures.read(clip.folder, seed=clip.seed, is_table=clip.source == "csv")
        refuse_damaged(own.home, find_damaged({str(path): path for path in own.rows["file"]}, limit_s=LOOK_S))
    elif clip.source != "digits":
        place = getattr(clip, str(clip.source))
        if not place.sha256:
            corpora.locate(clip.source, **place.model_dump())
    if clip.preset != "trained":
        check_preset(clip.preset, clip.revision, "clip.preset")
    if answers := params.clip_robustness.assistant_answers:
        paths.needed(answers, "clip_robustness.assistant_answers")


def of_corpus(corpus: corpora.Corpus, params: ClipParams) -> Pictures:
    """Train, val and calib from a corpus' first half, test from its other half, at most `n` of each."""
    rng = np.random.default_rng([params.seed, *str(params.source).encode()])
    parts = _balanced(corpus.train.y, {split: params.n[split] for split in ("val", "calib", "train")}, rng=rng)
    parts["test"] = _balanced(corpus.test.y, {"test": params.n["test"]}, rng=rng)["test"]
    images, tables = [], []
    for split in SPLITS:
        source, rows = (corpus.test if split == "test" else corpus.train), parts[split]
        images.append(source.load(rows))
        ids = [source.names[k] for k in rows]
        tables.append(pd.DataFrame({"image_id": ids, "group_id": ids, "split": split, "y": source.y[rows]}))
    table = pd.concat(tables, ignore_index=True)
    return Pictures(np.concatenate(images), table, corpus.class_names, attribution=corpus.attribution)


def _balanced(y: np.ndarray, wanted: Mapping[str, int], *, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Disjoint rows for several splits, drawn at random with classes in turn, so that the first are of all classes."""
    order = rng.permutation(len(y))
    turn = pd.Series(y[order]).groupby(y[order]).cumcount()
    cuts = np.cumsum(list(wanted.values()))
    return dict(zip(wanted, np.split(order[np.argsort(turn, kind="stable")], cuts), strict=False))


def of_folder(params: ClipFolderParams, *, n: Mapping[str, int], seed: int, is_table: bool, px: int) -> Pictures:
    """Somebody's own pictures, at most `n` of each split, `px` a side where the parameters state none."""
    own = own_pictures.read(params, seed=seed, is_table=is_table)
    table, y = own.rows[["image_id", "group_id", "split", "y"]], own.rows["y"].to_numpy()
    rng = np.random.default_rng([seed, *b"folder"])
    of_split = {split: np.flatnonzero(table["split"] == split) for split in SPLITS}
    keep = np.concatenate(
        [rows[_balanced(y[rows], {split: n[split]}, rng=rng)[split]] for split, rows in of_split.items()]
    )
    files = [own.rows["file"].iloc[k] for k in keep]
    refuse_damaged(own.home, find_damaged({str(path): path for path in files}))
    images = np.stack([corpora.square(read_image(path), params.image_px or px) for path in files])
    kept = table.iloc[keep].reset_index(drop=True)
    return Pictures(images, kept, own.class_names, own.templates)
