"""Damage that times do not show is found by hashes, and only what is damaged is made again."""

import json
import os
import shutil
import time

import pytest

from verdict.base import artifacts, paths
from verdict.base.artifacts import sha256_bytes, write_json, write_run, write_text
from verdict.base.params import load_params
from verdict.workflow import integrity, stages
from verdict.workflow.result_folder import question

PARAMS = load_params("smoke")
CHAIN = ("01_data", stages.FEATURES, stages.WARMUP_STAGE)


def executed(**fields):
    """Put records of three stages in place, each made from the one before, with fields by the stage's name."""
    inputs = []
    for name in CHAIN:
        folder = stages.folder("smoke", name)
        write_run(folder, outputs=[folder / "numbers.json"], inputs=inputs, **fields.get(name, {}))
        inputs = [folder / "run.json"]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Three stages that have run, each from the one before; the folders by name."""
    for name, folder in (("ROOT", ""), ("WORK", "work"), ("REPORTS", "reports")):
        monkeypatch.setattr(paths, name, tmp_path / folder)
    for name in CHAIN:
        write_text(stages.folder("smoke", name) / "numbers.json", f'{{"{name}": 1.25}}')
    executed()
    return {name: stages.folder("smoke", name) for name in CHAIN}


def found(finished):
    return {name: text for name, folder in finished.items() if (text := integrity.damage(folder))}


def edit(folder, **fields):
    content = json.loads((folder / "run.json").read_text()) | fields
    write_json(folder / "run.json", {name: value for name, value in content.items() if value != "gone"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: write_text(folder / "numbers.json", "{}"), "numbers.json does not match"),
        (lambda folder: (folder / "numbers.json").unlink(), "got missing"),
        (lambda folder: write_text(folder / "run.json", "{"), "is not readable as JSON"),
        (lambda folder: write_text(folder / "run.json", "[]"), "is not a record"),
        (lambda folder: edit(folder, elapsed_s=3.6), "does not say what was written into it"),
        (lambda folder: edit(folder, sha256_of_this=None), "does not say what was written"),
        (lambda folder: edit(folder, sha256_of_this="gone"), "holds no hash of itself"),
    ],
)
def test_a_damaged_stage_loses_its_record_and_nothing_else(finished, change, message):
    assert found(finished) == {} and integrity.forget(PARAMS, "smoke", outdated=False) == []
    damaged = finished[CHAIN[2]]
    change(damaged)
    left = set(damaged.iterdir())
    assert list(found(finished)) == [CHAIN[2]]
    (line,) = integrity.forget(PARAMS, "smoke", outdated=False)
    assert line.startswith("work/smoke/02_warmup is made again: ") and message in line
    assert set(damaged.iterdir()) == left - {damaged / "run.json"}
    assert all((finished[name] / "run.json").is_file() for name in CHAIN[:2])


def test_what_was_made_from_an_earlier_result_is_found_whatever_the_times_say(finished):
    write_run(finished[CHAIN[0]], outputs=[finished[CHAIN[0]] / "numbers.json"], inputs=[], elapsed_s=4.5)
    assert list(found(finished)) == [CHAIN[1]]
    assert "was made from another work/smoke/01_data/run.json" in found(finished)[CHAIN[1]]


def test_records_of_the_future_count_as_written_now(finished):
    ahead, behind, last = (folder / "run.json" for folder in finished.values())
    os.utime(ahead, (time.time() + 86_400,) * 2)
    os.utime(behind, (time.time() - 86_400,) * 2)
    before = behind.stat().st_mtime, last.stat().st_mtime
    (line,) = integrity.settle_times(PARAMS, "smoke")
    assert line.startswith("the clock was set back: 1 records")
    assert ahead.stat().st_mtime <= time.time() + 1
    assert (behind.stat().st_mtime, last.stat().st_mtime) == before
    assert integrity.settle_times(PARAMS, "smoke") == [] and found(finished) == {}


def test_what_is_missing_is_asked_for(finished):
    wanted = integrity.missing(PARAMS, "smoke")
    assert len(wanted) == len(stages.executions(PARAMS)) - len(CHAIN)
    (finished[CHAIN[1]] / "run.json").unlink()
    assert set(integrity.missing(PARAMS, "smoke")) - set(wanted) == {"work/smoke/features/run.json"}
    assert integrity.damage(finished[CHAIN[2]]) == "", "its stage is told once, and runs"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("params", {}, "parameters"), ("code", "0", "code"), ("versions", {"torch": "0"}, "package versions")],
)
def test_what_answers_another_question_is_found_without_the_workflows_own_folder(finished, key, value, said):
    asked = {name: question(name, PARAMS) for name in CHAIN}
    executed(**asked)
    assert integrity.forget(PARAMS, "smoke") == []
    executed(**asked | {CHAIN[1]: asked[CHAIN[1]] | {key: value}})
    assert integrity.forget(PARAMS, "smoke", outdated=False) == []
    assert integrity.forget(PARAMS, "smoke") == [f"work/smoke/{CHAIN[1]} is made again: other {said} since"]
    assert [(folder / "run.json").is_file() for folder in finished.values()] == [True, False, True]
    assert (finished[CHAIN[1]] / "numbers.json").is_file()


@pytest.mark.parametrize(
    ("params", "code", "said"),
    [({}, None, ""), ({}, "0", "; other code since"), ({"x": 1}, "0", "; other parameters and code since")],
)
def test_a_file_of_the_users_own_that_has_changed_is_named(finished, monkeypatch, params, code, said):
    now = question("01_data", PARAMS)
    then = now | {"params": now["params"] | params | {"files": {"/d/live.csv": "0"}}, "code": code or now["code"]}
    executed(**{"01_data": then})
    now["params"]["files"] = {"/d/live.csv": "1"}
    monkeypatch.setattr(integrity, "question", lambda name, *_, **__: now)
    line = integrity.forget(PARAMS, "smoke")[0]
    assert line == f"work/smoke/01_data is made again: the file /d/live.csv has changed since{said}"


def test_records_stand_where_each_is_there_readable_and_answers_what_is_asked(finished, monkeypatch):
    monkeypatch.setattr(stages, "executions", lambda _: [(name, None) for name in CHAIN])
    asked = {name: question(name, PARAMS) for name in CHAIN}
    executed(**asked)
    assert integrity.stand(PARAMS, "smoke")
    assert not integrity.stand(load_params("digits"), "smoke")
    executed(**asked | {CHAIN[2]: asked[CHAIN[2]] | {"code": "0"}})
    assert not integrity.stand(PARAMS, "smoke")
    for harm in (lambda record: write_text(record, "["), lambda record: write_text(record, "[]"), os.remove):
        executed(**asked)
        harm(finished[CHAIN[0]] / "run.json")
        assert not integrity.stand(PARAMS, "smoke")


@pytest.fixture
def rendered(finished):
    """The folder of a report with two files, and the record of what was rendered."""
    files = {"05_test.html": "a page", "files/05_test/t.csv": "a,b"}
    for name, text in files.items():
        write_text(paths.report_dir("smoke") / name, text)
    write_json(paths.rendered("smoke"), {name: sha256_bytes(text.encode()) for name, text in files.items()})
    return paths.report_dir("smoke")


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
def test_a_page_that_is_gone_or_another_is_rendered_again_and_no_other(rendered, harm):
    assert integrity.forget_pages("smoke") == [] and paths.rendered("smoke").is_file()
    assert integrity.forget_pages("digits") == []
    harm(rendered)
    (told,) = integrity.forget_pages("smoke")
    assert told.startswith("the pages are rendered again: ")
    assert not paths.rendered("smoke").exists()


@pytest.fixture
def whole(rendered, monkeypatch):
    """A project of three stages whose report is whole, and said to be."""
    for name, folder in (("LIBRARY", "lib"), ("NOTEBOOKS", "notebooks"), ("PARAMS", "params")):
        monkeypatch.setattr(paths, name, paths.ROOT / folder)
    monkeypatch.setattr(stages, "executions", lambda _: [(name, None) for name in CHAIN])
    for name in ("Snakefile", "lib/train.py", "notebooks/01_data.ipynb", "params/rubric.yaml"):
        write_text(paths.ROOT / name, "{}")
    integrity.keep_whole(PARAMS, "smoke", integrity.sources(PARAMS))


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    "name",
    [
        *("Snakefile", "lib/train.py", "lib/new.py", "notebooks/01_data.ipynb", "notebooks/14_new.ipynb"),
        *("params/rubric.yaml", "reports/smoke/05_test.html", "work/smoke/.whole", "work/smoke/rendered.json"),
        *(f"work/smoke/02_warmup/{file}" for file in ("run.json", "numbers.json")),
    ],
)
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "another"])
def test_what_is_gone_or_another_is_not_up_to_date(name, is_gone):
    path = paths.ROOT / name
    before = path.read_text() if path.is_file() else "{}"
    path.unlink(missing_ok=True)
    if not is_gone:
        write_text(path, before + " ")
    is_new = name in ("lib/new.py", "notebooks/14_new.ipynb")
    assert integrity.is_up_to_date(PARAMS, "smoke") is (is_gone and is_new)


@pytest.mark.usefixtures("whole")
def test_results_that_were_made_again_or_with_other_packages_are_not_up_to_date(finished, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "package_versions", lambda: {"torch": "0"})
        assert not integrity.is_up_to_date(PARAMS, "smoke")
    assert integrity.is_up_to_date(PARAMS, "smoke") and integrity.is_up_to_date(PARAMS, "smoke")
    assert not integrity.is_up_to_date(PARAMS.model_copy(update={"title": "Another"}), "smoke")
    write_text(paths.NOTEBOOKS / "14_new.ipynb", "{}")
    integrity.keep_whole(PARAMS, "smoke", integrity.sources(PARAMS))
    assert not integrity.is_up_to_date(PARAMS, "smoke"), "that nobody declared it is told again"
    (paths.NOTEBOOKS / "14_new.ipynb").unlink()
    integrity.keep_whole(PARAMS, "smoke", integrity.sources(PARAMS))
    assert integrity.is_up_to_date(PARAMS, "smoke")
    executed(**{CHAIN[2]: {"elapsed_s": 4.0}})
    assert found(finished) == {} and not integrity.is_up_to_date(PARAMS, "smoke")
