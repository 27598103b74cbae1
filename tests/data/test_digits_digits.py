from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from verdict.base import paths
from verdict.base.files.images import ImageStore
from verdict.base.numbers import Numbers
from verdict.data.digits import digits, grammar
from verdict.data.digits.couples import hypothesis_only_hits
from verdict.data.digits.digits import TRAINING_WORDS, VOCABULARY, build
from verdict.data.pairs import Dataset, check_pairs
from verdict.data.sources import composition

SIZES = {
    "warmup_train": 601,
    "warmup_val": 203,
    "train": 2402,
    "val": 502,
    "calib": 398,
    "test": 806,
    "independent": 398,
    "independent_images": 302,
    "independent_sentences": 298,
}
COUPLED = ("train", "val", "calib", "test", "independent", "independent_images", "independent_sentences")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def dataset(folder) -> Dataset:
    return build(n_pairs=SIZES, pairs_per_scene=5, seed=11, out=folder)


def _split(dataset: Dataset, name: str) -> pd.DataFrame:
    return dataset.pairs[dataset.pairs["split"] == name]


def test_splits_have_the_sizes_asked_for(dataset):
    assert dataset.pairs["split"].value_counts().to_dict() == {**SIZES, "independent_hand": 50}
    assert check_pairs(dataset.pairs) is dataset.pairs
    for name, n in SIZES.items():
        assert dataset.facts[f"{name}.n_pairs"] == n
        assert dataset.facts[f"{name}.n_images"] == _split(dataset, name)["image_id"].nunique()
        n_scenes = max(digits.MIN_SCENES, -(-n // 5))
        # Of the loose splits a scene may be left without a sentence.
        assert dataset.facts[f"{name}.n_images"] == n_scenes or (
            name not in COUPLED and 0.9 * n_scenes < dataset.facts[f"{name}.n_images"] < n_scenes
        )
    assert "CC BY 4.0" in dataset.attribution


@pytest.mark.parametrize("name", COUPLED)
def test_labels_are_balanced_in_each_sentence_and_sentences_alone_are_at_chance(dataset, name):
    split = _split(dataset, name)
    counts = split.groupby("hypothesis")["label"].value_counts().unstack(fill_value=0)
    assert (counts["entailment"] == counts["contradiction"]).all()
    assert set(split["family"]) == {one.family for one in grammar.statements()}
    assert hypothesis_only_hits(_split(dataset, "train"), split)["words"].mean() == 0.5


def test_the_warmup_is_easier_and_looser(dataset):
    warmup = _split(dataset, "warmup_train")
    assert set(warmup["family"]) == {"existence", "exact_count", "colour", "position", "relation"}
    assert (warmup["label"] == "entailment").mean() == pytest.approx(0.55, abs=0.01)
    assert hypothesis_only_hits(warmup, warmup)["words"].mean() > 0.6
    counts = warmup.groupby("hypothesis")["label"].value_counts().unstack(fill_value=0)
    assert (counts["entailment"] != counts["contradiction"]).any()


def test_no_image_and_no_pixels_are_in_two_splits(dataset, folder):
    seen = dataset.pairs[["image_id", "split"]].drop_duplicates()
    assert not seen["image_id"].duplicated().any()
    store = ImageStore.open(folder)
    assert sorted(store.ids) == sorted(seen["image_id"])
    images = store.load(list(seen["image_id"]), size=(64, 64))
    assert images.shape == (len(seen), 64, 64, 3)
    assert len({image.tobytes() for image in images}) == len(seen)


def test_a_half_new_pair_has_one_half_of_the_independent_set_and_one_of_test(dataset, folder):
    """Paper is light and handwriting's ground is dark; paraphrases have forms of their own."""
    store, found = ImageStore.open(folder), {}
    for name in ("test", "independent", "independent_images", "independent_sentences"):
        split = _split(dataset, name)
        ground = np.median(store.load(list(split["image_id"].unique()), size=(64, 64)))
        found[name] = (ground > 128, set(split["form"]))
    (is_light, new_forms), (is_light_in_test, forms) = found["independent"], found["test"]
    assert is_light and not is_light_in_test and not new_forms & forms
    assert found["independent_images"] == (True, forms)
    assert found["independent_sentences"] == (False, new_forms)


def test_images_tell_which_handwriting_they_hold(dataset, folder):
    pools = digits.handwriting_pools()
    splits = dataset.shared["image_id"].map(dataset.pairs.drop_duplicates("image_id").set_index("image_id")["split"])
    assert set(splits) == set(SIZES)
    for name in ("train", "calib", "test"):
        shared = dataset.shared[splits == name]
        assert set(shared["image_id"]) == set(_split(dataset, name)["image_id"])
        assert set(shared["part"]) <= set(pools[name]) and not shared.duplicated().any()
        assert shared.groupby("image_id").size().between(1, 8).all()
    printed = set(dataset.shared.loc[splits == "independent", "part"])
    assert printed and printed.isdisjoint(np.concatenate(list(pools.values())).tolist()), "no glyph is a sample"
    numbers = Numbers()
    table = composition(dataset, numbers).set_index("split")
    n_parts = dataset.shared.loc[splits == "test", "part"].nunique()
    assert table.loc["test", "parts"] == numbers["data.test.n_parts"].value == n_parts
    assert pd.isna(table.loc["independent_hand", "parts"])
    numbers.save(folder / "numbers.json")
    assert Numbers.load(folder / "numbers.json")["data.test.n_parts"].value == n_parts


def test_scenes_of_a_split_come_from_its_pool(monkeypatch, tmp_path):
    pools = digits.handwriting_pools()
    drawn: list[np.ndarray] = []

    def spy(n, pool, *, rng, **ranges):
        drawn.append(pool)
        return draw(n, pool, rng=rng, **ranges)

    draw = digits.draw_scenes
    monkeypatch.setattr(digits, "draw_scenes", spy)
    sizes = dict.fromkeys(("test", "warmup_val", "train", "independent_sentences"), 100)
    build(n_pairs=sizes, pairs_per_scene=5, seed=2, out=tmp_path)
    for pool, name in zip(drawn, ("warmup", "train", "test", "test"), strict=True):
        assert np.array_equal(pool, pools[name])


IN_A_PROCESS = """
import json, sys
from pathlib import Path
from verdict.data.digits.digits import build
asked = dict(json.loads(sys.argv[2]))
made = build(n_pairs=asked, pairs_per_scene=4, seed=5, out=Path(sys.argv[1]))
(Path(sys.argv[1]) / "pairs.csv").write_text(made.pairs.to_csv())
print(sorted(made.facts.items()))
"""


def test_same_arguments_give_the_same_tables_and_bytes_in_every_process(tmp_path, monkeypatch, capsys):
    """Python orders sets of text by a seed of each process; the order in which splits are named plays no part."""
    sizes = [("train", 202), ("test", 98), ("independent", 62), ("warmup_train", 71)]
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": other, "PYTHONPATH": str(paths.LIBRARY.parent)}
    command = [sys.executable, "-c", IN_A_PROCESS, str(tmp_path / "other"), json.dumps(sizes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "here"), json.dumps(sizes[::-1])])
    exec(IN_A_PROCESS, {})
    assert capsys.readouterr().out == done.stdout
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "other"))
    assert here == there and len(here) > 2


def test_a_split_depends_on_the_seed_and_not_on_other_splits(tmp_path):
    alone = build(n_pairs={"val": 98}, pairs_per_scene=4, seed=5, out=tmp_path / "a")
    among = build(n_pairs={"train": 302, "val": 98, "test": 0}, pairs_per_scene=4, seed=5, out=tmp_path / "b")
    other = build(n_pairs={"val": 98}, pairs_per_scene=4, seed=6, out=tmp_path / "c")
    assert _split(alone, "val")["pair_id"].tolist() == _split(among, "val")["pair_id"].tolist()
    assert _split(alone, "val")["pair_id"].tolist() != _split(other, "val")["pair_id"].tolist()
    assert set(among.pairs["split"]) == {"train", "val", "independent_hand"}
    stores = [ImageStore.open(tmp_path / name) for name in "ab"]
    ids = _split(alone, "val")["image_id"].unique().tolist()
    assert np.array_equal(*(store.load(ids, size=(64, 64)) for store in stores))


def test_vocabulary_covers_every_sentence(dataset):
    words = set(" ".join(dataset.pairs["hypothesis"]).split())
    assert words <= set(VOCABULARY)
    new = ("independent", "independent_hand", "independent_sentences")
    training = dataset.pairs[~dataset.pairs["split"].isin(new)]
    assert set(" ".join(training["hypothesis"]).split()) <= set(TRAINING_WORDS) < set(VOCABULARY)
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    assert len(VOCABULARY) < 130


def test_impossible_wishes_are_refused(tmp_path):
    """The parameters refuse all other wishes."""
    for wish, message in (
        ({"n_pairs": {"val": 7}}, "must be even and positive"),
        ({"n_pairs": {"val": 8}, "pairs_per_scene": 1}, "at least 2, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**{"pairs_per_scene": 4, "seed": 0, "out": tmp_path, **wish})
