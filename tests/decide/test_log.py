"""The audit: items that keep to their schema, a log that shows every edit, a replay that decides again."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc

import numpy as np
import pytest

from verdict.base import paths
from verdict.base.artifacts import write_json
from verdict.decide.log import (
    DecidedBatch,
    explain_item,
    find_item,
    iter_items,
    read_log,
    replay_log,
    run_id,
    write_log,
)
from verdict.decide.log.__main__ import main
from verdict.decide.people import ParametricHuman
from verdict.decide.policy import Decision, Policy, decide, force
from verdict.decide.questions import Questions, clarify, question_responder
from verdict.decide.signals import (
    CONFORMAL_CONFIDENCE,
    ENTROPY_CONFIDENCE,
    MAX_PROBABILITY,
    composite,
    conformal_confidence,
    entropy_confidence,
    max_probability,
)
from verdict.stats.scores import softmax

CLASSES = ("entailment", "contradiction")
QHAT = 0.4


def batch_of(n, *, start=0, **changes):
    """Decided binary pairs; every branch and both reasons of the gate occur from 101 pairs on."""
    rng = np.random.default_rng(start)
    ids = [f"{i:016x}" for i in range(start, start + n)]
    logits = np.column_stack([np.zeros(n), rng.normal(0, 3, n)])
    probs = softmax(logits / 1.3)
    truth = (rng.random(n) > probs[:, 0]).astype(int)
    sets = 1 - probs <= QHAT
    confidence, is_empty = conformal_confidence(sets)
    signals = {
        MAX_PROBABILITY: max_probability(probs),
        ENTROPY_CONFIDENCE: entropy_confidence(probs),
        "ensemble_stability": rng.uniform(0.5, 1, n),
        CONFORMAL_CONFIDENCE: confidence,
    }
    consistency = rng.uniform(0.9, 1, n)
    score = composite(signals, consistency)
    policy = Policy(t_auto=0.8, t_clarify=0.5, tau_critical=0.1)
    forced = force(signals, is_empty, tau_critical=policy.tau_critical)
    human = ParametricHuman(0.9, n_classes=2, seed=1)
    which = Questions.which("which one?", CLASSES)
    likelihood = which.likelihood([[0.9, 0.1], [0.1, 0.9]])
    fields = {
        "pair_id": ids,
        "image_id": [f"image-{i // 2}" for i in range(start, start + n)],
        "group_id": [f"image-{i // 2}" for i in range(start, start + n)],
        "split": ["test"] * n,
        "hypothesis": ['two "red" squares\u2028and\x1b[31m a line'] * n,
        "logits": logits,
        "probs": probs,
        "temperature": 1.3,
        "signals": signals,
        "consistency": consistency,
        "sets": sets,
        "score": score,
        "forced": forced,
        "decision": decide(score, policy, forced=forced),
        "policy": policy,
        "human": human.answers(ids, truth),
        "clarification": clarify(probs, likelihood, question_responder(which, human, ids, truth)),
        "questions": which.texts,
        "response_names": CLASSES,
        "classes": CLASSES,
        "y_true": truth,
        "cost": rng.uniform(0, 1, n),
        "model_hash": "m0",
        "params_hash": "p0",
        "qhat": QHAT,
        "run_id": run_id(model="m0", params="p0"),
    }
    return DecidedBatch(**(fields | changes))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "audit.jsonl"
    write_log(path, iter_items(batch_of(211)))
    return path


def rewrite(path, number, **changes):
    """Change fields of one item."""
    items = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    items[number - 1] |= changes
    write_log(path, items)


def first_of(path, **wanted):
    for line in read_log(path):
        if all(getattr(line.item, name) == value for name, value in wanted.items()):
            return line
    raise AssertionError(f"no item has {wanted}")


def test_what_is_written_is_read(log):
    batch = batch_of(211)
    lines = list(read_log(log))
    assert len(lines) == 211
    assert not any(line.problem for line in lines)
    assert [line.item.logits for line in lines] == batch.logits.tolist()
    assert [line.item.score for line in lines] == batch.score.tolist()
    assert lines[3].item.hypothesis == batch.hypothesis[3]
    assert {line.item.decision for line in lines} == {decision.text for decision in Decision}
    assert {line.item.forced_by for line in lines} == {None, "empty_set", "critical_signal"}


def test_same_items_give_the_same_bytes(log, tmp_path):
    summary = write_log(tmp_path / "again.jsonl", iter_items(batch_of(211)))
    assert (tmp_path / "again.jsonl").read_bytes() == log.read_bytes()
    assert summary.n_items == 211
    assert summary.sha256 == replay_log(log).sha256
    assert run_id(a=1, b=2) == run_id(b=2, a=1) != run_id(a=1, b=3)


def test_replay_is_identical(log):
    found = replay_log(log)
    assert found.is_identical
    assert found.n_items == 211
    assert found.text.startswith("identical: 211 items")


@pytest.mark.parametrize(
    ("wanted", "changes", "field"),
    [
        ({"decision": "human", "forced_by": None}, {"decision": "auto", "human_answer": None}, "decision"),
        ({"forced_by": "empty_set"}, {"forced_by": None}, "forced_by"),
        ({"forced_by": "critical_signal"}, {"forced_by": None}, "forced_by"),
        ({"decision": "auto"}, {"logits": [0.0, 0.25]}, "probs"),
        ({"decision": "auto"}, {"temperature": 1.4}, "probs"),
        ({"decision": "auto"}, {"probs": [0.5, 0.4]}, "probs"),
        ({"decision": "auto"}, {"probs": [0.0, 0.0]}, "probs"),
        ({"decision": "clarify"}, {"score": 0.81}, "score"),
        ({"decision": "clarify"}, {"consistency": 0.1}, "score"),
        ({"decision": "auto", "set_size": 1}, {"set_size": 2}, "set_size"),
        ({"decision": "auto", "set_size": 1}, {"conformal_set": [], "set_size": 0}, "conformal_set"),
        ({"decision": "human"}, {"human_answer": "neutral"}, "true_answer, human_answer"),
        ({"decision": "clarify"}, {"clarification": None}, "clarification, human_answer"),
        ({"decision": "auto", "final_answer": "entailment"}, {"final_answer": "contradiction"}, "final_answer"),
        ({"decision": "auto", "model_answer": "entailment"}, {"model_answer": "contradiction"}, "model_answer"),
        ({"decision": "auto"}, {"model_hash": "m1"}, "run"),
        ({"decision": "auto"}, {"logits": [0.0, 1.0, 2.0]}, "shape"),
    ],
)
def test_replay_finds_an_edit(log, wanted, changes, field):
    number = first_of(log, **wanted).number
    rewrite(log, number, **changes)
    found = replay_log(log)
    assert not found.is_identical
    assert field in {difference.field for difference in found.first}
    expected_lines = {number} if number > 1 or field != "run" else set(range(2, 212))
    assert {difference.line for difference in found.first} <= expected_lines


def test_replay_finds_moved_thresholds(log):
    thresholds = first_of(log, decision="clarify").item.thresholds.model_dump()
    number = first_of(log, decision="clarify").number
    rewrite(log, number, thresholds=thresholds | {"t_clarify": 0.8})
    assert {"decision"} <= {difference.field for difference in replay_log(log).first}
    rewrite(log, number, thresholds=thresholds | {"t_clarify": 0.9})
    assert {difference.field for difference in replay_log(log).first} == {"shape"}


def test_the_recorded_hash_finds_any_edited_removed_or_moved_line(log, capsys):
    lines, recorded = log.read_bytes().split(b"\n")[:-1], replay_log(log).sha256
    cost = json.loads(lines[16])["cost"]
    edited = [*lines[:16], lines[16].replace(f'"cost":{cost!r}'.encode(), b'"cost":0.0'), *lines[17:]]
    assert edited != lines and replay_log(log, sha256=recorded).is_identical
    write_json(log.with_name("run.json"), {"outputs": {f"work/mine/08_policy/{log.name}": recorded}})
    for tampered in (edited, lines[:5] + lines[6:], [lines[1], lines[0], *lines[2:]]):
        log.write_bytes(b"\n".join(tampered) + b"\n")
        found = replay_log(log, sha256=recorded)
        assert [one.field for one in found.first] == ["SHA-256 of the file"] and not found.is_identical
        assert main(["replay", "--log", str(log)]) == 1
        assert "SHA-256 of the file is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda raw: raw[: len(raw) // 2], "Invalid JSON"),
        (lambda raw: raw.replace(b'"split":"test"', b'"split":3'), "split: Input should be a valid string"),
        (lambda raw: raw.replace(b'"score":', b'"skore":'), "score: Field required"),
        (lambda raw: b"\xff" + raw, "Invalid JSON"),
    ],
)
def test_damaged_lines_are_named(log, damage, problem):
    lines = log.read_bytes().split(b"\n")[:-1]
    lines[12] = damage(lines[12])
    log.write_bytes(b"\n".join(lines) + b"\n")
    found = replay_log(log)
    assert not found.is_identical
    assert any(difference.line == 13 and problem in difference.text for difference in found.first)


def test_many_differences_are_counted_and_the_first_shown(log):
    items = [json.loads(line) | {"score": 0.123} for line in log.read_bytes().split(b"\n")[:-1]]
    write_log(log, items)
    found = replay_log(log)
    assert found.n_differences >= 211
    assert f"and {found.n_differences - 20} more" in found.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1.2}, r"item 1 \(0000000000000000\): score: Input should be less than or equal to 1"),
        ({"score": float("nan")}, "score: Input should be"),
        ({"logits": [0.0, float("inf")]}, "logits.1: Input should be a finite number"),
        ({"temperature": 0.0}, "temperature: Input should be greater than 0"),
        ({"temperature": -590.4}, "temperature: Input should be greater than 0"),
        ({"decision": "maybe"}, "decision: Input should be 'auto', 'clarify' or 'human'"),
        ({"pair_id": ""}, "pair_id"),
        ({"set_size": "1"}, "set_size: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"hypothesis": "\ud800"}, "item 1"),
    ],
)
def test_an_item_that_breaks_the_schema_leaves_the_old_log(log, changes, message):
    before = log.read_bytes()
    item = next(iter_items(batch_of(1)))
    with pytest.raises(ValueError, match=message):
        write_log(log, [item | changes])
    assert log.read_bytes() == before
    assert [path.name for path in log.parent.iterdir()] == [log.name]


def test_a_pair_comes_once(tmp_path):
    items = list(iter_items(batch_of(3)))
    with pytest.raises(ValueError, match="item 4: pair 0000000000000001 is already in the log"):
        write_log(tmp_path / "log.jsonl", [*items, items[1]])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_nothing(tmp_path):
    def broken():
        yield from iter_items(batch_of(5))
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_log(tmp_path / "log.jsonl", broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_names_the_log_and_leaves_the_old_one(log, monkeypatch):
    before = log.read_bytes()

    def full(prefix, suffix, dir):
        (scratch := log.parent / f"{prefix}0{suffix}").touch()
        return os.open("/dev/full", os.O_WRONLY), str(scratch)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(
        OSError, match=rf"no space left while writing \S*{log.name}: 0 bytes were written, [\d,]+ bytes"
    ):
        write_log(log, iter_items(batch_of(3)))
    assert log.read_bytes() == before
    assert [path.name for path in log.parent.iterdir()] == [log.name]


def stream_of(n):
    template = list(iter_items(batch_of(1009)))
    for number, item in zip(range(n), itertools.cycle(template), strict=False):
        yield item | {"pair_id": f"{number:016x}"}


def test_memory_does_not_grow_with_the_log(tmp_path):
    peaks = {}
    for n in (2003, 8009):
        path = tmp_path / f"{n}.jsonl"
        tracemalloc.start()
        try:
            write_log(path, stream_of(n))
            assert replay_log(path).is_identical
            peaks[n] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # Only the set of ids grows, by a text of 16 characters and its slots; a line has about 1,000 bytes.
    assert peaks[8009] - peaks[2003] < 300 * (8009 - 2003)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"decision": "auto"}, "The score is at least 0.800, so the model's answer goes out alone."),
        ({"decision": "clarify"}, "Asked: which one? -> "),
        ({"decision": "human", "forced_by": None}, "The score is below 0.500, so the case goes to a person."),
        ({"forced_by": "empty_set"}, "An empty conformal set always goes to a person, whatever the score."),
        ({"forced_by": "critical_signal"}, "not above the safety limit 0.100"),
    ],
)
def test_explanations(log, wanted, said):
    item = first_of(log, **wanted).item
    text = explain_item(item)
    assert said in text
    assert f"Decision: {item.decision}." in text
    assert f"Final answer: {item.final_answer}" in text
    assert item.image_id in text and item.run_id in text
    assert ("wrong: the truth is" in text) == (item.final_answer != item.true_answer)
    # What a terminal would act on is escaped; the log itself keeps the data.
    assert "\x1b" not in text and "\\x1b[31m" in text and len(text.splitlines()) == text.count("\n") + 1


def test_explanations_do_not_round_doubt_away(log):
    item = first_of(log, decision="auto").item
    text = explain_item(item.model_copy(update={"probs": [1 - 1e-7, 1e-7], "classes": list(CLASSES)}))
    assert "entailment 0.9999999, contradiction 0.0000001" in text


def test_saved_logits_that_stand_for_no_image_are_not_said_to(log):
    item = first_of(log, decision="auto").item
    alone = item.model_copy(update={"image_id": item.pair_id, "group_id": item.pair_id})
    assert explain_item(alone).startswith(f"Pair {item.pair_id} (split test)")


def test_clarify_needs_a_clarification():
    with pytest.raises(ValueError, match="no clarification was given"):
        batch_of(101, clarification=None)
    with pytest.raises(ValueError, match="score has 5 rows, pair_id has 101"):
        batch_of(101, score=np.zeros(5))


def test_find_refuses_an_unknown_pair_and_a_damaged_line(log):
    assert find_item(log, f"{7:016x}").pair_id == f"{7:016x}"
    with pytest.raises(KeyError, match="holds no pair 'nobody'"):
        find_item(log, "nobody")
    log.write_bytes(log.read_bytes().replace(b'"split":"test"', b'"split":3', 1))
    with pytest.raises(ValueError, match=r"line 1 of .* is damaged: split"):
        find_item(log, f"{0:016x}")


def test_command_line(log, capsys):
    assert main(["explain", f"{5:016x}", "--log", str(log)]) == 0
    assert "Pair 0000000000000005" in capsys.readouterr().out
    assert main(["replay", "--log", str(log)]) == 0
    assert "identical" in capsys.readouterr().out
    assert main(["explain", "nobody", "--log", str(log)]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["replay", "--log", str(log.parent / "missing")]) == 2
    assert "missing" in capsys.readouterr().err
    rewrite(log, 9, score=0.5)
    assert main(["replay", "--log", str(log)]) == 1
    assert "different" in capsys.readouterr().out
    log.write_bytes(b"")
    assert main(["replay", "--log", str(log)]) == 2
    assert "is empty" in capsys.readouterr().err


def test_module_can_be_run():
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT / "lib")}
    command = [sys.executable, "-m", "verdict.decide.log", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert "explain" in done.stdout
    assert "replay" in done.stdout


def test_the_log_of_a_report_is_found_by_its_profile(log, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    assert main(["explain", f"{5:016x}", "--profile", "mine"]) == 2
    assert "make the report first" in capsys.readouterr().err
    home = tmp_path / "work" / "mine" / "08_policy"
    home.mkdir(parents=True)
    log.rename(home / "audit.jsonl")
    assert main(["explain", f"{5:016x}", "--profile", "mine"]) == 0
    assert "Pair 0000000000000005" in capsys.readouterr().out


def test_strangers_and_promises_are_logged_replayed_and_explained(tmp_path):
    path, plain = tmp_path / "audit.jsonl", batch_of(211)
    policy = Policy(0.8, 0.5, 0.1, tau_pair=0.05, tau_batch=0.01)
    foreign = np.random.default_rng(3).uniform(size=211)
    promise = {"error": 0.05, "confidence": 0.95, "error_by_class": {}, "method": "exact binomial test"}
    promise |= {"n_rows": 97, "n_groups": 89, "is_kept": True}

    def written(p_value):
        is_empty = plain.sets.sum(axis=1) == 0
        gate = {"tau_critical": 0.1, "foreign": foreign, "tau_pair": 0.05, "is_batch_foreign": p_value <= 0.01}
        forced = force(plain.signals, is_empty, **gate)
        decided = {"forced": forced, "decision": decide(plain.score, policy, forced=forced), "policy": policy}
        write_log(path, iter_items(batch_of(211, **decided, foreign=foreign, batch=p_value, promise=promise)))
        return replay_log(path)

    assert written(0.4).is_identical
    stranger, alone = first_of(path, forced_by="foreign_pair"), first_of(path, decision="auto")
    assert "not above 0.050: the case is foreign and goes to a person" in explain_item(stranger.item)
    told = "Of such answers at most 0.050 are wrong, with confidence 0.950 (exact binomial test, 97 rows in 89 groups)."
    assert told in explain_item(alone.item)
    rewrite(path, alone.number, foreign=0.01)
    (first, second, *_) = replay_log(path).first
    assert {first.field, second.field} <= {"forced_by", "decision", "final_answer", "clarification, human_answer"}
    assert written(0.002).is_identical and not any(line.item.decision == "auto" for line in read_log(path))
    assert "(p = 0.002, not above 0.010): nothing of it goes out" in explain_item(
        first_of(path, forced_by="foreign_batch").item
    )
