"""A claim leads to the drawing and the code behind its number."""

import pytest

from report_tools import code, displayed, markdown, sample_claim, write_notebook
from verdict.report.evidence import Evidence, find_evidence
from verdict.report.notebook import match_code, read_notebook
from verdict.report.outputs import MIME


def said(*names):
    return displayed({MIME: {"kind": "say", "template": "x", "numbers": {name: {} for name in names}}})


def shown(kind, file, **fields):
    return displayed({MIME: {"kind": kind, "caption": "c", "file": file, **fields}})


@pytest.fixture
def found(tmp_path):
    """Two sections; the answer stands in the second and repeats a number of the first."""
    cells = [
        markdown("# T"),  # 1
        code("a", outputs=[shown("table", "05_a.csv"), shown("figure", "05_a.svg")]),  # 2
        code("b", "hide-input", outputs=[said("t.first")]),  # 3
        markdown("Text.\n\n## Second"),  # 4
        code("c", "hide-input", outputs=[said("t.early")]),  # 5
        code("d", outputs=[shown("gallery", "05_a.svg")]),  # 6
        code("e", "answer", outputs=[said("t.first", "t.answered")]),  # 7
        markdown("## Third"),  # 8
        code("stage.number('t.stored', 1)", outputs=[said("t.alone"), shown("table", "", role="claims")]),  # 9
        code("stage.claim('odd', 'x', name, '>', 0)", "save"),  # 10
    ]
    notebook = read_notebook(write_notebook(tmp_path / "05_test.ipynb", cells))
    return find_evidence(notebook, match_code(notebook, notebook, "05_test.ipynb"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("t.first", Evidence(2, "Figure 1", "figure-05-a")),
        ("t.early", Evidence(6, "Figure 2", "figure-05-a-2")),
        ("t.answered", Evidence(6, "Figure 2", "figure-05-a-2")),
        ("t.alone", Evidence(9)),
        ("t.stored", Evidence(9)),
        ("t.unknown", Evidence()),
    ],
)
def test_evidence_is_the_nearest_drawing_of_the_section(found, number, expected):
    assert found.of(sample_claim(number=number)) == expected


def test_a_claim_without_a_sentence_leads_to_the_cell_that_states_it(found):
    assert found.of(sample_claim(number="t.unknown", id="odd")) == Evidence(10)


def test_a_page_counts_what_it_shows_and_knows_its_answer(found):
    assert (found.n_figures, found.n_tables) == (2, 1)
    assert [set(payload["numbers"]) for payload in found.answer] == [{"t.first", "t.answered"}]
