"""Two reports side by side."""

from report_tools import HOSTILE, Reader, assert_sound, code, record, sample_claim, write_stage
from verdict.base.numbers import Number, Numbers
from verdict.report.compare import compare_reports, compare_runs, main
from verdict.report.executions import Execution


def execution(lr, f1, holds=True, name="05_test"):
    run = record(name, params={"fit": {"lr": lr, "epochs": 3}}, outputs={"work/a/05_test/x.npz": "ab" * 32})
    numbers = Numbers({"test.f1": Number(f1, f1 - 0.1, f1 + 0.1), "test.same": Number(1.0)})
    return Execution(name, name, "done", run=run, numbers=numbers, claims=(sample_claim(holds=holds),))


def test_one_changed_parameter_is_named_once_with_the_numbers_that_moved():
    before = [execution(0.1, 0.5), execution(0.1, 0.5, name="07_c")]
    after = [execution(0.2, 0.9, holds=False), execution(0.2, 0.55, name="07_c")]
    found = compare_runs(before, after)
    assert [(row["name"], row["before"], row["after"]) for row in found["parameters"]] == [("fit.lr", "0.1", "0.2")]
    assert [(row["page"], row["name"], row["apart"]) for row in found["numbers"]] == [
        ("05_test", "test.f1", True),
        ("07_c", "test.f1", False),
    ]
    assert [(row["before"], row["after"]) for row in found["claims"]] == [("holds", "does not hold")]
    assert found["data"] == found["files"] == []


def test_changed_files_are_told_apart_from_changed_data():
    before, after = ([execution(0.1, 0.5), execution(0.1, 0.5, name="01_data")] for _ in range(2))
    for run in after:
        run.run["outputs"] = {"work/b/05_test/x.npz": "cd" * 32, "work/b/05_test/numbers.json": "ef" * 32}
    found = compare_runs(before, after)
    assert [(row["page"], row["name"]) for row in found["data"]] == [("01_data", "05_test/x.npz")]
    assert [(row["page"], row["after"]) for row in found["files"]] == [("05_test", "cd" * 8)]


def test_a_page_of_one_run_alone_is_one_row_and_equal_runs_do_not_differ():
    found = compare_runs([execution(0.1, 0.5)], [execution(0.1, 0.5), execution(0.1, 0.5, name="10_clip")])
    assert found.pop("pages") == [{"name": "10_clip", "page": "10_clip", "before": "–", "after": "executed"}]
    assert not any(found.values())


def test_the_page_is_sound_and_hostile_text_is_text(tmp_path):
    for name, value in (("one", 0.5), ("two", 0.6)):
        numbers = Numbers({"test.f1": Number(value)})
        run = record(params={"data": {"seed": value, "table": HOSTILE + name}})
        write_stage(tmp_path / name / "05_test", [code("x")], run, numbers)
    target = compare_reports(str(tmp_path / "one"), str(tmp_path / "two"), target=tmp_path / "c.html")
    page = Reader(target.read_text(encoding="utf-8"))
    assert_sound(page)
    assert "data.seed 0.5 0.6" in page.words and "</details>" in page.words


def test_a_profile_without_a_run_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), str(tmp_path / "empty")]) == 2
    assert "nothing was executed" in capsys.readouterr().err


def test_a_damaged_run_is_told_in_a_line(tmp_path, capsys):
    write_stage(tmp_path / "one" / "05_test", [code("x")], record(), Numbers({"test.f1": Number(0.5)}))
    (tmp_path / "one" / "05_test" / "numbers.json").write_text("{", encoding="utf-8")
    assert main([str(tmp_path / "one")] * 2) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: a stored result is damaged (") and told.count("\n") == 1
