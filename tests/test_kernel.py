"""Notebooks for the project's kernel pass, all others are named."""

import json
import os
import subprocess
import sys

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from verdict import paths
from verdict.kernel import check_kernel


def test_the_projects_own_notebooks_pass():
    for notebook in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        check_kernel(notebook)


@pytest.mark.parametrize("metadata", [{"kernelspec": {"name": "bash"}}, {"language_info": {"name": "R"}}])
def test_another_kernel_is_named_with_its_notebook(tmp_path, metadata):
    path = tmp_path / "05_test.ipynb"
    path.write_text(json.dumps({"metadata": metadata}))
    with pytest.raises(ValueError, match=r"05_test\.ipynb is made for the kernel"):
        check_kernel(path)


STARTED = """
import sys
import IPython.core.application as application
application.SYSTEM_CONFIG_DIRS.insert(0, sys.argv.pop(1))
from verdict.kernel import main
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
