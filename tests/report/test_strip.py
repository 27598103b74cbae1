"""Notebooks are staged without outputs, and nothing that an author wrote is lost."""

import json
import subprocess
import sys

import pytest

from report_tools import code, displayed, markdown, write_notebook
from verdict.base import paths
from verdict.report.strip import main, strip

CELLS = [markdown("# A\n\nÖ?"), {**code("x = 1\ny = 2", "save", outputs=[displayed({"a": "b"})]), "execution_count": 3}]


def test_outputs_go_sources_stay_and_twice_changes_nothing(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", CELLS)
    main([str(path)])
    once = path.read_text(encoding="utf-8")
    assert strip(once) == once
    text, cell = json.loads(once)["cells"]
    assert "".join(text["source"]) == "# A\n\nÖ?" and "outputs" not in text
    assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cell["source"] == ["x = 1\n", "y = 2"] and cell["metadata"] == {"tags": ["save"]}


@pytest.mark.parametrize("text", ["{", "[1]", '{"cells": 3}', ""])
def test_what_is_no_notebook_comes_back_as_it_is(text):
    assert strip(text) == text


def test_the_projects_notebooks_are_as_git_would_write_them():
    """To the letter: or a fresh clone has changes that nobody made, and its reports say so."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in paths.NOTEBOOKS.glob("*.ipynb")}
    assert [name for name, text in texts.items() if strip(text) != text] == []


def test_git_stages_a_notebook_without_its_outputs(tmp_path):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    write_notebook(tmp_path / "notebooks" / "a.ipynb", CELLS)
    (tmp_path / ".gitattributes").write_text((paths.ROOT / ".gitattributes").read_text(), encoding="utf-8")
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = "git config filter.verdict-strip.clean 'PYTHONPATH=lib $(PY) -m verdict.report.strip'"
    assert wanted in makefile
    git("init", "-q")
    command = f"PYTHONPATH='{paths.LIBRARY.parent}' '{sys.executable}' -m verdict.report.strip"
    git("config", "filter.verdict-strip.clean", command)
    git("add", ".")
    assert json.loads(git("show", ":notebooks/a.ipynb"))["cells"][1]["outputs"] == []
    assert json.loads((tmp_path / "notebooks" / "a.ipynb").read_text(encoding="utf-8"))["cells"][1]["outputs"]
