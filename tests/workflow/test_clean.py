"""`make clean` removes what runs of a profile made, nothing else, and says what."""

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text

LEFT = ("params/base.yaml", "params/rubric.yaml", "params/mine.yaml", "params/docs.yaml", "params/smoke.yaml")
LEFT += ("reports/README.md", "reports/docs/index.png", "reports/published/mine/index.html", "reports/verified/t.csv")
LEFT += ("work/smoke/01_data/run.json", "reports/smoke/index.html", "work/downloads/corpus.zip", "notes.txt")
MADE = ("work/mine/01_data/run.json", "work/mine/.lock", "work/mine/embeddings/a.npy", "reports/mine/index.html")
MADE += ("work/mine/.05_test.x.running/a.ipynb", "reports/mine/files/05_test.ipynb")

MODULES = [
    f"lib/verdict/{name}.py"
    for name in ("__init__", "base/__init__", "base/paths", "base/artifacts", "workflow/__init__", "workflow/clean")
]


@pytest.fixture
def project(tmp_path):
    """As much of a project as `make clean` needs, with results of two profiles; its folder's name has a blank."""
    root = tmp_path / "a project"
    for name in ("Makefile", *MODULES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(paths.ROOT / name, root / name)
    for name in (*LEFT, *MADE):
        write_text(root / name, "12345")
    return root


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() or path.is_symlink()}


def clean(root, *given):
    # Without site packages: there may be no environment to clean with.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VERDICT", "MAKE", "PYTHON"))}
    command = ["make", "--no-print-directory", "clean", f"PYTHON='{sys.executable}' -S -B", *given]
    return subprocess.run(command, cwd=root, env=kept, capture_output=True, text=True, check=False)


def test_what_a_profile_made_goes_and_is_named(project):
    before = files(project)
    done = clean(project, "PROFILE=mine")
    assert done.returncode == 0, done.stderr
    assert before - files(project) == set(MADE)
    assert done.stdout.splitlines() == ["removed work/mine: 4 files, 0.0 MB", "removed reports/mine: 2 files, 0.0 MB"]
    assert "nothing to remove" in clean(project, "PROFILE=mine").stdout


NO_PROFILES = ("", " ", "..", "m*", "mine/01_data", "../a project", "smoke mine", "minE", "published", "base", "--help")
NO_PROFILES += ("mine\nsmoke", "mine'", "$(rm -rf work)", "$$PROFILE", "mine; rm -rf work", "`rm -rf work`")


@pytest.mark.parametrize("profile", NO_PROFILES)
def test_what_is_no_profile_is_refused(project, profile):
    before = files(project)
    done = clean(project, f"PROFILE={profile}")
    assert done.returncode == 2 and files(project) == before
    assert "nothing was removed: no profile is called" in done.stderr
    assert "profiles are ['mine', 'smoke']" in done.stderr


def test_what_a_deleted_profile_has_left_goes_too(project):
    (project / "params/mine.yaml").unlink()
    done = clean(project, "PROFILE=mine")
    assert done.returncode == 0 and files(project).isdisjoint(MADE), done.stderr


def test_committed_files_stay_wherever_they_are(project):
    for command in (["init", "-q"], ["add", "-f", "reports/mine/index.html", "work/mine/01_data"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    done = clean(project, "PROFILE=mine")
    assert done.returncode == 0
    assert {"reports/mine/index.html", "work/mine/01_data/run.json"} == files(project) & set(MADE)
    assert "removed work/mine: 3 files, 0.0 MB; 1 that git tracks are kept" in done.stdout


def test_what_a_link_leads_to_stays(project, tmp_path):
    theirs = tmp_path / "elsewhere"
    write_text(theirs / "a.txt", "kept")
    shutil.rmtree(project / "reports" / "mine")
    (project / "reports" / "mine").symlink_to(theirs)
    (project / "work" / "mine" / "data").symlink_to(theirs)
    done = clean(project, "PROFILE=mine")
    assert done.returncode == 0 and (theirs / "a.txt").read_text() == "kept"
    assert f"removed the link reports/mine; what it led to is left: {theirs}" in done.stdout
    assert not (project / "work" / "mine").exists() and not (project / "reports" / "mine").is_symlink()


def test_a_report_that_is_being_made_is_left_alone(project):
    before = files(project)
    with (project / "work" / "mine" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = clean(project, "PROFILE=mine")
    assert done.returncode == 2 and files(project) == before
    assert "a report of profile 'mine' is being made" in done.stderr


def test_the_profile_of_the_command_is_the_default_one(project):
    assert "no profile is called 'digits'" in clean(project).stderr
    write_text(project / "params" / "digits.yaml", "")
    assert "nothing to remove: no run of profile 'digits'" in clean(project).stdout
