"""Archives and addresses: paths that lead out, links, devices, bombs, names that lie."""

import hashlib
import io
import tarfile
import zipfile
from functools import partial

from corpus import Case

from verdict.base.files.fetch import admitted, download, extract_zip, open_tar

HASH = hashlib.sha256(b"").hexdigest()
LINKS = {
    "symbolic-link": tarfile.SYMTYPE,
    "hard-link": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
}


def tar_of(members, **options):
    """A tar: names with bytes, None for a folder, or (kind, target) of a link or device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, tuple):
                info.type, info.linkname = content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def zip_of(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as pack:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = method
            info.external_attr = 0o120777 << 16 if isinstance(content, tuple) else 0
            pack.writestr(info, b"target" if isinstance(content, tuple) else content or b"")
    return buffer.getvalue()


def read_tar(archive, **bounds):
    with open_tar(archive) as tar:
        return {name: tar.extractfile(m).read() for name, m in admitted(tar, archive, **bounds) if m.isfile()}


def read_zip(archive, **bounds):
    folder = extract_zip(archive, archive.parent / "out", **bounds)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def unpacked(folder, content, read):
    """What an archive holds; where it was refused, nothing is left of it."""
    (folder / "pack").write_bytes(content)
    try:
        return read(folder / "pack", max_bytes=1_000_000, max_files=50)
    finally:
        assert sorted(path.name for path in folder.iterdir()) in (["pack"], ["out", "pack"])


def both(name, members, gives=None, refused=""):
    """The same members as a tar and as a zip."""
    for kind, make, read in (("tar", tar_of, read_tar), ("zip", zip_of, read_zip)):
        use = partial(unpacked, content=make(members), read=read)
        yield Case(f"{kind}-{name}", use, gives=gives, refused=rf"pack.*{refused}" if refused else "")


def one(name, content, read, refused):
    return Case(name, partial(unpacked, content=content, read=read), refused=f"pack.*{refused}")


def patched(place_of_local, place_of_central, value):
    """A zip whose two headers say something else of its member than the member itself."""
    content = bytearray(zip_of([("big", bytes(900_000))]))
    for signature, offset in ((b"PK\x03\x04", place_of_local), (b"PK\x01\x02", place_of_central)):
        place = content.index(signature) + offset
        content[place : place + len(value)] = value
    return bytes(content)


def fetched(folder, url, sha256=HASH):
    return download(url, sha256=sha256, path=folder / "file")


LEADS_OUT = {
    "path-above-behind-a-folder": "a/../../evil",
    "absolute-path": "/tmp/evil",
    "path-of-a-drive": "C:/evil",
    "path-with-backslashes": "a\\..\\evil",
}
GOOD = [("top/", None), ("top/x.txt", b"one"), ("top/deep/y.txt", b"two"), ("e", b"")]
TAR, ZIP = tar_of(GOOD), zip_of(GOOD)
CASES = [
    *both("as-it-should-be", GOOD, gives={"top/x.txt": b"one", "top/deep/y.txt": b"two", "e": b""}),
    *both("in-other-scripts", [("größe/数.txt", b"x")], gives={"größe/数.txt": b"x"}),
    *(
        case
        for name, path in LEADS_OUT.items()
        for case in both(name, [("good", b""), (path, b"x")], refused="leads out of the folder")
    ),
    *both("name-twice", [("a", b"1"), ("./a", b"2")], refused="occurs twice"),
    one("zip-file-that-is-also-a-folder", zip_of([("a", b"1"), ("a/b", b"2")]), read_zip, "is a file and a folder"),
    *both("name-of-three-hundred-characters", [("n" * 300, b"x")], refused="name"),
    *both("more-members-than-allowed", [(f"f{k}", b"") for k in range(51)], refused="more than 50 members"),
    *both("more-bytes-than-allowed", [("a", bytes(600_000)), ("b", bytes(600_000))], refused="unpacks to more than"),
    *(
        one(f"tar-{name}", tar_of([("good", b""), ("x", (kind, "/etc/passwd"))]), read_tar, "link or a device")
        for name, kind in LINKS.items()
    ),
    one("zip-symbolic-link", zip_of([("x", ("link", "/etc"))]), read_zip, "link or a device"),
    one("zip-that-lies-about-a-size", patched(22, 24, (10).to_bytes(4, "little")), read_zip, "damaged"),
    one("zip-with-a-password", patched(6, 8, b"\x01"), read_zip, "is encrypted"),
    one("tar-cut-in-half", TAR[: len(TAR) // 2], read_tar, "is damaged or not an archive"),
    one("zip-cut-in-half", ZIP[: len(ZIP) // 2], read_zip, "is damaged or not an archive"),
    *(
        Case(f"address-of-kind-{scheme}", partial(fetched, url=f"{scheme}:x"), refused=f"{scheme}:x: scheme")
        for scheme in ("ftp", "data", "javascript")
    ),
    *(
        Case(
            f"download-with-the-hash-{sha}", partial(fetched, url="https://a/x", sha256=sha), refused="needs its sha256"
        )
        for sha in ("", "abc", "g" * 64)
    ),
]
