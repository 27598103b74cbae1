"""Faults on purpose: what is drawn, what a damaged file is, and when a disturbance counts as lost or different."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.chaos import __main__ as chaos
from tests.chaos.__main__ import VERDICTS, disturb, draw, summary
from tests.chaos.faults import FAULTS, Skipped, Told, harm
from tests.chaos.subject import Outcome, Subject


def test_every_kind_is_drawn_equally_often_and_the_seed_decides():
    kinds = list(FAULTS)
    drawn = draw(3 * len(kinds), 7, kinds)
    assert {kind: sum(one[0] == kind for one in drawn) for kind in kinds} == dict.fromkeys(kinds, 3)
    assert drawn == draw(3 * len(kinds), 7, kinds)
    assert drawn != draw(3 * len(kinds), 8, kinds)
    assert all(subject in FAULTS[kind][1] for kind, subject, _ in drawn)


@pytest.mark.parametrize("seed", range(20))
def test_a_harmed_file_differs_and_the_seed_decides_how(tmp_path, seed):
    content = bytes(range(256)) * 5
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(content)
        harm(tmp_path / name, np.random.default_rng(seed))
    assert (tmp_path / "a").read_bytes() != content
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Run(Subject):
    """A subject whose next run is what the test says."""

    def __init__(self, tmp_path, status=0, records=("a",), numbers=None):
        super().__init__("p", tmp_path, 1, 10.0, n_records=1)
        self.next = SimpleNamespace(status=status, records=list(records), numbers=numbers or {"x": 1})

    def run(self):
        return Outcome(self.next.status, "the end", 0.1)

    def results(self, pattern="run.json"):
        return self.next.records

    def numbers(self):
        return self.next.numbers


def judged(monkeypatch, subject, fault, expected=None):
    monkeypatch.setitem(FAULTS, "test", (fault, ("trained",)))
    return disturb("test", subject, 1, expected or {"x": 1})


@pytest.mark.parametrize(
    ("disturbed", "after", "verdict"),
    [
        (None, {}, "as undisturbed"),
        (Outcome(1, "it was the cause", 0.1), {}, "as undisturbed"),
        (Outcome(0, "", 0.1), {}, "as undisturbed"),
        (Outcome(1, "something", 0.1), {}, "silent"),
        (None, {"status": 1}, "lost"),
        (None, {"records": ()}, "lost"),
        (None, {"numbers": {"x": 2}}, "different"),
        (None, {"status": None}, "hung"),
        (Outcome(None, "", 0.1), {}, "hung"),
    ],
)
def test_each_way_to_end_has_its_verdict(tmp_path, monkeypatch, disturbed, after, verdict):
    told = Told("what", (disturbed,) if disturbed else (), "the cause")
    assert judged(monkeypatch, Run(tmp_path, **after), lambda *_: told)["verdict"] == verdict


def test_what_is_kept_names_no_place_of_this_machine(tmp_path, monkeypatch):
    subject = Run(tmp_path / "copy")
    said = Outcome(1, f"{sys.executable} wrote {subject.root}/work/a: the cause, of {subject.root}/work/b", 0.1)
    for cause, key, kept in (
        (r"the cause.*", "said", "the cause, of work/b"),
        ("another cause", "tail", "python wrote work/a: the cause, of work/b"),
    ):
        assert judged(monkeypatch, subject, lambda *_, cause=cause: Told("what", (said,), cause))[key] == kept


def test_what_this_machine_cannot_do_is_skipped_with_the_reason(tmp_path, monkeypatch):
    def cannot(subject, rng):
        raise Skipped("no disk can be mounted")

    row = judged(monkeypatch, Run(tmp_path), cannot)
    assert (row["verdict"], row["what"]) == ("skipped", "no disk can be mounted")


def test_the_table_counts_by_kind_and_in_all():
    rows = [{"kind": "a", "verdict": "lost"}, {"kind": "b", "verdict": "hung"}, {"kind": "a", "verdict": "lost"}]
    counts = summary(rows)
    assert counts["a"] == dict.fromkeys(VERDICTS, 0) | {"lost": 2}
    assert counts["all"] == dict.fromkeys(VERDICTS, 0) | {"lost": 2, "hung": 1}


@pytest.mark.parametrize("lanes", [1, 3])
def test_lanes_share_the_disturbances_and_every_one_is_kept_in_order(tmp_path, monkeypatch, lanes):
    monkeypatch.setitem(FAULTS, "test", (lambda subject, rng: Told("what"), ("trained",)))
    monkeypatch.setattr(chaos, "SUBJECTS", dict.fromkeys(("trained", "on_logits"), lambda folder, cores: Run(folder)))
    monkeypatch.setattr(Run, "make_whole", lambda subject, tell: {"x": 1})
    kept = []
    asked = SimpleNamespace(n=7, lanes=lanes, seed=4, kinds=["test"], cores=1)
    rows = chaos.run(asked, tmp_path, kept.append)
    assert [row["number"] for row in rows] == list(range(1, 8)) and len(kept) == 7
    assert [row["seed"] for row in rows] == [seed for _, _, seed in draw(7, 4, ["test"])]
    assert kept[-1]["summary"]["all"]["as undisturbed"] == 7


def test_processes_of_a_copy_are_found_by_their_environment(tmp_path):
    subject = Subject("p", tmp_path, 1, 10.0)
    command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    with subprocess.Popen(command, env={"VERDICT_ROOT": str(tmp_path)}, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert subject.processes("sleep") == [process.pid]
        assert subject.processes("nothing like it") == []
        subject.end_all()
        assert process.wait() == -9


def test_a_run_on_a_terminal_hears_that_it_closes_even_under_nohup(tmp_path):
    outer, inner = os.openpty()
    ignoring = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Subject("p", tmp_path, 1, 10.0).start(terminal=inner) as process:
            command = Path(f"/proc/{process.pid}/cmdline")
            while b"verdict.workflow.pipeline" not in command.read_bytes().split(b"\0")[3:4]:
                assert process.poll() is None
                time.sleep(0.001)
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.kill()
    finally:
        signal.signal(signal.SIGHUP, ignoring)
        os.close(outer)
        os.close(inner)
    ignored = int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16)
    assert not ignored & 1 << signal.SIGHUP - 1


def test_results_are_listed_while_folders_come_and_go(tmp_path):
    """A run takes away folders of its own, whose names begin with a dot, at any moment."""
    subject = Subject("p", tmp_path, 1, 10.0)
    for name in ("a/run.json", "a/features/x.npy", "a/.run.json", ".a.node.running-old/run.json"):
        path = subject.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert subject.results() == [subject.work / "a" / "run.json"]
    assert subject.results("features/*.np*") == [subject.work / "a" / "features" / "x.npy"]
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            (subject.work / ".b" / "c").mkdir(parents=True)
            shutil.rmtree(subject.work / ".b")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert len(subject.results()) == 1
    finally:
        over.set()
        thread.join()
