"""What a newcomer asks is answered on the index, each in a sentence with its number, within three screens."""

import re
import shutil

import numpy as np
import pytest

from browser import Browser
from report_tools import assert_sound, bundle_of, code, displayed, markdown, notebook, read_page, sample_claim, stage
from verdict.base import paths
from verdict.base.numbers import Number, Numbers, named
from verdict.report import say
from verdict.report.glossary import load_glossary
from verdict.report.outputs import MIME
from verdict.report.site import build_site

SCREENS, WIDTH, HEIGHT = 3, 1280, 800
TEXTS = paths.NOTEBOOKS
SETUP = code('profile = "demo"', "parameters")
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="460pt" height="260pt" viewBox="0 0 460 260"><path d="M 0 0"/></svg>'
)
ANY = r"[^.?]*(?:\.\d[^.?]*)*"  # inside of one sentence, in which a number may hold a point
SHARE = r"\d+(?:\.\d+)? %"
# A question, and the sentence that answers it; a test below asks the same of a policy that makes a promise.
QUESTIONS = {
    "what is decided": r"The model looks at an image and decides whether a sentence is true of it",
    "how often it decides alone": rf"In {SHARE} \[{ANY}\] of test cases, made like those",
    "how often it is wrong then": rf"; {SHARE} \[{ANY}\] of these answers are wrong",
    "where not to use it": rf"Do not let it decide alone there: the policy lets {SHARE}{ANY} go out, and {SHARE}",
    "who the people are": rf"The people are (?:simulated|those whose answers were recorded), right in {SHARE}",
    "what an error costs": r"Prices are assumed: \d+ min an error",
    "what the promise is": rf"The promise ?: (?:prediction sets hold the true answer in|at most) {SHARE}",
    "which claims fail": r"1 of 2 claims do not hold",
    "how to repeat it": r"make report repeats everything, \d+(?:\.\d+)? min of computing",
    "how to use it on answers of one's own": r"PROFILE=example reads one, named in params/example\.yaml ?\. Here \d",
}
WORST = {"independent.policy_gain": Number(-0.5, -0.6, -0.4, unit="min")}
ZERO = ("policy.n_people_recorded", "independent.is_foreign")


def sample(text, **changed):
    """A number for each name in a text: shares, prices in minutes, counts, and names in words."""
    found = {}
    named_there = set(re.findall(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+(?=[ |.)\"}])", text))
    for name in {re.sub(r"\.(?:value|low|high)$", "", one) for one in named_there} | set(ZERO):
        last = name.rpartition(".")[2]
        if name.startswith("report.") or "." not in name:
            continue
        if last.startswith(("n_", "is_")) or last == "n":
            found[name] = Number(0 if name in ZERO else 1013, unit="count")
        elif last.startswith("price_"):
            found[name] = Number(10, unit="min", kind="setting")
        elif last == "encoder":
            found[name] = named("a small encoder")
        else:
            found[name] = Number(0.25, 0.2, 0.3, n=1013, split="test", unit="%")
    found = {name: number for name, number in found.items() if not name.startswith("policy.promise.")}
    return Numbers({**found, **WORST, **{name.replace("__", "."): number for name, number in changed.items()}})


def built(source="index.md", **changed):
    """The index of a report whose pages draw all that the text shows, and two claims, one of which fails."""
    text = (TEXTS / source).read_text(encoding="utf-8")
    paths.NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    shutil.copy(TEXTS / source, paths.NOTEBOOKS / "index.md")
    shutil.copy(TEXTS / "glossary.md", paths.NOTEBOOKS / "glossary.md")
    shown = {}
    for file in re.findall(r"<!-- show ([\w.-]+) -->", text):
        shown.setdefault(file[:2], []).append(file)
    for number, files in shown.items():
        name = next(path.stem for path in TEXTS.glob(f"{number}_*.ipynb"))
        outputs = [displayed(drawing(file)) for file in files]
        notebook(name, markdown(f"# {name}\n\nWhat?"), SETUP, code("x = 1"))
        stage(name, SETUP, code("x = 1", outputs=outputs))
    numbers = sample(text, **changed)
    notebook("04_numbers", markdown("# All\n\nWhat?"), SETUP)
    claims = [sample_claim(number="test.accuracy"), sample_claim(id="no", number="test.accuracy", holds=False)]
    stage("04_numbers", SETUP, numbers=numbers, claims=claims, elapsed_s=120.0)
    found = build_site("demo")
    assert found.errors == ()
    return found.pages[-1]


def drawing(file):
    if file.endswith(".png"):
        tiles = [np.zeros((9, 9, 3), np.uint8)] * 3
        titles = ["a sentence\nModel: true, probability\nGoes out alone"] * 3
        return bundle_of(say.show_gallery, tiles, titles=titles, caption="Cases.", alt="Cases.", file=file)
    payload = {"kind": "figure", "caption": "What is seen, test.", "alt": "Lines.", "csv": None, "file": file}
    return {MIME: payload, "image/svg+xml": SVG}


def opening(index):
    """Text of the index before what only follows its answers."""
    return read_page("index").words.partition("Profile demo")[0]


def test_every_question_is_answered_in_a_sentence_with_its_number(demo):
    index = built()
    missing = [question for question, answer in QUESTIONS.items() if not re.search(answer, opening(index))]
    assert missing == []


def test_a_promise_is_told_with_what_is_promised(demo):
    made = {f"policy__promise__{name}": Number(0.05, unit="%", kind="setting") for name in ("error", "confidence")}
    made |= {"policy__promise__n_kept": Number(3, unit="count")}
    words = opening(built(**made))
    assert re.search(rf"The promise ?: at most {SHARE} of what goes out alone is wrong, with {SHARE}", words)
    assert re.search(QUESTIONS["what the promise is"], words) and "prediction sets hold" not in words


def test_the_answers_stand_within_the_first_screens(demo, tmp_path_factory):
    index = built()
    last = "document.querySelector('.byline').getBoundingClientRect().top + scrollY"
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        browser.open(index, width=WIDTH, height=HEIGHT, still=True)
        assert browser.evaluate("document.querySelectorAll('.row figure, .examples').length") >= 6
        assert browser.evaluate(last) <= SCREENS * HEIGHT
        top = "document.querySelector('.examples').getBoundingClientRect().bottom"
        assert browser.evaluate(top) <= HEIGHT
        assert index.stat().st_size < 400_000


@pytest.mark.parametrize("name", ["index.md", "index_recorded.md", "index_clip.md"])
def test_what_the_index_shows_is_drawn_by_a_notebook(name):
    text = (TEXTS / name).read_text(encoding="utf-8")
    for file in re.findall(r"<!-- show ([\w.-]+) -->", text):
        drawn = [path for path in TEXTS.glob(f"{file[:2]}_*.ipynb") if f'file=\\"{file}\\"' in path.read_text("utf-8")]
        assert len(drawn) == 1, file


@pytest.mark.parametrize("name", ["index_recorded.md", "index_clip.md"])
def test_other_sources_have_a_sound_index(demo, name):
    built(name)
    page = read_page("index")
    assert_sound(page)
    assert "1 of 2 claims do not hold" in opening("index") and len(page.all("figure")) >= 2
    assert "What else should I know?" in page.words and "waits for stages" not in page.words


def test_no_term_is_defined_twice_and_each_is_used_somewhere():
    terms = load_glossary()
    forms = [form.casefold() for term in terms for form in (term.name, *term.forms)]
    assert len(forms) == len(set(forms)) and len(terms) > 20
    prose = "\n".join(path.read_text("utf-8").casefold() for path in TEXTS.iterdir() if path.name != "glossary.md")
    unused = [t.name for t in terms if not any(form.casefold() in prose for form in (t.name, *t.forms))]
    assert unused == []
