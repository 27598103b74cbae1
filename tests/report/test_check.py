"""An author is told what is wrong before anything runs."""

import pytest

from report_tools import code, displayed, markdown, record, sample_numbers, stage, write_notebook
from verdict.base import paths
from verdict.report.check import check_notebook, chosen_notebooks, main
from verdict.report.executions import Execution

TITLE = markdown("# Test\n\nHow good is it?")
PARAMETERS = code('profile = "digits"', "parameters")
SAY = code('say("F1 is {test.macro_f1} [{test.nothing|value}].", stage.numbers)', "hide-input")


@pytest.fixture
def found(tmp_path):
    """Messages about a notebook with these cells, beside an executed one and a rendered page of another."""
    report = tmp_path / "report"
    report.mkdir()
    (tmp_path / "a.png").write_bytes(b"PNG")
    (report / "07_later-a-s1.html").write_text('<p id="figure-x">')
    (report / "05_test.html").write_text('<h2 id="renamed-since">A</h2>')
    write_notebook(tmp_path / "07_later.ipynb", [markdown("# Later\n\nWhat?\n\n## A *part* of $x$")])

    def check(*cells, executed=(TITLE, PARAMETERS, SAY)):
        path = write_notebook(tmp_path / "05_test.ipynb", [TITLE, PARAMETERS, *cells])
        done = write_notebook(tmp_path / "executed.ipynb", list(executed))
        run = Execution("05_test", "05_test", "done", run=record(), executed=done, numbers=sample_numbers())
        return [str(finding) for finding in check_notebook(path, [run] if executed else [], report)]

    return check


def test_a_good_notebook_with_outputs_has_no_findings(found):
    text = markdown("It is {{ test.macro_f1 }}: see [later](07_later.ipynb), [its figure](07_later.ipynb#figure-x).")
    part = markdown("[Part](07_later.ipynb#a-part-of-x), [away](https://e.org/x), $p_i$.")
    here = markdown(
        "## Größe: {{ test.macro_f1|value }}\n\n[up](#), [top](#top), [claims](#claims), [it](#größe-0-812)."
    )
    hidden = markdown(
        "<!-- F1 was 0.83, {{ no.such }}, see [nothing](#nowhere). -->\n\nText <!-- not 83 % --> goes on."
    )
    assert found(text, part, here, hidden, {**code("x", outputs=[displayed({})]), "execution_count": 2}) == []


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            markdown("{{ test.makro_f1 }}"),
            "cell 3: no number is called 'test.makro_f1'; the nearest is 'test.macro_f1'",
        ),
        (markdown("It is {{ test.macro_f1 }"), "cell 3: 'It is {{ test.macro_f1 }': a number stands between {{ and }}"),
        (markdown(" <!-- later -->", "answer"), "cell 3: the answer is empty: say it, or take the tag away"),
        (markdown("$\\nosuch{x}$"), "cell 3: the formula"),
        (markdown("![](a.png)"), "cell 3: the image 'a.png' has no alt text"),
        (markdown("[a](06_gone.ipynb)"), "the link to '06_gone.html' leads nowhere"),
        (markdown("[a](notes.txt)"), "the link to 'notes.txt' leads nowhere"),
        (markdown("[a](07_later.ipynb#gone)"), "that page has no anchor 'gone'"),
        (markdown("[a](#gone)"), "the link to '#gone' leads nowhere: this page has no anchor 'gone'"),
        (markdown("[a][b]\n\n[b]: #%C3%BCber"), "this page has no anchor 'über'"),
        (markdown("```\n# part\n```\n\n[a](#part)"), "this page has no anchor 'part'"),
        (markdown("[a](#renamed-since)"), "this page has no anchor 'renamed-since'"),
        (markdown("[a](05_test.ipynb#gone)"), "that page has no anchor 'gone'"),
        (markdown("Text <!-- a note\n\nand more"), "the comment '<!-- a note\\n\\nand more' is not closed by -->"),
        (markdown("- item <!-- todo"), "is not closed"),
        (markdown("| a | b |\n|---|---|\n| 1 |"), "a table is not read as one"),
        (markdown("So it is.[^1]"), "'[^1]' is no footnote"),
        (markdown("Let \\(x\\) be."), "is no formula, here nor in JupyterLab"),
        (markdown("Then \\[x_1 = 2\\]."), "is no formula, here nor in JupyterLab"),
        (markdown("It costs $5, that is 6$ less."), "is read as a formula: write \\$ where money is meant"),
        (markdown("<img src='https://e.org/a.png' alt='x'>"), "the picture <img"),
        (markdown("![x](attachment:gone.png)"), "'attachment:gone.png' is not a local image file"),
        (markdown("{% if test.gian.low > 0 %}x{% endif %}"), "no number is called 'test.gian'"),
        (code("def f():\n    pass"), "cell 3: 'f' is defined here"),
        (code("x = 1", "parametres"), "cell 3: unknown tag 'parametres'"),
        (markdown("F1 was 0.83."), "cell 3: the typed number '0.83'"),
    ],
)
def test_each_fault_is_named_with_its_cell(found, cell, message):
    messages = found(cell)
    assert len(messages) == 1 and message in messages[0]


def test_all_faults_of_a_cell_are_told_at_once(found):
    text = "{{ test.makro_f1 }} ![](a.png) $\\nosuch{x}$ [a](#gone) {{ test.no }}\n\n$\\nosuch{y}$ <!-- end"
    assert len(found(markdown(text), markdown("{{ test.none }}"))) == 8


def test_of_a_cell_whose_condition_cannot_be_evaluated_nothing_else_is_told_and_no_other_cell_suffers(found):
    shown = '{% if has("no.such") %}Of {{ no.such }}, {{ no.a }}, {{ no.b }}, {{ no.c }}, {{ no.d }}.'
    broken = markdown(f"## A part\n\n{shown}\n\nOne more.")
    of_broken, of_other = found(markdown("See [it](#a-part)."), broken, markdown("{{ test.none }}"))
    assert "cell 4: a condition cannot be evaluated" in of_broken
    assert "cell 5: no number is called 'test.none'" in of_other


def test_what_is_shown_as_jupyterlab_shows_it_is_no_fault(found):
    parts = [
        "## A *Part* of it: größer?\n\n[here](#A-Part-of-it:-größer?)",
        "\\begin{align}\na &= b \\\\\n&= c\n\\end{align}",
        "Let \\\\(x\\\\) be, or \\\\[x = 2\\\\] so, $$\n\nx\n= 1\n$$ and \\[no\\] link.",
        "| a | b |\n|---|---|\n| $|x|$ | 1 |",
        "- [x] done https://e.org\n- [ ] not",
        "<details><summary>More of {{ test.macro_f1 }}</summary>\n\n**text**\n\n</details> <!-- a\n\nnote -->",
        "Cost \\$5, or $5 and $10. `$a$ \\(x\\) [^1]`",
    ]
    assert found(*map(markdown, parts)) == []


def test_names_in_sentences_are_checked_while_the_code_is_what_ran(found):
    assert found(SAY) == ["05_test.ipynb, cell 3: no number is called 'test.nothing'; the nearest is 'test.macro_f1'"]
    assert found(SAY, code("y = 2")) == []


def test_names_that_the_code_stores_are_known_and_without_a_report_all_are(found):
    stored = code('stage.number("test.new", 1)')
    assert found(stored, markdown("{{ test.new }}")) == []
    assert found(markdown("{{ whatever.name }}"), executed=()) == []


def test_what_code_has_not_stored_as_it_ran_is_not_there(found):
    cells = code('has("test.new")'), markdown('{% if has("test.new") %}{{ no.such }}{% endif %}')
    assert found(*cells, executed=(TITLE, PARAMETERS, cells[0])) == []
    assert "no number is called 'no.such'" in found(*cells)[0]


def test_the_text_of_the_index_is_checked_and_other_profiles_notebooks_are_not_asked_for_names(found, tmp_path):
    run = Execution("05_test", "05_test", "done", run=record(), numbers=sample_numbers())
    (tmp_path / "index.md").write_text("# When?\n\n{{ test.makro_f1 }}", encoding="utf-8")
    messages = [str(finding) for finding in check_notebook(tmp_path / "index.md", [run], tmp_path)]
    assert messages == ["index.md, cell 1: no number is called 'test.makro_f1'; the nearest is 'test.macro_f1'"]
    (tmp_path / "index.html").write_text('<p id="claim-x">')
    (tmp_path / "index.md").write_text("# When?\n\n[a](#claim-x) [b](#when) [c](#gone)", encoding="utf-8")
    messages = [str(finding) for finding in check_notebook(tmp_path / "index.md", [run], tmp_path)]
    assert messages == ["index.md, cell 1: the link to '#gone' leads nowhere: this page has no anchor 'gone'"]
    other = write_notebook(tmp_path / "01_recorded.ipynb", [TITLE, PARAMETERS, markdown("{{ recorded.n }}")])
    assert check_notebook(other, [run], tmp_path) == []


def test_the_command_line_names_notebooks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    write_notebook(tmp_path / "05_test.ipynb", [TITLE, PARAMETERS, markdown("F1 was 0.83.")])
    assert main(["05_test"]) == 1
    told = capsys.readouterr()
    assert "cell 3: the typed number" in told.out and "names of numbers are not checked" in told.err
    (tmp_path / "index.md").write_text("[a](06_gone.ipynb)", encoding="utf-8")
    write_notebook(tmp_path / "14_it's new.ipynb", [TITLE, PARAMETERS])
    assert main([]) == 1
    told = capsys.readouterr().out
    assert "index.md, cell 1: the link to '06_gone.html'" in told
    assert "14_it's new.ipynb, cell 0: no stage of lib/verdict/workflow/declarations.py executes it" in told
    assert "01_data is declared, and " in told and "05_test is declared, and " not in told
    assert main(["06_test"]) == 2 and "no notebook is called '06_test'" in capsys.readouterr().err
    assert chosen_notebooks(["notebooks/05_test.ipynb"], tmp_path) == [tmp_path / "05_test.ipynb"]


def test_a_half_written_notebook_that_was_executed_is_one_finding(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    stage("05_test", TITLE, PARAMETERS, profile="digits")
    (tmp_path / "05_test.ipynb").write_text('{"cells": [\n')
    assert main(["05_test"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("05_test.ipynb, cell 0: ") and "05_test.ipynb is not readable as JSON" in line


def test_a_model_that_cannot_be_had_is_told_with_what_to_do(tmp_path, monkeypatch, capsys):
    base = (paths.PARAMS / "base.yaml").read_text(encoding="utf-8")
    monkeypatch.setattr(paths, "PARAMS", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = f"{{hub: some/llava, revision: '{'0' * 40}'}}"
    answers = f"{{table: t.csv, images: i, model: {model}}}"
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(f"title: Mine\ndata: {{source: answers, answers: {answers}}}\n")
    assert main(["--profile", "mine"]) == 2
    assert "some/llava is not stored on this machine" in (told := capsys.readouterr().err) and "HF_HOME" in told
