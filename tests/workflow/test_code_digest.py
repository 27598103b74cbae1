"""Which code a stage or a page is made with."""

import ast
import os
import shutil

import pytest

from empty_project import make_project
from report_tools import code, markdown, write_notebook
from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.workflow.code_digest import SHOWING, code_cells, code_digest, library_files, page_files
from verdict.workflow.stages import ALL_NAMES, FEATURES, LASTING, WITHOUT_NOTEBOOK


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
    assert names(library_files(["from verdict import a"])) == [*init, "a.py", "b.py", "sub/__init__.py", "sub/c.py"]
    assert names(library_files(["import verdict.sub.d as d, os"])) == [*init, "e.py", "sub/__init__.py", "sub/d.py"]
    page = ["report/__init__.py", "report/page.py"]
    assert names(library_files(["import verdict.e", "import verdict.report.page"])) == [*init, "e.py", *page]
    assert library_files(["import verdicts", "x = 1"]) == []
    assert library_files([]) == []


def test_imports_are_found_wherever_a_statement_may_stand(root):
    places = ("class A:\n    {}", "try:\n    {}\nexcept E:\n    {}\nelse:\n    {}\nfinally:\n    {}", "with x:\n    {}")
    places += (
        "for x in y:\n    {}\nelse:\n    {}",
        "if x:\n    def f():\n        {}",
        "match x:\n    case 1:\n        {}",
    )
    wanted = [f"m{k}" for k in range(sum(place.count("{}") for place in places))]
    package(root, **dict.fromkeys(wanted, ""))
    source = "\n".join(places).format(*(f"import verdict.{name}" for name in wanted))
    assert names(library_files([source])) == sorted(["__init__.py", *(f"{name}.py" for name in wanted)])


def test_the_digest_of_code_sees_code_and_not_prose(root):
    package(root, a="X = 1", b="Y = 1", data__c="Z = 1")
    write_text(root / "lib" / "verdict" / "data" / "hand.csv", "1")
    first, second = code("from verdict import a\na.X"), code("import verdict.data.c\n")

    def digest(*cells):
        write_notebook(root / "notebooks" / "01_data.ipynb", cells)
        return code_digest("01_data")

    original = digest(markdown("# Title"), first, second)
    assert digest(markdown("# Another title, and\nmore text"), first, markdown("between"), second) == original
    assert digest(first, code("import verdict.data.c\n1")) != original
    assert digest(second, first) != original
    digest(first, second)
    write_text(root / "lib" / "verdict" / "b.py", "Y = 2")
    assert code_digest("01_data") == original
    for file in ("a.py", "data/c.py", "data/hand.csv", "data/__init__.py"):
        before = code_digest("01_data")
        write_text(root / "lib" / "verdict" / file, "X = 3")
        assert code_digest("01_data") != before, file


def test_a_stage_without_a_notebook_has_a_digest_of_its_code(root):
    package(root, model__features="X = 1", workflow__run="Y = 1")
    before = code_digest(FEATURES)
    write_text(root / "lib" / "verdict" / "model" / "features.py", "X = 2")
    assert code_digest(FEATURES) != before


ADDED = """Spec("14_it's {new} größe", ("01_data", "05_test"), ("data",)),"""
PAGES = set(ALL_NAMES) - LASTING


@pytest.fixture(scope="module")
def now():
    found = {name: code_digest(name) for name in ALL_NAMES}
    assert found["07_calibration-clip"] == found["07_calibration"]
    return found


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("workflow/declarations.py", "SPECS = (\n", f"SPECS = (\n    {ADDED}\n", set()),
        ("workflow/declarations.py", 'ity", ("01_data",)', 'ity", ("01_data", "signals")', set()),
        ("base/params.py", '"""', '"""One. ', set()),
        ("workflow/run.py", '"""', '"""One. ', set()),
        ("report/site.py", '"""', '"""One. ', set()),
        ("report/plots/__init__.py", '"""', '"""One. ', PAGES),
        ("report/say.py", '"""', '"""One. ', PAGES),
        ("workflow/stage.py", '"""', '"""One. ', set(ALL_NAMES)),
        ("stats/uncertainty.py", '"""', '"""One. ', set(ALL_NAMES)),
    ],
)
def test_a_change_re_runs_what_computes_with_it_and_nothing_else(tmp_path, monkeypatch, now, file, old, new, expected):
    shutil.copytree(paths.LIBRARY, tmp_path / "lib" / "verdict", copy_function=os.symlink)
    text = (paths.LIBRARY / file).read_text(encoding="utf-8")
    assert old in text
    monkeypatch.setattr(paths, "LIBRARY", tmp_path / "lib" / "verdict")
    write_text(paths.LIBRARY / file, text.replace(old, new, 1))
    compile((paths.LIBRARY / file).read_text(encoding="utf-8"), file, "exec")
    assert {name for name in ALL_NAMES if code_digest(name) != now[name]} == expected


def test_training_and_what_has_no_notebook_take_long_and_so_do_their_sources():
    needed = {"01_data", "02_warmup", "03_staged_unfreezing", "04_model_selection"}
    assert needed | WITHOUT_NOTEBOOK == LASTING


@pytest.mark.parametrize("name", sorted(LASTING - WITHOUT_NOTEBOOK))
def test_no_number_of_a_stage_that_takes_long_comes_of_what_draws_and_prints(name):
    """Else a change of it would have to run the stage again."""
    tree = ast.parse("\n".join(code_cells(paths.NOTEBOOKS / f"{name}.ipynb")))
    showing = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith(SHOWING)
        for alias in node.names
    }
    shown = {
        id(node.value.func) for node in ast.walk(tree) if isinstance(node, ast.Expr) and hasattr(node.value, "func")
    }
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in shown]
    assert showing and not showing & set(used)


def test_pages_are_made_with_templates_styles_and_scripts():
    assert {path.name for path in page_files()} >= {"page.html", "page.css", "index.html", "page.js"}
