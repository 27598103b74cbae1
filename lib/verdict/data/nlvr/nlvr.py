"""The Cornell NLVR corpus: human sentences about synthetic scenes, with five people's judgements each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.artifacts import write_text
from verdict.base.labels import EVALUATION_SPLITS, Label, Split
from verdict.data.images import read_image, resize, write_array_store
from verdict.data.nlvr.boxes import draw_scenes, render_scenes
from verdict.data.nlvr.corpus import Example, family_of, load_corpus, locate_corpus
from verdict.data.nlvr.proxy import draw_coupled, list_statements, normalise
from verdict.data.nlvr.scenes import Scene, SceneTable, is_tower_scene
from verdict.data.pairs import VOTE_COLUMNS, Dataset, check_pairs, make_pair_id
from verdict.data.splits import merge_groups, split_groups

N_PERMUTATIONS = 6
WARMUP_VAL_SHARE = 0.1
MIN_SCENES = 100
OWN_IMAGE = "boxes-{:05d}"
TEXT_COLUMNS = ("pair_id", "image_id", "group_id", "hypothesis", "label", "split", "family", "form")
EVALUATION = [str(split) for split in EVALUATION_SPLITS]
ATTRIBUTION = (
    "Cornell Natural Language Visual Reasoning corpus (NLVR) v1.0, Alane Suhr, Mike Lewis, James Yeh and Yoav Artzi, "
    "A Corpus of Natural Language for Visual Reasoning, ACL 2017; licence CC-BY-4.0; images resized."
)
_IMAGE_ID = re.compile(r"(train|dev|test)-\d+-\d+-[0-5]")


def build(
    *,
    fractions: Mapping[str, float],
    files: Sequence[str] | None,
    image_px: tuple[int, int],
    permutations: int,
    n_warmup: int,
    n_scenes: int = 0,
    seed: int,
    out: Path,
    url: str = "",
    sha256: str = "",
    keep_shared_sentences: bool = False,
) -> Dataset:
    """Read the corpus, split it by presentation, generate warm-up statements and write the image store.

    `fractions` of train, val and calib are shares of the groups of the dev file; where the train file is used it is the
    training split, and dev is divided between val and calib in their proportion. The test file is always the test
    split. `files` None uses those that are there. Images are stored at `image_px` (height, width); the corpus has 100 x
    400. Each of the one to six orders of the boxes is a pair of its own in the example's group.

    A tenth of the `n_warmup` generated statements, on other scenes, is warmup_val. They are about `n_scenes` that are
    drawn and rendered here, none of which is a scene of the corpus; with 0 about the pictures of training groups.

    Unless shared sentences are kept, examples whose sentence is also in a file that evaluates later (dev after train,
    test after both) are left out of val, calib and human training pairs, and counted. Examples whose scene is there, in
    any order of its boxes, always are. ValueError, FileNotFoundError or ConnectionError if a parameter is out of range,
    or the corpus is absent or damaged.
    """
    if not 1 <= permutations <= N_PERMUTATIONS:
        raise ValueError(f"permutations must lie in 1 to {N_PERMUTATIONS}, got {permutations}")
    root = locate_corpus(url=url, sha256=sha256)
    by_file = load_corpus(root, files)
    examples = [example for name in by_file for example in by_file[name]]
    rows = _assign(examples, fractions, seed, keep_shared_sentences)
    human = _human_pairs(examples, rows, permutations)
    drawn = _own_scenes(rows, n_scenes, seed)
    avoid = set(rows.loc[rows["split"].isin(EVALUATION), "sentence"])
    if not n_warmup:
        warmup = []
    elif drawn:
        warmup = _about_own_scenes(drawn, avoid, n_warmup, np.random.default_rng([seed, 3]))
    else:
        warmup = _about_training_scenes(examples, rows, avoid, n_warmup, permutations, seed)
    pairs = check_pairs(pd.concat([*warmup, human], ignore_index=True), source="NLVR")
    _write_store(root, by_file, image_px, permutations, out, drawn)
    return Dataset(pairs, ATTRIBUTION, _facts(by_file, rows, pairs, permutations))


def _scene_key(scene: Scene) -> str:
    """The scene without the order of its boxes and items."""
    return repr(sorted(sorted((i.x, i.y, i.size, i.colour, i.shape) for i in box) for box in scene))


def _assign(examples: list[Example], fractions: Mapping[str, float], seed: int, keep_shared: bool) -> pd.DataFrame:
    """Group, split and use of every example, one row each; an empty split means that it is left out."""
    rows = pd.DataFrame(
        {
            "file": [e.file for e in examples],
            "sentence": [normalise(e.sentence) for e in examples],
            "scene": [_scene_key(e.scene) for e in examples],
            "raw_group": [e.presentation for e in examples],
        }
    )
    rows["has_shared_sentence"] = False if keep_shared else _is_shared(rows, "sentence")
    rows["has_shared_scene"] = _is_shared(rows, "scene")
    rows["is_left_out"] = rows["has_shared_sentence"] | rows["has_shared_scene"]
    within = [rows["file"] + "\x1f" + rows[key] for key in ("sentence", "scene")]
    rows["group_id"] = merge_groups(rows["raw_group"], *within)
    rows["split"] = ""
    used = ~rows["is_left_out"]
    for name, shares in _file_shares(fractions, has_train="train" in set(rows["file"])).items():
        chosen = used & (rows["file"] == name)
        if not chosen.any():
            raise ValueError(f"no example of the {name} file remains after leaving out shared sentences and scenes")
        rows.loc[chosen, "split"] = split_groups(rows.loc[chosen, "group_id"], shares, seed)
    return rows


def _file_shares(fractions: Mapping[str, float], *, has_train: bool) -> dict[str, dict[str, float]]:
    """Splits of each file."""
    needed = (Split.TRAIN, Split.VAL, Split.CALIB)
    if set(fractions) != set(needed):
        raise ValueError(f"fractions must be of {[str(s) for s in needed]}, got {dict(fractions)}")
    test = {str(Split.TEST): 1.0}
    if not has_train:
        return {"dev": {str(s): fractions[s] for s in needed}, "test": test}
    rest = fractions[Split.VAL] + fractions[Split.CALIB]
    return {
        "train": {str(Split.TRAIN): 1.0},
        "dev": {str(s): fractions[s] / rest for s in (Split.VAL, Split.CALIB)},
        "test": test,
    }


def _is_shared(rows: pd.DataFrame, column: str) -> pd.Series:
    """Whether an example's sentence or scene is also in a file that evaluates later."""
    shared = pd.Series(False, index=rows.index)
    for name, later in (("dev", ["test"]), ("train", ["dev", "test"])):
        others = rows[rows["file"].isin(later)]
        shared |= (rows["file"] == name) & rows[column].isin(others[column])
    return shared


def _table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pair table from rows without pair_id."""
    ids = [make_pair_id(i, h) for i, h in zip(pairs["image_id"], pairs["hypothesis"], strict=True)]
    kinds = dict.fromkeys(TEXT_COLUMNS, "str") | dict.fromkeys(VOTE_COLUMNS, "int64")
    return pairs.assign(pair_id=ids).astype(kinds)[list(kinds)]


def _human_pairs(examples: list[Example], rows: pd.DataFrame, n_permutations: int) -> pd.DataFrame:
    records = []
    for example, group, split in zip(examples, rows["group_id"], rows["split"], strict=True):
        record = {
            "group_id": group,
            "hypothesis": example.sentence,
            "label": example.label,
            "split": split,
            "family": family_of(example.sentence),
            "form": "human_tower" if is_tower_scene(example.scene) else "human_scatter",
            "votes_entailment": example.votes.get("true", 0),
            "votes_contradiction": example.votes.get("false", 0),
        }
        if split:
            records += [{"image_id": f"{example.name}-{k}"} | record for k in range(n_permutations)]
    return _table(pd.DataFrame(records))


def _about_training_scenes(
    examples: list[Example], rows: pd.DataFrame, avoid: set[str], n_warmup: int, n_permutations: int, seed: int
) -> list[pd.DataFrame]:
    """Generated statements about scenes of training groups, and of examples left out for their sentence only."""
    source = "train" if "train" in set(rows["file"]) else "dev"
    in_evaluation = rows["group_id"].isin(rows.loc[rows["split"].isin(EVALUATION), "group_id"])
    usable = rows[(rows["file"] == source) & ~in_evaluation & ~rows["has_shared_scene"]]
    shares = {str(Split.WARMUP_TRAIN): 1 - WARMUP_VAL_SHARE, str(Split.WARMUP_VAL): WARMUP_VAL_SHARE}
    split = split_groups(usable["group_id"], shares, seed)
    taken, rng, parts = {example.sentence for example in examples}, np.random.default_rng([seed, 1]), []
    for name, n_rows in _warmup_sizes(n_warmup).items():
        members = usable.index[split == name]
        statements = list_statements(SceneTable.of([examples[k].scene for k in members]), rng=rng, avoid=avoid)
        drawn = draw_coupled([s for s in statements if s.text not in taken], n_rows=n_rows, rng=rng)
        places, orders = members[drawn["scene"]], rng.integers(n_permutations, size=len(drawn))
        ids = [f"{examples[k].name}-{order}" for k, order in zip(places, orders, strict=True)]
        parts.append(_generated(drawn, ids, usable.loc[places, "group_id"].to_numpy(), name))
    return parts


def _generated(drawn: pd.DataFrame, image_ids: list[str], groups: Sequence[str], split: str) -> pd.DataFrame:
    return _table(
        drawn.assign(image_id=image_ids, group_id=groups, split=split, votes_entailment=0, votes_contradiction=0)
    )


def _own_scenes(rows: pd.DataFrame, n_scenes: int, seed: int) -> list[Scene]:
    """Scenes drawn here, without those that the corpus holds in some order of the boxes."""
    if n_scenes < 0 or 0 < n_scenes < MIN_SCENES:
        raise ValueError(f"n_scenes must be 0 or at least {MIN_SCENES}, got {n_scenes}")
    known = set(rows["scene"])
    drawn = draw_scenes(n_scenes, np.random.default_rng([seed, 2]))
    return [scene for scene in drawn if _scene_key(scene) not in known]


def _about_own_scenes(
    scenes: list[Scene], avoid: set[str], n_warmup: int, rng: np.random.Generator
) -> list[pd.DataFrame]:
    """Generated statements about scenes drawn here; the last tenth of the scenes is for validation."""
    first_val = len(scenes) - max(MIN_SCENES // 10, round(len(scenes) * WARMUP_VAL_SHARE))
    members = {str(Split.WARMUP_TRAIN): range(first_val), str(Split.WARMUP_VAL): range(first_val, len(scenes))}
    parts = []
    for name, n_rows in _warmup_sizes(n_warmup).items():
        statements = list_statements(SceneTable.of([scenes[k] for k in members[name]]), rng=rng, avoid=avoid)
        drawn = draw_coupled(statements, n_rows=n_rows, rng=rng)
        ids = [OWN_IMAGE.format(members[name][scene]) for scene in drawn["scene"]]
        parts.append(_generated(drawn, ids, ids, name))
    return parts


def _warmup_sizes(n_warmup: int) -> dict[str, int]:
    """Even numbers of rows, because a statement is used twice at a time."""
    n_val = 2 * max(1, round(n_warmup * WARMUP_VAL_SHARE / 2))
    n_train = 2 * ((n_warmup - n_val) // 2)
    if n_train < 2:
        raise ValueError(f"n_warmup must be 0 or at least 4, got {n_warmup}")
    return {str(Split.WARMUP_TRAIN): n_train, str(Split.WARMUP_VAL): n_val}


def _write_store(
    root: Path,
    by_file: Mapping[str, list[Example]],
    image_px: tuple[int, int],
    n_permutations: int,
    out: Path,
    drawn: list[Scene],
) -> None:
    arrays = {}
    if drawn:
        ids = [OWN_IMAGE.format(k) for k in range(len(drawn))]
        arrays["boxes"] = (ids, render_scenes(drawn, size=image_px))
    for name, examples in by_file.items():
        images = np.empty((len(examples) * n_permutations, *image_px, 3), dtype=np.uint8)
        ids = [f"{example.name}-{k}" for example in examples for k in range(n_permutations)]
        folders = [root / name / "images" / example.directory for example in examples for _ in range(n_permutations)]
        for row, (image_id, folder) in enumerate(zip(ids, folders, strict=True)):
            images[row] = resize(read_image(folder / f"{image_id}.png"), image_px)
        arrays[name] = (ids, images)
    write_array_store(out, arrays)


def _facts(
    by_file: Mapping[str, list[Example]], rows: pd.DataFrame, pairs: pd.DataFrame, n_permutations: int
) -> dict[str, int | float | str]:
    examples = [example for members in by_file.values() for example in members]
    n_presentations, n_groups = rows["raw_group"].nunique(), rows["group_id"].nunique()
    given = np.array([[e.votes.get("true", 0), e.votes.get("false", 0)] for e in examples])
    n_votes = sum(sum(e.votes.values()) for e in examples)
    agree = np.array([n[Label.parse(e.label)] for e, n in zip(examples, given, strict=True)])
    facts: dict[str, int | float | str] = {
        "files": ", ".join(by_file),
        "permutations_per_example": n_permutations,
        "presentations": n_presentations,
        "groups": n_groups,
        "presentations_merged": n_presentations - n_groups,
        "examples_left_out_shared_with_evaluation": int(rows["is_left_out"].sum()),
        "examples_with_shared_sentence": int(rows["has_shared_sentence"].sum()),
        "examples_with_shared_scene": int(rows["has_shared_scene"].sum()),
        "votes": int(n_votes),
        "votes_nonsense": int(n_votes - given.sum()),
        "votes_agree_with_label_share": float(agree.sum() / given.sum()),
        "examples_unanimous_share": float(np.mean([max(e.votes.values()) == sum(e.votes.values()) for e in examples])),
    }
    facts |= {f"examples_{name}": len(members) for name, members in by_file.items()}
    for split, members in pairs.groupby("split", sort=True):
        facts[f"rows_{split}"] = len(members)
        facts[f"images_{split}"] = int(members["image_id"].nunique())
        facts[f"groups_{split}"] = int(members["group_id"].nunique())
    return facts


def write_predictions_csv(predictions: pd.DataFrame, path: Path) -> None:
    """Write predictions of one stage and seed as the corpus' own metrics script reads them: `<image
    file>,true|false`, no header; a tie counts as true. ValueError if an id is not an image of the corpus or
    occurs twice.
    """
    ids = predictions["image_id"]
    if foreign := [i for i in ids if not _IMAGE_ID.fullmatch(i)]:
        raise ValueError(f"{len(foreign)} image ids are not of the NLVR corpus, the first: {foreign[:3]}")
    if ids.duplicated().any():
        raise ValueError(f"image {ids[ids.duplicated()].iloc[0]!r} has two predictions; give one stage and seed")
    is_true = predictions["logit_0"] >= predictions["logit_1"]
    lines = [f"{i}.png,{'true' if t else 'false'}\n" for i, t in sorted(zip(ids, is_true, strict=True))]
    write_text(path, "".join(lines))
