"""Downloads and archives: whole, as expected, and inside their folder."""

import hashlib
import http.server
import threading
from contextlib import contextmanager

import pytest

from verdict.base.files.fetch import download, extract_zip

CONTENT = bytes(range(256)) * 4099
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; what it does wrong is set on the server."""

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if self.server.resumes else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if self.server.tells:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        n = self.server.stop_after
        self.server.stop_after = None
        self.wfile.write(body[:n])

    def log_message(self, *_):
        pass


@contextmanager
def serving(**options):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges, server.status, server.resumes, server.stop_after, server.tells = [], 200, True, None, True
        vars(server).update(options)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}/data.bin"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_whole_file_is_kept_and_not_fetched_twice(tmp_path):
    with serving() as (server, url):
        path = download(url, sha256=SHA256, path=tmp_path / "a" / "data.bin")
        assert path.read_bytes() == CONTENT
        download(url, sha256=SHA256, path=path)
        assert server.ranges == [None]
    assert [p.name for p in path.parent.iterdir()] == ["data.bin"]


@pytest.mark.parametrize("resumes", [True, False])
def test_half_download_is_continued_or_begun_again(tmp_path, resumes):
    path = tmp_path / "data.bin"
    with serving(stop_after=100_003, resumes=resumes) as (server, url):
        with pytest.raises(ConnectionError, match=r"ended after 100,003 of 1,049,344 bytes; run again to continue"):
            download(url, sha256=SHA256, path=path)
        assert not path.exists()
        assert download(url, sha256=SHA256, path=path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=100003-"]


def test_a_part_of_another_version_is_dropped(tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"old" * 1000)
    with serving() as (server, url):
        assert download(url, sha256=SHA256, path=tmp_path / "data.bin").read_bytes() == CONTENT
        assert server.ranges == ["bytes=3000-", None]


def test_a_part_that_is_already_whole_is_used(tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    with serving() as (_, url):
        assert download(url, sha256=SHA256, path=tmp_path / "data.bin").read_bytes() == CONTENT


def test_other_content_is_refused_and_removed(tmp_path):
    with serving() as (_, url), pytest.raises(ValueError, match=rf"expected {'0' * 64} but got {SHA256}"):
        download(url, sha256="0" * 64, path=tmp_path / "data.bin")
    assert not list(tmp_path.iterdir())


def test_an_earlier_download_with_another_hash_is_refused(tmp_path):
    (tmp_path / "data.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"downloaded before\): sha256 is .*; delete it and run again"):
        download("http://127.0.0.1:9/x", sha256=SHA256, path=tmp_path / "data.bin")


@pytest.mark.parametrize(
    ("tells", "message"), [(True, "1,049,344 bytes; at most 1,000"), (False, "more than the 1,000 bytes")]
)
def test_too_large(tmp_path, tells, message):
    with serving(tells=tells) as (_, url), pytest.raises(ValueError, match=message):
        download(url, sha256=SHA256, path=tmp_path / "data.bin", max_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_no_server_and_server_errors_say_what_to_do(tmp_path):
    with serving() as (_, url):
        pass
    with pytest.raises(ConnectionError, match=r"cannot download .*; without a network, set VERDICT_DATA"):
        download(url, sha256=SHA256, path=tmp_path / "a", timeout_s=2)
    with serving(status=404) as (_, url), pytest.raises(ConnectionError, match="the server says 404"):
        download(url, sha256=SHA256, path=tmp_path / "a")
    with pytest.raises(ConnectionError, match="cannot download file:"):
        download((tmp_path / "none").as_uri(), sha256=SHA256, path=tmp_path / "a")


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    """All else about archives is in `hostile/archives.py`."""
    with pytest.raises(FileExistsError, match="is already there"):
        extract_zip(tmp_path / "a.zip", tmp_path)
