"""New cases, decided as they come by the stored policy of a finished report: one line of a log a case.

The log is the only state. A run that is called again, after it was killed or because there is more, reads back from it
how far it came and what the test of the stream had seen.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import TypeAdapter

from verdict.base.artifacts import content_hash, told_when_full, try_lock, verify_outputs
from verdict.base.labels import Split
from verdict.base.params import AnswersParams, load_params
from verdict.data.own.answers import MAX_LOGIT, find_form, said
from verdict.data.own.tables import listed, shown
from verdict.data.pairs import MAX_HYPOTHESIS_CHARACTERS, make_pair_id
from verdict.decide.foreign import StreamTest, one_of_each, stream_signals
from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import Item, read_log, reason
from verdict.decide.policy import decide, force
from verdict.decide.signals import OF_ONE_ANSWER, composite, distance_confidence, of_one_answer
from verdict.model.predict import logits_of
from verdict.model.selection import Selection, load_selection
from verdict.stats.scores import softmax
from verdict.workflow import stages
from verdict.workflow.stage import Stage, open_stage
from verdict.workflow.stage_parameters import resolved

POLICY = "08_policy"
LOG = "audit.jsonl"
SPLIT = "new"
_ROWS, _BLOCK, _MAX_LINE = 512, 1 << 20, 4_000_000
_OBJECT = TypeAdapter(dict[str, Any])
Lines = list[tuple[int, bytes]]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Stored:
    """What a finished report decides by: `head`, any item of its log, whose thresholds, temperature and signals stand.

    `names`: what the model that they were tuned for is called; `known`: what is watched of calib, a row a group;
    `distances` (m,), or None: of val and calib from train; `how`: what answers are called and how they are read.
    """

    head: Item
    names: tuple[str, ...]
    known: Mapping[str, np.ndarray]
    distances: np.ndarray | None
    how: AnswersParams

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Names of columns that are known, by those that the profile's tables have."""
        return {own: known for known, own in self.how.columns.items()}


def load_stored(profile: str) -> Stored:
    """The stored policy of a profile's report.

    FileNotFoundError without one; StaleResultError, ValueError where its files or the parameters were changed since.
    """
    params = load_params(profile)
    source = stages.CLIP if params.data.source == stages.CLIP else stages.MODEL
    stage = open_stage(POLICY, profile, source=source)
    home = stages.folder(profile, stage.name)
    try:
        verify_outputs(home)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; make the report first: make report PROFILE={profile}") from None
    head = next(read_log(home / LOG))
    if isinstance(head, str):
        raise ValueError(f"{home / LOG} is of another version ({head}); make the report again")
    if head.params_hash != content_hash(resolved(params, stage.name)):
        raise ValueError(f"the parameters of {profile} were changed since its policy was tuned; make the report again")
    return stored_of(stage, head, load_selection(stage))


def stored_of(stage: Stage, head: Item, kept: Selection) -> Stored:
    """The policy that an item was decided by, with what the stage knows of the pairs that it was tuned on."""
    calib = stage.predictions(Split.CALIB, trial=kept.trial, seed=kept.seed)
    distances = foreign = None
    if head.foreign is not None:
        of_pairs = stage.answers(stages.DISTANCES, Split.VAL, Split.CALIB).set_index("pair_id")["distance"]
        distances, m = of_pairs.to_numpy(), len(of_pairs)
        # A row of calib is one of those that it is compared with; a new one is not.
        own = distance_confidence(of_pairs.loc[calib["pair_id"]].to_numpy(), distances)
        foreign = (own * (m + 1) - 1) / m
    rows = one_of_each(calib["group_id"], calib["pair_id"])
    known = stream_signals(softmax(logits_of(calib) / head.temperature), foreign)
    how = stage.all_params.data.answers
    names = (*how.models[:1], kept.trial, head.model_hash)
    return Stored(head, names, {name: column[rows] for name, column in known.items()}, distances, how)


def decide_stream(
    stored: Stored, source: BinaryIO, name: str, out: Path, *, progress: Callable[[str], None] = lambda text: None
) -> Counter[str]:
    """Decide the cases of JSON lines that `out` does not hold yet, and append them to it.

    Where the source begins with a case of `out`, what stands from there on is passed over; otherwise all of it is new.
    Counts cases by decision, by what forced it ("forced by …"), "passed over", and "without the model's name".
    ValueError names line and cause of a case that cannot be decided; those before it are. Case ids must be unique: a
    repeated one within 512 cases is refused, and any by a replay.
    """
    counts, chunks = Counter[str](), numbered_lines(source, name)
    first = next(chunks, [])
    out.parent.mkdir(parents=True, exist_ok=True)
    with told_when_full(out), out.open("a+b") as file:
        if not try_lock(file):
            raise ValueError(f"{out} is being written by another run")
        test = StreamTest(stored.known)
        begun, fault = _rows(first[:1], stored, name)
        if fault is not None:
            raise fault
        n_done, last = _restored(file, stored, out, test, begun[0]["pair_id"] if begun else "")
        n_passed = 0
        for lines in chain([first], chunks):
            n_old = min(n_done - n_passed, len(lines))
            rows, fault = _rows(lines[max(n_old - 1, 0) :], stored, name)
            n_passed += n_old
            if n_old and rows and n_passed == n_done and rows[0]["pair_id"] != last:
                raise ValueError(f"{rows[0]['place']}: {out} has decided {last!r} here; is it of other cases?")
            if rows := rows[n_old > 0 :]:
                logits, unread = _logits(rows, stored)
                rows, fault = rows[: len(logits)], unread or fault
            if rows:
                counts.update(_append(file, _decided(stored, rows, logits, test)))
                counts["without the model's name"] += sum(not row["is_named"] for row in rows)
                progress(f"{file.tell():,} bytes of {out}")
            if fault is not None:
                raise fault
        if n_passed < n_done:
            raise ValueError(f"{name} has {n_passed} cases, and {out} has decided {n_done} from the first of them on")
    return counts + Counter({"passed over": n_passed})


def numbered_lines(file: BinaryIO, name: str) -> Iterator[Lines]:
    """Lines as they come, with numbers, at most 512 at a time, blank ones left out; ValueError if one is too long."""
    rest, number = b"", 0
    while block := file.read1(_BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _MAX_LINE:
            raise ValueError(
                f"{name}, line {number + len(lines) + 1}: more than {_MAX_LINE:,} bytes; are there no line breaks?"
            )
        for start in range(0, len(lines), _ROWS):
            part = [
                (number + k, line) for k, line in enumerate(lines[start : start + _ROWS], start + 1) if line.strip()
            ]
            if part:
                yield part
        number += len(lines)
    if rest.strip():
        yield [(number + 1, rest)]


def _restored(file: BinaryIO, stored: Stored, out: Path, test: StreamTest, first_id: str) -> tuple[int, str]:
    """Show the test what a log holds; how many lines it has from the case `first_id` on, and the id of the last.

    What a killed run left of a line is cut off. ValueError for a line that is damaged, or of another policy.
    """
    n_done, last, head = 0, "", stored.head
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _MAX_LINE, 0))
    file.truncate(size - len(file.read().rpartition(b"\n")[2]))
    file.seek(0)
    for lines in numbered_lines(file, str(out)):
        probs, items = np.empty((len(lines), len(head.classes))), []
        for place, (number, raw) in enumerate(lines):
            try:
                item = _OBJECT.validate_json(raw)
                probs[place] = item["probs"]
                is_own = all(item[key] == getattr(head, key) for key in ("model_hash", "params_hash", "run_id"))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{out}, line {number} is damaged: {error!r}") from None
            if not is_own:
                raise ValueError(f"{out}, line {number} was decided by another policy; give another file")
            items.append(item)
            last, n_done = item["pair_id"], 1 if item["pair_id"] == first_id else n_done + (n_done > 0)
        foreign = None if stored.distances is None else np.array([item["foreign"] for item in items])
        test.update(stream_signals(probs, foreign), *([item[key] for item in items] for key in ("group_id", "pair_id")))
    return n_done, last


def _append(file: BinaryIO, items: Iterator[dict[str, Any]]) -> Counter[str]:
    """Write items in one go, and count what was decided and why."""
    lines, counts = [], Counter[str]()
    for fields in items:
        lines.append(Item.model_validate(fields).model_dump_json().encode() + b"\n")
        counts.update([fields["decision"], *([f"forced by {fields['forced_by']}"] if fields["forced_by"] else [])])
    file.write(b"".join(lines))
    file.flush()
    return counts


def _decided(stored: Stored, rows: Rows, logits: np.ndarray, test: StreamTest) -> Iterator[dict[str, Any]]:
    """The items of a few cases, in their order, by the functions that the report was made with."""
    head, limits = stored.head, stored.head.thresholds

    probs = softmax(logits / head.temperature)
    own, sets = of_one_answer(probs, math.inf if limits.qhat is None else limits.qhat)
    given = {name: np.array([row["signals"][name] for row in rows]) for name in rows[0]["signals"]}
    signals = {name: (own | given)[name] for name in head.signals}
    consistency = None if head.consistency is None else np.array([row["consistency"] for row in rows])
    foreign = None
    if head.foreign is not None:
        distance, stated = (np.array([row[name] for row in rows]) for name in ("distance", "foreign"))
        foreign = np.where(np.isnan(distance), stated, distance_confidence(distance, stored.distances))
    texts = {name: [row[name] for row in rows] for name in ("pair_id", "image_id", "group_id", "hypothesis", "date")}
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
    score = composite(signals, consistency)
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


def _rows(lines: Lines, stored: Stored, name: str) -> tuple[Rows, ValueError | None]:
    """Cases up to the first that cannot be read, and what is wrong with that one."""
    rows: dict[str, dict[str, Any]] = {}
    try:
        for number, raw in lines:
            row = _case(f"{name}, line {number}", raw, stored)
            if row["pair_id"] in rows:
                raise ValueError(f"{row['place']}: the case {shown(row['pair_id'])} comes twice")
            rows[row["pair_id"]] = row
    except ValueError as error:
        return list(rows.values()), error
    return list(rows.values()), None


def _case(place: str, raw: bytes, stored: Stored) -> dict[str, Any]:
    """One case as the policy needs it; ValueError names file, line, column and cause."""
    head = stored.head
    try:
        given = {stored.renamed.get(name, name): value for name, value in _OBJECT.validate_json(raw).items()}
    except ValueError as error:
        raise ValueError(f"{place}: {reason(error)}") from None
    told = [given[key] for key in ("model", "model_hash") if given.get(key) is not None]
    if other := [model for model in told if model not in stored.names]:
        raise ValueError(f"{place}, column 'model': {shown(other[0])}, where the policy was tuned for {stored.names}")
    text = partial(_text, place, given)
    image, hypothesis = text("image_id", "image"), text("hypothesis")
    pair = text("pair_id") or (make_pair_id(image, hypothesis) if image and hypothesis else None)
    if pair is None:
        raise ValueError(f"{place}: there is no column 'pair_id', nor 'image' and 'hypothesis'")
    unit = partial(_number, place, given | (given["signals"] if isinstance(given.get("signals"), dict) else {}))
    is_far = head.foreign is not None and given.get("distance") is not None
    return {
        "place": place,
        "given": given,
        "is_named": bool(told),
        "pair_id": pair,
        "image_id": image or pair,
        "group_id": text("group_id", "group") or image or pair,
        "hypothesis": hypothesis,
        "date": text("date"),
        "signals": {one: unit(one) for one in head.signals if one not in OF_ONE_ANSWER},
        "consistency": None if head.consistency is None else unit("consistency"),
        "distance": unit("distance", math.inf) if is_far else math.nan,
        "foreign": None if head.foreign is None else math.nan if is_far else unit("foreign"),
    }


def _text(place: str, given: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if (value := given.get(name)) is not None:
            text = value if isinstance(value, str) else str(value) if type(value) is int else ""
            if not 0 < len(text) <= MAX_HYPOTHESIS_CHARACTERS:
                what = f"expected a text of 1 to {MAX_HYPOTHESIS_CHARACTERS} characters, got {shown(value)}"
                raise ValueError(f"{place}, column {name!r}: {what}")
            return text
    return None


def _number(place: str, given: Mapping[str, Any], name: str, high: float = 1.0) -> float:
    value = given.get(name)
    if type(value) not in (int, float) or not 0 <= value <= high:
        what = (
            "is missing, and the policy was tuned with it"
            if value is None
            else f"{shown(value)} is not in [0, {high:g}]"
        )
        raise ValueError(f"{place}, column {name!r}: {what}")
    return float(value)


def _logits(rows: Rows, stored: Stored) -> tuple[np.ndarray, ValueError | None]:
    """Logits (k, K) of the rows up to the first whose answer cannot be read, and what is wrong with that one.

    They are lists called `logits`, as logs hold them, or stand in any form that `answers` reads.
    """
    classes, first = stored.head.classes, rows[0]["given"]
    try:
        if isinstance(first.get("logits"), list):
            return np.array([_listed(row, classes) for row in rows]), None
        kind = "" if stored.how.form == "auto" else stored.how.form
        form = find_form(list(first), classes, kind=kind, smallest=stored.how.smallest_prob)
        columns = {name: [row["given"].get(name) for row in rows] for name in form.names}
        return said(form, columns, lambda row: rows[row]["place"]).logits, None
    except ValueError as error:
        if len(rows) == 1:
            place = rows[0]["place"]
            return np.empty((0, len(classes))), error if place in str(error) else ValueError(f"{place}: {error}")
    half = len(rows) // 2
    found, fault = _logits(rows[:half], stored)
    if fault is None:
        rest, fault = _logits(rows[half:], stored)
        found = np.concatenate([found, rest])
    return found, fault


def _listed(row: dict[str, Any], classes: Sequence[str]) -> list[float]:
    logits = row["given"].get("logits")
    is_whole = isinstance(logits, list) and len(logits) == len(classes)
    if not is_whole or not all(type(one) in (int, float) and abs(one) <= MAX_LOGIT for one in logits):
        what = f"expected {len(classes)} numbers up to {MAX_LOGIT:g}, one for each of {listed(classes)}"
        raise ValueError(f"{row['place']}, column 'logits': {what}, got {shown(logits)}")
    return logits
