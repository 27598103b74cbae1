"""A project of its own, with the real parameters and an empty package, for tests of stages."""

from verdict.base import paths


def make_project(tmp_path, monkeypatch):
    """Point every folder but that of the parameters into `tmp_path`, and return it."""
    for name, folder in {"NOTEBOOKS": "notebooks", "WORK": "work", "LIBRARY": "lib/verdict"}.items():
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr(paths, name, tmp_path / folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("VERDICT_STAGE_DIR", raising=False)
    return tmp_path
