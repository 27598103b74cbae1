"""The hostile corpus: every input gets the one right answer, and none executes anything or leaves its folder."""

import os
import pickle
import socket
import subprocess
from collections import Counter

import archives
import images
import logits
import notebooks
import parameters
import pytest
import tables
import texts
from corpus import Escape, guarded

AREAS = (parameters, tables, images, texts, archives, logits, notebooks)
MAX_MESSAGE = 5000
ALL = [pytest.param(case, id=f"{area.__name__}-{case.name}") for area in AREAS for case in area.CASES]


def test_the_corpus_is_whole():
    assert len(ALL) >= 180
    assert [name for name, n in Counter(param.id for param in ALL).items() if n > 1] == []


ESCAPES = {
    "program": lambda folder: os.system("true"),
    "process": lambda folder: subprocess.run(["true"], check=True),
    "network": lambda folder: socket.create_connection(("127.0.0.1", 9)),
    "pickle": lambda folder: pickle.loads(pickle.dumps(os.getcwd)),
    "reading": lambda folder: (folder / "../outside/secret.txt").read_text(),
    "writing": lambda folder: (folder.parent / "left").write_text("x"),
    "folder": lambda folder: (folder.parent / "left").mkdir(),
    "link": lambda folder: (follow(folder / "link", "../outside/secret.txt")).read_text(),
}


def follow(link, target):
    link.symlink_to(target)
    return link


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The case's own folder, and one beside it that it must not even read."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    monkeypatch.chdir(inside)
    return inside, outside


@pytest.mark.parametrize("name", ESCAPES)
def test_the_guard_sees_what_it_is_for(name, folders):
    with guarded(*folders), pytest.raises(Escape):
        ESCAPES[name](folders[0])
    (folders[0] / "x").write_text("x")


@pytest.mark.parametrize("case", ALL)
def test_the_answer_is_the_expected_one(case, folders, tmp_path):
    inside, outside = folders
    if case.refused:
        with guarded(inside, outside), pytest.raises((ValueError, FileNotFoundError), match=case.refused) as caught:
            case.use(inside)
        assert len(str(caught.value)) <= MAX_MESSAGE
    else:
        with guarded(inside, outside):
            found = case.use(inside)
        assert found == case.gives
    assert not (inside / "sprung").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "outside"]
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
