"""The reviewers' rubric: strict, and pointing to pages that exist."""

import pytest

from verdict.base.params import ParamsError
from verdict.report.rubric import load_checklists, load_rubric
from verdict.workflow import stages

GOOD = "title: T\nscale: [bad, good]\ncriteria:\n  - {id: one, ask: 'Is it?', look: [index], weight: 2}\n"


def rubric(tmp_path, text):
    path = tmp_path / "rubric.yaml"
    path.write_text(text, encoding="utf-8")
    return load_rubric(path)


def test_a_rubric_is_read(tmp_path):
    found = rubric(tmp_path, GOOD)
    assert found.scale == ("bad", "good")
    assert (found.criteria[0].id, found.criteria[0].look, found.criteria[0].weight) == ("one", ("index",), 2.0)
    assert load_rubric(tmp_path / "none.yaml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "extra: 1\n", "extra: Extra inputs"),
        (GOOD.replace("[bad, good]", "[bad]"), "scale: .*at least 2"),
        (GOOD.replace("weight: 2", "weight: 0"), "weight: .*greater than 0"),
        (GOOD.replace("id: one", "id: One"), "id: .*pattern"),
        (GOOD + "  - {id: one, ask: 'Again?'}\n", "ids of their own.*one"),
        ("title: T\nscale: [a, b]\n", "criteria: Field required"),
        ("- a\n", "must hold a mapping"),
    ],
)
def test_a_wrong_rubric_is_refused_with_file_and_cause(tmp_path, text, message):
    with pytest.raises(ParamsError, match=rf"(?s)rubric.yaml.*{message}"):
        rubric(tmp_path, text)


def test_the_projects_rubric_looks_at_pages_that_exist():
    looked = {stem for criterion in load_rubric().criteria for stem in criterion.look}
    assert looked <= {"index", *stages.ALL_NAMES} - stages.WITHOUT_NOTEBOOK


LISTS = "checklists:\n  - {title: T, source: S, items: [{id: '1', ask: A, answer: done, look: [index], why: W}]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LISTS.replace("done", "perhaps"), "items.0.answer: Input should be 'done'"),
        (LISTS.replace(", why: W", ""), "why: Field required"),
        (LISTS + "more: 1\n", "more: Extra inputs"),
    ],
)
def test_a_wrong_checklist_is_refused_with_file_and_cause(tmp_path, text, message):
    path = tmp_path / "checklists.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=rf"(?s)checklists.yaml.*{message}"):
        load_checklists(path)
    assert load_checklists(tmp_path / "none.yaml") == ()


def test_the_projects_checklists_are_whole_and_look_at_pages_that_exist():
    neurips, reforms, acm = load_checklists()
    assert (len(neurips.items), len(reforms.items), len(acm.items)) == (16, 32, 5)
    letters = {"1": "abc", "2": "abcde", "3": "abcdefg", "4": "abc", "5": "abcdef", "6": "abc", "7": "abc", "8": "ab"}
    assert [item.id for item in reforms.items] == [part + letter for part in letters for letter in letters[part]]
    items = [item for checklist in (neurips, reforms, acm) for item in checklist.items]
    assert {stem for item in items for stem in item.look} <= {"index", *stages.ALL_NAMES} - stages.WITHOUT_NOTEBOOK
    assert {item.answer for item in items} == {"done", "partly", "not done", "not applicable"}
