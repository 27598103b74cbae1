"""What a file is by its first bytes, for messages that say it: formats that people give where others are read."""

from __future__ import annotations

import io
import zipfile

AS_CSV = "save it as CSV"
AS_ARRAYS = "save arrays by name with numpy.savez"
UNPACK = "unpack it"
AS_PICTURE = "save it as PNG or JPEG"
# By what a file begins with: what it is, and what to do.
_STARTS = (
    ((b"\x93NUMPY",), "one NumPy array (.npy)", AS_ARRAYS),
    ((b"PAR1",), "a Parquet file", AS_CSV),
    ((b"ARROW1",), "an Arrow or Feather file", AS_CSV),
    ((b"\x89HDF",), "an HDF5 file", AS_CSV),
    ((b"SQLite format 3\0",), "an SQLite database", AS_CSV),
    ((b"\xd0\xcf\x11\xe0",), "an Excel workbook (.xls)", AS_CSV),
    ((b"\x1f\x8b",), "compressed by gzip", UNPACK),
    ((b"BZh",), "compressed by bzip2", UNPACK),
    ((b"\xfd7zXZ\0",), "compressed by xz", UNPACK),
    ((b"(\xb5/\xfd",), "compressed by zstd", UNPACK),
    ((b"7z\xbc\xaf\x27\x1c",), "a 7-Zip archive", UNPACK),
    ((b"Rar!",), "a RAR archive", UNPACK),
    ((b"%PDF",), "a PDF", "give the table or picture itself"),
    ((b"version https://git-lfs",), "a pointer of Git LFS, not the file", "fetch it with `git lfs pull`"),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "a TIFF picture", AS_PICTURE),
    ((b"\0\0\0\x0cjP  ",), "a JPEG 2000 picture", AS_PICTURE),
    ((b"\0\0\0\x0cJXL ", b"\xff\x0a"), "a JPEG XL picture", AS_PICTURE),
    ((b"\xff\xd8\xff",), "a JPEG picture", "give the file that lists pictures"),
    ((b"\x89PNG",), "a PNG picture", "give the file that lists pictures"),
    ((b"8BPS",), "a Photoshop picture", AS_PICTURE),
)
_BRANDS = {b"avif": "an AVIF picture", b"avis": "an AVIF picture"}
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# By the name of a member of an archive.
_MEMBERS = (
    ("xl/", "an Excel workbook (.xlsx)", AS_CSV),
    ("content.xml", "an OpenDocument table", AS_CSV),
    ("Index/", "a Numbers table", AS_CSV),
    ("word/", "a Word document", AS_CSV),
    ("data.pkl", "weights saved by torch (.pt)", AS_ARRAYS),
    (".npy", "an archive of NumPy arrays (.npz)", "name it .npz"),
)
PICKLE = "a pickle, which could run code when it is read"
MAX_HEAD = 4096


def kind_of(content: bytes) -> tuple[str, str]:
    """What a file that begins so is, and what to do about it; ("", "") for text and for what is not known. The first
    `MAX_HEAD` bytes will do, but the members of an archive are known from the whole only.
    """
    found = next(((kind, remedy) for starts, kind, remedy in _STARTS if content.startswith(starts)), None)
    if found is None and content.startswith(b"PK\x03\x04"):
        found = _archive(content)
    if found is None and content[4:8] == b"ftyp":
        brand = content[8:12]
        found = (_BRANDS.get(brand, "a HEIC picture" if brand in _HEIC else "a video"), AS_PICTURE)
    if found is None and content[:1] == b"\x80" and content[1:2] <= b"\x05":
        found = (PICKLE, AS_ARRAYS)
    if found is None and content[128:132] == b"DICM":
        found = ("a DICOM picture", AS_PICTURE)
    head = content[:MAX_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if found is None and head.startswith((b"<!doctype html", b"<html")):
        found = ("a web page", "was a download refused? fetch the file again")
    if found is None and (head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head)):
        found = ("an SVG drawing", AS_PICTURE)
    return found or ("", "")


def _archive(content: bytes) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = []
    kinds = (what for part, *what in _MEMBERS if any(part in name for name in names))
    return tuple(next(kinds, ("a ZIP archive", UNPACK)))
