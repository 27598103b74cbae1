"""Notebooks for the project's kernel pass, all others are named."""

import json
import os
import subprocess
import sys
import time

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from report_tools import code, write_notebook
from verdict.base import paths
from verdict.workflow.kernel import check_kernel
from verdict.workflow.run import _execute


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
        {"kernelspec": "python3"},
    ],
)
def test_another_language_is_named_with_its_notebook(tmp_path, metadata):
    said = (
        r"05_test\.ipynb is made for (the language '(bash|R|julia)'; notebooks are in Python|a kernel that cannot be)"
    )
    with pytest.raises(ValueError, match=said):
        check_kernel(written(tmp_path, metadata))


@pytest.mark.slow
def test_a_notebook_runs_on_the_projects_kernel_whatever_its_own_is_called(tmp_path):
    path = tmp_path / "05_test.ipynb"
    write_notebook(path, [code("profile = 'x'", "parameters"), {**code("print('was given', profile)"), "id": "d"}])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metadata": EDITORS["a path"]}))
    _execute(path, tmp_path / "done.ipynb", {"profile": "smoke"}, begun := [])
    assert [cell["cell_type"] for cell in begun] == ["code"] * 3
    assert "was given smoke" in (tmp_path / "done.ipynb").read_text()


STARTED = """
import sys
import IPython.core.application as application
application.SYSTEM_CONFIG_DIRS.insert(0, sys.argv.pop(1))
from verdict.workflow.kernel import main
main()
"""


def test_what_a_machine_configures_for_all_kernels_is_not_read(tmp_path):
    """As in /etc/ipython; the folder of a user is another one for each run."""
    (tmp_path / "startup").mkdir()
    (tmp_path / "startup" / "own.py").write_text("own_name = 1\n")
    (tmp_path / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.exec_lines = ['own_line = 1']\n")
    file, _ = write_connection_file(str(tmp_path / "kernel.json"), ip=str(tmp_path / "s"), transport="ipc")
    variables = {**os.environ, "PYTHONPATH": str(paths.LIBRARY.parent), "IPYTHONDIR": str(tmp_path / "ipython")}
    command = [sys.executable, "-c", STARTED, str(tmp_path), "-f", file]
    with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) as process:
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        # Else a kernel that starts slowly counts as dead.
        while len(list(tmp_path.glob("s-*"))) < 5 and process.poll() is None:
            time.sleep(0.05)
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            said = []
            names = "print([name for name in globals() if name.startswith('own')])"
            client.execute_interactive(names, output_hook=lambda message: said.append(message["content"].get("text")))
        finally:
            client.stop_channels()
            process.kill()
    assert "[]\n" in said
