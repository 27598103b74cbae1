"""What the text cells of CLIP's pages say: of a difference by its sign, and of what a source does not know."""

import json

import pytest

from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.report.conditions import chosen_text

PROBES, SHIFT = "10_clip_probes", "11_clip_shift"
TASKS, CONCEPTS = "11_clip_tasks", "12_clip_concepts"
# Above zero, below it, and neither.
BOUNDS = ((0.1, 0.2, 0.3), (-0.3, -0.2, -0.1), (-0.1, 0.1, 0.3))
CELLS = {
    "scale.ece_change": (PROBES, "makes ECE worse", "makes ECE better", "no difference of ECE is shown"),
    "couples.digit_gain": (PROBES, "although more names compete", "the fewer are right", "no difference is shown"),
    "transfer.nll_change": (SHIFT, "NLL is worse with it", "NLL is better with it;", "no difference of NLL"),
    "transfer.ece_change": (SHIFT, "makes ECE worse", "makes ECE better", "no difference of ECE is shown"),
    "concepts.true_gain": (CONCEPTS, "more that is true", "parts costs truth", "no difference is shown"),
    "concepts.red_gain": (CONCEPTS, "encoder see red", "red less often", "no difference is shown"),
    "concepts.right_gain": (CONCEPTS, "rightly share more", "rightly share less", "no difference is shown"),
    "concepts.added_gain": (CONCEPTS, "they help", "they cost accuracy", "no difference is shown"),
}
MISSING = {
    "mistake.share": (PROBES, "test picture is named wrongly"),
    "concepts.iou": (CONCEPTS, "This source knows no masks"),
    "concepts.true_gain": (CONCEPTS, "Nothing here says which descriptors are true"),
    "concepts.right_gain": (CONCEPTS, "answers all pictures alike"),
    "questions.assistant_accuracy": (TASKS, "No assistant's answers were given"),
}


def cell(notebook, words):
    cells = json.loads((paths.NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return next(text for one in cells if "{%" in (text := "".join(one["source"])) and words in text)


@pytest.mark.parametrize("name", CELLS)
def test_a_moral_is_told_where_its_interval_bears_it_out(name):
    notebook, *told = CELLS[name]
    for place, (low, value, high) in enumerate(BOUNDS):
        others = (*CELLS, "couples.held_out_clean", "couples.taught_clean")
        numbers = Numbers({one: Number(0.0, -1.0, 1.0) for one in others} | {name: Number(value, low, high)})
        said = chosen_text(cell(notebook, told[0]), numbers)
        assert [sentence in said for sentence in told[:2]] == [place == 0, place == 1]
        assert place < 2 or told[2] in said


@pytest.mark.parametrize(("more", "less"), [(0, 0), (1, 0), (0, 4)])
def test_prompts_are_judged_where_they_can_differ_from_random_directions(more, less):
    numbers = Numbers({"ranks.n_more": Number(more, unit="count"), "ranks.n_less": Number(less, unit="count")})
    said = chosen_text(cell(PROBES, "none shows any worth"), numbers)
    assert ("none shows any worth" in said) == ("and less at" not in said) == (more + less == 0)


@pytest.mark.parametrize("name", MISSING)
def test_a_page_says_what_its_source_does_not_know(name):
    notebook, sentence = MISSING[name]
    number, source = Number(0.5, 0.4, 0.6), cell(notebook, sentence.partition(" are")[0].partition(" test")[0])
    numbers = Numbers({one: number for one in (*MISSING, *CELLS)})
    assert sentence not in chosen_text(source, numbers)
    assert sentence in chosen_text(source, Numbers({one: number for one in numbers if one != name}))
