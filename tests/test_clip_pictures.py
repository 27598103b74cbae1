"""Labelled pictures: scenes, the halves of a public corpus, folders and tables of somebody's own."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from verdict import paths
from verdict.clip import pictures
from verdict.clip.corpora import Corpus, Half
from verdict.data.scenes import handwriting_pools
from verdict.params import merge, read_yaml, validate

N = {"train": 40, "val": 23, "calib": 21, "test": 29}


def clip_params(**changes):
    base = read_yaml(paths.PARAMS / "base.yaml")
    return validate(merge(base, {"clip": {"source": "digits", "n": N, **changes}}), source="test").clip


def test_scenes_fill_every_split_with_its_own_handwriting():
    found = pictures.build(clip_params())
    assert {split: len(found.rows(split)) for split in N} == N
    assert found.images.shape == (113, 48, 48, 3) and found.masks.shape == (113, 48, 48)
    assert found.table["image_id"].is_unique
    pools = {f"writing-{k:04d}": name for name, pool in handwriting_pools().items() for k in pool}
    assert (found.table["group_id"].map(pools) == found.table["split"]).all()
    assert [found.class_names[y] for y in found.table["y"]] == list(found.table["digit"])
    again = pictures.build(clip_params())
    assert np.array_equal(found.images, again.images) and found.table.equals(again.table)
    more = pictures.build(clip_params(n={**N, "train": 50}))
    assert np.array_equal(more.images[more.rows("test")], found.images[found.rows("test")])


def picture(colour, side=(9, 7)):
    buffer = io.BytesIO()
    Image.new("RGB", side, colour).save(buffer, "PNG")
    return buffer.getvalue()


def half(n, *, first):
    """Pictures of three classes, class by class, each of the colour that its number is."""
    images = np.full((n, 5, 5, 3), np.arange(first, first + n)[:, None, None, None], dtype=np.uint8)
    return Half([f"p-{k}" for k in range(first, first + n)], np.arange(n) * 3 // n, lambda rows: images[rows])


def test_the_halves_of_a_corpus_never_meet():
    corpus = Corpus(half(120, first=0), half(60, first=120), ("a", "b", "c"), "nobody's")
    wanted = {"train": 45, "val": 21, "calib": 24, "test": 30}
    found = pictures.of_corpus(corpus, clip_params(source="cifar100", n=wanted))
    assert {split: len(found.rows(split)) for split in wanted} == wanted
    shown, y = found.images[:, 0, 0, 0], found.table["y"].to_numpy()
    assert len(set(shown)) == 120, "no picture stands twice, and none in two splits"
    assert (shown[found.rows("test")] >= 120).all() and (shown[: -wanted["test"]] < 120).all()
    assert list(found.table["image_id"]) == [f"p-{k}" for k in shown]
    assert (y == np.where(shown < 120, shown // 40, (shown.astype(int) - 120) // 20)).all()
    assert all(sorted(y[found.rows(split)[:3]]) == [0, 1, 2] for split in wanted), "classes in turn, from the first on"
    again = pictures.of_corpus(corpus, clip_params(source="cifar100", n=wanted))
    other = pictures.of_corpus(corpus, clip_params(source="cifar100", n=wanted, seed=1))
    assert again.table.equals(found.table) and not other.table.equals(found.table)


@pytest.fixture
def own(tmp_path, monkeypatch):
    home = tmp_path / "mine"
    for place, colour in (("train/dog", 10), ("train/cat_big", 20), ("test/dog", 30), ("test/cat_big", 40)):
        (home / place).mkdir(parents=True)
        for k in range(3):
            (home / place / f"{k}.png").write_bytes(picture((colour, k, 0)))
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    return home


def of_folder(own, *, table="", source="folder", images="mine"):
    base = {"images": images, "table": table, "fractions": {"train": 0.4, "val": 0.2, "calib": 0.2, "test": 0.2}}
    return pictures.build(clip_params(source=source, folder={**base, "image_px": 8}))


def test_a_folder_a_class_in_a_folder_a_split(own):
    found = of_folder(own)
    assert found.class_names == ("cat_big", "dog")
    assert found.images.shape == (12, 8, 8, 3)
    assert list(found.table["split"].value_counts()[["train", "test"]]) == [6, 6]
    assert (found.images[:, 0, 0, 0] == np.where(found.table["split"] == "train", 20, 40) - 10 * found.table["y"]).all()


def test_names_and_templates_lie_beside(own):
    (own / "classes.json").write_text(json.dumps({"dog": "hound", "cat_big": "lion"}))
    (own / "templates.json").write_text(json.dumps(["a toy {}"]))
    found = of_folder(own)
    assert found.class_names == ("hound", "lion") and found.templates == ("a toy {}",)
    (own / "classes.json").write_text(json.dumps(["dog"]))
    with pytest.raises(ValueError, match=r"classes\.json lacks \['cat_big'\]"):
        of_folder(own)
    (own / "classes.json").unlink()
    (own / "templates.json").write_text(json.dumps(["a toy"]))
    with pytest.raises(ValueError, match=r"templates\.json holds a list"):
        of_folder(own)


def test_a_table_says_where_each_picture_belongs(own):
    rows = [f"train/dog/{k}.png,dog,g{k % 2},train" for k in range(3)]
    rows += [f"test/cat_big/{k}.png,cat,h{k},test" for k in range(3)]
    (own / "t.csv").write_text("image,label,group,split\n" + "\n".join(rows) + "\n")
    found = of_folder(own, table="mine/t.csv", source="csv")
    assert list(found.table["group_id"][:3]) == ["g0", "g1", "g0"]
    assert found.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nx,y\n", r"lacks the columns \['image'\]"),
        ("image,label\n../../etc/passwd,dog\n", "line 2: there is no picture"),
        ("image,label\ntrain/dog/0.png,dog\nnone.png,cat\n", "line 3: there is no picture"),
        ("image,label,split\ntrain/dog/0.png,dog,dev\n", "line 2: split 'dev' is none of"),
        ("image,label\ntrain/dog/0.png,\n", "line 2: no label"),
        ("image,label\ntrain/dog/0.png,dog\n", "at least two labels"),
    ],
)
def test_a_faulty_table_is_refused_by_line(own, text, message):
    (own / "t.csv").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        of_folder(own, table="mine/t.csv", source="csv")


def test_a_missing_folder_and_a_single_class_are_refused(own):
    with pytest.raises(ValueError, match="at least two folders"):
        of_folder(own, images="mine/train/dog")
    with pytest.raises(FileNotFoundError, match="there is no folder 'nowhere'"):
        of_folder(own, images="nowhere")


def test_a_picture_is_cut_to_its_middle_square():
    image = Image.new("RGB", (30, 10), "black")
    image.paste("white", (10, 0, 20, 10))
    assert (pictures.square(image, 10) == 255).all()
    assert pictures.square(image, 5).shape == (5, 5, 3)
