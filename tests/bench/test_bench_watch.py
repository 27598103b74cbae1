"""The bench of `make watch`: on a report of one page, with the real process."""

import pytest
from tests.bench import records, watch

from report_tools import code, markdown, record, sample_numbers, write_notebook, write_stage
from verdict.base import paths
from verdict.report.site import PAGES


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose report has one page."""
    setup = code('profile = "demo"', "parameters")
    for name in ("05_test", "06_later"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", [markdown("# Test\n\nHow good?"), setup])
    write_stage(tmp_path / "work" / "demo" / "05_test", [setup], record(), sample_numbers())
    (tmp_path / "lib").symlink_to(paths.ROOT / "lib")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


def test_an_edit_is_followed_and_nothing_of_the_project_is_touched(project):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    (found,) = watch.measure("demo", ["05_test"], 1)
    assert found["notebook"] == "05_test" and found["n_pages"] == 1 and found["kilobytes"] > 10
    assert 0 < found["median_s"] == found["max_s"] < watch.LIMIT_S
    (project / "work" / "demo" / PAGES).unlink()
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_what_cannot_be_watched_is_named(project):
    with pytest.raises(FileNotFoundError, match="no page of 06_later is in the report of demo"):
        watch.measure("demo", ["06_later"], 1)
    with pytest.raises(FileNotFoundError, match="nothing was executed for profile 'none'"):
        watch.measure("none", ["05_test"], 1)


def test_the_page_of_the_record():
    row = {"notebook": "05_test", "n_pages": 2, "kilobytes": 1234, "median_s": 0.5, "max_s": 0.75}
    found = {"profile": "demo", "results": [row], "provenance": records.provenance("x", 1, 0.0)}
    assert "| 05_test | 2 | 1,234 kB | 0.50 s | 0.75 s |\n" in records.page({"watch": found})
