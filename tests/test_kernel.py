"""Notebooks for the project's kernel pass, all others are named."""

import json

import pytest

from report_tools import code, write_notebook
from verdict import paths
from verdict.kernel import check_kernel
from verdict.run import _execute


def test_the_projects_own_notebooks_pass():
    for notebook in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        check_kernel(notebook)


EDITORS = {
    "JupyterLab": {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}},
    "VS Code": {"kernelspec": {"display_name": ".venv (3.11.9)", "language": "python", "name": ".venv"}},
    "conda": {"kernelspec": {"display_name": "Python [conda env:x]", "language": "python", "name": "conda-env-x-py"}},
    "xeus": {"kernelspec": {"name": "xpython"}, "language_info": {"name": "python", "version": "3.13"}},
    "PyCharm": {"kernelspec": {"name": "Projekt größe"}, "language_info": {"name": "ipython3"}},
    "a name alone": {"kernelspec": {"name": "my env"}},
    "a path": {"kernelspec": {"name": "../../evil; touch sprung"}},
    "nothing": {"kernelspec": None},
}


def written(tmp_path, metadata):
    path = tmp_path / "05_test.ipynb"
    path.write_text(json.dumps({"metadata": metadata, "cells": [], "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.parametrize("metadata", EDITORS.values(), ids=EDITORS)
def test_the_name_of_a_kernel_is_whatever_an_editor_wrote(tmp_path, metadata):
    check_kernel(written(tmp_path, metadata))


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "bash", "language": "bash"}},
        {"kernelspec": {"name": "python3"}, "language_info": {"name": "R"}},
        {"kernelspec": {"name": "julia-1.10", "language": "julia"}, "language_info": {"name": "julia"}},
    ],
)
def test_another_language_is_named_with_its_notebook(tmp_path, metadata):
    with pytest.raises(
        ValueError, match=r"05_test\.ipynb is made for the language '(bash|R|julia)'; notebooks are in Python"
    ):
        check_kernel(written(tmp_path, metadata))


@pytest.mark.slow
@pytest.mark.parametrize("editor", ["VS Code", "a name alone", "nothing", "a path"])
def test_a_notebook_runs_on_the_projects_kernel_whatever_its_own_is_called(tmp_path, editor):
    path = tmp_path / "05_test.ipynb"
    write_notebook(path, [code("profile = 'x'", "parameters"), {**code("print('was given', profile)"), "id": "d"}])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metadata": EDITORS[editor]}))
    _execute(path, tmp_path / "done.ipynb", {"profile": "smoke"})
    assert "was given smoke" in (tmp_path / "done.ipynb").read_text()
