"""Pages in a real browser, opened from files and without a network; skipped where no Chromium is installed."""

import json

import pandas as pd
import pytest

from browser import Browser, axe_source
from page_checks import OPEN, View, check_report
from report_tools import HOSTILE, code, displayed, markdown, notebook, sample_claim, sample_numbers, stage
from verdict.base import paths
from verdict.base.numbers import Number, Numbers
from verdict.report import executions as found
from verdict.report.compare import compare_reports
from verdict.report.outputs import MIME
from verdict.report.site import build_site

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt" viewBox="0 0 72 36">'
    f"<text>{HOSTILE.replace('&', '&amp;').replace('<', '&lt;')}</text></svg>"
)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CSV = pd.DataFrame({HOSTILE: [HOSTILE] * 700}).to_csv(index=False)
SETUP = code('profile = "demo"', "parameters")
PROSE = HOSTILE.replace("{{ test.nothing }}", "")
SAID = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 11, "split": "test", "unit": "", "seeds": [3]}


def own(kind, **fields):
    content = {"kind": kind, "caption": HOSTILE, "alt": HOSTILE, "csv": CSV, "file": "05_a.svg"}
    return displayed({MIME: {**content, **fields}, "image/svg+xml": SVG, "text/plain": "x"})


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of three pages, one on CLIP's answers, that hold what strangers write, and a comparison of two runs."""
    columns = [{"name": HOSTILE, "numeric": False}, {"name": "n", "numeric": True}]
    rows = [[HOSTILE, ["2", 2]], ["a", ["11", 11]], ["b", ["7", 7]]]
    say = {"kind": "say", "template": "F1 is {test.macro_f1}.", "numbers": {"test.macro_f1": SAID}}
    outputs = [own("figure", small=PIXEL), own("table", columns=columns, rows=rows, file="05_b.csv")]
    outputs += [displayed({MIME: say})]
    cells = [markdown(f"# Test\n\nHow good? {PROSE}"), SETUP, markdown("## Part"), code("x = 1")]
    cells += [markdown("Formula $p_i \\le 1$, see [later](07_later.ipynb#part) and [part](#part).")]
    claims = [sample_claim(), sample_claim(id="no", holds=False, bound=0.9, statement=HOSTILE)]
    gallery = {
        "kind": "gallery",
        "caption": HOSTILE,
        "alt": HOSTILE,
        "csv": None,
        "file": "",
        "width": 90,
        "height": 90,
    }
    shown = code("y = 1", outputs=[displayed({MIME: gallery, "image/png": PIXEL})])
    clip = {"stage": "07_later-clip", "numbers": sample_numbers(), "claims": claims[:1]}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("browser")
        for name in ("NOTEBOOKS", "WORK", "REPORTS"):
            patch.setattr(paths, name, folder / name)
        patch.setattr(found, "_changed_params", lambda *_: [])
        notebook("05_test", *cells)
        notebook("07_later", markdown("# Later\n\nWhat then?"), SETUP, markdown("## Part\n\nEnd."), code("y = 1"))
        (paths.NOTEBOOKS / "index.md").write_text("# When?\n\nAbout {{ test.macro_f1 }}.\n", encoding="utf-8")
        test = [cells[0], SETUP, code("x = 1", outputs=outputs)]
        stage("05_test", *test, numbers=sample_numbers(), claims=claims, device=HOSTILE)
        stage("07_later", SETUP, shown, numbers=Numbers({"later.x": Number(1.5)}))
        stage("07_later-clip", SETUP, code("y = 1"), notebook="07_later", **clip)
        assert build_site("demo").errors == ()
        compare_reports("demo", "demo", target=paths.report_dir("demo") / "compare.html")
        return paths.report_dir("demo")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def test_every_page_is_usable_in_either_colour_and_width(report, browser):
    assert len(list(report.glob("*.html"))) == 7
    views = (View(), View(390, dark=True))
    assert list(check_report(browser, report, views=views, axe=axe_source())) == []


def test_what_strangers_wrote_is_text(report, browser):
    browser.open(report / "05_test.html")
    assert browser.evaluate("document.querySelectorAll('img[onerror], script:not(:last-child)').length") == 0
    shown = browser.evaluate("document.body.textContent")
    assert shown.count('<script>alert("x")</script></details>') >= 5 and shown.count("{{ test.nothing }}") >= 3
    browser.open(report / "index.html")
    assert HOSTILE in browser.evaluate("document.body.textContent")


def test_a_fault_for_those_who_do_not_see_is_found(report, browser):
    browser.open(report / "index.html")
    browser.evaluate("document.body.append(document.createElement('img')); document.documentElement.lang = ''; 0")
    assert {rule for rule, *_ in browser.axe(axe_source())} >= {"image-alt", "html-has-lang"}


def test_the_keyboard_is_enough(report, browser):
    browser.open(report / "05_test.html")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    column = "[...document.querySelectorAll('.table tbody td:last-child')].map((cell) => cell.textContent)"
    assert browser.evaluate(column) == ["2", "11", "7"]
    browser.evaluate("document.querySelectorAll('.table th button')[1].focus()")
    browser.press("Enter")
    assert browser.evaluate(column) == ["2", "7", "11"]
    browser.evaluate("document.getElementById('show-code').focus()")
    browser.press("Enter")
    assert browser.evaluate("[...document.querySelectorAll('details.code')].every((block) => block.open)")
    browser.press("Enter")
    browser.open(report / "05_test.html", anchor="#cell-4")
    assert browser.evaluate("document.getElementById('cell-4').open")


NOTES = "[...document.querySelectorAll('.note-text')].map((p) => p.textContent)"
STORED = "JSON.parse(localStorage.getItem('verdict-review:demo'))"


def write_note(browser, text, place):
    browser.evaluate(f"document.querySelector({json.dumps(place)}).click()")
    browser.evaluate(f"document.activeElement.value = {json.dumps(text)}; 0")
    browser.press("Enter", ctrl=True)


def test_notes_and_rubric_are_kept_exported_and_imported(report, browser, tmp_path):
    browser.open(report / "05_test.html")
    browser.evaluate("localStorage.clear()")
    browser.open(report / "05_test.html")
    write_note(browser, HOSTILE, "#part .note-button")
    write_note(browser, "second\nline", "figure .note-button")
    browser.open(report / "index.html")
    browser.evaluate(f"{OPEN}; 0")
    write_note(browser, "on a claim", "[data-note='05_test#claim-beats'] .note-button")
    write_note(browser, "on CLIP's", "[data-note='07_later-clip#claim-beats'] .note-button")
    browser.open(report / "07_later-clip.html")
    write_note(browser, HOSTILE, "#part .note-button")
    assert browser.evaluate("document.querySelector('.bar .review-count').textContent") == " (5)"
    browser.open(report / "07_later-clip.html")
    assert browser.evaluate(NOTES) == [HOSTILE, "on CLIP's"]
    browser.open(report / "07_later.html")
    assert browser.evaluate(NOTES) == []
    browser.open(report / "05_test.html")
    assert browser.evaluate(NOTES) == [HOSTILE, "second\nline", "on a claim"]
    browser.open(report / "review.html")
    browser.evaluate("document.querySelector('[data-criterion=evidence] select').value = '3'; 0")
    event = "dispatchEvent(new Event('{}', {{bubbles: true}}))"
    browser.evaluate(f"document.querySelector('[data-criterion=evidence] select').{event.format('change')}")
    reason = "document.querySelector('[data-criterion=evidence] textarea').value"
    browser.evaluate(f"{reason} = {json.dumps(HOSTILE)}; 0")
    browser.evaluate(f"document.querySelector('[data-criterion=evidence] textarea').{event.format('input')}")
    assert browser.evaluate("document.getElementById('rubric-total').textContent").startswith("3.00 of 4")
    kept = browser.evaluate(STORED)
    assert kept["rubric"] == {"evidence": {"score": 3, "comment": HOSTILE}} and len(kept["notes"]) == 5
    exported = browser.download("document.querySelector('.review-export').click()", tmp_path)
    assert json.loads(exported.read_text(encoding="utf-8")) == kept

    browser.evaluate("localStorage.clear()")
    browser.open(report / "review.html")
    assert browser.evaluate("document.querySelectorAll('.note').length") == 0
    browser.choose(".review-import", exported)
    browser.wait("document.querySelectorAll('.note').length === 5")
    assert browser.evaluate(STORED) == kept
    browser.open(report / "review.html")
    assert browser.evaluate(STORED) == kept and browser.evaluate(reason) == HOSTILE
    assert sorted(browser.evaluate(NOTES)) == sorted(note["text"] for note in kept["notes"])
    links = browser.evaluate("[...document.querySelectorAll('.note-list a')].map((a) => a.getAttribute('href'))")
    assert set(links) == {
        *("05_test.html#part", "05_test.html#figure-05-a", "05_test.html#claim-beats"),
        *("07_later-clip.html#part", "07_later-clip.html#claim-beats"),
    }


def test_the_rubric_is_walked_question_by_question_and_prints_whole(report, browser):
    questions = "[...document.querySelectorAll('[data-criterion]')]"
    seen = f"{questions}.filter((one) => one.checkVisibility()).map((one) => one.dataset.criterion)"
    browser.open(report / "review.html")
    everything = browser.evaluate(f"{questions}.map((one) => one.dataset.criterion)")
    assert len(everything) > 2 and browser.evaluate(seen) == everything[:1]
    browser.evaluate("document.querySelector('.walk-next').click()")
    assert browser.evaluate(seen) == everything[1:2]
    assert browser.evaluate("document.activeElement.parentElement.dataset.criterion") == everything[1]
    assert browser.evaluate("document.querySelectorAll('#ask-evidence .thumbnail img').length") == 1
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate(seen) == everything
    browser.send("Emulation.setEmulatedMedia", media="")
    browser.open(report / "review.html", anchor=f"#ask-{everything[-1]}")
    assert browser.evaluate(seen) == everything[-1:]
    browser.evaluate("document.querySelector('.walk-all').click()")
    assert browser.evaluate(seen) == everything


def test_a_printed_index_has_contents(report, browser):
    browser.open(report / "index.html")
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("document.querySelector('.toc a').checkVisibility()")
    browser.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "Not imported"), ('{"format": "x"}', "no review"), ('{"format": "verdict-review/1"}', "belong to")],
)
def test_a_file_that_is_no_review_changes_nothing(report, browser, tmp_path, content, said):
    (tmp_path / "review.json").write_text(content, encoding="utf-8")
    browser.open(report / "review.html")
    before = browser.evaluate("JSON.stringify(localStorage)")
    browser.evaluate("document.querySelector('.review-said').textContent = ''; 0")
    browser.choose(".review-import", tmp_path / "review.json")
    browser.wait("document.querySelector('.review-said').textContent !== ''")
    assert said in browser.evaluate("document.querySelector('.review-said').textContent")
    assert browser.evaluate("JSON.stringify(localStorage)") == before


def test_a_print_is_white_and_shows_what_is_folded(report, browser, tmp_path):
    browser.open(report / "07_later.html")
    # A picture that waits to be scrolled to would be missing.
    assert browser.evaluate("[...document.images].map((image) => image.loading)") == ["auto"]
    browser.open(report / "05_test.html", dark=True)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 5_000
    browser.send("Emulation.setEmulatedMedia", media="print")
    seen = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.querySelector('.bar')).display"
    assert browser.evaluate(seen) == "rgb(255, 255, 255)none"
    browser.send("Emulation.setEmulatedMedia", media="")
