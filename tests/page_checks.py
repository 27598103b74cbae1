"""What every page of a whole report keeps in a real browser without a network.

`python tests/page_checks.py reports/digits` looks at each page, light and dark, on a screen and a phone, and tells what
it found there as soon as it is done, in as many browsers as there are processors; `--quick` looks at the light screen
alone. axe-core comes from where `browser.axe_source` finds it.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import csv
import io
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import unquote

import pytest

from browser import Browser, axe_source
from verdict.workflow.place import n_processors

MAX_PAGE, MAX_INDEX = 1_000_000, 400_000
MAX_TABS = 3_000

# Every element that acts, in a place where it can be seen. Scrolled boxes of the project carry tabindex=0.
CONTROLS = """[...document.querySelectorAll(
  'a[href], button, input, select, textarea, summary, [tabindex="0"]')].filter((e) => e.checkVisibility())"""
OPEN = "document.querySelectorAll('details').forEach((block) => { block.open = true; })"
CLIPPED = """[...document.querySelectorAll('main *, .bar *, .toc *')].filter((e) => {
  const box = e.getBoundingClientRect();
  return e.checkVisibility() && box.width > 1 && box.right > innerWidth + 1
    && !e.closest('.scroll, .picture, pre, .maths, details.code > summary, math');
}).slice(0, 3).map((e) => `${e.tagName.toLowerCase()}.${e.className} ${e.textContent.trim().slice(0, 40)}`)"""
BROKEN_PICTURES = """Promise.all([...document.images].map((image) => {
  image.loading = 'eager';
  return image.decode().then(() => '', () => image.alt || 'a picture without alt');
})).then((found) => found.filter(Boolean))"""
UNDESCRIBED = """[...document.querySelectorAll('img, main svg, [role="img"]')].filter((e) =>
  !(e.getAttribute('alt') || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')
    || e.closest('[aria-hidden="true"]'))).map((e) => e.outerHTML.slice(0, 80))"""
LOST_REFERENCES = """[...document.querySelectorAll('svg [*|href^="#"], svg *')].flatMap((e) =>
  [...e.attributes].flatMap((a) => [...a.value.matchAll(/url\\(#([^)]+)\\)/g)].map((m) => m[1])
    .concat(a.localName === 'href' && a.value.startsWith('#') ? [a.value.slice(1)] : [])))
  .filter((id) => !document.getElementById(id))"""
OBJECTS = """[...document.querySelectorAll('main pre, main p, main td')].filter((e) => !e.closest('details')
  && /\\b[A-Z]\\w+\\(\\w+=| object at 0x/.test(e.textContent)).map((e) => e.textContent.trim().slice(0, 60))"""
LANDMARKS = """({
  main: document.querySelectorAll('main').length, h1: document.querySelectorAll('h1').length,
  header: document.querySelectorAll('body > header').length,
  nav: document.querySelectorAll('nav').length, unnamed: document.querySelectorAll('nav:not([aria-label])').length,
  lang: document.documentElement.lang, title: document.title.trim().length > 0,
  first: document.querySelector('a[href], button').classList.contains('skip') })"""
MOVING = """[getComputedStyle(document.documentElement).scrollBehavior === 'smooth' ? ['html scrolls smoothly'] : [],
  document.getAnimations().map(() => 'an animation runs'),
  [...document.querySelectorAll('*')].filter((e) => {
    const style = getComputedStyle(e);
    return parseFloat(style.transitionDuration) > 0.01 || (style.animationName !== 'none');
  }).slice(0, 3).map((e) => `${e.tagName} moves`)].flat()"""
WATCH_FOCUS = f"""(() => {{
  window.controls = {CONTROLS};
  window.reached = new Set();
  document.addEventListener('focusin', (event) => reached.add(event.target));
  return controls.length;
}})()"""
# What is focused is scrolled to; it must then lie within the window, below the bar that stays.
FOCUSED = """(() => {
  const name = (e) => (e.getAttribute('aria-label') || e.textContent).trim().slice(0, 40);
  const tell = (e) => `${e.tagName.toLowerCase()} ${name(e)}`;
  const isRinged = (style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
  const isHidden = (e) => {
    const box = e.getBoundingClientRect(), bar = document.querySelector('.bar');
    const top = e.matches('.skip') || bar.contains(e) ? 0 : bar.getBoundingClientRect().bottom;
    return !(box.right > 0 && box.left < innerWidth && box.bottom > top && box.top < innerHeight)
      || parseFloat(getComputedStyle(e).opacity) < 0.5;
  };
  const faults = [];
  for (const e of controls) {
    e.focus({ focusVisible: true });
    if (!isRinged(getComputedStyle(e))) faults.push(`shows no focus: ${tell(e)}`);
    if (isHidden(e)) faults.push(`focused out of sight: ${tell(e)}`);
  }
  return faults.slice(0, 5);
})()"""


@dataclass(frozen=True)
class View:
    """One way to look at a page: width in CSS pixels, and colours."""

    width: int = 1280
    dark: bool = False

    def __str__(self) -> str:
        return f"{self.width} px, {'dark' if self.dark else 'light'}"


VIEWS = tuple(View(width, dark) for width in (1280, 390) for dark in (False, True))


def check_report(browser: Browser, report: Path, *, views: tuple[View, ...] = VIEWS, axe: str = "") -> Iterator[str]:
    """What is wrong with the pages of a report, one line each; the pages are opened in every view.

    Parameters
    ----------
    browser : Browser
    report : Path
        A folder with an `index.html`; each `*.html` in it is a page.
    views : tuple of View
    axe : str
        Source of axe-core; without it that check is left out.
    """
    ids = anchors(report)
    for page in sorted(report.glob("*.html")):
        yield from (f"{page.name}{fault}" for fault in check_page(browser, page, ids, views=views, axe=axe))


def anchors(report: Path) -> dict[str, set[str]]:
    """Names of the elements of every page that a link can lead to."""
    return {page.name: set(re.findall(r'\sid="([^"]+)"', page.read_text("utf-8"))) for page in report.glob("*.html")}


def check_page(
    browser: Browser, page: Path, ids: dict[str, set[str]], *, views: tuple[View, ...], axe: str
) -> list[str]:
    """Faults of a page and of its views; what colours cannot change is looked at in the first view of a width."""
    faults = [f": {fault}" for fault in check_content(browser, page, ids)]
    for k, view in enumerate(views):
        is_known = view.width in (earlier.width for earlier in views[:k])
        faults += [f", {view}: {fault}" for fault in check_view(browser, page, view, axe, colours_alone=is_known)]
    return faults


def check_view(browser: Browser, page: Path, view: View, axe: str = "", *, colours_alone: bool = False) -> list[str]:
    """Requests, errors, width, keyboard and axe-core's serious findings in one view of a page.

    Of a page whose other colours were looked at: neither the way of Tab nor axe-core's rules other than contrast.
    """
    browser.open(page, width=view.width, dark=view.dark, still=True)
    faults = [f"asks for {url[:100]}" for url in browser.requests()]
    faults += [f"error: {text[:200]}" for text in browser.problems()]
    faults += _too_wide(browser)
    n_controls = browser.evaluate(WATCH_FOCUS)
    faults += ([] if colours_alone else _unreached(browser, n_controls)) + browser.evaluate(FOCUSED)
    browser.evaluate(f"{OPEN}; scrollTo(0, 0); 0")
    faults += [f"opened, {fault}" for fault in _too_wide(browser)]
    found = browser.axe(axe, *(["color-contrast"] if colours_alone else [])) if axe else []
    return faults + [f"axe {rule} ({impact}): {where}" for rule, impact, where in found]


def _too_wide(browser: Browser) -> list[str]:
    width = browser.evaluate("document.documentElement.scrollWidth - innerWidth")
    wide = [f"is {width} px wider than its window"] if width > 0 else []
    return wide + [f"leaves the window: {what}" for what in browser.evaluate(CLIPPED)]


def _unreached(browser: Browser, n_controls: int) -> list[str]:
    """Controls at which pressing Tab through a page never arrives."""
    for n_pressed in range(0, MAX_TABS, 25):
        for _ in range(25):
            browser.press("Tab")
        if browser.evaluate("controls.every((e) => reached.has(e))") or n_pressed > 2 * n_controls + 50:
            break
    missed = "controls.filter((e) => !reached.has(e)).map((e) => `${e.tagName.toLowerCase()} ${e.textContent.trim()}`)"
    return [f"Tab never reaches {what[:60]}" for what in browser.evaluate(missed)[:5]]


def check_content(browser: Browser, page: Path, ids: dict[str, set[str]]) -> list[str]:
    """What does not depend on how a page is looked at: weight, links, downloads, pictures, landmarks, motion."""
    browser.open(page, still=True)
    faults = check_weight(browser, page)
    for link in browser.evaluate("[...document.querySelectorAll('a[href]')].map((a) => a.getAttribute('href'))"):
        faults += check_link(link, page, ids)
    faults += [f"picture does not load: {what[:80]}" for what in browser.evaluate(BROKEN_PICTURES)]
    faults += [f"picture without a description: {what}" for what in browser.evaluate(UNDESCRIBED)]
    faults += [f"shows an object of the code: {what}" for what in browser.evaluate(OBJECTS)]
    faults += [f"drawing refers to nothing: #{what}" for what in browser.evaluate(LOST_REFERENCES)]
    faults += [f"moves although asked not to: {what}" for what in browser.evaluate(MOVING)]
    doubled = "[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, at, all) => all.indexOf(id) < at)"
    faults += [f"id used twice: {what}" for what in browser.evaluate(doubled)]
    return faults + check_landmarks(browser)


def check_weight(browser: Browser, page: Path) -> list[str]:
    """Bytes of a page without its galleries."""
    images = "[...document.querySelectorAll('figure.gallery img')].map((image) => image.src.length)"
    weight, most = page.stat().st_size - sum(browser.evaluate(images)), MAX_PAGE
    if page.stem == "index":
        most = MAX_INDEX
    return [f"weighs {weight:,} bytes without galleries, at most {most:,}"] if weight > most else []


def check_link(link: str, page: Path, ids: dict[str, set[str]]) -> list[str]:
    """Whether a link, anchor or download resolves; links leave the report nowhere."""
    name, _, anchor = link.partition("#")
    if link.startswith("data:"):
        return check_table(link)
    if ":" in name.partition("/")[0]:
        return [f"link leaves the report: {link[:100]}"]
    target = page.parent / unquote(name) if name else page
    if not target.is_file():
        return [f"link to a file that is not there: {link[:100]}"]
    if anchor and unquote(anchor) not in ids.get(target.name, ()):
        return [f"link to an anchor that is not there: {link[:100]}"]
    return check_rows(target.read_bytes()) if target.suffix == ".csv" else []


def check_table(link: str) -> list[str]:
    """Whether a download in a link is a table."""
    try:
        return check_rows(base64.b64decode(link.partition(",")[2], validate=True))
    except binascii.Error as error:
        return [f"download cannot be read ({error}): {link[:60]}"]


def check_rows(content: bytes) -> list[str]:
    """Whether bytes are a table: a head, rows, and as many cells in each."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        return [f"download cannot be read ({error}): {content[:60]!r}"]
    if len(rows) < 2 or len({len(row) for row in rows}) != 1:
        return [f"download is no table of equal rows: {content[:60]!r}"]
    return []


def check_landmarks(browser: Browser) -> list[str]:
    """One main, one heading of level 1, a header, named navigation, language, title, a link to skip to the content."""
    found = browser.evaluate(LANDMARKS)
    has_nav = browser.evaluate("location.pathname.endsWith('review.html')") or found["nav"] >= 1
    sound = {
        "one main": found["main"] == 1,
        "one h1": found["h1"] == 1,
        "a header": found["header"] == 1,
        "navigation": has_nav,
        "a name for each navigation": found["unnamed"] == 0,
        "a language": found["lang"] == "en",
        "a title": found["title"],
        "a link to skip to the content first": found["first"],
    }
    return [f"lacks {what}" for what, holds in sound.items() if not holds]


def main() -> int:
    """Print the faults of a report; 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="folder of pages, such as reports/digits")
    parser.add_argument("--quick", action="store_true", help="light colours on a screen alone")
    chosen = parser.parse_args()
    started, views = time.monotonic(), VIEWS[:1] if chosen.quick else VIEWS
    try:
        axe = axe_source()
    except pytest.skip.Exception as absent:
        axe = ""
        print(f"without axe-core: {absent}")
    ids, free = anchors(chosen.report), SimpleQueue()

    def look_at(page: Path) -> list[str]:
        """Faults of a page, told with its seconds."""
        browser, began = free.get(), time.monotonic()
        try:
            faults = check_page(browser, page, ids, views=views, axe=axe)
        finally:
            free.put(browser)
        lines = [f"{time.monotonic() - began:6.1f} s  {page.name}: {len(faults)} faults", *faults]
        print("\n         ".join(lines), flush=True)
        return faults

    pages = sorted(chosen.report.glob("*.html"), key=lambda page: -page.stat().st_size)
    with tempfile.TemporaryDirectory() as home, ExitStack() as opened, ThreadPoolExecutor(n_processors()) as pool:
        for k in range(n_processors()):
            free.put(opened.enter_context(Browser(Path(home, str(k)))))
        faults = [fault for found in pool.map(look_at, pages) for fault in found]
    elapsed = round(time.monotonic() - started)
    print(json.dumps({"pages": len(pages), "views": len(views), "faults": len(faults), "elapsed_s": elapsed}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
