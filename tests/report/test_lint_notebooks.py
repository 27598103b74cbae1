"""The notebook lint finds each fault, and nothing in a good notebook."""

import pytest

from report_tools import code, markdown, write_notebook
from verdict.report.lint import lint_notebook, main

TITLE = markdown("# Test\n\nHow good is it?")
PARAMETERS = code('profile = "digits"\nseed = 11\nrate = -1.0e-3', "parameters")
PROSE = markdown(
    "On {{ test.n }} pairs at the 95 % level, `0.83` and $p < 0.05$; section 3.2, the year 2001, version 0.9."
)
GOOD = [TITLE, PARAMETERS, code("from verdict.base.numbers import Numbers\nimport pandas as pd", "setup"), PROSE]


def messages(tmp_path, *cells):
    return [str(finding) for finding in lint_notebook(write_notebook(tmp_path / "05_test.ipynb", list(cells)))]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f():\n    pass", "'f' is defined here"),
        ("class A:\n    pass", "'A' is defined here"),
        ("try:\n    x()\nexcept ValueError:\n    pass", "no try"),
        ("for a in b:\n    for c in d:\n        e()", "nested loops"),
        ("import sys\nsys.path.append(x)", "no sys.path"),
        ("import warnings\nwarnings.filterwarnings('ignore')", "no warnings.filterwarnings"),
        ("!pip install x", "no shell commands"),
        ("%matplotlib inline", "no shell commands or magics"),
        ("x = open('/home/me/x.csv')", "absolute path '/home/me/x.csv'"),
        ("x = 1\n" * 16, "16 lines; a code cell has at most 15"),
        ("x = (", "not valid Python"),
        ("show_figure(fig, caption='c')", "show_figure without alt="),
        ("show_gallery(images, titles=t, alt='a')", "show_gallery without caption="),
        ("show_figure(fig, caption='c', alt=' ')", "empty alt="),
        ("show_table(t)", "show_table without caption="),
        ("say('It is 0.83 and {test.f1}', numbers)", "typed number '0.83' in say"),
        ("say('{a}, {b}, {c}, {d}, {e}.', numbers)", "5 numbers in one sentence"),
        ("from verdict.nothing import x", "there is no module verdict.nothing"),
        ("from verdict.base.numbers import Nummer", "no 'Nummer'; the nearest is 'Number'"),
        ("from verdict.base.numbers import *", "import the names that are used"),
        ("from .x import y", "no relative imports"),
    ],
)
def test_each_fault_in_code_is_found(tmp_path, source, message):
    found = messages(tmp_path, *GOOD, code(source))
    assert len(found) == 1 and found[0].startswith("05_test.ipynb, cell 5: ")
    assert message in found[0]


def test_the_parameters_cell_is_one_first_and_literal(tmp_path):
    assert "exactly one cell has the tag `parameters`, found 0" in messages(tmp_path, TITLE, code("x = 1"))[0]
    assert "found 2" in messages(tmp_path, TITLE, PARAMETERS, PARAMETERS, PROSE)[0]
    assert "is the first code cell" in messages(tmp_path, TITLE, code("x = 1"), PARAMETERS, PROSE)[0]
    for source in ("n = 2 * 3", "n = load()", "import os", "a, b = 1, 2", "n = {[1]: 2}"):
        found = messages(tmp_path, TITLE, code(source, "parameters"), PROSE)
        assert len(found) == 1 and "assigns literals only" in found[0]


def test_outputs_counts_tags_and_titles(tmp_path):
    stream = {"output_type": "stream", "name": "stdout", "text": "x"}
    assert "outputs are stripped" in messages(tmp_path, *GOOD, code("x", outputs=[stream]))[0]
    assert "execution counts" in messages(tmp_path, *GOOD, {**code("x"), "execution_count": 3})[0]
    assert "unknown tag 'parametres'" in messages(tmp_path, *GOOD, code("x", "parametres"))[0]
    assert "executed copy" in messages(tmp_path, *GOOD, code("x", "injected-parameters"))[0]
    assert "first cell is a text cell" in messages(tmp_path, PARAMETERS, PROSE)[0]
    assert "asks the notebook's question" in messages(tmp_path, markdown("# Test"), PARAMETERS, PROSE)[0]
    assert "5 computing cells beside 2 cells of text" in messages(tmp_path, *GOOD, *[code("x")] * 5)[0]


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        ("stage.claim('a', 'A', 'x.y', '>', 0)", "the claim 'a' names no exhibit"),
        ("stage.claim('a', 'A', 'x.y', '>', 0, exhibit='05_b.csv')", "'05_b.csv', which no cell shows"),
        ("stage.claim(name, 'A', 'x.y', 'within', 0, margin=1, exhibit='')", "the claim name names the exhibit ''"),
        ("stage.claim('a', 'A', 'x.y', '>', 0, exhibit='05_a.csv')", None),
    ],
)
def test_a_claim_names_the_exhibit_that_shows_its_number(tmp_path, claim, told):
    shown = code("show_table(table, caption='C', file='05_a.csv')")
    found = messages(tmp_path, *GOOD, shown, PROSE, code(claim, "save"))
    assert (found == []) if told is None else (len(found) == 1 and told in found[0])


def test_a_file_that_is_no_notebook_is_one_finding(tmp_path, capsys):
    (tmp_path / "x.ipynb").write_text("{")
    assert main([str(tmp_path / "x.ipynb")]) == 1
    assert "not readable as JSON" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("**Method.** " + "word " * 90, "a method of 91 words: at most 90"),
        ('**Method.** {% if has("a.b") %}' + "word " * 90 + "{% else %}word{% endif %}", "a method of 91 words"),
        ("Of {{ a }}, {{ b }}, {{ c }} and {{ d }} it is {{ e }}.", "5 numbers in one sentence"),
        (
            "Of {{ a }} {% if a.low > 0 %}{{ b }}, {{ c }}, {{ d }}, {{ e }}{% else %}none{% endif %}.",
            "5 numbers in one",
        ),
        ("F1 was 0.83.", "typed number '0.83' looks like a result"),
        ("about 83 % of", "typed number '83 %' looks like a result"),
        ("81.4% here", "typed number '81.4%' looks like a result"),
        ("gains 2.1 points", "typed number '2.1 points' looks like a result"),
        ("at .912", "typed number '.912' looks like a result"),
    ],
)
def test_prose_is_short_and_types_no_result(tmp_path, text, message):
    assert [message in found for found in messages(tmp_path, *GOOD, markdown(text))] == [True]


@pytest.mark.parametrize(
    "cell",
    [
        code('show_figure(fig, caption="c", alt="a")\nfor x in y:\n    z(x)'),
        markdown("**Method.** " + "word " * 89),
        # One branch of a choice is read at a time.
        markdown("**Method.** {% if a.low > 0 %}" + "word " * 60 + "{% else %}" + "word " * 60 + "{% endif %}"),
        markdown("word " * 200 + "{{ a }}, {{ b }}, {{ c }} and {{ d }}. {{ e }} is another sentence."),
        markdown("{{ a }}, {{ b }} {% if a.low > 0 %}{{ c }} and {{ d }}{% else %}{{ e }} and {{ f }}{% endif %}."),
    ],
)
def test_a_good_notebook_has_no_findings(tmp_path, cell):
    assert messages(tmp_path, *GOOD, cell) == []
