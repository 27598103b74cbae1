"""The section on where and how long each job ran."""

import re

import pytest

from verdict.base.artifacts import write_json
from verdict.report.executions import Execution
from verdict.report.pipeline import Job, draw_jobs, jobs_of, lanes


def job(name, node, started, elapsed):
    return Job(name, node, "", 0, "cpu", 1000 + started, elapsed)


JOBS = [job("a", "n1", 0, 10), job("b", "n1", 4, 3), job("c", "n2", 1, 5), job("d", "n1", 7, 20), job("e", "n2", 6, 2)]


def execution(notebook, second, host, *, folder=None, **run):
    record = {"started": f"2026-03-01T10:00:{second:02d}Z", "elapsed_s": 7.0, "device": "cpu", "host": host, **run}
    return Execution(notebook, notebook, "done", run=record, folder=folder)


def test_no_two_jobs_of_a_row_overlap_and_rows_are_few():
    rows = lanes(JOBS)
    assert [(node, [one.name for one in row]) for node, row in rows] == [
        ("n1", ["a"]),
        ("n1", ["b", "d"]),
        ("n2", ["c", "e"]),
    ]


def test_work_is_summed_and_the_span_is_not():
    assert (
        "<p>5 jobs on 2 nodes (n1, n2): 40 s of work; from the first start to the last end 27 s, "
        "pauses between runs included.</p>"
    ) in draw_jobs(JOBS)
    assert "<p>1 job on one node (n1)" in draw_jobs(JOBS[:1])


def test_the_picture_has_a_bar_of_the_right_length_for_each_job():
    picture = draw_jobs(JOBS)
    width = {name: float(w) for w, name in re.findall(r'width="([\d.]+)" height="18" rx="3"><title>(\w):', picture)}
    assert set(width) == set("abcde")
    for one in JOBS:
        assert width[one.name] / width["a"] == pytest.approx(one.elapsed_s / 10, rel=0.01)
    assert 'aria-label="Timeline of jobs by node. 5 jobs' in picture


def test_every_job_is_told_with_its_place_shards_included(tmp_path):
    shard = {"schema": 1, "started": "2026-03-01T10:00:02Z", "elapsed_s": 3.0, "host": {"node": "n2", "job": 9}}
    write_json(tmp_path / "feature_shards" / "0-of-2" / "run.json", shard)
    write_json(tmp_path / "seeds_apart" / "text1-s11" / "run.json", shard | {"started": "2026-03-01T10:00:03Z"})
    executions = [
        execution("features", 30, {"node": "n1", "job": 12, "mem_mb": 2000}, folder=tmp_path / "features"),
        execution("03_staged_unfreezing", 41, {}, trial="text1"),
        Execution("05_test", "05_test", "missing"),
    ]
    found = jobs_of(executions)
    assert [(one.name, one.node, one.number) for one in found] == [
        ("features 0-of-2", "n2", "9"),
        ("training text1-s11", "n2", "9"),
        ("features", "n1", "12"),
        ("03_staged_unfreezing text1", "unknown", ""),
    ]
    page = draw_jobs(found)
    assert "<td>2,000 MB</td>" in page and "<td>2026-03-01 10:00:41</td>" in page


def test_names_are_text_and_nothing_gives_nothing():
    assert draw_jobs(jobs_of([Execution("05_test", "05_test", "missing")])) == ""
    page = draw_jobs(jobs_of([execution("01_data", 3, {"node": "<b>x</b>"})]))
    assert "<b>x" not in page and "&lt;b&gt;x" in page
