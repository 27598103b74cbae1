"""Folders of a report of its own."""

import pytest

from verdict.base import paths
from verdict.report import executions


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Empty folders for the profile "demo", which has no parameter file; what is below them."""
    for name in ("NOTEBOOKS", "WORK", "REPORTS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(executions, "_changed_params", lambda *_: [])
    return tmp_path
