"""Labelled pictures: scenes, CIFAR-10 in both its local forms, folders and tables of somebody's own."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from verdict import paths
from verdict.clip import cifar, pictures
from verdict.data.scenes import handwriting_pools
from verdict.params import load_params, merge, read_yaml, validate

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


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def jpeg_copy(tmp_path, monkeypatch):
    home = tmp_path / "data" / "cifar10"
    home.mkdir(parents=True)
    for part, n in (("train", 12), ("test", 3)):
        with tarfile.open(home / f"{part}.tar", "w") as tar:
            for label, name in enumerate(cifar.CLASSES):
                for k in range(n):
                    add(tar, f"{part}/{name}/{k:04d}.png", picture((label * 20, k, 0), (32, 32)))
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path / "data"))
    return home


def test_a_local_copy_as_folders_is_read_class_by_class(jpeg_copy):
    found = pictures.build(clip_params(source="cifar10", n={"train": 60, "val": 20, "calib": 20, "test": 20}))
    assert [len(found.rows(split)) for split in pictures.SPLITS] == [60, 20, 20, 20]
    assert (found.images[:, 0, 0, 0] // 20 == found.table["y"]).all()
    assert found.table["image_id"].is_unique
    counts = found.table.groupby("split")["y"].value_counts().unstack()
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all(), "classes are balanced"
    y = found.table["y"].to_numpy()
    assert all(sorted(y[found.rows(split)[:10]]) == list(range(10)) for split in pictures.SPLITS), "from the first on"


def test_the_original_archive_is_read_without_running_its_code(tmp_path, monkeypatch):
    home = tmp_path / "cifar10"
    home.mkdir()
    rng = np.random.default_rng(1)
    images = rng.integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    batch = {b"labels": [3, 1, 4, 1], b"data": images.transpose(0, 3, 1, 2).reshape(4, -1)}
    content = pickle.dumps(batch, protocol=2).replace(b"numpy._core", b"numpy.core")
    with tarfile.open(home / cifar.ARCHIVE, "w:gz") as tar:
        for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
            add(tar, f"cifar-10-batches-py/{name}", content)
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    source = cifar.locate("", "")
    test, train = cifar.read(source, "test"), cifar.read(source, "train")
    assert np.array_equal(test.load(np.array([2, 0])), images[[2, 0]])
    assert list(test.y) == [3, 1, 4, 1] and len(train.y) == 20


def test_a_batch_that_names_code_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        add(tar, "cifar-10-batches-py/test_batch", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(pickle.UnpicklingError, match=r"arrays, not os\.system"):
        cifar.read(tmp_path / "a.tar.gz", "test")


def test_without_a_copy_and_a_hash_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="needs its sha256"):
        cifar.locate("https://example.org/x", "")
    assert len(load_params("base").clip.cifar10.sha256) == 64


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
