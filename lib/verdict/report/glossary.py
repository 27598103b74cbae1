"""Terms of the field: `notebooks/glossary.md` defines them, and a page explains each where it first uses it."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verdict.base import paths
from verdict.report.markdown import slugify

FILE = "glossary.md"
_ENTRY = re.compile(r"\*\*(?P<term>[^*]+)\*\*(?: \((?P<forms>[^)]+)\))?: (?P<meaning>[^\n]+(?:\n(?!\n)[^\n]+)*)")
_PART = re.compile(r"<(?P<close>/?)(?P<tag>[a-zA-Z][\w-]*)[^>]*>|[^<]+|<")
# What is no running text, or leads somewhere already.
_APART = frozenset(("a", "button", "code", "h1", "h2", "h3", "h4", "math", "pre", "summary", "svg", "th"))


@dataclass(frozen=True)
class Term:
    """A term, its other forms, and what it means, as plain text."""

    name: str
    meaning: str
    forms: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Where the index defines it."""
        return f"term-{slugify(self.name)}"


def load_glossary(path: Path | None = None) -> tuple[Term, ...]:
    """Terms in alphabetical order: a paragraph `**Term** (other forms, …): meaning.` each; none without the file."""
    path = path or paths.NOTEBOOKS / FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = []
    for entry in _ENTRY.finditer(text):
        forms = tuple(form.strip() for form in (entry["forms"] or "").split(",") if form.strip())
        found.append(Term(entry["term"].strip(), " ".join(entry["meaning"].split()), forms))
    return tuple(sorted(found, key=lambda term: term.name.casefold()))


@dataclass
class Explainer:
    """Leads the first mention of each term on a page to its meaning, which it also shows as a tooltip."""

    terms: Sequence[Term]
    told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._by_form = {form.casefold(): term for term in self.terms for form in (term.name, *term.forms)}
        longest_first = sorted(map(re.escape, self._by_form), key=len, reverse=True)
        self._any = re.compile(rf"(?<![\w-])(?:{'|'.join(longest_first)})(?![\w-])", re.IGNORECASE)

    def explained(self, fragment: str) -> str:
        """HTML in which terms that the page has not explained yet are."""
        if not self.terms:
            return fragment
        parts, apart = [], 0
        for part in _PART.finditer(fragment):
            apart += (part["tag"] or "").lower() in _APART and (-1 if part["close"] else 1)
            is_text = part["tag"] is None and not apart
            parts.append(self._any.sub(self._link, part[0]) if is_text else part[0])
        return "".join(parts)

    def _link(self, match: re.Match[str]) -> str:
        term = self._by_form[match[0].casefold()]
        if term.name in self.told:
            return match[0]
        self.told.add(term.name)
        meaning = html.escape(f"{term.name}: {term.meaning}")
        return f'<a class="term" href="index.html#{term.anchor}" title="{meaning}">{match[0]}</a>'
