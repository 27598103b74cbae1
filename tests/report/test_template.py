"""A new notebook from the template keeps every rule."""

import ast
import json
import subprocess

import pytest

from report_tools import Reader
from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.numbers import Numbers
from verdict.report.lint import lint_notebook
from verdict.report.markdown import Markdown
from verdict.report.notebook import read_notebook
from verdict.report.site import title_and_question
from verdict.report.template import main, new_notebook


def test_a_new_notebook_passes_the_lint(tmp_path, capsys):
    assert main(["14_ablation", "--question", "What is missing?", "--folder", str(tmp_path)]) == 0
    path = tmp_path / "14_ablation.ipynb"
    assert lint_notebook(path) == []
    told = capsys.readouterr().out
    assert 'Spec("14_ablation", ("01_data",)' in told and "lib/verdict/workflow/declarations.py" in told
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "".join(cells[0]["source"]).startswith("# Ablation\n\nWhat is missing?")
    tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
    assert tags == ["parameters", "setup", "hide-input", "answer", "check", "save"]
    assert len({cell["id"] for cell in cells}) == len(cells)


NAMES = ("14_Ablation", "14_What's new? (50 % & more)", '14_"größe" #1', "15_a-b $HOME `x` \\ [y]", "16_2nd")
NAMES += ("17_日本語",)
QUESTIONS = (
    'What\'s "new" in it?',
    "Is a < b and c > d, for <b>all</b> of them?",
    "Costs $5 or $6, 50 % & {{ no.such }} {% if %} *most* of _it_ [x](y) `z` <!-- w --> ~~v~~ \\\\ #1?",
    "1) Is it first - or + second?",
    "- Is it?",
    "Größer als 日本語 🙂?",
    "何ですか？",
    "ما هذا؟",
)


@pytest.mark.parametrize(("name", "question"), zip(NAMES + NAMES[:2], QUESTIONS, strict=True))
def test_names_and_questions_may_hold_any_character(tmp_path, capsys, name, question):
    assert main(["--question", question, "--folder", str(tmp_path), "--", name]) == 0
    path = tmp_path / f"{name}.ipynb"
    assert lint_notebook(path) == []
    title, asked = title_and_question(read_notebook(path))
    assert (title, asked) == (name[3:].replace("_", " ").capitalize(), question)
    first = Reader(Markdown(Numbers()).render(read_notebook(path)[0].source))
    assert " ".join(question.split()) in first.words
    declared = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("    Spec("))
    spec = ast.literal_eval(declared.strip().removeprefix("Spec").removesuffix(","))
    assert spec[0] == name
    opened = ast.parse(read_notebook(path)[2].source).body[-2].value.args[0].value
    assert opened == name


@pytest.mark.parametrize(
    "name", ["ablation", "1_a", "14_a/b", "14_", "14_ ", "14_a\n", "14_{x}", "14_a-clip", "14_" + "x" * 61]
)
def test_a_name_of_another_form_is_refused(name):
    with pytest.raises(ValueError, match="two digits, an underscore"):
        new_notebook(name, "T", "Q?")


def test_a_question_asks_and_a_notebook_that_exists_is_not_touched(tmp_path, capsys):
    assert main(["14_a", "--question", "Q.", "--folder", str(tmp_path)]) == 2
    assert "ends with a question mark" in capsys.readouterr().err and not list(tmp_path.iterdir())
    (tmp_path / "14_a.ipynb").write_text("mine", encoding="utf-8")
    assert main(["14_a", "--folder", str(tmp_path)]) == 2 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "14_a.ipynb").read_text(encoding="utf-8") == "mine"
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path)])
    assert "make notebook NAME=14_ablation" in capsys.readouterr().err


@pytest.mark.parametrize("question", ["What's new?", 'Is "it" $HOME, `id`, $(id) & 50 %; # so?', "Two\nlines?"])
def test_make_hands_a_question_on_as_it_is(tmp_path, question):
    (tmp_path / "Makefile").write_text((paths.ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("")
    python = tmp_path / ".venv" / "bin" / "python"
    write_text(python, '#!/bin/sh\nshift 2\nfor word; do echo "<$word>"; done\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    command = ["make", "notebook", "NAME=14_it's $HOME", f"QUESTION={question}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    given = [f"<--question={question.replace(chr(10), ' ')}>", "<-->", "<14_it's $HOME>"]
    assert done.stdout.splitlines()[-3:] == given
