"""A claim leads to the drawing and the code behind its number."""

import pandas as pd
import pytest

from report_tools import code, displayed, markdown, sample_claim, shows_number, write_notebook
from verdict.base.numbers import Number
from verdict.report.evidence import Exhibit, find_exhibits
from verdict.report.notebook import matched
from verdict.report.outputs import MIME


def said(*names):
    return displayed({MIME: {"kind": "say", "template": "x", "numbers": {name: {} for name in names}}})


def shown(kind, file, **fields):
    return displayed({MIME: {"kind": kind, "caption": "c", "file": file, **fields}})


@pytest.fixture
def found(tmp_path):
    """Two sections; the claim's sentence stands beside a picture that does not hold its number."""
    cells = [
        markdown("# T"),  # 1
        code("a", outputs=[shown("table", "05_a.csv"), shown("figure", "05_a.svg")]),  # 2
        markdown("Text.\n\n## Second"),  # 3
        code("b", outputs=[shown("gallery", "05_b.svg"), shown("table", "")]),  # 4
        code("c", "answer", outputs=[said("t.first", "t.answered")]),  # 5
        code("d", outputs=[said("t.first"), shown("claims", "05_a.csv")]),  # 6
        code("stage.claim('odd', 'x', name, '>', 0)", "save"),  # 7
    ]
    notebook = write_notebook(tmp_path / "05_test.ipynb", cells)
    return find_exhibits(*matched(notebook, notebook))


@pytest.mark.parametrize(
    ("exhibit", "expected"),
    [
        ("05_a.csv", Exhibit(2, "Table 1", "table-05-a")),
        ("05_a.svg", Exhibit(2, "Figure 1", "figure-05-a")),
        ("05_b.svg", Exhibit(4, "Figure 2", "figure-05-b")),
    ],
)
def test_evidence_is_the_exhibit_that_the_claim_names(found, exhibit, expected):
    assert found.of(sample_claim(number="t.first", exhibit=exhibit)) == expected


@pytest.mark.parametrize("exhibit", ["", "05_gone.csv"])
def test_without_its_exhibit_a_claim_leads_to_the_cell_that_states_it(found, exhibit):
    assert found.of(sample_claim(id="odd", exhibit=exhibit)) == Exhibit(7)
    assert found.of(sample_claim(id="elsewhere", exhibit=exhibit)) == Exhibit()


@pytest.mark.parametrize(
    ("number", "is_shown"),
    [
        (Number(0.5, 0.4, 0.6), True),
        (Number(3, unit="count"), True),
        (Number(0.5, 0.4, 0.7), False),
        (Number(0.2, 0.4, 0.6), False),
        (Number(0.25, unit="count"), False),
    ],
)
def test_an_exhibit_shows_a_number_in_one_row_with_its_interval(number, is_shown):
    data = pd.DataFrame({"name": ["a", "b"], "x": [0.5, 3], "x_low": [0.4, 0.4], "x_high": [0.6, 0.7]})
    assert shows_number(data, number) is is_shown


def test_a_page_knows_its_answer(found):
    assert [set(payload["numbers"]) for payload in found.answer] == [{"t.first", "t.answered"}]


def test_what_a_page_leaves_out_is_not_counted(tmp_path):
    cells = [
        code("a", "remove-cell", outputs=[shown("figure", "a.svg")]),
        code("b", outputs=[shown("figure", "b.svg")]),
    ]
    notebook = write_notebook(tmp_path / "05_test.ipynb", [markdown("# T"), *cells])
    found = find_exhibits(*matched(notebook, notebook))
    assert [(one.shown, one.anchor) for one in found.drawn] == [("Figure 1", "figure-b")]
    assert "a.svg" not in found.by_file


def test_the_main_drawing_comes_first(tmp_path):
    first, main = (code(name, *tags, outputs=[shown("figure", f"{name}.svg")]) for name, *tags in ("a", ("b", "main")))
    notebook = write_notebook(tmp_path / "05_test.ipynb", [markdown("# T"), first, main])
    drawn = find_exhibits(*matched(notebook, notebook)).drawn
    assert [(one.shown, one.anchor) for one in drawn] == [("Figure 1", "figure-b"), ("Figure 2", "figure-a")]
