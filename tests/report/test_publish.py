"""The copy of a report in git: whole, small, and honest about what it was made from."""

import base64
import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from report_tools import (
    Reader,
    assert_links,
    code,
    displayed,
    markdown,
    notebook,
    record,
    sample_claim,
    sample_numbers,
    stage,
)
from verdict.base import paths
from verdict.base.artifacts import sha256_file, write_text
from verdict.base.numbers import Number, Numbers, named
from verdict.base.params import load_params
from verdict.report import publish as module
from verdict.report.executions import Execution
from verdict.report.outputs import MIME
from verdict.report.publish import MAX_BYTES, PublishError, origin, publish, read_published
from verdict.report.site import build_site

CELLS = [markdown("# Test\n\nHow good?"), code('profile = "demo"', "parameters")]


@pytest.fixture
def project(demo):
    for value, trial in enumerate("ab"):
        run = {"numbers": Numbers({"trial.f1": Number(value)}), "claims": [sample_claim(number="trial.f1")]}
        stage(f"03_steps/{trial}", *CELLS, trial=trial, dirty=False, **run)
    notebook("03_steps", *CELLS)
    table = {"kind": "table", "caption": "T", "columns": [], "rows": [], "csv": "x" * 50_000, "file": "05_t.csv"}
    shown = code("show()", outputs=[displayed({MIME: table})])
    notebook("05_test", *CELLS, code("show()"))
    stage("05_test", *CELLS, shown, numbers=sample_numbers(), dirty=False)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pictures_of_a_copy_are_smaller_and_still_shown(kind):
    picture = io.BytesIO()
    pixels = np.add.outer(np.arange(64), np.arange(64)) + np.random.default_rng(1).integers(0, 40, (64, 64))
    Image.fromarray(pixels.astype(np.uint8)).save(picture, kind)
    coded = base64.b64encode(picture.getvalue()).decode()
    page = f'<img src="data:image/{kind};base64,{coded}" alt="x=0.123456">'
    light = module.lightened(page)
    found = re.search(r'src="data:image/webp;base64,([^"]+)"', light)
    shown = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert shown.format == "WEBP" and shown.size == (64, 64)
    assert np.abs(np.asarray(shown.convert("L"), dtype=float) - pixels).mean() < 8
    assert len(light) < len(page)
    assert 'alt="x=0.123456"' in light
    assert module.lightened('<img src="x.png"> y="1.5"') == '<img src="x.png"> y="1.5"'


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_copy_is_whole_without_notebooks_and_names_its_commit(project):
    folder = publish("demo")
    found = read_published(folder)
    assert (found["commit"], found["params_hash"], found["dirty"]) == ("c0ffee" * 6, "0123456789abcdef", False)
    assert set(found["files"]) == {
        "03_steps-a.html",
        "05_test.html",
        "checklists.html",
        "index.html",
        "review.html",
        "times.json",
    }
    assert all(sha256_file(folder / name) == digest for name, digest in found["files"].items())
    assert_links(folder)
    index = Reader((folder / "index.html").read_text(encoding="utf-8")).words
    assert "This is a small copy." in index and "1 execution, 1 more left out" in index
    write_text(folder / "files" / "old.csv", "of an earlier copy")
    assert set(read_published(publish("demo"))["files"]) == set(found["files"])
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_of_the_trials_a_copy_holds_the_kept_one(project):
    notebook("04_choice", *CELLS)
    stage("04_choice", *CELLS, numbers=Numbers({"selection.trial": named("b")}), dirty=False)
    files = read_published(folder := publish("demo"))["files"]
    assert "03_steps-b.html" in files and "03_steps-a.html" not in files
    index = Reader((folder / "index.html").read_text(encoding="utf-8")).words
    assert "1 execution, 1 more left out" in index and "2 min 02 s" in index, "a trial before the kept one counts"


def test_a_report_and_its_copy_are_two_folders(project):
    before, record, report = files_of(publish("demo")), paths.rendered("demo"), paths.report_dir("demo")
    build_site("demo")
    assert (report / "files" / "05_test.ipynb").is_file() and (report / "files" / "05_test" / "05-t.csv").is_file()
    assert files_of(paths.published_dir("demo")) == before
    written = record.read_bytes()
    publish("demo")
    assert record.read_bytes() == written, "the report stays as whole as it was"


def test_a_copy_that_is_too_large_or_lacks_a_page_leaves_the_last_one(project, monkeypatch, capsys):
    folder = publish("demo")
    before = files_of(folder)
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(PublishError, match=r"more than 1,000; the largest are \['"):
        publish("demo")
    notebook("05_test", markdown("# Test\n\nHow? {{ no.such }}"), CELLS[1], code("show()"))
    assert module.main(["--profile", "demo"]) == 2
    assert re.match(r"error: pages were refused: .*no\.such", capsys.readouterr().err)
    assert files_of(folder) == before
    assert module.main(["--profile", "exampel"]) == 2
    assert "exampel.yaml does not exist; did you mean 'example'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "stale"}, "05_test is stale"),
        ({"status": "missing"}, "05_test is missing"),
        ({"run": {"is_smoke": True}}, "not an empty or a smoke run"),
        ({"run": {"params_hash": "other"}}, "2 values of params_hash"),
    ],
)
def test_only_a_whole_report_of_one_set_of_parameters_is_published(fields, message):
    good = Execution("01_data", "01_data", "done", run=record("01_data"))
    other = Execution("05_test", "05_test", fields.get("status", "done"), run={**record(), **fields.get("run", {})})
    with pytest.raises(PublishError, match=message):
        origin([good, other])
    with pytest.raises(PublishError, match="not an empty"):
        origin([])


def test_pages_of_several_commits_whose_code_still_stands_are_published_with_all_of_them():
    early = record("01_data", commit="b" * 40, started="2026-01-02T03:00:00Z")
    both = [Execution("01_data", "01_data", "done", run=early), Execution("05_test", "05_test", "done", run=record())]
    found = origin(both)
    assert found["commits"] == ["c0ffee" * 6, "b" * 40] and found["commit"] == "c0ffee" * 6
    assert found["started"] == record()["started"]


def test_the_published_copy_shows_the_default_parameters():
    folder = paths.published_dir(module.PROFILE)
    published = read_published(folder)
    if published is None:
        pytest.skip("no published copy here: `make publish` makes one")
    assert published["params_hash"] == load_params(published["profile"]).hash, "run `make report` and `make publish`"
    assert {name: sha256_file(folder / name) for name in published["files"]} == published["files"]
    assert sum((folder / name).stat().st_size for name in published["files"]) <= MAX_BYTES
    assert published["commit"][:12] in (folder / "index.html").read_text(encoding="utf-8")
    assert json.loads((folder / "published.json").read_text(encoding="utf-8"))["profile"] == module.PROFILE


def test_a_packed_copy_holds_its_files_and_is_the_same_each_time(project, capsys):
    assert module.main(["--profile", "demo", "--zip"]) == 0
    packed = paths.REPORTS / "demo.zip"
    assert "demo.zip: " in capsys.readouterr().out
    folder, first = paths.published_dir("demo"), packed.read_bytes()
    with zipfile.ZipFile(packed) as opened:
        assert opened.namelist() == sorted(f"demo/{path.name}" for path in folder.iterdir())
        assert all(opened.read(f"demo/{path.name}") == path.read_bytes() for path in folder.iterdir())
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert module.pack(folder, packed).read_bytes() == first
