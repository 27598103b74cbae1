"""Notebooks for the project's kernel pass, all others are named."""

import json

import pytest

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
