"""The layout, the import order, and what is documented: read from the files, so that none can drift."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from verdict.base import paths
from verdict.report.lint import lint_notebook
from verdict.report.notebook import read_notebook
from verdict.workflow import stages
from verdict.workflow.code_digest import code_cells
from verdict.workflow.stage_parameters import parameter_model

TOP_LEVEL = {"README.md", "LICENSE", "CITATION.cff", "DECISIONS.md", "Makefile", "Snakefile", "environment.yml"}
TOP_LEVEL |= {"requirements.txt", "pyproject.toml", "notebooks", "lib", "params", "reports", "tests"}
GENERATED = {"work", "CHANGELOG.md"}
TARGETS = {"help", "env", "report", "test", "lint", "lab", "presets", "bench", "clean"}
TARGETS |= {"watch", "check", "notebook", "diff", "publish", "chaos"}
TARGETS |= {"test-slurm", "verify", "bench-scale", "explain", "replay", "decide", "monitor", "export"}

# Lowest first: a room imports only from those before it. What notebooks call is the last one's.
ROOMS = ("base", "stats", "data", "workflow", "model", "decide", "pages", "clip", "report")
FRAMEWORKS = {"torch", "keras", "keras_hub", "tensorflow", "transformers"}
# The modules that compute with a framework; no other imports one, not even through these, when it is imported.
NUMERICAL = {
    *("model", "pages.interpretation", "pages.defects_network"),
    *(f"clip.encoder.{name}" for name in ("ask", "encode", "own_model", "shipped", "teach")),
}
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))


def text_of(name):
    return (paths.ROOT / name).read_text(encoding="utf-8")


def modules():
    """Dotted name within the package and path of every module."""
    for path in sorted(paths.LIBRARY.rglob("*.py")):
        parts = path.relative_to(paths.LIBRARY).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def is_numerical(name):
    """Whether a module, or a package that holds it, computes with a framework."""
    parts = name.split(".")
    return any(".".join(parts[:depth]) in NUMERICAL for depth in range(1, len(parts) + 1))


def imported(tree):
    """Full names of what a source imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide what a stage depends on"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def authored_files():
    """Text files that people write: everything but presets and generated folders."""
    for name in sorted(TOP_LEVEL - {"reports"}):
        root = paths.ROOT / name
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            skipped = {"__pycache__", "presets", ".ipynb_checkpoints", ".ruff_cache"} & set(path.parts)
            if path.is_file() and not skipped and path.suffix not in (".png", ".pyc", ".h5"):
                yield path


def test_the_top_level_is_as_documented_and_nothing_generated_is_committed():
    found = {path.name for path in paths.ROOT.iterdir() if not path.name.startswith(".")}
    assert TOP_LEVEL <= found <= TOP_LEVEL | GENERATED
    ignored = text_of(".gitignore").split()
    assert {"work/", "reports/*", ".venv/", "!reports/README.md"} <= set(ignored)
    shown = {line.removeprefix("!reports/").strip("/") for line in ignored if "!" in line}
    assert shown - {"README.md"} <= paths.TAKEN and not paths.TAKEN & set(paths.profiles())


def test_who_may_use_this_and_how_to_cite_it_is_said():
    cited = yaml.safe_load(text_of("CITATION.cff"))
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert cited["license"] == project["license"] == "MIT" and cited["version"] == project["version"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert text_of("LICENSE").startswith("MIT License\n\nCopyright (c) 2026 ")
    table = text_of("README.md").partition("## Licences")[2]
    corpora = ("handwritten digits", "DejaVu", "NLVR", "SNLI-VE", "A2", "CIFAR-10,", "CIFAR-10H", "Imagenette")
    assert [name for name in corpora if name not in table] == []


def test_the_package_is_nine_rooms():
    assert {name.split(".")[0] for name, _ in modules()} == {"", *ROOMS}
    assert [name for name, path in modules() if "." not in name and path.name != "__init__.py"] == []


def test_a_room_imports_only_from_rooms_below_and_only_numerical_modules_name_a_framework():
    for name, path in modules():
        own, text = name.split(".")[0], path.read_text(encoding="utf-8")
        for target in imported(ast.parse(text)):
            package, _, rest = target.partition(".")
            room = rest.split(".")[0]
            if package == "verdict" and room != own:
                assert name, "the package itself imports nothing"
                assert ROOMS.index(room) < ROOMS.index(own), f"{name} imports {target}, which stands above it"
            assert package not in FRAMEWORKS or is_numerical(name), f"{name} imports {target}"
        if name != "base.paths":
            assert "VERDICT_ROOT" not in text, name
            assert "parents[" not in text, f"{name} walks up from its own file; named folders are in paths"


def test_importing_the_rest_loads_no_framework():
    """A notebook that needs arrays alone must not wait for a framework."""
    light = [f"verdict.{name}" for name, _ in modules() if name and not is_numerical(name)]
    light = [name for name in light if not name.endswith("__main__")]
    code = f"import sys, {', '.join(light)}\nprint(sorted({FRAMEWORKS!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.LIBRARY.parent, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr[-2000:]


def test_no_file_names_a_place_on_a_machine():
    here = [str(paths.ROOT), f"{Path.home()}/"]
    somewhere = re.compile(r"""(?<![\w.~}>*)/:-])/(?:home|Users|mnt|media|content/drive)/\w""")
    for path in authored_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        for place in here:
            assert place not in text, f"{path.name} names {place}"
        if "tests" not in path.relative_to(paths.ROOT).parts:
            assert not (found := somewhere.search(text)), f"{path.name} names {text[found.start() :][:40]!r}"


def test_every_documented_target_exists_and_says_what_it_does():
    done = subprocess.run(["make", "help"], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    listed = dict(re.findall(r"^make (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)[1].split()
    assert listed.keys() == set(phony) == TARGETS
    for name in ("README.md", "DECISIONS.md", "Makefile"):
        assert set(re.findall(r"(?:`|^\s*\$? ?)make ([a-z-]+)", text_of(name), re.MULTILINE)) <= TARGETS, name


def told_by_make(*given, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | variables
    return subprocess.run(["make", *given], cwd=paths.ROOT, env=kept, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("given", [["PROFIL=a"], ["profile=a b"], ["-n", "-o", "x", "CORE:=2"], ["-e", "-B", "IMAGE="]])
def test_a_variable_that_no_command_knows_is_refused_at_once(given):
    done = told_by_make("help", *given)
    name = re.match(r"\w+", given[-1])[0]
    assert done.returncode == 2 and not done.stdout
    assert f"no command knows {name}; known are PROFILE CORES" in done.stderr


def test_what_commands_read_and_what_the_environment_holds_is_no_unknown_variable():
    read = set(re.findall(r"\((?:value|call quoted,|call given,\w+,) ?([A-Z]+)\)", text_of("Makefile")))
    read |= set(re.findall(r"^([A-Z]+) \?=", text_of("Makefile"), re.MULTILINE))
    read |= set(re.findall(r"\$\((?:or \$\()?(CORES|N|SEED|LANES|BENCH)\)", text_of("Makefile")))
    assert read == set(re.search(r"^KNOWN := (.*)$", text_of("Makefile"), re.MULTILINE)[1].split())
    assert told_by_make("-e", "help", PROFIL="x").returncode == 0
    assert told_by_make("-n", "help", *(f"{name}=a b" for name in read), "VERDICT_DATA=/x").returncode == 0
    assert told_by_make("help", "PROFIL=x", MAKELEVEL="1").returncode == 0


def test_every_command_of_the_makefile_is_a_module_of_whatever_python_is_there():
    """Scripts of an environment hold the path that it was made in; its Python does not."""
    assert set(re.findall(r"\$\(VENV\)/bin/(\S+)", text_of("Makefile"))) == {"python"}


def test_every_module_that_is_named_as_a_command_exists():
    for path in authored_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        for name in re.findall(r"(?:-m|\$\(RUN\)) ((?:verdict|tests)\.\w[\w.]*\w)", text):
            base = (paths.LIBRARY.parent if name.startswith("verdict") else paths.ROOT).joinpath(*name.split("."))
            assert base.with_suffix(".py").is_file() or (base / "__main__.py").is_file(), f"{path.name} names {name}"


STAND_IN = """#!/bin/sh
# Python as far as `make env` calls it: it has a version, and installs a file, or half of one and stops.
case "$*" in
"-c "*) [ %d -ge 11 ] && [ %d -le 13 ] ;;
"-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
"-m pip "*) if [ -e stop ]; then touch .venv/half; exit 1; fi; touch .venv/whole ;;
esac
"""
UV = """#!/bin/sh
case "$1" in
venv) mkdir -p .venv/bin; touch .venv/bin/python ;;
pip) [ ! -e stop-uv ] && touch .venv/by-uv ;;
esac
"""
TOOLS = ("sh", "make", "uname", "mkdir", "cp", "rm", "touch", "env")


@pytest.fixture
def bare(tmp_path):
    """A project's folder, and a machine that has nothing but the tools that every one has, and what a test adds."""
    root, tools = tmp_path / "project", tmp_path / "bin"
    root.mkdir()
    tools.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy2(paths.ROOT / name, root / name)
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    return root


def program(root, name, text):
    path = root.parent / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def python(root, name, minor):
    program(root, name, STAND_IN % (minor, minor))


def make_env(root, *options, **variables):
    given = {"PATH": str(root.parent / "bin"), **variables}
    command = ["make", "env", *options]
    return subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)


def test_an_installation_that_was_stopped_is_made_anew(bare):
    """Pip takes what it has left for installed; one that ended is kept when a pin is added."""
    python(bare, "python3.12", 12)
    venv = bare / ".venv"
    (bare / "stop").touch()
    assert make_env(bare).returncode != 0 and (venv / "half").exists() and not (venv / ".ready").exists()
    (bare / "stop").unlink()
    again = make_env(bare)
    assert again.returncode == 0 and "did not end" in again.stdout
    assert (venv / "whole").exists() and (venv / ".ready").exists() and not (venv / "half").exists()
    (venv / "own").touch()
    os.utime(venv / ".ready", (0, 0))
    assert "did not end" not in make_env(bare).stdout
    assert (venv / "own").exists()


def test_an_environment_whose_python_was_taken_away_is_made_anew(bare):
    """As an upgrade of the system's Python leaves it: a link to what is not there."""
    python(bare, "python3.12", 12)
    assert make_env(bare).returncode == 0
    link = bare / ".venv" / "bin" / "python"
    link.unlink()
    link.symlink_to("/gone/python3.12")
    again = make_env(bare)
    assert again.returncode == 0 and "the Python of .venv is gone" in again.stdout
    assert link.is_file() and (bare / ".venv" / ".ready").exists()
    assert "making the environment" not in make_env(bare).stdout


def test_an_environment_is_made_once_whatever_the_clock_says(bare):
    python(bare, "python3.12", 12)
    later = time.time() + 1e6
    os.utime(bare / "requirements.txt", (later, later))
    assert "making the environment" in make_env(bare).stdout
    again = make_env(bare)
    assert again.returncode == 0 and "making the environment" not in again.stdout


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"python3.11": 11, "python3.13": 13}, "python3.11"),
        ({"python3.12": 12, "python3": 10}, "python3.12"),
        ({"python3.13": 13}, "python3.13"),
        ({"python3.11": 10, "python3": 12}, "python3"),
    ],
)
def test_the_first_python_at_hand_that_fits_is_taken(bare, versions, expected):
    for name, minor in versions.items():
        python(bare, name, minor)
    done = make_env(bare)
    assert done.returncode == 0, done.stderr
    assert f"making the environment in .venv with {expected} " in done.stdout
    assert (bare / ".venv" / ".ready").exists()


@pytest.mark.parametrize("minor", [9, 10, 14])
def test_another_python_is_refused_in_a_sentence_before_anything_is_made(bare, minor):
    python(bare, f"python3.{minor}", minor)
    for options, said in (
        ((), "no Python 3.11, 3.12 or 3.13 was found"),
        ((f"PYTHON=python3.{minor}",), f"python3.{minor} is not there, or not Python 3.11, 3.12 or 3.13"),
        (("PYTHON=/a b/python",), "/a b/python is not there, or not Python"),
    ):
        done = make_env(bare, *options)
        assert done.returncode == 2 and not (bare / ".venv").exists()
        assert said in done.stdout and "Traceback" not in done.stderr


def test_uv_is_used_where_it_is_there_and_pip_where_it_fails(bare):
    program(bare, "uv", UV)
    assert make_env(bare).returncode == 0 and (bare / ".venv" / "by-uv").exists()
    shutil.rmtree(bare / ".venv")
    python(bare, "python3.12", 12)
    assert make_env(bare).returncode == 0
    assert (bare / ".venv" / "by-uv").exists() and not (bare / ".venv" / "whole").exists()
    shutil.rmtree(bare / ".venv")
    (bare / "stop-uv").touch()
    assert make_env(bare).returncode == 0 and (bare / ".venv" / "whole").exists()


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0-19045 x86_64", "Darwin x86_64", "FreeBSD amd64"])
def test_elsewhere_a_sentence_says_where_it_runs(bare, system):
    (bare.parent / "bin" / "uname").unlink()
    program(bare, "uname", f"#!/bin/sh\necho {system}\n")
    python(bare, "python3.12", 12)
    done = make_env(bare)
    assert done.returncode == 2 and not (bare / ".venv").exists()
    assert "Linux, on macOS" in done.stdout and "inside WSL" in done.stdout and system in done.stdout


@pytest.mark.parametrize("name", ["a:b", "line\nbreak", "tr:ailing\n"])
def test_a_path_that_no_environment_stands_is_refused(bare, name):
    python(bare, "python3.12", 12)
    root = bare.rename(bare.parent / name)
    done = make_env(root)
    assert done.returncode == 2 and not (root / ".venv").exists()
    assert "holds a colon or a line break" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "a$b$$c", "{a}", "caf\u00e9", "cafe\u0301", "a#b%c", "x" * 200])
def test_an_environment_is_made_below_any_other_path(bare, name):
    python(bare, "python3.12", 12)
    program(bare, "git", '#!/bin/sh\necho "$PYTHONPATH" >told; env >all\n')
    root = bare.rename(bare.parent / name)
    done = make_env(root, PYTHONWARNINGS="error", PYTHONHOME="/nowhere")
    assert done.returncode == 0 and (root / ".venv" / ".ready").exists(), done.stderr
    assert (root / "told").read_text() == f"{root}/lib\n"
    assert not {"PYTHONWARNINGS=error", "PYTHONHOME=/nowhere"} & set((root / "all").read_text().splitlines())


def test_the_environment_has_one_list_of_exact_pins_and_all_places_name_the_same_pythons():
    lines = text_of("requirements.txt").splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith(("#", "-", "--"))]
    assert [line for line in pins if not re.match(r"^[\w.\[\]-]+==[\w.+!]+(\s*;.*)?$", line)] == []
    environment = yaml.safe_load(text_of("environment.yml"))
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["-r requirements.txt"]
    asked = tomllib.loads(text_of("pyproject.toml"))["project"]["requires-python"]
    assert asked == ">=3.11,<3.14" and f"python{asked}" in text_of("environment.yml")
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in text_of("Makefile")
    assert "Python 3.11, 3.12 or 3.13" in text_of("README.md")


# Pinned, and called by another way than an import.
NOT_IMPORTED = {
    "axe-core-python": "tests take its file",
    "jupyterlab": "`make lab` starts it",
    "mapie": "tests ask for it by name",
    "nbclient": "papermill runs notebooks by it",
    "pytest-xdist": "pytest's plugin",
    "ruff": "`make lint` runs it",
    "snakemake": "run as a module",
    "snakemake-executor-plugin-slurm": "Snakemake's plugin",
    "snakemake-executor-plugin-slurm-jobstep": "Snakemake's plugin",
    "torchmetrics": "tests ask for it by name",
}


def test_what_is_imported_is_pinned_and_what_is_pinned_is_imported():
    files = [path for folder in ("lib", "tests") for path in (paths.ROOT / folder).rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    sources += ["\n".join(code_cells(path)) for path in NOTEBOOKS]
    found = {target.split(".")[0] for source in sources for target in imported(ast.parse(source))}
    found |= set(re.findall(r"^\s*(?:import|from) (\w+)", text_of("Snakefile"), re.MULTILINE))
    own = {"verdict", "tests", *(path.stem for path in files if path.is_relative_to(paths.ROOT / "tests"))}
    owners = importlib.metadata.packages_distributions()
    packages = [name for module in found - own - sys.stdlib_module_names for name in owners.get(module, [module])]
    lines = [line.split("==")[0] for line in text_of("requirements.txt").splitlines() if "==" in line]
    used, pinned = ({re.sub(r"[-_.]+", "-", name).lower() for name in names} for names in (packages, lines))
    assert used - pinned == set(), "imported, and not in requirements.txt"
    assert pinned - used - NOT_IMPORTED.keys() == set(), "in requirements.txt, and imported nowhere"
    assert NOT_IMPORTED.keys() <= pinned


def test_stages_and_notebooks_are_the_same():
    named = {stages.notebook_of(name) for name in (*stages.ALL_NAMES, stages.MONITOR)}
    assert {path.stem for path in NOTEBOOKS} == named - stages.WITHOUT_NOTEBOOK


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_the_rules_and_has_the_parameters_of_its_model(path):
    """A copied notebook that kept another's name would write over that one's result."""
    assert [str(finding) for finding in lint_notebook(path)] == []
    tagged = next(cell for cell in read_notebook(path) if "parameters" in cell.tags)
    given = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(tagged.source).body}
    assert given == parameter_model(path.stem)().model_dump()
    assert re.findall(r"""open_stage\(\s*["']([^"']+)["']""", "\n".join(code_cells(path))) == [path.stem]


NAMED_STREAMS = [
    *(
        paths.NOTEBOOKS / f"{name}.ipynb"
        for name in ("01_data", "06_interpretation", "13_defects", "13_reproducibility")
    ),
    *(
        paths.LIBRARY / "pages" / f"{name}.py"
        for name in ("defects", "defects_network", "defects_training", "interpretation", "reproducibility")
    ),
]


@pytest.mark.parametrize("path", NAMED_STREAMS, ids=lambda path: path.stem)
def test_random_streams_have_names(path):
    """`rng(64)` and `default_rng([seed, 3])` may be another's stream; a name says whose it is."""
    text = "\n".join(code_cells(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func).rpartition(".")[2]
        assert function != "default_rng", ast.unparse(call)
        if function == "rng":
            assert isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str), ast.unparse(call)
