"""New cases, decided as they come by the stored policy of a finished report: one line of a log a case.

The log is the only state. A run that is called again, after it was killed or because there is more, reads back from it
how far it came and what the test of the stream had seen.
"""

import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from verdict.base import paths
from verdict.base.artifacts import told_when_full, try_lock
from verdict.base.refusals import shown
from verdict.data.own.answers import may_be_probs
from verdict.decide.foreign import StreamTest, stream_signals
from verdict.decide.log.cases import (
    MAX_LINE,
    OBJECT,
    Lines,
    Rows,
    case_id,
    logits_of_cases,
    mark_of,
    names_ignored,
    numbered_lines,
    picture_mark,
    read_cases,
)
from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import Item, reason
from verdict.decide.log.stored import Stored
from verdict.decide.policy import decide, force
from verdict.decide.signals import distance_confidence, of_one_answer, score_of
from verdict.stats.scores import softmax

SPLIT = "new"
CHANGED = "passed over, although the answer or the picture has changed"
IGNORED = "ignored "
_START = b'{"pair_id":'


def refuse_out(out: Path) -> None:
    """ValueError where decisions cannot be appended: a log is a file, which is read again, and no part of a report."""
    if str(out) == "-" or (out.exists() and not out.is_file()):
        raise ValueError(f"OUT={out} is no file that can be read again: name a file as OUT")
    owned = [paths.work_dir(profile).resolve() for profile in paths.profiles()]
    if out.with_name("run.json").exists() or any(map(out.resolve().is_relative_to, owned)):
        raise ValueError(f"OUT={out} lies among the results of a report, which nothing else may change: name another")


def decide_stream(
    stored: Stored,
    chunks: Iterator[Lines],
    name: str,
    out: Path,
    *,
    answered: Callable[[Lines], Lines] = lambda lines: lines,
    progress: Callable[[str], None] = lambda text: None,
) -> Counter[str]:
    """Decide the cases of `chunks` (see `numbered_lines`) of a source called `name` that `out` does not hold yet, and
    append them to it.

    A case whose id is decided, by an earlier run or by a line before it, is passed over, in whatever order they come.
    `answered` completes the lines of a whole chunk where they lack what a model says: so that numbers do not depend on
    where a run was killed, also those of its lines that are decided already. Counts cases by decision, by what
    forced it ("forced by …"), "passed over", of these `CHANGED` where lines give another answer, or picture, than
    was decided on, "without the model's name", and "ignored …" for each name in the lines that nothing here reads.
    ValueError names line and cause of a case that cannot be decided; those before it are.
    """
    refuse_out(out)
    counts = Counter[str]()
    with _opened(out) as file:
        test = StreamTest(stored.known)
        past = _restored(file, stored, out, test)
        # Until a case has shown that its numbers are logits, each is looked at: they might be probabilities.
        is_open = True
        for lines in chunks:
            is_new = _are_new(lines, past, stored, name)
            old = [line for line, new in zip(lines, is_new, strict=True) if not new]
            is_open = is_open and not any(case_id(line, stored, name) in past for line in old)
            if len(old) < len(lines):
                rows, fault = read_cases(answered(lines), stored, name)
                if rows:
                    logits, unread = logits_of_cases(rows, stored, is_open=is_open)
                    is_open = is_open and may_be_probs(logits)
                    new = np.flatnonzero(is_new[: len(logits)])
                    rows, logits, fault = [rows[k] for k in new], logits[new], unread or fault
                if rows:
                    counts.update(_append(file, _decided(stored, rows, logits, test)))
                    for row, mark in zip(rows, _marks(logits), strict=True):
                        past.add(row["pair_id"], mark, row["image_sha256"])
                    counts["without the model's name"] += sum(not row["is_named"] for row in rows)
                    counts.update(IGNORED + column for column in names_ignored(rows, stored))
                    progress(f"{file.tell():,} bytes of {out}")
                if fault is not None:
                    raise fault
            counts += Counter({"passed over": len(old), CHANGED: _n_changed(old, past, stored, name)})
    return counts


class _Past:
    """Decided cases: places by the hashes of their ids, and there marks of answers (see `_marks`) and of pictures (see
    `mark_of`).
    """

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.answers, self.pictures = array("d"), array("q")

    def __contains__(self, pair_id: str) -> bool:
        return hash(pair_id) in self.places

    def add(self, pair_id: str, answer: float, image_sha256: str | None) -> None:
        self.places[hash(pair_id)] = len(self.places)
        self.answers.append(answer)
        self.pictures.append(mark_of(image_sha256))


def _are_new(lines: Lines, past: _Past, stored: Stored, name: str) -> list[bool]:
    """Whether each line is of a case that neither `past` nor a line before it holds; from the first line without an id
    on, which is refused when it is read, all are.
    """
    ids, is_new = set[str](), list[bool]()
    for line in lines:
        try:
            pair_id = case_id(line, stored, name)
        except ValueError:
            break
        is_new.append(pair_id not in past and pair_id not in ids)
        ids.add(pair_id)
    return is_new + [True] * (len(lines) - len(is_new))


@contextmanager
def _opened(out: Path) -> Iterator[BinaryIO]:
    """A log to read and append to, which no other run writes; a new one that got no line is taken away on an error."""
    was_there = out.exists()
    out.parent.mkdir(parents=True, exist_ok=True)
    with told_when_full(out), out.open("a+b") as file:
        if not try_lock(file):
            raise ValueError(f"{out} is being written by another run")
        try:
            yield file
        except BaseException:
            if not was_there and not out.stat().st_size:
                out.unlink()
            raise


def _restored(file: BinaryIO, stored: Stored, out: Path, test: StreamTest) -> _Past:
    """What a log holds, which is shown to the test.

    What a killed run left of a line is cut off. ValueError for a line that is damaged, repeated or of another policy.
    """
    past, head = _Past(), stored.head
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - MAX_LINE, 0))
    cut = file.read().rpartition(b"\n")[2]
    if not cut.startswith(_START[: len(cut)]):
        raise ValueError(f"{out} does not end as a log of decisions may; give another file")
    file.seek(0)
    for lines in numbered_lines(file, str(out), is_cut=True):
        probs, items = np.empty((len(lines), len(head.classes))), []
        for place, (number, raw) in enumerate(lines):
            try:
                item = OBJECT.validate_json(raw)
                is_own = all(item[key] == getattr(head, key) for key in ("model_hash", "params_hash", "run_id"))
                if is_own:
                    probs[place] = item["probs"]
                    past.add(item["pair_id"], float(_marks(item["logits"])), item.get("image_sha256"))
            except KeyError as error:
                raise ValueError(f"{out} is no log of decisions, or damaged: line {number} has no {error}") from None
            except (ValueError, TypeError, IndexError) as error:
                cause = reason(error) if isinstance(error, ValueError) else repr(error)
                raise ValueError(f"{out}, line {number} is damaged: {cause}") from None
            if not is_own:
                raise ValueError(f"{out}, line {number} was decided by another policy; give another file")
            items.append(item)
            if len(past.places) < len(past.answers):
                raise ValueError(f"{out}, line {number} repeats the pair {shown(item['pair_id'])}; give another file")
        foreign = None if stored.distances is None else np.array([item["foreign"] for item in items])
        groups, pair_ids = ([item[key] for item in items] for key in ("group_id", "pair_id"))
        test.update(stream_signals(probs, foreign), groups, pair_ids)
    # Only now is it known for a log of this policy.
    file.truncate(size - len(cut))
    return past


def _marks(logits: Sequence[float] | np.ndarray) -> np.ndarray:
    """One number for each answer (…, K), by which another is known for another."""
    values = np.asarray(logits, dtype=np.float64)
    return values @ np.arange(1.0, values.shape[-1] + 1)


def _n_changed(lines: Lines, past: _Past, stored: Stored, name: str) -> int:
    """How many of decided lines now give another answer, up to the first that cannot be read, or another picture."""
    places = [past.places[hash(case_id(line, stored, name))] for line in lines]
    answers, pictures = (np.array([marks[place] for place in places]) for marks in (past.answers, past.pictures))
    rows, _ = read_cases(lines, stored, name)
    marks = _marks(logits_of_cases(rows, stored)[0]) if rows else np.empty(0)
    is_other = np.zeros(len(lines), dtype=bool)
    is_other[: len(marks)] = ~np.isclose(marks, answers[: len(marks)], rtol=1e-9, atol=1e-6)
    if pictures.any():
        now = np.array([picture_mark(line, stored, name) for line in lines])
        is_other |= (now != pictures) & (now != 0) & (pictures != 0)
    return int(is_other.sum())


def _append(file: BinaryIO, items: Iterator[dict[str, Any]]) -> Counter[str]:
    """Write items in one go, and count what was decided and why."""
    lines, counts = [], Counter[str]()
    for fields in items:
        lines.append(Item.model_validate(fields).model_dump_json().encode() + b"\n")
        counts[fields["decision"]] += 1
        if fields["forced_by"]:
            counts[f"forced by {fields['forced_by']}"] += 1
    file.write(b"".join(lines))
    file.flush()
    return counts


def _decided(stored: Stored, rows: Rows, logits: np.ndarray, test: StreamTest) -> Iterator[dict[str, Any]]:
    """The items of a few cases, in their order, by the functions that the report was made with."""
    head, limits = stored.head, stored.head.thresholds
    probs = softmax(logits / head.temperature)
    sets = 1 - probs <= (math.inf if limits.qhat is None else limits.qhat)
    computed = of_one_answer(probs, sets)
    given = {name: np.array([row["signals"][name] for row in rows]) for name in rows[0]["signals"]}
    signals = {name: (computed | given)[name] for name in head.signals}
    consistency = None if head.consistency is None else np.array([row["consistency"] for row in rows])
    foreign = None
    if head.foreign is not None:
        distance, stated = (np.array([row[name] for row in rows]) for name in ("distance", "foreign"))
        foreign = np.where(np.isnan(distance), stated, distance_confidence(distance, stored.distances))
    texts = {
        name: [row[name] for row in rows]
        for name in ("pair_id", "image_id", "group_id", "hypothesis", "date", "image_sha256")
    }
    batch = None
    if limits.tau_batch is not None:
        batch = test.update(stream_signals(probs, foreign), texts["group_id"], texts["pair_id"])
    forced = force(
        signals,
        ~sets.any(axis=1),
        tau_critical=limits.tau_critical,
        foreign=foreign,
        tau_pair=limits.tau_pair,
        is_batch_foreign=False if batch is None else batch <= limits.tau_batch,
    )
    score = score_of(limits.score_name, signals, consistency)
    return iter_items(
        DecidedBatch(
            **texts,
            **{name: getattr(head, name) for name in ("temperature", "classes", "model_hash", "params_hash", "run_id")},
            split=[SPLIT] * len(rows),
            logits=logits,
            probs=probs,
            signals=signals,
            consistency=consistency,
            foreign=foreign,
            batch=batch,
            promise=limits.promise and limits.promise.model_dump(),
            sets=sets,
            qhat=limits.qhat,
            score=score,
            forced=forced,
            decision=decide(score, limits.policy, forced=forced),
            policy=limits.policy,
        )
    )
