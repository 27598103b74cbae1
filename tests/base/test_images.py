"""Images by id: formats, modes, bounds, stores."""

import io
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from verdict.base.artifacts import sha256_file
from verdict.base.files.images import (
    ImageStore,
    check_image_id,
    read_image,
    resize,
    write_array_store,
    write_folder_store,
)

WIDTH, HEIGHT = 13, 7


def noise(n, height=HEIGHT, width=WIDTH, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_transparent_palette_is_laid_on_white(tmp_path):
    image = Image.new("P", (WIDTH, HEIGHT), 0)
    image.putpalette([0, 0, 255] + [9, 9, 9] * 255)
    opaque = np.asarray(read_image(save(tmp_path / "a.png", image)))
    clear = np.asarray(read_image(save(tmp_path / "b.png", image, transparency=0)))
    assert (opaque == (0, 0, 255)).all()
    assert (clear == 255).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_any_depth_is_scaled_by_its_own_range(tmp_path, bits):
    """Cameras write 12 bits into 16; read as 16 the picture is nearly black."""
    top = 2**bits - 1
    values = np.linspace(0, top, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    found = np.asarray(read_image(save(tmp_path / "a.png", Image.fromarray(values))))
    assert found.max() == 255 and found.min() == 0
    assert abs(found[..., 0].astype(float) - values / top * 255).max() <= 1


def test_a_dark_picture_that_was_widened_from_eight_bits_stays_dark(tmp_path):
    values = np.full((HEIGHT, WIDTH), 9 * 257, dtype=np.uint16)
    assert (np.asarray(read_image(save(tmp_path / "a.png", Image.fromarray(values)))) == 9).all()


@pytest.mark.parametrize(("kind", "n", "top"), [(2, 3, 1023), (6, 4, 4095), (4, 2, 16383), (2, 3, 65535)])
def test_colours_of_twelve_bits_in_sixteen_are_refused(tmp_path, kind, n, top):
    """Pillow gives their upper eight bits alone."""
    path = tmp_path / "deep.png"
    path.write_bytes(deep_png(kind, n, top))
    if top == 65535:
        assert np.asarray(read_image(path)).max() == 255
    else:
        with pytest.raises(ValueError, match=rf"deep\.png holds colours of {top.bit_length()} bits in 16"):
            read_image(path)


def deep_png(kind, n, top):
    """A PNG of 16 bits a channel, n channels: values up to `top`, and alpha, where it has any, full."""
    pixel = [top] * (n - 1) + [65535] if kind != 2 else [top] * n
    row = b"\0" + struct.pack(f">{4 * n}H", *(pixel * 4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row * 4)), (b"IEND", b"")]
    written = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def test_a_jpeg_of_twelve_bits_is_told_what_it_is(tmp_path):
    content = bytearray(io_bytes(Image.new("RGB", (16, 16), "red"), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 4] = 12
    (tmp_path / "a.jpg").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.jpg is a JPEG of 12 bits a channel, not an image of a known format"):
        read_image(tmp_path / "a.jpg")


KINDS = {
    b"\0\0\0\x1cftypmif1": "a HEIC picture",
    b"\0\0\0\x1cftypavif": "an AVIF picture",
    b"MM\0*" + bytes(20): "a TIFF picture",
    bytes(128) + b"DICM": "a DICOM picture",
    b"8BPS\0\1": "a Photoshop picture",
    b"<svg xmlns='x'/>": "an SVG drawing",
    b"<html>not found</html>": "a web page",
}


@pytest.mark.parametrize("content", KINDS)
def test_a_picture_of_another_format_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.jpg is {KINDS[content]}.*not an image of a known format"):
        read_image(tmp_path / "a.jpg")


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    """Pillow's own bound is higher, and is met in `hostile/images.py`."""
    small = save(tmp_path / "a.png", Image.new("L", (17, 19)))
    monkeypatch.setattr("verdict.base.files.images.MAX_PIXELS", 17 * 19)
    assert read_image(small).size == (17, 19)
    monkeypatch.setattr("verdict.base.files.images.MAX_PIXELS", 17 * 19 - 1)
    with pytest.raises(ValueError, match="17 x 19 = 323 pixels; at most 322"):
        read_image(small)


def test_files_that_are_missing_or_vast_are_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"c\.png is missing"):
        read_image(tmp_path / "c.png")
    monkeypatch.setattr("verdict.base.files.images.MAX_FILE_BYTES", 9)
    with pytest.raises(ValueError, match=r"a\.png has \d+ bytes; at most 9"):
        read_image(save(tmp_path / "a.png", Image.new("L", (3, 5))))


def test_ids_of_a_store_are_unique(tmp_path):
    with pytest.raises(ValueError, match="'a' occurs twice"):
        write_array_store(tmp_path, {"x": (["a"], noise(1)), "y": (["a"], noise(1))})


def io_bytes(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "image_id", ["", ".", "..", "../a", "a/../b", "a//b", "a/", "/etc/x", "a\\b", "a\x00", " a", "x" * 256]
)
def test_ids_that_are_no_plain_names(image_id):
    with pytest.raises(ValueError, match="not a plain name"):
        check_image_id(image_id)


def test_array_store_returns_rows_in_the_order_asked_for(tmp_path):
    first, second = noise(5), noise(3, 11, 17, seed=4)
    write_array_store(tmp_path, {"x": (list("abcde"), first), "y": (list("fgh"), second)})
    store = ImageStore.open(tmp_path)
    assert store.ids == list("abcdefgh")
    assert len(store) == 8 and "c" in store and "z" not in store
    got = store.load(["d", "a", "d"], size=(HEIGHT, WIDTH))
    assert got.dtype == np.uint8
    assert np.array_equal(got, first[[3, 0, 3]])
    mixed = store.load(["g", "b"], size=(HEIGHT, WIDTH))
    expected = Image.fromarray(second[1]).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    assert np.array_equal(mixed[0], np.asarray(expected))
    assert np.array_equal(mixed[1], first[1])


def test_folder_store_equals_direct_reading_with_any_number_of_workers(tmp_path):
    images = noise(7, 23, 29)
    files = {f"i{k}": save(tmp_path / f"i{k}.png", Image.fromarray(image)) for k, image in enumerate(images)}
    write_folder_store(tmp_path / "store", files, {name: sha256_file(path) for name, path in files.items()})
    expected = np.stack([resize(Image.fromarray(image), (5, 3)) for image in images])
    for workers in (1, 3):
        store = ImageStore.open(tmp_path / "store", workers=workers)
        assert np.array_equal(store.load(list(files), size=(5, 3)), expected)
    assert store.load([], size=(5, 3)).shape == (0, 5, 3, 3)


def test_thumbnail_keeps_the_aspect_ratio(tmp_path):
    write_array_store(tmp_path, {"x": (["a"], noise(1, 40, 100))})
    assert ImageStore.open(tmp_path).thumbnail("a", max_side=50).size == (50, 20)
    with pytest.raises(KeyError, match="'b' is not in the store"):
        ImageStore.open(tmp_path).thumbnail("b")


def test_unknown_ids_are_listed(tmp_path):
    write_array_store(tmp_path, {"x": (["a"], noise(1))})
    with pytest.raises(KeyError, match=r"2 image ids are not in the store .*\['b', 'c'\]"):
        ImageStore.open(tmp_path).load(["a", "b", "c"], size=(5, 5))


@pytest.mark.parametrize("size", [(0, 5), (5, 5000)])
def test_size_is_checked(tmp_path, size):
    write_array_store(tmp_path, {"x": (["a"], noise(1))})
    with pytest.raises(ValueError, match=r"size must be \(height, width\)"):
        ImageStore.open(tmp_path).load(["a"], size=size)


def index_of(folder, **columns):
    folder.mkdir(exist_ok=True)
    pd.DataFrame({"image_id": ["a"], "sha256": [""], **columns}).to_parquet(folder / "images.parquet")
    return folder


def test_index_that_leads_out_of_the_store_is_refused(tmp_path):
    outside = save(tmp_path / "secret.png", Image.new("RGB", (WIDTH, HEIGHT)))
    for file in ("../secret.png", "link.png"):
        folder = index_of(tmp_path / "store", file=[file], row=[-1])
        if not (folder / "link.png").exists():
            (folder / "link.png").symlink_to(outside)
        with pytest.raises(ValueError, match="leads out of the image store"):
            ImageStore.open(folder).load(["a"], size=(5, 5))
    np.save(tmp_path / "x.npy", noise(1))
    folder = index_of(tmp_path / "store", file=[str(tmp_path / "x.npy")], row=[0])
    with pytest.raises(ValueError, match="leads out of the image store"):
        ImageStore.open(folder).load(["a"], size=(5, 5))


def test_damaged_stores_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image store was written here"):
        ImageStore.open(tmp_path)
    (tmp_path / "images.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="not a readable image index"):
        ImageStore.open(tmp_path)
    write_array_store(tmp_path, {"x": (["a", "b"], noise(2))})
    np.save(tmp_path / "x.npy", noise(1))
    with pytest.raises(ValueError, match="has 1 images, the index asks for row 1"):
        ImageStore.open(tmp_path).load(["b"], size=(5, 5))
    np.save(tmp_path / "x.npy", noise(2).astype(float))
    with pytest.raises(ValueError, match=r"expected uint8 \(n, height, width, 3\), got float64"):
        ImageStore.open(tmp_path).load(["b"], size=(5, 5))
    (tmp_path / "x.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"image array .*x\.npy is missing"):
        ImageStore.open(tmp_path).load(["b"], size=(5, 5))
