"""Public data by URL: whole and as expected by its SHA-256, or not at all."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from verdict.base.artifacts import sha256_file, told_when_full

MAX_BYTES = 4_000_000_000
MAX_FILES = 500_000
MAX_NAME_BYTES = 255
TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
_SCHEMES = ("https", "http", "file")
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_HINT = "without a network, set VERDICT_DATA to a folder that holds a local copy"


def download(url: str, *, sha256: str, path: Path, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> Path:
    """Download a file (https, http or file) once.

    The content goes to `<path>.part`, which a later call continues; pooch compares its hash and renames it. A file
    already there is only compared. `timeout_s` is that of each wait for the server. ValueError if no hash is given, the
    content has another, or is larger than `max_bytes`; ConnectionError if the server is not there or stops early.
    """
    # Imported here: a report without downloads needs none of it.
    import pooch

    path = Path(path)
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"{url}: a download needs its sha256 (64 hexadecimal digits), got {sha256!r}; {_HINT}")
    if (scheme := urllib.parse.urlsplit(url).scheme) not in _SCHEMES:
        raise ValueError(f"{url}: scheme {scheme!r} is not one of {list(_SCHEMES)}")
    if path.is_file() and (actual := sha256_file(path)) != sha256:
        raise ValueError(f"{path} (downloaded before): sha256 is {actual}, expected {sha256}; delete it and run again")
    part = path.with_name(path.name + ".part")

    def receive(url: str, target: str, _: pooch.Pooch) -> None:
        _receive(url, part, max_bytes, timeout_s)
        os.replace(part, target)

    # What was there before may have been of another version: one fresh start decides.
    retries = int(part.is_file() and part.stat().st_size > 0)
    names = {"registry": {path.name: sha256}, "urls": {path.name: url}}
    cache = pooch.create(path.parent, base_url="", **names, retry_if_failed=retries)
    return Path(cache.fetch(path.name, downloader=receive))


def _receive(url: str, part: Path, max_bytes: int, timeout_s: float) -> None:
    """Fill `part`, continuing it where the server can."""
    n_there = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={n_there}-"} if n_there else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            continues = getattr(response, "status", 200) == http.client.PARTIAL_CONTENT
            n_got = n_there if continues else 0
            length = response.headers.get("Content-Length", "")
            n_expected = n_got + (int(length) if length.isdigit() else 0)
            if n_expected > max_bytes:
                raise ValueError(f"{url}: {n_expected:,} bytes; at most {max_bytes:,} are downloaded")
            with told_when_full(part), part.open("ab" if n_got else "wb") as file:
                while chunk := response.read(CHUNK_BYTES):
                    n_got += len(chunk)
                    if n_got > max_bytes:
                        part.unlink()
                        raise ValueError(f"{url}: more than the {max_bytes:,} bytes that are downloaded at most")
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and n_there:
            # The part is at least as long as the file; its hash decides what it is.
            return
        raise ConnectionError(f"cannot download {url}: the server says {error.code} {error.reason}; {_HINT}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"cannot download {url}: {reason}; {_HINT}") from error
    if n_got < n_expected:
        raise ConnectionError(
            f"cannot download {url}: the connection ended after {n_got:,} of {n_expected:,} bytes; run "
            "again to continue"
        )


@contextlib.contextmanager
def open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar archive (plain, gz, bz2 or xz) to read from; ValueError if it is damaged or none, as far as it is read."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except _DAMAGE as error:
        raise ValueError(f"{archive} is damaged or not an archive: {error}") from error


def admitted(
    tar: tarfile.TarFile, archive: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Files and folders of an open tar, each with its path inside; see `extract_zip` for what is refused."""
    guard = _Guard(archive, max_bytes, max_files)
    for member in tar:
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"{archive}: {member.name!r} is a link or a device")
        yield guard.admit(member.name, member.size, is_folder=member.isdir()), member


def extract_zip(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Path:
    """Unpack a zip archive into a new folder, which appears only when everything was unpacked.

    ValueError names the archive and the member if that has an absolute path or "..", is a link or a device, occurs
    twice or is damaged, or if a bound on the unpacked size or the number of members is passed.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is already there; delete it to unpack {archive} again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _unzip(archive, scratch, _Guard(archive, max_bytes, max_files))
        os.chmod(scratch, 0o755)
        os.replace(scratch, folder)
    except _DAMAGE as error:
        raise ValueError(f"{archive} is damaged or not an archive: {error}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        name = Path(str(error.filename)).relative_to(scratch)
        raise ValueError(f"{archive}: {str(name)!r} is a file and a folder, or occurs twice") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _unzip(archive: Path, folder: Path, guard: _Guard) -> None:
    with zipfile.ZipFile(archive) as pack:
        for member in pack.infolist():
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{archive}: {member.filename!r} is a link or a device")
            if member.flag_bits & 1:
                raise ValueError(f"{archive}: {member.filename!r} is encrypted")
            target = folder / guard.admit(member.filename, member.file_size, is_folder=member.is_dir())
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with pack.open(member) as source, told_when_full(target), target.open("xb") as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)


class _Guard:
    """Admits the members of one archive one by one and keeps account of them."""

    def __init__(self, archive: Path, max_bytes: int, max_files: int) -> None:
        self.archive, self.max_bytes, self.max_files = archive, max_bytes, max_files
        self.n_bytes = 0
        self.n_members = 0
        self.names: set[str] = set()

    def admit(self, name: str, n_bytes: int, *, is_folder: bool) -> str:
        parts = PurePosixPath(name).parts
        has_drive = bool(parts) and parts[0].endswith(":")
        if not name or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or has_drive:
            raise ValueError(f"{self.archive}: {name!r} leads out of the folder")
        if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
            raise ValueError(f"{self.archive}: the name {name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes")
        key = "/".join(parts)
        if key in self.names and not is_folder:
            raise ValueError(f"{self.archive}: {name!r} occurs twice")
        self.names.add(key)
        self.n_members += 1
        self.n_bytes += n_bytes
        if self.n_members > self.max_files:
            raise ValueError(f"{self.archive}: more than {self.max_files:,} members")
        if self.n_bytes > self.max_bytes:
            raise ValueError(f"{self.archive}: unpacks to more than {self.max_bytes:,} bytes")
        return key
