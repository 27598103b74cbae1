"""Executions of one stage at once: one whole result, whatever the order."""

import errno
import json
import multiprocessing
import os
import time

import pytest

from verdict.base import paths
from verdict.base.artifacts import verify_outputs, write_json, write_run, write_text
from verdict.workflow import result_folder

ASKED = {"stage": "01_data", "trial": None, "params": {"n": 3}, "code": "c0de", "versions": {}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where the stage of a project belongs that has one input."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr("verdict.base.artifacts.package_versions", dict)
    monkeypatch.setattr("verdict.base.artifacts.commit", lambda: ("c0ffee", False))
    write_json(tmp_path / "work" / "up" / "run.json", {"made": 1})
    return tmp_path / "work" / "stage"


def fill(folder, home, by, *, n_files=5, asked=ASKED, pause=0.0):
    """What an execution writes: files that must all be of one maker, then its record."""
    for number in range(n_files):
        write_text(folder / "part" / f"{number}.txt", by * 500)
        time.sleep(pause)
    outputs = sorted((folder / "part").iterdir())
    inputs = [paths.ROOT / "work" / "up" / "run.json"]
    named = {key: value for key, value in asked.items() if key != "versions"}
    write_run(folder, home=home, outputs=outputs, inputs=inputs, made_by=by, **named)


def execute(home, by, **options):
    with result_folder.private_folder(home) as folder:
        fill(folder, home, by, **options)
        return result_folder.publish(folder, home)


def makers(home):
    return {path.read_text()[0] for path in (home / "part").iterdir()} | {verify_outputs(home)["made_by"]}


def hidden(home):
    return [path.name for path in home.parent.iterdir() if path.name.startswith(".")]


def test_a_result_takes_the_place_of_another_question_s_as_a_whole(home):
    execute(home, "a", n_files=7)
    assert execute(home, "b", asked={**ASKED, "code": "other"}) is True
    assert makers(home) == {"b"} and len(list((home / "part").iterdir())) == 5
    assert hidden(home) == []


def test_the_first_of_two_results_of_one_question_stands_and_its_record_is_put_back(home):
    execute(home, "a")
    record = (home / "run.json").read_bytes()
    assert execute(home, "b") is False
    assert makers(home) == {"a"} and (home / "run.json").read_bytes() == record
    assert hidden(home) == []
    (home / "run.json").unlink()
    assert result_folder.stands(home, ASKED)
    assert (home / "run.json").read_bytes() == record


@pytest.mark.parametrize("change", ["output", "input", "params", "versions", "twin", "no input"])
def test_a_result_that_is_damaged_or_of_another_question_does_not_stand(home, change):
    asked, twin = dict(ASKED), home / ".run.json"
    execute(home, "a")
    if change == "output":
        write_text(home / "part" / "3.txt", "a" * 499 + "z")
    elif change == "input":
        write_json(home.parent / "up" / "run.json", {"made": 2})
    elif change == "twin":
        twin.write_text(twin.read_text()[:-40])
    elif change == "no input":
        record = json.loads(twin.read_text()) | {"inputs": {}}
        write_json(twin, {key: value for key, value in record.items() if key != "sha256_of_this"})
    else:
        asked[change] = {"n": 4}
    assert not result_folder.stands(home, asked)


def test_what_cannot_be_put_in_place_is_an_error(home, monkeypatch):
    """Any cause but another result in its place; a second try is an error of the test's own."""
    tries = iter([PermissionError(errno.EACCES, "not yours"), AssertionError("tried again")])
    rename = os.rename

    def refused(source, target):
        if target == home:
            raise next(tries)
        rename(source, target)

    monkeypatch.setattr(result_folder.os, "rename", refused)
    with pytest.raises(PermissionError, match="not yours"):
        execute(home, "a")
    assert not home.exists() and hidden(home) == []


def test_a_failure_leaves_what_was_there_and_what_is_damaged_is_replaced(home):
    execute(home, "a")
    with pytest.raises(ZeroDivisionError), result_folder.private_folder(home) as folder:
        write_text(folder / "half.txt", "half")
        _ = 1 / 0
    assert makers(home) == {"a"} and hidden(home) == []
    (home / "part" / "3.txt").unlink()
    assert execute(home, "b") is True
    assert makers(home) == {"b"}


def test_folders_of_dead_executions_are_swept_and_those_of_living_ones_are_not(home, monkeypatch):
    with result_folder.private_folder(home) as alive:
        dead = alive.with_name(alive.name.replace(".running", "x.running"))
        foreign = alive.with_name(f".{home.name}.elsewhere.y.running")
        for folder in (dead, foreign):
            write_text(folder / result_folder.HELD, "")
        with result_folder.private_folder(home):
            assert alive.is_dir() and foreign.is_dir() and not dead.exists()
        monkeypatch.setattr(result_folder, "ABANDONED_S", -1)
        with result_folder.private_folder(home):
            assert not foreign.exists()


ROUNDS = 5


def _race(work, by, gate):
    for number in range(ROUNDS):
        home = work / f"stage{number}"
        gate.wait(30)
        execute(home, by, pause=0.002)
        # A workflow that runs a job again takes its declared output away first.
        (home / "run.json").unlink(missing_ok=True)
        if not result_folder.stands(home, ASKED):
            execute(home, by)


def _watch(work, stop, log):
    """A reader, as a downstream stage: what it finds is whole, or it is told that nothing is there."""
    seen, is_last = set(), False
    while not is_last:
        is_last = stop.is_set()
        for home in work.glob("stage*"):
            try:
                seen.add((home.name, verify_outputs(home)["made_by"]))
            except FileNotFoundError:
                continue
            except Exception as error:
                seen.add((home.name, str(error)))
        time.sleep(0.001)
    write_json(log, sorted(seen))


def test_two_processes_that_write_one_stage_at_once_leave_one_whole_result(home):
    work, log = home.parent / "race", home.parent / "seen.json"
    work.mkdir()
    context = multiprocessing.get_context("fork")
    gate, stop = context.Barrier(2), context.Event()
    writers = [context.Process(target=_race, args=(work, by, gate)) for by in "ab"]
    reader = context.Process(target=_watch, args=(work, stop, log))
    for process in (*writers, reader):
        process.start()
    for process in writers:
        process.join(60)
    stop.set()
    reader.join(60)
    assert [process.exitcode for process in (*writers, reader)] == [0, 0, 0]
    homes = [work / f"stage{number}" for number in range(ROUNDS)]
    assert [len(makers(home)) for home in homes] == [1] * ROUNDS
    # Whoever was first stands to the end, so that a reader never sees a second maker, nor a mixture.
    final = {(home.name, *makers(home)) for home in homes}
    assert {tuple(item) for item in json.loads(log.read_text())} == final
    assert hidden(homes[0]) == []


def test_a_result_that_is_put_in_place_at_the_same_moment_is_seen(home, monkeypatch):
    """Another execution publishes between the look and the renaming."""
    renamed = os.rename

    def rename(source, target):
        if target == home and not home.exists():
            monkeypatch.setattr(os, "rename", renamed)
            execute(home, "a")
        return renamed(source, target)

    with result_folder.private_folder(home) as folder:
        fill(folder, home, "b")
        monkeypatch.setattr(os, "rename", rename)
        assert result_folder.publish(folder, home) is False
    assert makers(home) == {"a"} and hidden(home) == []
