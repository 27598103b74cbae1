"""What a file is by its first bytes, for messages that say it: formats that people give where others are read."""

import io
import re
import zipfile

AS_CSV = "save it as CSV"
AS_ARRAYS = "save arrays by name with numpy.savez"
UNPACK = "unpack it"
AS_PICTURE = "save it as PNG or JPEG"
PICKLE = "a pickle, which could run code when it is read"
# By what a file begins with, an expression: what it is, and what to do.
_STARTS = (
    (rb"\x93NUMPY", "one NumPy array (.npy)", AS_ARRAYS),
    (rb"PAR1", "a Parquet file", AS_CSV),
    (rb"ARROW1", "an Arrow or Feather file", AS_CSV),
    (rb"\x89HDF", "an HDF5 file", AS_CSV),
    (rb"SQLite format 3\0", "an SQLite database", AS_CSV),
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", AS_CSV),
    (rb"\x1f\x8b", "compressed by gzip", UNPACK),
    (rb"BZh", "compressed by bzip2", UNPACK),
    (rb"\xfd7zXZ\0", "compressed by xz", UNPACK),
    (rb"\(\xb5/\xfd", "compressed by zstd", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (rb"Rar!", "a RAR archive", UNPACK),
    (rb"%PDF", "a PDF", "give the table or picture itself"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch it with `git lfs pull`"),
    (rb"II[*+]\0|MM\0[*+]", "a TIFF picture", AS_PICTURE),
    (rb"\0\0\0\x0cjP  ", "a JPEG 2000 picture", AS_PICTURE),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL picture", AS_PICTURE),
    (rb"\xff\xd8\xff", "a JPEG picture", "give the file that lists pictures"),
    (rb"\x89PNG", "a PNG picture", "give the file that lists pictures"),
    (rb"8BPS", "a Photoshop picture", AS_PICTURE),
    (rb".{4}ftypavi[fs]", "an AVIF picture", AS_PICTURE),
    (rb".{4}ftyp(hei[cxms]|hev[cx]|m[is]f1)", "a HEIC picture", AS_PICTURE),
    (rb".{4}ftyp", "a video", AS_PICTURE),
    (rb"\x80[\0-\x05]", PICKLE, AS_ARRAYS),
    (rb".{128}DICM", "a DICOM picture", AS_PICTURE),
    (rb"(?i)[\xef\xbb\xbf \t\r\n]*<(!doctype html|html)", "a web page", "was a download refused? fetch the file again"),
    (rb"(?i)[\xef\xbb\xbf \t\r\n]*<(svg|\?xml.*<svg)", "an SVG drawing", AS_PICTURE),
)
# By the name of a member of an archive.
_MEMBERS = (
    ("xl/", "an Excel workbook (.xlsx)", AS_CSV),
    ("content.xml", "an OpenDocument table", AS_CSV),
    ("Index/", "a Numbers table", AS_CSV),
    ("word/", "a Word document", AS_CSV),
    ("data.pkl", "weights saved by torch (.pt)", AS_ARRAYS),
    (".npy", "an archive of NumPy arrays (.npz)", "name it .npz"),
)
MAX_HEAD = 4096


def kind_of(content: bytes) -> tuple[str, str]:
    """What a file that begins so is, and what to do about it; ("", "") for text and for what is not known. The first
    `MAX_HEAD` bytes will do, but the members of an archive are known from the whole only.
    """
    if content.startswith(b"PK\x03\x04"):
        return _archive(content)
    head = content[:MAX_HEAD]
    known = ((kind, remedy) for start, kind, remedy in _STARTS if re.match(start, head, re.DOTALL))
    return next(known, ("", ""))


def _archive(content: bytes) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = []
    kinds = (what for part, *what in _MEMBERS if any(part in name for name in names))
    return tuple(next(kinds, ("a ZIP archive", UNPACK)))
