"""The Cornell NLVR corpus: human sentences about synthetic scenes, with five people's judgements each."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.files.images import read_image, resize, write_array_store
from verdict.base.labels import EVALUATION_SPLITS, Label, Split
from verdict.base.params import NlvrParams
from verdict.data.nlvr.boxes import draw_scenes, render_scenes
from verdict.data.nlvr.corpus import FILES, family_of, load_corpus, locate_corpus
from verdict.data.nlvr.proxy import draw_coupled, list_statements, normalise
from verdict.data.nlvr.scenes import Scene, SceneTable, is_tower_scene
from verdict.data.pairs import VOTE_COLUMNS, Dataset, check_pairs, with_pair_ids
from verdict.data.splits import merge_groups, split_groups

WARMUP_VAL_SHARE = 0.1
MIN_SCENES = 100
TEXT_COLUMNS = ("pair_id", "image_id", "group_id", "hypothesis", "label", "split", "family", "form")
EVALUATION = [str(split) for split in EVALUATION_SPLITS]
ATTRIBUTION = (
    "Cornell Natural Language Visual Reasoning corpus (NLVR) v1.0, Alane Suhr, Mike Lewis, James Yeh and Yoav Artzi, "
    "A Corpus of Natural Language for Visual Reasoning, ACL 2017; licence CC-BY-4.0; images resized."
)


def build(params: NlvrParams, *, seed: int, out: Path) -> Dataset:
    """Read the corpus, split it by presentation, generate warm-up statements and write the image store.

    `fractions` of train, val and calib are shares of the groups of the dev file; where the train file is used it is the
    training split, and dev is divided between val and calib. The test file is always the test split. `files` None uses
    those that are there. Images are stored at `image_px` (height, width); the corpus has 100 x 400. Each of the one to
    six orders of the boxes is a pair of its own in the example's group. A tenth of the `n_warmup` generated statements
    is warmup_val. They are about `n_scenes` that are drawn here, or with 0 about the pictures of training groups.

    Examples whose sentence, or whose scene in any order of its boxes, is also in a file that evaluates later are left
    out of val, calib and human training pairs, and counted. ValueError, FileNotFoundError or ConnectionError if a
    parameter is out of range, or the corpus is absent or damaged.
    """
    root = locate_corpus(url=params.url, sha256=params.sha256)
    rows, n_warmup, permutations = load_corpus(root, params.files), params.n_warmup, params.permutations
    rows = _assign(rows, params.fractions, seed)
    own = _own_scenes(rows, params.n_scenes, seed)
    if own.empty:
        pool, sentences, rng = _training_scenes(rows, seed), set(rows["hypothesis"]), np.random.default_rng([seed, 1])
        warmup = _warmup_pairs(pool, n_warmup, rows, rng, not_said=sentences, n_permutations=permutations)
    else:
        warmup = _warmup_pairs(own, n_warmup, rows, np.random.default_rng([seed, 3]))
    pairs = pd.concat([*warmup, _human_pairs(rows, permutations)], ignore_index=True)
    check_pairs(pairs, source="NLVR")
    arrays = {}
    if not own.empty:
        arrays["boxes"] = own["name"].tolist(), render_scenes(own["scene"].tolist(), size=params.image_px)
    write_array_store(out, arrays | _pictures(root, rows, params.image_px, permutations))
    return Dataset(pairs, ATTRIBUTION, _facts(rows, pairs, permutations))


def _scene_key(scene: Scene) -> str:
    """The scene without the order of its boxes and items."""
    return repr(sorted(sorted((i.x, i.y, i.size, i.colour, i.shape) for i in box) for box in scene))


def _assign(rows: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.DataFrame:
    """The examples with their group, split and use; an empty split means that one is left out."""
    rows = rows.assign(sentence=rows["hypothesis"].map(normalise), scene_key=rows["scene"].map(_scene_key), split="")
    # Whether an example's sentence or scene is also in a file that evaluates later.
    rank = rows["file"].map({name: k for k, name in enumerate(FILES)})
    rows["has_shared_sentence"] = rank.groupby(rows["sentence"]).transform("max") > rank
    rows["has_shared_scene"] = rank.groupby(rows["scene_key"]).transform("max") > rank
    rows["is_left_out"] = rows["has_shared_sentence"] | rows["has_shared_scene"]
    within = [rows["file"] + "\x1f" + rows[key] for key in ("sentence", "scene_key")]
    rows["group_id"] = merge_groups(rows["raw_group"], *within)
    of_dev, whole, of_file = (Split.TRAIN, Split.VAL, Split.CALIB), 1.0, {"test": {str(Split.TEST): 1.0}}
    if "train" in set(rows["file"]):
        of_dev, whole = (Split.VAL, Split.CALIB), fractions[Split.VAL] + fractions[Split.CALIB]
        of_file["train"] = {str(Split.TRAIN): 1.0}
    of_file["dev"] = {str(split): fractions[split] / whole for split in of_dev}
    for name, shares in of_file.items():
        chosen = ~rows["is_left_out"] & (rows["file"] == name)
        rows.loc[chosen, "split"] = split_groups(rows.loc[chosen, "group_id"], shares, seed)
    return rows


def _table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pair table from rows without pair_id."""
    kinds = dict.fromkeys(TEXT_COLUMNS, "str") | dict.fromkeys(VOTE_COLUMNS, "int64")
    return with_pair_ids(pairs).astype(kinds)[list(kinds)]


def _human_pairs(rows: pd.DataFrame, n_permutations: int) -> pd.DataFrame:
    used = rows[rows["split"] != ""]
    forms = ["human_tower" if is_tower_scene(scene) else "human_scatter" for scene in used["scene"]]
    pairs = used.assign(family=used["hypothesis"].map(family_of), form=forms)
    pairs = pairs.loc[pairs.index.repeat(n_permutations)]
    orders = np.tile(np.arange(n_permutations), len(used)).astype(str)
    return _table(pairs.assign(image_id=pairs["name"] + "-" + orders))


def _training_scenes(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scenes of training groups, and of examples left out for their sentence only, with their warm-up splits."""
    source = "train" if "train" in set(rows["file"]) else "dev"
    in_evaluation = rows["group_id"].isin(rows.loc[rows["split"].isin(EVALUATION), "group_id"])
    usable = rows[(rows["file"] == source) & ~in_evaluation & ~rows["has_shared_scene"]]
    shares = {str(Split.WARMUP_TRAIN): 1 - WARMUP_VAL_SHARE, str(Split.WARMUP_VAL): WARMUP_VAL_SHARE}
    return usable.assign(split=split_groups(usable["group_id"], shares, seed))


def _own_scenes(rows: pd.DataFrame, n_scenes: int, seed: int) -> pd.DataFrame:
    """Scenes drawn here, without those that the corpus holds in some order of the boxes, with their warm-up splits;
    the last tenth is for validation.
    """
    if 0 < n_scenes < MIN_SCENES:
        raise ValueError(f"n_scenes must be 0 or at least {MIN_SCENES}, got {n_scenes}")
    known = set(rows["scene_key"])
    drawn = draw_scenes(n_scenes, np.random.default_rng([seed, 2]))
    scenes = [scene for scene in drawn if _scene_key(scene) not in known]
    names = [f"boxes-{k:05d}" for k in range(len(scenes))]
    n_val = max(MIN_SCENES // 10, round(len(scenes) * WARMUP_VAL_SHARE))
    splits = np.where(np.arange(len(scenes)) < len(scenes) - n_val, str(Split.WARMUP_TRAIN), str(Split.WARMUP_VAL))
    return pd.DataFrame({"scene": scenes, "name": names, "group_id": names, "split": splits})


def _warmup_pairs(
    pool: pd.DataFrame,
    n_warmup: int,
    rows: pd.DataFrame,
    rng: np.random.Generator,
    *,
    not_said: Collection[str] = (),
    n_permutations: int = 0,
) -> Iterator[pd.DataFrame]:
    """Generated statements about scenes, of which no evaluation row has the sentence; by one of the orders of the
    boxes where scenes have several. Numbers of rows are even, because a statement is used twice at a time.
    """
    n_val = 2 * max(1, round(n_warmup * WARMUP_VAL_SHARE / 2))
    n_train = 2 * ((n_warmup - n_val) // 2)
    if n_train < 2:
        raise ValueError(f"n_warmup must be at least 4, got {n_warmup}")
    avoid = set(rows.loc[rows["split"].isin(EVALUATION), "sentence"])
    for split, n_rows in ((str(Split.WARMUP_TRAIN), n_train), (str(Split.WARMUP_VAL), n_val)):
        members = pool[pool["split"] == split]
        statements = list_statements(SceneTable.of(members["scene"].tolist()), rng=rng, avoid=avoid)
        drawn = draw_coupled([s for s in statements if s.text not in not_said], n_rows=n_rows, rng=rng)
        shown = members.iloc[drawn["scene"]].reset_index(drop=True)
        ids = shown["name"]
        if n_permutations:
            ids = ids + "-" + rng.integers(n_permutations, size=len(drawn)).astype(str)
        ours = {"image_id": ids, "group_id": shown["group_id"], "split": split} | dict.fromkeys(VOTE_COLUMNS, 0)
        yield _table(drawn.assign(**ours))


def _pictures(
    root: Path, rows: pd.DataFrame, image_px: tuple[int, int], n_permutations: int
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Pictures of the corpus by file, resized, and their ids."""
    arrays = {}
    for name, members in rows.groupby("file", sort=False):
        files = [
            root / name / "images" / directory / f"{example}-{k}.png"
            for example, directory in zip(members["name"], members["directory"], strict=True)
            for k in range(n_permutations)
        ]
        images = np.empty((len(files), *image_px, 3), dtype=np.uint8)
        for row, file in enumerate(files):
            images[row] = resize(read_image(file), image_px)
        arrays[name] = ([file.stem for file in files], images)
    return arrays


def _facts(rows: pd.DataFrame, pairs: pd.DataFrame, n_permutations: int) -> dict[str, int | float | str]:
    n_presentations, n_groups = rows["raw_group"].nunique(), rows["group_id"].nunique()
    n_votes, n_given = int(rows["n_votes"].sum()), int(rows[list(VOTE_COLUMNS)].to_numpy().sum())
    is_true = rows["label"] == Label.ENTAILMENT.text
    n_agree = rows["votes_entailment"].where(is_true, rows["votes_contradiction"]).sum()
    sizes = rows.groupby("file", sort=False).size()
    facts: dict[str, int | float | str] = {
        "files": ", ".join(sizes.index),
        "permutations_per_example": n_permutations,
        "presentations": n_presentations,
        "groups": n_groups,
        "presentations_merged": n_presentations - n_groups,
        "examples_left_out_shared_with_evaluation": int(rows["is_left_out"].sum()),
        "examples_with_shared_sentence": int(rows["has_shared_sentence"].sum()),
        "examples_with_shared_scene": int(rows["has_shared_scene"].sum()),
        "votes": n_votes,
        "votes_nonsense": n_votes - n_given,
        "votes_agree_with_label_share": float(n_agree / n_given),
        "examples_unanimous_share": float(rows["is_unanimous"].mean()),
        **{f"examples_{name}": int(n) for name, n in sizes.items()},
    }
    for split, members in pairs.groupby("split", sort=True):
        facts[f"rows_{split}"] = len(members)
        facts[f"images_{split}"] = int(members["image_id"].nunique())
        facts[f"groups_{split}"] = int(members["group_id"].nunique())
    return facts
