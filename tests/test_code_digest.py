"""Which code a stage or a page is made with."""

import json
import shutil

import pytest

from empty_project import make_project
from verdict import paths
from verdict.artifacts import write_text
from verdict.code_digest import code_digest, library_files, page_files
from verdict.stages import ALL_NAMES, FEATURES


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def package(root, **modules):
    for name, source in modules.items():
        write_text(root / "lib" / "verdict" / f"{name.replace('__', '/')}.py", source)
    for folder in {path.parent for path in (root / "lib").rglob("*.py")}:
        (folder / "__init__.py").touch()


def names(files):
    return [file.relative_to(paths.LIBRARY).as_posix() for file in files]


def test_library_files_are_the_closure_of_imports(root):
    package(
        root,
        a="import numpy\nfrom verdict.b import f",
        b="def f():\n    from verdict.sub import c\n",
        sub__c="import verdict.a",
        sub__d="import verdict.e",
        e="",
        report__page="",
    )
    init = ["__init__.py"]
    assert names(library_files(["from verdict import a"])) == [
        *init,
        "a.py",
        "b.py",
        "sub/__init__.py",
        "sub/c.py",
    ]
    assert names(library_files(["import verdict.sub.d as d, os"])) == [
        *init,
        "e.py",
        "sub/__init__.py",
        "sub/d.py",
    ]
    assert names(library_files(["import verdict.e", "import verdict.report.page"])) == [
        *init,
        "e.py",
        "report/__init__.py",
        "report/page.py",
    ]
    assert library_files(["import verdicts", "x = 1"]) == []
    assert library_files([]) == []


def notebook(root, name, *cells):
    content = {
        "cells": [{"cell_type": kind, "metadata": {}, "source": source.splitlines(True)} for kind, source in cells],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    write_text(root / "notebooks" / f"{name}.ipynb", json.dumps(content))


def test_the_digest_of_code_sees_code_and_not_prose(root):
    package(root, a="X = 1", b="Y = 1", data__c="Z = 1")
    write_text(root / "lib" / "verdict" / "data" / "hand.csv", "1")
    code = [("code", "from verdict import a\na.X"), ("code", "import verdict.data.c\n")]

    def digest(*cells):
        notebook(root, "01_data", *cells)
        return code_digest("01_data")

    original = digest(("markdown", "# Title"), *code)
    assert (
        digest(("markdown", "# Another title, and\nmore text"), code[0], ("markdown", "between"), code[1]) == original
    )
    assert digest(code[0], ("code", "import verdict.data.c\n1")) != original
    assert digest(code[1], code[0]) != original
    digest(*code)
    write_text(root / "lib" / "verdict" / "b.py", "Y = 2")
    assert code_digest("01_data") == original
    for file in ("a.py", "data/c.py", "data/hand.csv", "data/__init__.py"):
        before = code_digest("01_data")
        write_text(root / "lib" / "verdict" / file, "X = 3")
        assert code_digest("01_data") != before, file


def test_a_stage_without_a_notebook_has_a_digest_of_its_code(root):
    package(root, features="X = 1", run="Y = 1")
    before = code_digest(FEATURES)
    write_text(root / "lib" / "verdict" / "features.py", "X = 2")
    assert code_digest(FEATURES) != before


ADDED = """Spec("14_it's {new} größe", "Why is 'x' < 50 %?", ("01_data", "05_test"), ("data",)),"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SPECS = (\n", f"SPECS = (\n    {ADDED}\n"),
        ("How good is it on unseen images", "How good is it on other images"),
        ('"05_test",\n', '"05_test",\n            "signals",\n'),
    ],
    ids=["another stage", "another question", "another need"],
)
def test_a_declaration_is_no_other_stages_code(tmp_path, monkeypatch, old, new):
    before = {name: code_digest(name) for name in ALL_NAMES}
    ignored = shutil.ignore_patterns("presets", "__pycache__")
    shutil.copytree(paths.LIBRARY, tmp_path / "lib" / "verdict", ignore=ignored)
    monkeypatch.setattr(paths, "LIBRARY", tmp_path / "lib" / "verdict")
    declarations = paths.LIBRARY / "declarations.py"
    text = declarations.read_text(encoding="utf-8")
    assert old in text
    declarations.write_text(text.replace(old, new, 1), encoding="utf-8")
    compile(declarations.read_text(encoding="utf-8"), "declarations.py", "exec")
    assert {name: code_digest(name) for name in ALL_NAMES} == before
    (paths.LIBRARY / "stage.py").write_text("")
    assert code_digest("05_test") != before["05_test"]


def test_a_page_of_another_source_has_the_code_of_its_notebook():
    assert code_digest("07_calibration-clip") == code_digest("07_calibration")


def test_pages_are_made_with_templates_styles_and_scripts():
    assert {path.name for path in page_files()} >= {"page.html", "page.css", "index.html", "page.js"}
