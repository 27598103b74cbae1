"""Imagenette in miniature: its archive, unpacked folders, and damaged or hostile archives."""

import tarfile

import numpy as np
import pytest

import mini_pictures as mini
from verdict.clip import imagenette, pictures
from verdict.clip.answers import expected_answers
from verdict.clip.words import clean, prompts
from verdict.params import load_params

NAMES = tuple(imagenette.CLASSES.values())


def small(**n):
    wanted = {"train": 30, "val": 20, "calib": 20, "test": 30, **n}
    return load_params("base").clip.model_copy(update={"source": "imagenette", "n": wanted})


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_corpus_val_is_our_test_and_its_train_gives_the_rest(data):
    mini.write_imagenette(data)
    found = pictures.build(small())
    assert [len(found.rows(split)) for split in pictures.SPLITS] == [30, 20, 20, 30]
    assert found.images.shape == (100, 160, 160, 3) and found.class_names == NAMES
    own = found.table["image_id"].str.startswith("val-")
    assert (own == (found.table["split"] == "test")).all() and found.table["image_id"].is_unique
    red, green = (found.images[:, 80, 80, k].astype(int) for k in (0, 1))
    assert (abs(red - 20 * found.table["y"]) <= 3).all(), "a folder's number stands for its name"
    assert (abs(green - found.table["image_id"].str[-3:].astype(int)) <= 3).all(), "an id is its picture's"
    assert prompts(found.class_names, found.templates[:1])[1] == "a photo of an English springer"
    assert all(clean(name) == name for name in found.class_names)


@pytest.mark.parametrize("inside", ["", "imagenette2-160"])
def test_unpacked_folders_give_the_same_pictures(data, inside):
    archive = mini.write_imagenette(data)
    one = pictures.build(small())
    archive.unlink()
    for name, content in mini.imagenette_members(n_train=7, n_val=3).items():
        path = data / "imagenette" / inside / name.partition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
    other = pictures.build(small())
    assert np.array_equal(one.images, other.images) and one.table.equals(other.table)


TOP = "imagenette2-160"
CHANGED = {
    "a path leads out": ({f"{TOP}/train/../../../evil.JPEG": b"x"}, "leads out of the folder"),
    "an absolute path": ({"/train/n01440764/evil.JPEG": b"x"}, "leads out of the folder"),
    "a link": ({f"{TOP}/train/n01440764/x.JPEG": (tarfile.SYMTYPE, "/etc/passwd")}, "is a link or a device"),
    "a hard link": ({f"{TOP}/val/n01440764/x.JPEG": (tarfile.LNKTYPE, f"{TOP}/.DS_Store")}, "is a link or a device"),
    "another class": ({f"{TOP}/train/n00000001/x.JPEG": b"x"}, r"folders \['n00000001'\] are no classes"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_hostile_archive_is_refused_by_name(tmp_path, case):
    change, message = CHANGED[case]
    path = mini.write_tar(tmp_path / "a.tgz", {**mini.imagenette_members(n_train=1, n_val=1), **change})
    with pytest.raises(ValueError, match=rf"a\.tgz.*{message}"):
        imagenette.read(path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"], "nothing is unpacked"


def test_a_half_that_is_missing_is_refused(tmp_path):
    kept = {name: one for name, one in mini.imagenette_members(n_train=1, n_val=1).items() if "/val/" not in name}
    with pytest.raises(ValueError, match=r"a\.tgz: folders \[\] are no classes, of 0 pictures"):
        imagenette.read(mini.write_tar(tmp_path / "a.tgz", kept))


def test_a_picture_that_is_cut_is_named_when_it_is_loaded(tmp_path):
    members = mini.imagenette_members(n_train=1, n_val=1)
    name = f"{TOP}/val/n01440764/n01440764_000.JPEG"
    found = imagenette.read(mini.write_tar(tmp_path / "a.tgz", {**members, name: members[name][:300]}))
    with pytest.raises(ValueError, match=rf"a\.tgz: {name} cannot be decoded; is it truncated"):
        found.test.load(np.array([0]))
    assert found.test.load(np.array([1])).shape == (1, 160, 160, 3)


def test_an_archive_that_is_cut_is_refused(tmp_path):
    path = mini.write_tar(tmp_path / "a.tgz", mini.imagenette_members(n_train=1, n_val=1))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.tgz is damaged or not an archive"):
        imagenette.read(path)


def test_without_a_hash_the_user_is_told_what_to_do(data):
    own = load_params("paper_imagenette").clip.imagenette
    with pytest.raises(
        ValueError, match=r"holds imagenette/imagenette2-160\.tgz, or give its sha256 in clip\.imagenette"
    ):
        imagenette.locate(**own.model_copy(update={"sha256": ""}).model_dump())


def test_a_link_inside_a_folder_that_leads_elsewhere_is_left_out(data):
    place = data / "imagenette" / "train" / "n01440764"
    place.mkdir(parents=True)
    (data / "imagenette" / "val").mkdir()
    (data / "secret.png").write_bytes(mini.encoded((1, 2, 3)))
    (place / "a.png").symlink_to(data / "secret.png")
    with pytest.raises(ValueError, match="of 0 pictures"):
        imagenette.read(imagenette.locate(url="", sha256=""))


def test_the_profile_asks_about_classes_that_there_are():
    params = load_params("paper_imagenette")
    assert params.clip.source == "imagenette" and params.clip.preset == "openai/clip-vit-base-patch32"
    assert expected_answers(params.clip_policy.questions, NAMES).shape[1] >= 5
    words = {word.lower() for name in NAMES for word in name.split()}
    assert not [text for text in params.concepts.bank if words & set(text.split())], "descriptors name no class"
