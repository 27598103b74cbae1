"""Image files: truncated, vast, bombs, of another kind than their name says, turned, linked from elsewhere."""

import io
import os
import struct
import zlib
from functools import partial

import numpy as np
from corpus import Case
from PIL import Image

from verdict.base.files.images import ImageStore, write_array_store
from verdict.data.own.csv_folder import build

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
}
PLAIN = "red green blue white"


def corners(pixels):
    """Nearest colour names of the four corners of a picture (height, width, 3)."""
    names, values = list(COLOURS), np.array(list(COLOURS.values()))
    found = [pixels[row, column].astype(int) for row in (2, -3) for column in (2, -3)]
    return " ".join(names[int(np.abs(values - one).sum(axis=1).argmin())] for one in found)


def quarters(mode="RGB", size=(32, 24)):
    """A picture whose quarters are red, green, blue and white."""
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1], pixels[1, 0], pixels[1, 1] = (COLOURS[name] for name in PLAIN.split())
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).convert(mode)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seen(folder, content, file="a.png"):
    """Corner colours of an image as the project reads it: named in a table, found in its folder, put in a store."""
    images = folder / "images"
    images.mkdir()
    (images / file).write_bytes(content)
    return found_in(folder, images)


def found_in(folder, images, image_id="a"):
    (folder / "pairs.csv").write_text(f"image,hypothesis\n{image_id},A.\n")
    out = folder / "store"
    build(table=folder / "pairs.csv", images=images, fractions=None, seed=0, out=out, labelled=False)
    return corners(ImageStore.open(out).load([image_id], size=(24, 32))[0])


def accepted(name, content, gives=PLAIN, file="a.png"):
    return Case(name, partial(seen, content=content, file=file), gives=gives)


def refused(name, content, message, file="a.png"):
    return Case(name, partial(seen, content=content, file=file), refused=rf"{file.replace('.', '[.]')}.*{message}")


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_header(width, height, rest=b""):
    """A PNG that claims a size, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest + chunk(b"IEND", b"")


def jpeg_header(width, height):
    """The quarters as JPEG, with another size written into the frame header."""
    content = bytearray(encoded(quarters(), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def moving(kind):
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue", "green")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def text_bomb():
    """A PNG whose compressed comment unpacks to a hundred megabytes."""
    comment = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    content = encoded(quarters(), "PNG")
    return content[:33] + chunk(b"zTXt", comment) + content[33:]


def pixel_bomb():
    """A small picture whose pixel stream unpacks to a hundred megabytes."""
    return png_header(2, 2, chunk(b"IDAT", zlib.compress(bytes(100_000_000), 9)))


def linked(folder, target, is_folder=False):
    """An image, or the whole folder of images, that is a link, or is made in another way."""
    images, real = folder / "images", folder / "real"
    real.mkdir()
    (real / "a.png").write_bytes(encoded(quarters(), "PNG"))
    if is_folder:
        images.symlink_to(real)
        return found_in(folder, images)
    images.mkdir()
    (images / "real.png").write_bytes(encoded(quarters(), "PNG"))
    if callable(target):
        target(images / "a.png")
    else:
        (images / "a.png").symlink_to(target)
    return found_in(folder, images)


def changed_later(folder):
    seen(folder, encoded(quarters(), "PNG"))
    (folder / "images" / "a.png").write_bytes(encoded(Image.new("RGB", (32, 24), "red"), "PNG"))
    return ImageStore.open(folder / "store").load(["a"], size=(24, 32))


def array_store(folder, content, entry="own.npy"):
    """Read from a store whose array file holds some bytes, or whose index leads to another file."""
    write_array_store(folder, {"own": (["a"], np.zeros((1, 4, 4, 3), dtype=np.uint8))})
    if content is not None:
        (folder / "own.npy").write_bytes(content)
    index = ImageStore.open(folder)
    index._entries = {"a": (entry, 0, "")}
    return index.load(["a"], size=(4, 4))


def npy(header):
    body = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(body)) + body + bytes(64)


TURNED = Image.Exif()
TURNED[0x0112] = 6
CLEAR = quarters("RGBA")
CLEAR.putalpha(0)
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF"}
WHOLE = {ending: encoded(quarters(), kind) for ending, kind in FORMATS.items()}
NO_IMAGES = {
    "script": b"#!/bin/sh\ntouch sprung\n",
    "tiff": encoded(quarters(), "TIFF"),
    "archive": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "one-byte": b"\x89",
    "signature-alone": b"\x89PNG\r\n\x1a\n",
}
VAST = {
    "png-of-a-hundred-thousand-pixels-a-side": png_header(100_000, 100_000),
    "jpeg-of-its-largest-size": jpeg_header(65_500, 65_500),
}
REFUSED = {
    "png-without-pixels": (png_header(4, 4), "cannot be decoded|not an image"),
    "comment-that-unpacks-to-a-hundred-megabytes": (text_bomb(), "cannot be decoded"),
    "moving-gif": (moving("GIF"), r"is animated \(3 frames\)"),
    "png-with-a-broken-checksum": (WHOLE["png"][:60] + b"\0\0\0\0" + WHOLE["png"][64:], "cannot be decoded"),
}
EVIL = "{'descr': __import__('os').system('touch sprung'), 'fortran_order': False, 'shape': (1, 4, 4, 3), }"
CASES = [
    *(accepted(f"whole-{ending}", content, file=f"a.{ending}") for ending, content in WHOLE.items()),
    *(
        refused(f"half-a-{ending}", content[: len(content) // 2], "cannot be decoded|not an image", file=f"a.{ending}")
        for ending, content in WHOLE.items()
    ),
    *(refused(f"{name}-by-the-name-of-an-image", content, "not an image") for name, content in NO_IMAGES.items()),
    *(refused(name, content, "too many pixels|at most 50,000,000") for name, content in VAST.items()),
    *(refused(name, *given) for name, given in REFUSED.items()),
    accepted("turned-by-exif", encoded(quarters(), "JPEG", exif=TURNED, quality=95), "blue red white green", "a.jpg"),
    accepted("jpeg-in-cmyk", encoded(quarters("CMYK"), "JPEG", quality=95), file="a.jpg"),
    accepted("png-that-is-transparent", encoded(CLEAR, "PNG"), "white white white white"),
    accepted("ending-in-capitals", WHOLE["png"], file="a.PNG"),
    accepted("png-in-black-and-white", encoded(Image.new("1", (32, 24), 1), "PNG"), "white white white white"),
    accepted("pixels-that-unpack-to-a-hundred-megabytes", pixel_bomb(), "black black black black"),
    *(
        Case(name, partial(linked, target=target), refused="is a link that leads out of its folder")
        for name, target in (("link-out-of-the-folder", "../real/a.png"), ("link-to-the-root", "/etc/hostname"))
    ),
    Case("link-to-itself", partial(linked, target="a.png"), refused="1 images are not in"),
    Case("folder-that-is-a-link", partial(linked, target="", is_folder=True), gives=PLAIN),
    Case("pipe-by-the-name-of-an-image", partial(linked, target=os.mkfifo), refused="1 images are not in"),
    Case("image-that-was-exchanged", changed_later, refused=r"a\.png was changed after"),
    Case(
        "array-with-code-in-its-header", partial(array_store, content=npy(EVIL)), refused=r"own\.npy is not a readable"
    ),
    Case("array-that-is-a-pickle", partial(array_store, content=b"\x80\x04N."), refused=r"own\.npy is not a readable"),
]
