"""CIFAR-10, CIFAR-100 and Imagenette in miniature: archives, tar files of folders, unpacked, damaged and hostile."""

import importlib.util
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

import mini_pictures as mini
from verdict.base.params import load_params
from verdict.clip.encoder.answers import expected_answers
from verdict.clip.pictures import cifar, corpora, sources
from verdict.clip.pictures.words import clean, prompts

BOTH = ("cifar10", "cifar100")


def small(name, **n):
    """The parameters of a source, with small splits."""
    wanted = {"train": 40, "val": 20, "calib": 20, "test": 20, **n}
    return load_params("base").clip.model_copy(update={"source": name, "n": wanted})


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", BOTH)
def test_the_original_archive_is_read_as_it_was_written(data, name):
    archive, kind = mini.write_cifar(data, name), cifar.KINDS[name]
    assert corpora.locate(name, url="", sha256="") == archive
    found = corpora.read(name, archive)
    assert found.class_names == tuple(mini.NAMES[name])
    assert len(found.train.y) == 4 * kind.n_classes * len(kind.train) and len(found.test.y) == 2 * kind.n_classes
    rows = np.array([7, 0, 3])
    wanted = mini.cifar_pictures(found.test.y, seed=len(kind.train))
    assert np.array_equal(found.test.load(rows), wanted[rows]), "pixels are where they were"
    everything = found.train.load(np.arange(len(found.train.y)))
    assert (everything[:, 0, 0, 0] == found.train.y).all(), "labels are those of their pictures"
    assert found.test.names[1] == "test-00001" and len(set(found.train.names)) == len(found.train.y)


def test_pictures_of_cifar100_have_names_that_prompts_can_say(data):
    mini.write_cifar(data, "cifar100")
    found = sources.build(small("cifar100", train=200, test=100))
    assert [len(found.rows(split)) for split in sources.SPLITS] == [200, 20, 20, 100]
    assert (found.images[:, 0, 0, 0] == found.table["y"]).all()
    train, test = (found.table["y"].iloc[found.rows(split)] for split in ("train", "test"))
    assert set(test.value_counts()) == {1} and train.nunique() == test.nunique() == 100, "classes are balanced"
    assert sum(clean(name) != name for name in found.class_names) == 9
    said = prompts(found.class_names, found.templates[:1])
    assert said[:2] == ["a photo of an apple", "a photo of an aquarium fish"] and "CIFAR-100" in found.attribution


def test_miniatures_are_pickles_that_mean_the_same():
    rng = np.random.default_rng(3)
    content = {b"labels": [3, 1], b"names": [b"a", b"bc"], b"data": rng.integers(256, size=(2, 3072), dtype=np.uint8)}
    for write in (mini.pickled, mini.pickled_by_python2):
        found = cifar.unpickled(write(content), "batch")
        plain = pickle.loads(write(content).replace(b"numpy.core", b"numpy._core"), encoding="bytes")
        assert found[b"labels"] == plain[b"labels"] == [3, 1] and found[b"names"] == plain[b"names"] == [b"a", b"bc"]
        assert np.array_equal(cifar.pixels(found[b"data"]), content[b"data"])
        assert np.array_equal(plain[b"data"], content[b"data"])
    by_column = cifar.unpickled(mini.pickled({b"data": np.asfortranarray(content[b"data"])}), "batch")
    assert np.array_equal(cifar.pixels(by_column[b"data"]), content[b"data"])


@pytest.mark.parametrize("name", BOTH)
def test_two_tar_files_of_folders_are_read_class_by_class(data, name):
    def write(part, n, side):
        of_class = enumerate(mini.NAMES[name])
        rows = [(f"{part}/{label}/{k:04d}.png", (y * 2, k, 0)) for y, label in of_class for k in range(n)]
        members = {path: mini.encoded(colour, (32, side)) for path, colour in rows}
        mini.write_tar(data / name / f"{part}.tar", members, "w")
        return corpora.locate(name, url="", sha256="") if part == "test" else None

    write("train", 3, 32)
    found = corpora.read(name, write("test", 2, 32))
    assert found.class_names == tuple(mini.NAMES[name]), "ids by the alphabet are the original's"
    shown = found.test.load(np.arange(len(found.test.y)))
    assert (shown[:, 0, 0, 0] // 2 == found.test.y).all() and (shown[:, 0, 0, 1] == np.arange(len(shown)) % 2).all()
    assert found.train.names[:2] == [f"train-{mini.NAMES[name][0]}-000{k}" for k in (0, 1)]
    with pytest.raises(ValueError, match=r"test\.tar: test/\w+/0000\.png has the shape \(31, 32, 3\)"):
        corpora.read(name, write("test", 1, 31)).test.load(np.array([3]))


LINK = (tarfile.SYMTYPE, "../../etc/passwd")
BATCH = {b"fine_labels": [1, 2], b"data": np.zeros((2, 3072), dtype=np.uint8)}


def batch(pixels):
    return mini.pickled({**BATCH, b"data": pixels})


CHANGED = {
    "a member is missing": ({"test": ...}, "has no cifar-100-python/test"),
    "no names": ({"meta": ...}, "has no cifar-100-python/meta"),
    "a member is a link": ({"test": LINK}, r"'cifar-100-python/test' is a link or a device"),
    "a path leads out": ({"../../evil": b"x"}, "leads out of the folder"),
    "a batch is cut": ({"test": mini.pickled(BATCH)[:-900]}, "test is damaged or no batch"),
    "a batch is noise": ({"test": bytes(range(256))}, "test is damaged or no batch"),
    "a batch is empty": ({"test": b""}, "test is damaged or no batch"),
    "a batch names code": ({"test": b"cos\nsystem\n(S'true'\ntR."}, r"holds arrays, not os\.system"),
    "a batch is of a later kind": ({"test": pickle.dumps(BATCH, 5)}, "is a pickle of protocol 2"),
    "a batch fills the memory": ({"test": b"}r\xff\xff\xff\xff."}, "it notes something at 4294967295"),
    "a batch is a list": ({"test": pickle.dumps([1], 2)}, "test is no mapping"),
    "a row is missing": ({"test": batch(np.zeros((1, 3072), "u1"))}, r"\(2, 3072\), got \(1, 3072\)"),
    "a pixel is missing": ({"test": batch(np.zeros((2, 3071), "u1"))}, r"must be uint8.*got \(2, 3071\)"),
    "pixels are floats": ({"test": batch(np.zeros((2, 384)))}, "must be uint8.*got something else"),
    "pixels are objects": ({"test": batch(np.array([[1]], object))}, "must be uint8.*got something else"),
    "no pixels": ({"test": mini.pickled({b"fine_labels": [1]})}, "must be uint8.*got something else"),
    "an id too high": ({"test": mini.pickled({**BATCH, b"fine_labels": [1, 100]})}, "ids from 0 to 99"),
    "ids of CIFAR-10": ({"test": mini.pickled({b"labels": [1, 2], b"data": BATCH[b"data"]})}, "fine_labels is no list"),
    "names are no list": ({"meta": mini.pickled({b"fine_label_names": b"apple"})}, "meta lists no names"),
    "too few names": ({"meta": mini.pickled({b"fine_label_names": [b"apple"]})}, "CIFAR-100 has 100 classes, got 1"),
    "a name twice": ({"meta": mini.pickled({b"fine_label_names": [b"apple"] * 100})}, "has 100 classes"),
}


@pytest.fixture(scope="module")
def members():
    return mini.cifar_members("cifar100", n_train=1, n_test=1)


@pytest.mark.parametrize("case", CHANGED)
def test_a_damaged_or_hostile_archive_is_refused_by_name(tmp_path, members, case):
    change, message = CHANGED[case]
    changed = {**members, **{f"cifar-100-python/{name}": content for name, content in change.items()}}
    archive = {name: content for name, content in changed.items() if content is not ...}
    path = mini.write_tar(tmp_path / "a.tar.gz", archive)
    with pytest.raises(ValueError, match=rf"a\.tar\.gz.*{message}"):
        corpora.read("cifar100", path)


def test_whatever_stands_in_a_batch_is_read_or_refused():
    """Bytes changed at random: a mapping or a ValueError, and never anything else."""
    whole = mini.pickled_by_python2({b"fine_labels": [1, 2], b"data": np.zeros((2, 6), dtype=np.uint8)})
    rng, n_refused = np.random.default_rng(5), 0
    for _ in range(1000):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        try:
            assert isinstance(cifar.unpickled(bytes(content), "batch"), dict)
        except ValueError as error:
            assert str(error).startswith("batch ")
            n_refused += 1
    assert n_refused > 150


@pytest.mark.parametrize(
    ("name", "file"), [("cifar100", r"cifar-100-python\.tar\.gz"), ("imagenette", r"imagenette2-160\.tgz")]
)
def test_without_a_copy_and_a_hash_nothing_is_downloaded(data, name, file):
    with pytest.raises(ValueError, match=rf"holds {name}/{file}, or give its sha256 in clip\.{name}"):
        corpora.locate(name, url="https://example.org/x", sha256="")


@pytest.mark.parametrize("name", BOTH)
def test_the_hashes_are_those_that_keras_publishes(name):
    home = Path(importlib.util.find_spec("keras").origin).parent
    source = (home / "src" / "datasets" / f"{name}.py").read_text()
    own = getattr(load_params("base").clip, name)
    assert own.sha256 in source and own.url in source


def test_the_profile_asks_about_classes_that_there_are():
    params = load_params("paper_cifar100")
    assert params.clip.source == "cifar100" and params.clip.preset == "openai/clip-vit-base-patch32"
    expected = expected_answers(params.clip_policy.questions, mini.CIFAR100)
    assert len({tuple(row) for row in expected}) >= 15, "answers tell groups of classes apart"
    words = {word for name in mini.CIFAR100 for word in clean(name).split()}
    assert not [text for text in params.concepts.bank if words & set(text.split())], "descriptors name no class"


NAMES = tuple(corpora.IMAGENETTE.values())


def test_the_corpus_val_is_our_test_and_its_train_gives_the_rest(data):
    mini.write_imagenette(data)
    found = sources.build(small("imagenette", train=30, test=30))
    assert "ImageNet" in found.attribution
    assert [len(found.rows(split)) for split in sources.SPLITS] == [30, 20, 20, 30]
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
    one = sources.build(small("imagenette", train=30, test=30))
    archive.unlink()
    for name, content in mini.imagenette_members(n_train=7, n_val=3).items():
        path = data / "imagenette" / inside / name.partition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
    other = sources.build(small("imagenette", train=30, test=30))
    assert np.array_equal(one.images, other.images) and one.table.equals(other.table)


TOP = "imagenette2-160"
FIRST = f"{TOP}/val/n01440764/n01440764_000.JPEG"


def of_members(root, change):
    members = {**mini.imagenette_members(n_train=1, n_val=1), **change}
    return corpora.read("imagenette", mini.write_tar(root / "a.tgz", members))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{TOP}/train/../../../evil.JPEG": b"x"}, "leads out of the folder"),
        ({f"{TOP}/train/n01440764/x.JPEG": (tarfile.SYMTYPE, "/etc/passwd")}, "is a link or a device"),
        ({f"{TOP}/train/n00000001/x.JPEG": b"x"}, r"folders \['n00000001'\] are no classes"),
        ({f"{TOP}/val/{k}/{k}_000.JPEG": None for k in corpora.IMAGENETTE}, r"folders \[\] are no classes, of 0 pict"),
    ],
)
def test_a_hostile_archive_is_refused_by_name_and_nothing_is_unpacked(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"a\.tgz.*{message}"):
        of_members(tmp_path, change)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_a_picture_that_is_cut_is_named_when_it_is_loaded(tmp_path):
    found = of_members(tmp_path, {FIRST: mini.imagenette_members(n_train=1, n_val=1)[FIRST][:300]})
    with pytest.raises(ValueError, match=rf"a\.tgz: {FIRST} cannot be decoded; is it truncated"):
        found.test.load(np.array([0]))
    assert found.test.load(np.array([1])).shape == (1, 160, 160, 3)


def test_a_link_inside_a_folder_that_leads_elsewhere_is_left_out(data):
    place = data / "imagenette" / "train" / "n01440764"
    place.mkdir(parents=True)
    (data / "imagenette" / "val").mkdir()
    (data / "secret.png").write_bytes(mini.encoded((1, 2, 3)))
    (place / "a.png").symlink_to(data / "secret.png")
    with pytest.raises(ValueError, match="of 0 pictures"):
        corpora.read("imagenette", corpora.locate("imagenette", url="", sha256=""))
