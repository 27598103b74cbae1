"""The embedding cache: nothing is encoded twice, and what an embedding depends on is in its key."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from verdict import paths
from verdict.clip import cache as module
from verdict.clip.cache import EmbeddingCache, array_hash


class Counting:
    """Stands for an encoder: says how often it was asked."""

    def __init__(self, identity="one"):
        self.identity, self.n_calls = identity, 0

    def images(self, images, *, progress):
        self.n_calls += 1
        progress(f"encoded {len(images)}")
        return images.reshape(len(images), -1)[:, :3].astype(np.float32)

    def texts(self, texts, *, progress):
        self.n_calls += 1
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    patches = images


IMAGES = np.arange(5 * 7 * 7 * 3, dtype=np.uint8).reshape(5, 7, 7, 3)


def test_nothing_is_encoded_twice(tmp_path):
    encoder, lines = Counting(), []
    cache = EmbeddingCache(tmp_path, encoder, lines.append)
    first = cache.images(IMAGES)
    again = EmbeddingCache(tmp_path, encoder).images(IMAGES.copy())
    assert encoder.n_calls == 1 and lines == ["encoded 5"]
    assert np.array_equal(first, again) and isinstance(first, np.memmap) and not first.flags.writeable
    cache.texts(["a", "bc"])
    cache.texts(("a", "bc"))
    assert encoder.n_calls == 2


def test_the_key_holds_encoder_kind_and_data(tmp_path):
    encoder = Counting()
    cache = EmbeddingCache(tmp_path, encoder)
    changed = IMAGES.copy()
    changed[3, 2, 1, 0] += 1
    cache.images(IMAGES), cache.images(changed), cache.patches(IMAGES), cache.images(IMAGES[::-1])
    assert encoder.n_calls == 4
    other = Counting("two")
    EmbeddingCache(tmp_path, other).images(IMAGES)
    assert other.n_calls == 1


def other_versions(monkeypatch, root):
    monkeypatch.setattr(module, "package_versions", lambda: {"transformers": "0"})


def other_code(monkeypatch, root):
    """Of the encoder itself, of what it imports, of its relatives."""
    shutil.copytree(paths.LIBRARY, root / "lib" / "verdict", ignore=shutil.ignore_patterns("presets", "__pycache__"))
    monkeypatch.setattr(paths, "LIBRARY", root / "lib" / "verdict")
    with (paths.LIBRARY / "clip" / "encode.py").open("a") as file:
        file.write("\n# changed\n")


def other_code_of_a_relative(monkeypatch, root):
    other_code(monkeypatch, root)
    shutil.copy2(paths.ROOT / "lib" / "verdict" / "clip" / "encode.py", paths.LIBRARY / "clip" / "encode.py")
    (paths.LIBRARY / "clip" / "variants.py").write_text("import verdict.paths")


@pytest.mark.parametrize("change", [other_versions, other_code, other_code_of_a_relative])
def test_other_code_or_libraries_make_other_embeddings(tmp_path, monkeypatch, change):
    encoder = Counting()
    EmbeddingCache(tmp_path / "cache", encoder).images(IMAGES)
    change(monkeypatch, tmp_path)
    module.made_with.cache_clear()
    EmbeddingCache(tmp_path / "cache", encoder).images(IMAGES)
    module.made_with.cache_clear()
    assert encoder.n_calls == 2


def test_the_cache_is_a_part_of_what_a_profile_made():
    assert paths.embedding_cache("smoke").is_relative_to(paths.work_dir("smoke"))


def test_hashes_see_type_and_shape():
    assert array_hash(IMAGES) != array_hash(IMAGES.astype(np.int16))
    assert array_hash(IMAGES) != array_hash(IMAGES.reshape(7, 5, 7, 3))


def test_a_damaged_file_is_refused_by_name(tmp_path):
    cache = EmbeddingCache(tmp_path, Counting())
    cache.images(IMAGES)
    path = next(tmp_path.glob("images-*.npy"))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=f"{path.name}.* is damaged"):
        cache.images(IMAGES)
    np.save(path, np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="2 rows for 5"):
        cache.images(IMAGES)


def test_an_encoding_that_fails_leaves_nothing(tmp_path):
    def fail(images, *, progress):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        EmbeddingCache(tmp_path, SimpleNamespace(identity="x", images=fail)).images(IMAGES)
    assert list(tmp_path.iterdir()) == []
