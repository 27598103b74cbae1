"""Writes are whole or absent, a full disk says so, and a record that no longer fits its files is refused."""

import errno
import hashlib
import itertools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from verdict.base import artifacts
from verdict.base.artifacts import (
    StaleResultError,
    canonical_json,
    content_hash,
    npy_rows,
    read_json,
    read_run,
    relative,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    verify_outputs,
    write_bytes,
    write_json,
    write_npy,
    write_npz,
    write_parquet,
    write_run,
    write_text,
)


def write_npy_rows(path, n_rows, blocks):
    with npy_rows(path, n_rows) as append:
        for block in blocks:
            append(block)


WRITERS = {
    "bytes": lambda path: write_bytes(path, b"x" * 70_001),
    "few bytes": lambda path: write_bytes(path, b"xyz"),
    "npy": lambda path: write_npy(path, np.arange(20_011)),
    "small npy": lambda path: write_npy(path, np.arange(3)),
    "npy by rows": lambda path: write_npy_rows(path, 20_011, [np.arange(20_011)]),
    "npz": lambda path: write_npz(path, a=np.arange(20_011), b=np.arange(7)),
}
OBJECTS = np.array([{}, {}], dtype=object)


@pytest.fixture
def old(tmp_path):
    """A file that is written anew; what fails leaves it alone, and nothing beside it."""
    write_bytes(tmp_path / "a.npy", b"old")
    yield tmp_path / "a.npy"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_text_and_json_come_back(tmp_path):
    write_text(tmp_path / "deep" / "er" / "a.txt", "naïve ✓\n")
    assert (tmp_path / "deep" / "er" / "a.txt").read_bytes() == "naïve ✓\n".encode()
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "é"})
    assert read_json(tmp_path / "a.json") == {"b": [1, None], "a": "é"}
    assert (tmp_path / "a.json").read_text(encoding="utf-8").index('"a"') < 5
    # Others may read it.
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


def test_arrays_come_back_and_can_be_mapped(tmp_path):
    array = np.arange(7 * 5 * 3, dtype=np.float32).reshape(7, 5, 3)
    write_npy(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, array)
    write_npy(tmp_path / "t.npy", array.T)
    assert np.array_equal(np.load(tmp_path / "t.npy"), array.T)
    write_npz(tmp_path / "a.npz", first=array, second=np.int64(3))
    with np.load(tmp_path / "a.npz") as stored:
        assert np.array_equal(stored["first"], array)
        assert stored["second"] == 3


@pytest.mark.parametrize("cuts", [(0, 11), (0, 3, 4, 11), (0, 0, 5, 5, 11), (0, 0)])
def test_rows_written_in_blocks_equal_the_whole(tmp_path, cuts):
    array = np.random.default_rng(1).random((11, 5, 3)).astype(np.float32)
    blocks = (array[start:stop] for start, stop in itertools.pairwise(cuts))
    write_npy_rows(tmp_path / "a.npy", cuts[-1], blocks)
    write_npy(tmp_path / "b.npy", array[: cuts[-1]])
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def stopped():
    yield np.zeros((3, 2))
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda path: write_npy(path, OBJECTS), ValueError, "allow_pickle"),
        (lambda path: write_npz(path, a=OBJECTS), ValueError, "allow_pickle"),
        (lambda path: write_npy_rows(path, 7, [np.zeros((3, 2))]), ValueError, "expected 7 rows, got 3"),
        (lambda path: write_npy_rows(path, 7, [np.zeros((5, 2)), np.zeros((3, 2))]), ValueError, "7 rows, got 8"),
        (lambda path: write_npy_rows(path, 0, []), ValueError, "expected 0 rows, got 0"),
        (lambda path: write_npy_rows(path, 7, [np.zeros((5, 2)), np.zeros((2, 3))]), ValueError, "blocks differ"),
        (lambda path: write_npy_rows(path, 7, [np.zeros(5), np.zeros(2, np.float32)]), ValueError, "blocks differ"),
        (lambda path: write_npy_rows(path, 7, stopped()), KeyboardInterrupt, None),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_alone(old, write, error, message):
    with pytest.raises(error, match=message):
        write(old)
    assert old.read_bytes() == b"old"


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(old):
    seen = []

    def rows():
        yield np.zeros((3, 2))
        seen.append(old.read_bytes())
        yield np.zeros((4, 2))

    write_npy_rows(old, 7, rows())
    assert seen == [b"old"]
    assert np.load(old).shape == (7, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk that is always full, is Linux's")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_named_with_what_was_written_and_what_is_free(old, monkeypatch, kind):
    def full(prefix, suffix, dir):
        (scratch := Path(dir) / f"{prefix}0{suffix}").touch()
        return os.open("/dev/full", os.O_WRONLY), str(scratch)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    told = r"no space left while writing .*a\.npy: 0 bytes were written, [\d,]+ bytes are"
    with pytest.raises(OSError, match=told) as caught:
        WRITERS[kind](old)
    assert caught.value.errno == errno.ENOSPC
    assert old.read_bytes() == b"old"


def test_other_faults_of_the_disk_are_passed_on(old, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(artifacts.os, "fsync", broken)
    with pytest.raises(OSError, match=r"^.Errno 5. input/output error$"):
        write_bytes(old, b"1")


def test_equal_contents_give_equal_bytes(tmp_path):
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {"name": [f"é{i}" for i in range(101)], "value": rng.random(101), "n": rng.integers(0, 7, 101)}
    )
    for name in "ab":
        write_parquet(tmp_path / f"{name}.parquet", table.set_index(np.arange(101) + ord(name)))
        write_npz(tmp_path / f"{name}.npz", x=np.arange(11), y=np.zeros((3, 5)))
    assert sha256_file(tmp_path / "a.parquet") == sha256_file(tmp_path / "b.parquet")
    assert sha256_file(tmp_path / "a.npz") == sha256_file(tmp_path / "b.npz")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_broken_json_is_refused_by_name(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is not readable as JSON"):
        read_json(tmp_path / "a.json")


def test_hashes_against_the_standard_library(tmp_path):
    content = os.urandom(300_007)
    (tmp_path / "a").write_bytes(content)
    assert sha256_bytes(content) == sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_a_folder_sees_names_contents_and_nothing_else(tmp_path):
    for name in ("one", "two"):
        write_text(tmp_path / name / "b" / "x.txt", "x")
        write_text(tmp_path / name / "a.txt", "a")
    original = sha256_tree(tmp_path / "one")
    assert original == sha256_tree(tmp_path / "two")
    write_text(tmp_path / "two" / "a.txt", "A")
    assert sha256_tree(tmp_path / "two") != original
    (tmp_path / "one" / "a.txt").rename(tmp_path / "one" / "c.txt")
    assert sha256_tree(tmp_path / "one") != original


def test_canonical_json_depends_on_content_alone():
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'
    assert content_hash({"b": 1, "a": 2}) == content_hash({"a": 2, "b": 1}) != content_hash({"a": 2, "b": 2})


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "stage"
    write_text(tmp_path / "input.txt", "in")
    write_text(folder / "a.txt", "a")
    write_npy(folder / "b.npy", np.arange(5))
    outputs = [folder / "a.txt", folder / "b.npy"]
    write_run(folder, outputs=outputs, inputs=[tmp_path / "input.txt"], profile="p", seed=11)
    return folder


def test_a_record_says_what_went_in_and_what_came_out(stage):
    record = verify_outputs(stage)
    assert record["outputs"] == {relative(stage / name): sha256_file(stage / name) for name in ("a.txt", "b.npy")}
    assert record["inputs"] == {relative(stage.parent / "input.txt"): sha256_bytes(b"in")}
    assert record["seed"] == 11
    assert record["versions"]["numpy"] == np.__version__
    assert record["dirty"] in (True, False, None)


def touched_up(file):
    """Other bytes, and the time of writing put back."""
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"\4", b"\5"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), "got missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "changed or damaged"),
        (touched_up, "changed or damaged"),
    ],
)
def test_an_output_that_changed_is_refused(stage, harm, message):
    harm(stage / "b.npy")
    with pytest.raises(StaleResultError, match=rf"b\.npy does not match .*{message}"):
        verify_outputs(stage)


def test_files_are_read_again_only_where_they_were_touched(stage, monkeypatch):
    read = []
    monkeypatch.setattr(artifacts, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    verify_outputs(stage)
    assert read == []
    (stage / "a.txt").touch()
    verify_outputs(stage)
    assert read == ["a.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not readable as JSON"),
        (lambda text: text.replace('"seed": 11', '"seed": 12'), "is damaged"),
        (lambda text: text.replace('"schema": ', '"schema": 1'), f"not a record of schema {artifacts.SCHEMA}"),
        (lambda text: f"[{text}]", f"not a record of schema {artifacts.SCHEMA}"),
    ],
)
def test_a_record_that_is_damaged_or_another_is_refused(stage, change, message):
    (stage / "run.json").write_text(change((stage / "run.json").read_text()))
    with pytest.raises(ValueError, match=message):
        verify_outputs(stage)
    (stage / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="has not been run to its end"):
        read_run(stage)


def test_paths_in_records_are_relative_to_the_project(tmp_path):
    assert relative(artifacts.paths.ROOT / "work" / "x") == "work/x"
    assert relative(tmp_path / "x") == str((tmp_path / "x").resolve())


def repository(folder: Path, *names: str) -> str:
    """A git repository of one commit with these files; returns the commit."""
    for name in names:
        write_text(folder / name, "committed")
    whose = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], [*whose, "commit", "-qm", "first"], ["rev-parse", "HEAD"]):
        done = subprocess.run(["git", "-C", folder, *command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Where the project is unpacked, and no repository yet."""
    folder = tmp_path / "outer" / "a project"
    write_text(folder / "a.py", "code")
    monkeypatch.setattr(artifacts.paths, "ROOT", folder)
    return folder


def test_a_commit_is_clean_or_changed(root):
    revision = repository(root, "a.py", "reports/verified/t.csv")
    assert artifacts.commit() == (revision, False)
    write_text(root / "reports" / "verified" / "t.csv", "made anew")
    assert artifacts.commit() == (revision, False)
    write_text(root / "a.py", "edited")
    assert artifacts.commit() == (revision, True)


def inside_another_repository(root, monkeypatch):
    repository(root.parent, "theirs.py")


def committed_in_another_repository(root, monkeypatch):
    repository(root.parent, "a project/a.py")


def led_to_another_repository(root, monkeypatch):
    repository(root.parent / "elsewhere", "theirs.py")
    monkeypatch.setenv("GIT_DIR", str(root.parent / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(root))


def without_a_commit(root, monkeypatch):
    subprocess.run(["git", "init", "-q", root], check=True)


def with_half_a_repository(root, monkeypatch):
    """Git passes over what is no repository, to the one outside."""
    repository(root.parent, "theirs.py")
    (root / ".git").mkdir()


def without_git(root, monkeypatch):
    repository(root, "a.py")
    monkeypatch.setenv("PATH", str(root))


def of_somebody_else(root, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    repository(root, "a.py")
    monkeypatch.setenv("HOME", str(root.parent))
    for path in (root, root / ".git"):
        os.chown(path, 65534, 65534)


PLACES = (inside_another_repository, committed_in_another_repository, led_to_another_repository, without_a_commit)
PLACES += (with_half_a_repository, without_git, of_somebody_else, lambda root, monkeypatch: None)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_known_of_a_commit_is_unknown(root, monkeypatch, place):
    place(root, monkeypatch)
    assert artifacts.commit() == ("unknown", None)


def test_the_environment_leads_to_no_other_repository(root, monkeypatch):
    led_to_another_repository(root, monkeypatch)
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    revision = repository(root, "a.py")
    monkeypatch.setenv("GIT_DIR", str(root.parent / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(root / "no such index"))
    assert artifacts.commit() == (revision, False)


def test_a_commit_whose_state_git_does_not_tell_is_known_and_its_state_is_not(root):
    revision = repository(root, "a.py")
    (root / ".git" / "index").write_text("damaged")
    assert artifacts.commit() == (revision, None)
