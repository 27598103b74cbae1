"""Damage that times do not show is found by hashes, and only what is damaged is made again."""

import json
import os
import shutil
import time

import pytest

from verdict.base import paths
from verdict.base.artifacts import read_run, sha256_bytes, write_json, write_run, write_text
from verdict.base.params import load_params
from verdict.workflow import stages
from verdict.workflow.integrity import (
    damage,
    forget,
    forget_pages,
    is_up_to_date,
    keep_whole,
    missing,
    settle_times,
    sources,
)
from verdict.workflow.result_folder import question

PARAMS = paths.PARAMS
CHAIN = ("01_data", stages.FEATURES, stages.WARMUP_STAGE)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Three stages that have run, each from the one before; the folders by name."""
    for name in ("WORK", "ROOT"):
        monkeypatch.setattr(paths, name, tmp_path / "work" if name == "WORK" else tmp_path)
    folders, inputs = {}, []
    for name in CHAIN:
        folder = folders[name] = stages.folder("smoke", name)
        write_text(folder / "numbers.json", f'{{"{name}": 1.25}}')
        inputs = [write_run(folder, outputs=[folder / "numbers.json"], inputs=inputs, elapsed_s=3.5)]
    return folders


def found(finished):
    return {name: text for name, folder in finished.items() if (text := damage(folder))}


def forget_damaged():
    return forget(load_params("smoke"), "smoke", outdated=False)


def test_whole_results_have_no_fault_and_stay(finished):
    assert found(finished) == {}
    assert forget_damaged() == []
    assert all((folder / "run.json").is_file() for folder in finished.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: write_text(folder / "numbers.json", "{}"), "numbers.json does not match"),
        (lambda folder: (folder / "numbers.json").unlink(), "got missing"),
        (lambda folder: write_text(folder / "run.json", "{"), "is not readable as JSON"),
        (lambda folder: write_text(folder / "run.json", "[]"), "is not a record"),
        (lambda folder: edit(folder, elapsed_s=3.6), "does not say what was written into it"),
        (lambda folder: edit(folder, sha256_of_this=None), "does not say what was written"),
        (lambda folder: write_json(folder / "run.json", without_hash(folder)), "holds no hash of itself"),
    ],
)
def test_every_damage_is_named(finished, change, message):
    change(finished[CHAIN[2]])
    assert list(found(finished)) == [CHAIN[2]]
    assert message in found(finished)[CHAIN[2]]


def edit(folder, **fields):
    content = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", content | fields)


def without_hash(folder):
    return {name: value for name, value in read_run(folder).items() if name != "sha256_of_this"}


def test_records_of_the_future_count_as_written_now(finished):
    params, (ahead, behind, last) = load_params("smoke"), (folder / "run.json" for folder in finished.values())
    os.utime(ahead, (time.time() + 86_400,) * 2)
    os.utime(behind, (time.time() - 86_400,) * 2)
    before = behind.stat().st_mtime, last.stat().st_mtime
    (line,) = settle_times(params, "smoke")
    assert line.startswith("the clock was set back: 1 records")
    assert ahead.stat().st_mtime <= time.time() + 1
    assert (behind.stat().st_mtime, last.stat().st_mtime) == before
    assert settle_times(params, "smoke") == [] and found(finished) == {}


def test_what_is_missing_is_asked_for(finished):
    params = load_params("smoke")
    wanted = missing(params, "smoke")
    assert len(wanted) == len(stages.executions(params)) - len(CHAIN)
    (finished[CHAIN[1]] / "run.json").unlink()
    assert set(missing(params, "smoke")) - set(wanted) == {"work/smoke/features/run.json"}


def test_a_damaged_stage_loses_its_record_and_nothing_else(finished):
    write_text(finished[CHAIN[1]] / "numbers.json", "{}")
    (line,) = forget_damaged()
    assert line.startswith("work/smoke/features is made again: work/smoke/features/numbers.json does not match")
    assert [name for name, folder in finished.items() if (folder / "run.json").is_file()] == [CHAIN[0], CHAIN[2]]
    assert (finished[CHAIN[1]] / "numbers.json").is_file()


def test_what_was_made_from_an_earlier_result_is_found_whatever_the_times_say(finished):
    write_run(finished[CHAIN[0]], outputs=[finished[CHAIN[0]] / "numbers.json"], inputs=[], elapsed_s=4.5)
    assert list(found(finished)) == [CHAIN[1]]
    assert "was made from another work/smoke/01_data/run.json" in found(finished)[CHAIN[1]]


@pytest.fixture
def rendered(tmp_path, monkeypatch):
    """The folder of a report with two files, and the record of what was rendered."""
    for name in ("ROOT", "WORK", "REPORTS"):
        monkeypatch.setattr(paths, name, tmp_path / {"ROOT": "", "WORK": "work", "REPORTS": "reports"}[name])
    files = {"05_test.html": "a page", "files/05_test/t.csv": "a,b"}
    for name, text in files.items():
        write_text(paths.report_dir("smoke") / name, text)
    write_json(paths.rendered("smoke"), {name: sha256_bytes(text.encode()) for name, text in files.items()})
    return paths.report_dir("smoke")


def test_pages_that_are_as_they_were_written_are_not_rendered_again(rendered):
    assert forget_pages("smoke") == [] and paths.rendered("smoke").is_file()
    assert forget_pages("digits") == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "05_test.html").unlink(),
        lambda folder: (folder / "files" / "05_test" / "t.csv").unlink(),
        lambda folder: (folder / "05_test.html").write_text("This page was not rendered"),
        shutil.rmtree,
        lambda folder: paths.rendered("smoke").write_text("{"),
        lambda folder: paths.rendered("smoke").write_text("[]"),
    ],
)
def test_a_page_that_is_gone_or_another_is_rendered_again(rendered, harm):
    harm(rendered)
    told = forget_pages("smoke")
    assert len(told) == 1 and told[0].startswith("the pages are rendered again: ")
    assert not paths.rendered("smoke").exists()


def answered(folders, **changed):
    """The same results, with records of what they answer now, but for one of them."""
    inputs = []
    for name, folder in folders.items():
        fields = question(name, load_params("smoke")) | (changed if name == CHAIN[1] else {})
        inputs = [write_run(folder, outputs=[folder / "numbers.json"], inputs=inputs, **fields)]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("params", {}, "parameters"), ("code", "0", "code"), ("versions", {"torch": "0"}, "package versions")],
)
def test_what_answers_another_question_is_found_without_the_workflows_own_folder(finished, key, value, said):
    answered(finished)
    params = load_params("smoke")
    assert forget(params, "smoke") == []
    answered(finished, **{key: value})
    assert forget_damaged() == []
    (line,) = forget(params, "smoke")
    assert line == f"work/smoke/{CHAIN[1]} is made again: other {said} since"
    assert [path.parent.name for path in map(paths.ROOT.joinpath, missing(params, "smoke"))].count(CHAIN[1]) == 1
    assert (finished[CHAIN[0]] / "run.json").is_file() and (finished[CHAIN[1]] / "numbers.json").is_file()


@pytest.fixture
def whole(finished, rendered, monkeypatch):
    """A project of three stages whose report is whole, and said to be."""
    for name, folder in (("LIBRARY", "lib"), ("NOTEBOOKS", "notebooks"), ("PARAMS", "params")):
        monkeypatch.setattr(paths, name, paths.ROOT / folder)
    params = load_params("smoke", PARAMS)
    monkeypatch.setattr(stages, "executions", lambda _: [(name, None, None) for name in CHAIN])
    for name in ("Snakefile", "lib/train.py", "notebooks/01_data.ipynb", "params/rubric.yaml"):
        write_text(paths.ROOT / name, "{}")
    keep_whole(params, "smoke", sources(params))
    return params


def test_a_whole_report_is_up_to_date_and_stays_so(whole):
    assert is_up_to_date(whole, "smoke") and is_up_to_date(whole, "smoke")
    assert not is_up_to_date(load_params("digits", PARAMS), "smoke")


@pytest.mark.parametrize(
    "name",
    [
        *("Snakefile", "lib/train.py", "lib/new.py", "notebooks/01_data.ipynb", "notebooks/14_new.ipynb"),
        *("params/rubric.yaml", "reports/smoke/05_test.html", "work/smoke/.whole", "work/smoke/rendered.json"),
        *(f"work/smoke/02_warmup/{file}" for file in ("run.json", "numbers.json")),
    ],
)
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "another"])
def test_what_is_gone_or_another_is_not_up_to_date(whole, name, is_gone):
    path = paths.ROOT / name
    before = path.read_text() if path.is_file() else "{}"
    path.unlink(missing_ok=True)
    if not is_gone:
        write_text(path, before + " ")
    is_new = name in ("lib/new.py", "notebooks/14_new.ipynb")
    assert is_up_to_date(whole, "smoke") is (is_gone and is_new)


def test_results_that_were_made_again_or_with_other_packages_are_not_up_to_date(whole, finished, monkeypatch):
    folder = finished[CHAIN[2]]
    with monkeypatch.context() as patched:
        patched.setattr("verdict.workflow.integrity.package_versions", lambda: {"torch": "0"})
        assert not is_up_to_date(whole, "smoke")
    assert is_up_to_date(whole, "smoke")
    write_run(folder, outputs=[folder / "numbers.json"], inputs=[finished[CHAIN[1]] / "run.json"], elapsed_s=4.0)
    assert damage(folder) == "" and not is_up_to_date(whole, "smoke")
