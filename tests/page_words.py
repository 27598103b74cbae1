"""How many words a reader meets on the pages of a report: `python tests/page_words.py reports/digits --at-most 33000`.

Code, provenance, the tools of reviewers, the glossary, drawings and navigation are left out; tables are counted apart.
A report of more words than it may have is an error.
"""

from __future__ import annotations

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}
LEFT_OUT_TAGS = {"script", "style", "svg", "math", "pre", "nav", "header", "head", "button"}
LEFT_OUT_CLASSES = {
    *("code", "provenance", "review", "review-tools", "rubric", "glossary"),
    *("skip", "pipeline", "byline", "anchor", "download"),
}


class Words(HTMLParser):
    """Words of a page's text and of its tables; `in_text` holds the former."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.in_text: list[str] = []
        self.in_tables: list[str] = []
        self._open: list[tuple[str, bool, bool]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        classes = set((dict(attrs).get("class") or "").split())
        before = self._open[-1] if self._open else ("", False, False)
        is_left_out = tag in LEFT_OUT_TAGS or bool(classes & LEFT_OUT_CLASSES)
        self._open.append((tag, before[1] or is_left_out, before[2] or tag in ("tbody", "thead")))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and not self._open[-1][1]:
            place = self.in_tables if self._open[-1][2] else self.in_text
            place += [word for word in data.split() if any(sign.isalnum() for sign in word)]


def count_words(report: Path) -> dict[str, tuple[int, int]]:
    """Words in text and in tables of every page but the reviewers' own."""
    pages = (path for path in sorted(report.glob("*.html")) if path.stem not in ("review", "checklists"))
    found = {path.stem: Words(path.read_text(encoding="utf-8")) for path in pages}
    return {name: (len(words.in_text), len(words.in_tables)) for name, words in found.items()}


def summary(counts: dict[str, tuple[int, int]]) -> str:
    """A line for each page, and the sums."""
    lines = [f"{text:8,} {tables:8,}  {name}" for name, (text, tables) in counts.items()]
    text, tables = (sum(column) for column in zip(*counts.values(), strict=True))
    return "\n".join(["    text   tables  page", *lines, f"{text:8,} {tables:8,}  {len(counts)} pages"])


def main(arguments: list[str] | None = None) -> int:
    """Print the words of a report; 1 where text and tables together hold more than they may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="folder of pages, such as reports/digits")
    parser.add_argument("--at-most", type=int, help="how many words text and tables may have together")
    asked = parser.parse_args(arguments)
    counts = count_words(asked.report)
    print(summary(counts))
    return int(asked.at_most is not None and sum(map(sum, counts.values())) > asked.at_most)


if __name__ == "__main__":
    sys.exit(main())
