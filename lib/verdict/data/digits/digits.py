"""The embedded data set: sentences about pictures of coloured handwritten digits, with splits for every job.

The target splits (train, val, calib, test) are made of couples, so that sentences alone tell nothing about labels
(`couples`). The warm-up splits stand for a related, easier data set: simpler sentences, uneven labels, words that give
a little away. The independent splits come from another distribution (`independent`), with both halves of a pair or with
one. Each split draws its handwriting from its own pool; only the two warm-up splits share one, and new sentences about
images like test's are about handwriting of test's pool, in scenes of their own.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.files.images import write_array_store
from verdict.base.labels import WARMUP_SPLITS, Split
from verdict.data.digits import grammar, independent
from verdict.data.digits.couples import coupled_pairs, loose_pairs
from verdict.data.digits.grammar import TRAINING_WORDS
from verdict.data.digits.scenes import EMPTY, Scene, draw_scenes, handwriting_digits, handwriting_pools, render_scenes
from verdict.data.digits.truths import Grid
from verdict.data.pairs import Dataset, check_pairs, with_pair_ids

VOCABULARY = tuple(grammar.words_of([*TRAINING_WORDS, *independent.INDEPENDENT_WORDS]))

# Shares of entailment by form; together 55 %, roughly as uneven as the natural data sets that one warms up on.
WARMUP_SHARES: Mapping[str, float] = {
    "existence/there_is": 0.66,
    "exact_count/exactly": 0.48,
    "colour/the_digit_is": 0.60,
    "colour/the_colour_digit_is": 0.60,
    "position/half": 0.46,
    "relation/left_right": 0.52,
    "relation/above_below": 0.55,
}
WARMUP_TILT = 0.5
# With fewer scenes than this some forms would find no couple in a very small split.
MIN_SCENES = 96
COLUMNS = ("pair_id", "image_id", "group_id", "hypothesis", "label", "split", "family", "form")
POOL_OF_SPLIT: Mapping[Split, str] = {
    **dict.fromkeys(WARMUP_SPLITS, "warmup"),
    **{split: split.value for split in (Split.TRAIN, Split.VAL, Split.CALIB, Split.TEST)},
    Split.INDEPENDENT_SENTENCES: "test",
}
ATTRIBUTION = (
    "Handwritten digits: Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, 1998, "
    "UCI Machine Learning Repository, CC BY 4.0), as bundled with scikit-learn. Printed digits: the DejaVu and STIX "
    "fonts bundled with Matplotlib."
)


def build(*, n_pairs: Mapping[str, int], pairs_per_scene: int, seed: int, out: Path) -> Dataset:
    """Build the data set and write its images into the store `out`; the image is the group.

    `n_pairs` are even for all splits but the warm-up ones; splits with 0 pairs are not built, the hand-written one
    always is. A split has at least `MIN_SCENES` scenes, so very small splits have fewer sentences per image than
    `pairs_per_scene` (2 or more). Each split has its own random stream, and its handwriting is the same for every seed.
    ValueError if a number is impossible, or scenes are too few for the pairs.
    """
    if pairs_per_scene < 2:
        raise ValueError(f"pairs_per_scene must be at least 2, got {pairs_per_scene}")
    wanted = {Split(name): n for name, n in n_pairs.items() if n}
    pools = handwriting_pools()
    tables: list[pd.DataFrame] = []
    shared: list[tuple[str, int]] = []
    arrays: dict[str, tuple[list[str], np.ndarray]] = {}
    counted = {"sentences that its grammar can write": grammar.statements(), "words of all sentences": VOCABULARY}
    counted["words of training's sentences"] = TRAINING_WORDS
    facts: dict[str, int | float | str] = {name: len(found) for name, found in counted.items()}
    for split in Split:
        if split is Split.INDEPENDENT_HAND:
            (table, images), scenes = independent.hand_written(), []
        elif split not in wanted:
            continue
        else:
            n_scenes = max(MIN_SCENES, -(-wanted[split] // pairs_per_scene))
            rng = np.random.default_rng([seed, *f"digits {split.value}".encode()])
            pool = pools[POOL_OF_SPLIT[split]] if split in POOL_OF_SPLIT else None
            table, images, scenes = _generated(split, pool, n_pairs=wanted[split], n_scenes=n_scenes, rng=rng)
        # Images that no pair uses are not kept.
        used = np.unique(table["scene"])
        names = {scene: f"digits-{split.value}-{scene:05d}" for scene in used.tolist()}
        arrays[f"digits-{split.value}"] = (list(names.values()), images[used])
        ids = table["scene"].map(names)
        held = [(name, part) for scene, name in names.items() if scenes for part in np.unique(scenes[scene].samples)]
        # Glyphs of fonts are counted from 0 as samples of handwriting are.
        first = 0 if split in POOL_OF_SPLIT else len(handwriting_digits())
        shared += [(name, first + int(part)) for name, part in held if part != EMPTY]
        tables.append(with_pair_ids(table.assign(image_id=ids, group_id=ids, split=split.value)))
        facts |= {f"{split.value}.n_pairs": len(table), f"{split.value}.n_images": len(used)}
    write_array_store(out, arrays)
    pairs = check_pairs(pd.concat(tables, ignore_index=True)[list(COLUMNS)], source="digits")
    return Dataset(pairs, ATTRIBUTION, facts, shared=pd.DataFrame(shared, columns=["image_id", "part"]))


def _generated(
    split: Split, pool: np.ndarray | None, *, n_pairs: int, n_scenes: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray, list[Scene]]:
    """Pairs, images, uint8 (n_scenes, 64, 64, 3), and scenes of a split: handwriting from a pool, or printed."""
    if pool is None:
        scenes, style = independent.printed_scenes(n_scenes, rng=rng), independent.printed_style()
    else:
        scenes, style = draw_scenes(n_scenes, pool, rng=rng, n_digits=independent.N_DIGITS), None
    grid = Grid.of(scenes)
    if split in WARMUP_SPLITS:
        simple = [s for s in grammar.taught() if s.family != "exact_count" or s.stratum == "colour"]
        table = loose_pairs(simple, grid, n_pairs=n_pairs, entailed_share=WARMUP_SHARES, tilt=WARMUP_TILT, rng=rng)
    else:
        is_new = split in (Split.INDEPENDENT, Split.INDEPENDENT_SENTENCES)
        sentences = list(filter(grammar.is_taught, independent.paraphrases())) if is_new else grammar.taught()
        table = coupled_pairs(sentences, grid, n_pairs=n_pairs, rng=rng)
    return table, render_scenes(scenes, rng=rng, style=style), scenes
