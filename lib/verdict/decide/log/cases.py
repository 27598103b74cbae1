"""Read new cases from JSON lines, in the form that the policy of a report needs; errors name the line."""

from __future__ import annotations

import contextlib
import math
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np
from pydantic import TypeAdapter

from verdict.base.files.tables import column_key
from verdict.base.parameter_files import nearest
from verdict.base.refusals import listed, shown
from verdict.data.own.answer_table import COLUMNS
from verdict.data.own.answers import ANSWER, LOGITS, PROBS_AS_LOGITS, Form, find_form, look_like_probs, said
from verdict.data.pairs import MAX_HYPOTHESIS_CHARACTERS, make_pair_id
from verdict.decide.log.log import Item, reason
from verdict.decide.log.stored import Stored
from verdict.decide.signals import OF_ONE_ANSWER

ROWS, _BLOCK, MAX_LINE = 512, 1 << 20, 4_000_000
# Logits of fewer cases may sum to 1 by chance.
_ENOUGH = 8
READ = (
    *("pair_id", "image_id", "image", "group_id", "group", "hypothesis", "date", "model", "model_hash"),
    "image_sha256",
    *("signals", "consistency", "distance", "foreign"),
)
# A case may be named as in the table of a report.
PAIR_ID, HYPOTHESIS, QUESTION, ANSWERED = (COLUMNS[name] for name in ("pair_id", "hypothesis", "question", "answer"))
IMAGE, GROUP = (("image_id", *COLUMNS["image_id"]), ("group_id", *COLUMNS["group_id"]))
ALIASES = {*PAIR_ID, *HYPOTHESIS, *QUESTION, *ANSWERED, *IMAGE, *GROUP}
# One letter of five in another place, which is a slip; more may be another word.
SLIP = 0.8
NO_DATE = "is no date such as 2026-03-31"
OBJECT = TypeAdapter(dict[str, Any])
Lines = list[tuple[int, bytes]]
Rows = list[dict[str, Any]]


def numbered_lines(file: BinaryIO, name: str, *, is_cut: bool = False) -> Iterator[Lines]:
    """Lines as they come, with numbers, at most 512 at a time, blank ones left out, and where the file may be cut what
    stands behind the last line break; ValueError if one is too long.
    """
    rest, number = b"", 0
    while block := file.read1(_BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > MAX_LINE:
            line = number + len(lines) + 1
            raise ValueError(f"{name}, line {line}: more than {MAX_LINE:,} bytes; are there no line breaks?")
        numbered = [(number + k, line) for k, line in enumerate(lines, start=1) if line.strip()]
        yield from (numbered[start : start + ROWS] for start in range(0, len(numbered), ROWS))
        number += len(lines)
    if rest.strip() and not is_cut:
        yield [(number + 1, rest)]


def read_cases(lines: Lines, stored: Stored, name: str) -> tuple[Rows, ValueError | None]:
    """Cases up to the first that cannot be read, and the error of that one."""
    rows: Rows = []
    try:
        for number, raw in lines:
            rows.append(_case(f"{name}, line {number}", raw, stored))
    except ValueError as error:
        return rows, error
    return rows, None


def case_id(line: tuple[int, bytes], stored: Stored, name: str) -> str:
    """The id of a case, whatever else it holds; ValueError names file, line, column and cause."""
    return _Line.read(f"{name}, line {line[0]}", line[1], stored).pair_id


def picture_mark(line: tuple[int, bytes], stored: Stored, name: str) -> int:
    """A number that tells the picture of a case from another within one run, 0 where it is not known."""
    return mark_of(_Line.read(f"{name}, line {line[0]}", line[1], stored).text("image_sha256"))


def mark_of(image_sha256: str | None) -> int:
    """A number for a hash, another for another; 0 where there is none."""
    return 0 if image_sha256 is None else hash(image_sha256)


@dataclass(frozen=True)
class _Line:
    """A line as it was given, by known names; `called`: what the user's columns are called, by these."""

    place: str
    given: dict[str, Any]
    called: Mapping[str, str]

    @classmethod
    def read(cls, place: str, raw: bytes, stored: Stored) -> _Line:
        try:
            given = OBJECT.validate_json(raw.removeprefix(BOM_UTF8))
        except ValueError as error:
            raise ValueError(f"{place}: {reason(error)}") from None
        known = {own: known for known, own in stored.how.columns.items()}
        return cls(place, {known.get(name, name): value for name, value in given.items()}, stored.how.columns)

    def fault(self, name: str, what: str) -> ValueError:
        return ValueError(f"{self.place}, column {self.called.get(name, name)!r}: {what}")

    def text(self, *names: str) -> str | None:
        name = next((name for name in names if self.given.get(name) is not None), None)
        if name is None:
            return None
        value = self.given[name]
        text = value if isinstance(value, str) else str(value) if type(value) is int else ""
        if not 0 < len(text) <= MAX_HYPOTHESIS_CHARACTERS:
            what = f"expected a text of 1 to {MAX_HYPOTHESIS_CHARACTERS} characters, got {shown(value)}"
            raise self.fault(name, what)
        return text

    def number(self, name: str, high: float = 1.0) -> float:
        # Signals stand beside the other columns, or in an object of their own.
        nested = self.given.get("signals")
        found = [place[name] for place in (nested, self.given) if isinstance(place, dict) and name in place]
        value = found[0] if found else None
        if found[1:] and found[1] != value:
            raise self.fault(name, f"stands twice, as {shown(value)} among signals and as {shown(found[1])}")
        if value is None:
            raise self.fault(name, "is missing, and the policy was tuned with it")
        if type(value) not in (int, float) or not 0 <= value <= high:
            raise self.fault(name, f"{shown(value)} is not in [0, {high:g}]")
        return float(value)

    @property
    def pair_id(self) -> str:
        image, hypothesis = self.text(*IMAGE), self.hypothesis
        if pair_id := self.text(*PAIR_ID):
            return pair_id
        if image and hypothesis:
            return make_pair_id(image, hypothesis)
        what = f"there is no column 'pair_id', nor 'image' and 'hypothesis' (or 'question'), in {listed(self.given)}"
        raise ValueError(f"{self.place}: {what}")

    @property
    def hypothesis(self) -> str | None:
        """The sentence; of a question, that and the answer that it is about, as a report has it."""
        if (hypothesis := self.text(*HYPOTHESIS)) or not (question := self.text(*QUESTION)):
            return hypothesis
        return f"{question} {self.text(*ANSWERED) or ''}".strip()


def _case(place: str, raw: bytes, stored: Stored) -> dict[str, Any]:
    """One case as the policy needs it; ValueError names file, line, column and cause."""
    line, head = _Line.read(place, raw, stored), stored.head
    given, pair_id = line.given, line.pair_id
    if isinstance(logits := given.get("logits"), list):
        # A list of all classes, as logs hold it.
        if len(logits) != len(head.classes):
            what = f"expected {len(head.classes)} numbers, one for each of {listed(head.classes)}"
            raise line.fault("logits", f"{what}, got {shown(logits)}")
        given |= {f"logit_{name}": value for name, value in zip(head.classes, logits, strict=True)}
        del given["logits"]
        # Beside them a log holds what the temperature made of them, which is no answer of the model.
        if isinstance(given.get("probs"), list):
            del given["probs"]
    # A line of a log may be given as it is.
    unread = sorted(given.keys() - Item.model_fields.keys() - ALIASES - {*READ, *head.signals})
    for name in unread:
        if meant := _meant(name, (*READ, *head.signals, *line.called.values())):
            raise line.fault(name, f"is not known{meant}")
    models = [given[key] for key in ("model", "model_hash") if given.get(key) is not None]
    if other := [model for model in models if model not in stored.names]:
        raise line.fault("model", f"{shown(other[0])}, where the policy was tuned for {stored.names}")
    if not is_date(date := line.text("date")):
        raise line.fault("date", f"{shown(date)} {NO_DATE}")
    image = line.text(*IMAGE) or pair_id
    # How foreign a pair is follows from its distance, or is given as a p-value; the other of the two is NaN.
    has_distance = given.get("distance") is not None
    return {
        "place": place,
        "given": given,
        "unread": unread,
        "is_named": bool(models),
        "pair_id": pair_id,
        "image_id": image,
        "group_id": line.text(*GROUP) or image,
        "hypothesis": line.hypothesis,
        "date": date,
        "image_sha256": line.text("image_sha256"),
        "signals": {name: line.number(name) for name in head.signals if name not in OF_ONE_ANSWER},
        "consistency": None if head.consistency is None else line.number("consistency"),
        "distance": line.number("distance", math.inf) if head.foreign is not None and has_distance else math.nan,
        "foreign": line.number("foreign") if head.foreign is not None and not has_distance else math.nan,
    }


@lru_cache(maxsize=1024)
def _meant(name: str, known: tuple[str, ...]) -> str:
    return nearest(column_key(name), list(known), SLIP)


def names_ignored(rows: Rows, stored: Stored) -> set[str]:
    """Names in the lines of cases, of what is neither read nor a field of a log."""
    return {name for row in rows for name in row["unread"] if name not in _form(row, stored).names}


def is_date(text: str | None) -> bool:
    """Whether a case may have this date; none is one."""
    try:
        datetime.fromisoformat(text or "2026-03-31")
    except ValueError:
        return False
    return True


def logits_of_cases(rows: Rows, stored: Stored, *, is_open: bool = False) -> tuple[np.ndarray, ValueError | None]:
    """Logits (k, K) of the rows up to the first with an answer that cannot be read, and the error of that one.

    Answers may have any form that `answers` reads. Logits that all look like probabilities are refused together, where
    there are at least 8 or, `is_open`, none that came before them was shown to be logits.
    """
    logits, fault = _readable(rows, stored)
    is_judged = not stored.how.allow_small and (len(logits) >= _ENOUGH or (is_open and len(logits) > 0))
    if is_judged and _form(rows[0], stored).kind == LOGITS and look_like_probs(logits):
        what = f"{rows[0]['place']}: {PROBS_AS_LOGITS} (so are all {len(logits)} cases that were read with it)"
        return logits[:0], ValueError(f"{what}; set data.answers.allow_small if they are logits")
    return logits, fault


def _readable(rows: Rows, stored: Stored) -> tuple[np.ndarray, ValueError | None]:
    with contextlib.suppress(ValueError):
        return _logits(rows, stored), None
    logits, place = [np.empty((0, len(stored.head.classes)))], ""
    try:
        for row in rows:
            place = row["place"]
            logits.append(_logits([row], stored))
    except ValueError as error:
        return np.concatenate(logits), error if place in str(error) else ValueError(f"{place}: {error}")
    return np.concatenate(logits), None


def _form(row: dict[str, Any], stored: Stored) -> Form:
    """How a case is read: in the form that the parameters name, or that the policy was tuned on, or the first found."""
    kind = "" if stored.how.form == "auto" else stored.how.form
    return _form_of(tuple(row["given"]), tuple(stored.head.classes), kind, stored.form, stored.how.smallest_prob)


@lru_cache(maxsize=64)
def _form_of(names: tuple[str, ...], classes: tuple[str, ...], kind: str, usual: str, smallest: float) -> Form:
    form = find_form(names, classes, kind=kind, smallest=smallest)
    if not kind and usual in form.others:
        return find_form(names, classes, kind=usual, smallest=smallest)
    return form


def _logits(rows: Rows, stored: Stored) -> np.ndarray:
    parts = groupby(rows, key=lambda row: _form(row, stored))
    return np.concatenate([_logits_in(form, list(part), stored) for form, part in parts])


def _logits_in(form: Form, rows: Rows, stored: Stored) -> np.ndarray:
    is_bare = form.kind == ANSWER
    if is_bare and stored.worth is None:
        raise ValueError(f"column {form.names[0]!r}: a bare answer, and the policy was tuned with more than that")
    logits = _said(form, rows)
    # Another form may contradict the one that the policy was tuned on, but the answer that is named may not.
    for kind in form.others if stored.how.form == "auto" else ():
        if ANSWER in (kind, form.kind) or form.kind != stored.form:
            _refuse_contrary(form, kind, logits, rows, stored)
    return logits * stored.worth if is_bare else logits


def _said(form: Form, rows: Rows) -> np.ndarray:
    columns = {name: [row["given"].get(name) for row in rows] for name in form.names}
    return said(form, columns, lambda row: rows[row]["place"]).logits


def _refuse_contrary(form: Form, kind: str, logits: np.ndarray, rows: Rows, stored: Stored) -> None:
    """ValueError where rows say another answer in a second form."""
    for row, values in zip(rows, logits, strict=True):
        try:
            other = _form_of(tuple(row["given"]), form.classes, kind, "", form.smallest)
            second = _said(other, [row])[0]
        except ValueError:
            # What cannot be read in a form that is not used may be anything.
            continue
        if not ((values == values.max()) & (second == second.max())).any():
            ours, theirs = (
                f"{listed([stored.how.columns.get(name, name) for name in names])} says {form.classes[answer]}"
                for names, answer in ((form.names, values.argmax()), (other.names, second.argmax()))
            )
            raise ValueError(f"{row['place']}: {ours}, {theirs}, and the policy was tuned on {stored.form}; give one")
