"""The audit: items that keep to their schema, a log that shows every edit, a replay that decides again."""

import itertools
import json
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from verdict.base import paths
from verdict.base.artifacts import sha256_file, write_json
from verdict.data.pairs import make_pair_id
from verdict.decide.log import replay
from verdict.decide.log.__main__ import main
from verdict.decide.log.explain import explain_item
from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import find_item, read_log, run_id, write_log
from verdict.decide.log.replay import replay_log
from verdict.decide.people import ParametricHuman
from verdict.decide.policy import Decision, Policy, decide, force
from verdict.decide.questions import Questions, clarify, question_responder
from verdict.decide.signals import ENTROPY_CONFIDENCE, MEAN_PROBABILITY, OF_ONE_ANSWER, composite, of_one_answer
from verdict.stats.scores import softmax

CLASSES = ("entailment", "contradiction")
THRESHOLDS = {"t_auto": 0.8, "t_clarify": 0.5, "tau_critical": 0.1, "qhat": 0.4}


def batch_of(n, **changes):
    """Decided binary pairs; every branch and both reasons of the gate occur from 101 pairs on."""
    rng = np.random.default_rng(0)
    ids, images = [f"{i:016x}" for i in range(n)], [f"image-{i // 2}" for i in range(n)]
    logits = np.column_stack([np.zeros(n), rng.normal(0, 3, n)])
    probs = softmax(logits / 1.3)
    truth = (rng.random(n) > probs[:, 0]).astype(int)
    sets = 1 - probs <= THRESHOLDS["qhat"]
    signals = of_one_answer(probs, sets) | {"ensemble_stability": rng.uniform(0.5, 1, n)}
    consistency = rng.uniform(0.9, 1, n)
    score, policy = composite(signals, consistency), Policy(t_auto=0.8, t_clarify=0.5, tau_critical=0.1)
    forced = force(signals, ~sets.any(axis=1), tau_critical=policy.tau_critical)
    human, which = ParametricHuman(0.9, n_classes=2, seed=1), Questions.which("which one?", CLASSES)
    likelihood = which.likelihood([[0.9, 0.1], [0.1, 0.9]])
    fields = {
        **{"pair_id": ids, "image_id": images, "group_id": images, "split": ["test"] * n},
        **{"hypothesis": ['two "red" squares\u2028and\x1b[31m a line'] * n, "classes": CLASSES},
        **{"logits": logits, "probs": probs, "temperature": 1.3, "signals": signals, "consistency": consistency},
        **{"sets": sets, "qhat": THRESHOLDS["qhat"], "score": score, "forced": forced, "policy": policy},
        **{"decision": decide(score, policy, forced=forced), "human": human.answers(ids, truth)},
        "clarification": clarify(probs, likelihood, question_responder(which, human, ids, truth)),
        **{"questions": which.texts, "response_names": CLASSES, "y_true": truth},
        **{"model_hash": "m0", "params_hash": "p0", "run_id": run_id(model="m0", params="p0")},
    }
    if "cost" not in changes:
        # Two for a person, one for a question and ten for an error, by what was decided.
        fields["cost"] = np.zeros(n)
        priced = list(iter_items(DecidedBatch(**(fields | changes))))
        prices = {"auto": 0.0, "clarify": 1.0, "human": 2.0}
        fields["cost"] = np.array(
            [prices[one["decision"]] + 10.0 * (one["final_answer"] != one["true_answer"]) for one in priced]
        )
    return DecidedBatch(**(fields | changes))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "audit.jsonl"
    write_log(path, iter_items(batch_of(211)))
    return path


def lines_of(path):
    return path.read_bytes().split(b"\n")[:-1]


def rewrite(path, number, **changes):
    """Change fields of one line, whatever the schema says."""
    lines = lines_of(path)
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | changes).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")


def first_of(path, **wanted):
    """Number and item of the first line with these values, but for the one that names the run."""
    for number, item in enumerate(read_log(path), start=1):
        if number > 1 and all(getattr(item, name) == value for name, value in wanted.items()):
            return number, item
    raise AssertionError(f"no item has {wanted}")


def test_what_is_written_is_read_and_replays(log, tmp_path):
    batch, items = batch_of(211), list(read_log(log))
    assert [item.logits for item in items] == batch.logits.tolist()
    assert [item.score for item in items] == batch.score.tolist()
    assert items[3].hypothesis == batch.hypothesis[3]
    assert {item.decision for item in items} == {decision.text for decision in Decision}
    assert {item.forced_by for item in items} == {None, "empty_set", "critical_signal"}
    found = replay_log(log, sha256=sha256_file(log))
    assert found.is_identical and found.text.startswith("identical: 211 items")
    assert write_log(tmp_path / "again.jsonl", iter_items(batch)) == 211
    assert (tmp_path / "again.jsonl").read_bytes() == log.read_bytes()
    assert run_id(a=1, b=2) == run_id(b=2, a=1) != run_id(a=1, b=3)


@pytest.mark.parametrize(
    ("wanted", "changes", "field"),
    [
        ({"decision": "human", "forced_by": None}, {"decision": "auto", "human_answer": None}, "decision"),
        ({"decision": "clarify"}, {"thresholds": THRESHOLDS | {"t_clarify": 0.8}}, "decision"),
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
        ({"decision": "auto"}, {"model_hash": "m1"}, "policy"),
        ({"decision": "auto"}, {"pair_id": f"{0:016x}"}, "pair_id"),
        ({"decision": "clarify"}, {"cost": 0.5}, "cost"),
        ({"decision": "clarify"}, {"thresholds": THRESHOLDS | {"t_clarify": 0.9}}, "item"),
        ({"decision": "auto"}, {"logits": [0.0, 1.0, 2.0]}, "item"),
        ({"decision": "auto"}, {"classes": ["entailment", "entailment"]}, "item"),
        ({"decision": "clarify"}, {"clarification": {"questions": [], "responses": [], "posterior": [1.0]}}, "item"),
    ],
)
def test_replay_finds_an_edit(log, wanted, changes, field):
    number, _ = first_of(log, **wanted)
    rewrite(log, number, **changes)
    found = replay_log(log)
    assert field in {difference.field for difference in found.first}
    assert {difference.line for difference in found.first} == {number}


@pytest.mark.parametrize("changes", [{"temperature": 1e-310}, {"logits": [1e308, -1e308], "temperature": 0.5}])
def test_a_line_without_probabilities_is_told_and_the_others_are_checked(log, changes):
    rewrite(log, 9, **changes)
    rewrite(log, 10, score=0.123)
    found = {(difference.line, difference.field) for difference in replay_log(log).first}
    assert {(9, "probs"), (10, "score")} <= found and {line for line, _ in found} == {9, 10}


def test_replay_recomputes_each_signal_of_the_logged_probabilities_and_sets(log):
    number, item = first_of(log, decision="auto")
    for name in OF_ONE_ANSWER:
        rewrite(log, number, signals=item.signals | {name: 0.123})
        assert f"signals.{name}" in {difference.field for difference in replay_log(log).first}


def test_the_recorded_hash_finds_any_edited_removed_or_moved_line(log, capsys):
    lines, recorded = lines_of(log), sha256_file(log)
    cost = json.loads(lines[16])["cost"]
    edited = [*lines[:16], lines[16].replace(f'"cost":{cost!r}'.encode(), b'"cost":0.0'), *lines[17:]]
    assert edited != lines
    write_json(log.with_name("run.json"), {"outputs": {f"work/mine/08_policy/{log.name}": recorded}})
    for tampered in (edited, lines[:5] + lines[6:], [lines[1], lines[0], *lines[2:]]):
        log.write_bytes(b"\n".join(tampered) + b"\n")
        assert replay_log(log, sha256=recorded).first[0].field == "SHA-256 of the file"
        assert main(["replay", "--log", str(log)]) == 1
        assert "SHA-256 of the file is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda raw: raw[: len(raw) // 2], "Invalid JSON"),
        (lambda raw: raw.replace(b'"split":"test"', b'"split":3'), "split: Input should be a valid string"),
        (lambda raw: raw.replace(b'"score":', b'"skore":'), "score: Field required"),
        (lambda raw: raw.replace(b'"tau_critical":0.1,', b""), "thresholds.tau_critical: Field required"),
        (lambda raw: b"\xff" + raw, "Invalid JSON"),
    ],
)
def test_damaged_lines_are_named(log, damage, problem):
    lines = lines_of(log)
    lines[12] = damage(lines[12])
    log.write_bytes(b"\n".join(lines) + b"\n")
    (found,) = replay_log(log).first
    assert found.line == 13 and problem in found.expected


def test_another_sentence_is_noticed_where_ids_are_made_of_it_and_a_missing_line_in_a_copy(log, tmp_path, monkeypatch):
    images, said = [f"image-{i}" for i in range(211)], [f"{i} squares" for i in range(211)]
    ids = {"pair_id": list(map(make_pair_id, images, said)), "image_id": images, "hypothesis": said}
    home = tmp_path / "work" / "mine" / "08_policy" / "audit.jsonl"
    home.parent.mkdir(parents=True)
    write_log(home, iter_items(batch_of(211, **ids, run_id="r1")))
    write_json(home.with_name("run.json"), {"outputs": {f"work/mine/08_policy/{home.name}": sha256_file(home)}})
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(home.read_bytes())
    rewrite(copy, 5, hypothesis="5 squares")
    assert [(one.line, one.field) for one in replay_log(copy).first] == [(5, "hypothesis")]
    copy.write_bytes(b"".join(home.read_bytes().splitlines(keepends=True)[:-1]))
    assert replay_log(copy).is_identical
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    assert main(["replay", "--profile", "mine", "--log", str(copy)]) == 1
    # Logs of other runs, or of new cases, are no copies.
    assert main(["replay", "--profile", "mine", "--log", str(log)]) == 0
    write_log(copy, iter_items(batch_of(97, **{name: ids[name][:97] for name in ids}, split=["new"] * 97, run_id="r1")))
    assert main(["replay", "--profile", "mine", "--log", str(copy)]) == 0
    home.unlink()
    assert main(["replay", "--profile", "mine", "--log", str(log)]) == 0


def test_made_ids_are_known_over_all_batches_and_pairs_without_a_sentence_or_with_named_ids_are_left_out(
    log, tmp_path, monkeypatch
):
    monkeypatch.setattr(replay, "_BATCH", 4)
    images, said = [f"image-{i}" for i in range(9)], [f"{i} squares" for i in range(8)] + [None]
    made = [make_pair_id(image, sentence or "") for image, sentence in zip(images, said, strict=True)]
    own = {"pair_id": ["0" * 16, *made[1:7], "my pair", "1" * 16], "image_id": images, "hypothesis": said}
    write_log(log, iter_items(batch_of(9, **own)))
    assert [(one.line, one.field) for one in replay_log(log).first] == [(1, "hypothesis")]
    assert "an id of one's own among made ones cannot be told from an edited sentence" in replay_log(log).text
    # Line 5 is edited, and no other of its batch has a made id.
    write_log(log, iter_items(batch_of(9, **own | {"pair_id": [*made[:5], "a", "b", "c", "1" * 16]})))
    assert replay_log(log).is_identical
    rewrite(log, 5, hypothesis="another")
    assert [(one.line, one.field) for one in replay_log(log).first] == [(5, "hypothesis")]


def test_many_differences_are_counted_and_the_first_shown(log):
    log.write_bytes(re.sub(rb'"score":[^,]+', b'"score":0.123', log.read_bytes()))
    found = replay_log(log)
    assert found.n_differences >= 211 and len(found.first) == 20
    assert f"and {found.n_differences - 20} more" in found.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1.2}, r"item 1 \(0000000000000000\): score: Input should be less than or equal to 1"),
        ({"logits": [0.0, float("inf")]}, "logits.1: Input should be a finite number"),
        ({"temperature": 0.0}, "temperature: Input should be greater than 0"),
        ({"decision": "maybe"}, "decision: Input should be 'auto', 'clarify' or 'human'"),
        ({"pair_id": ""}, "pair_id"),
        ({"set_size": "1"}, "set_size: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"hypothesis": "\ud800"}, "item 1"),
        ({"pair_id": f"{1:016x}"}, "item 2: pair 0000000000000001 is already in the log"),
    ],
)
def test_an_item_that_breaks_the_schema_leaves_the_old_log(log, changes, message):
    before = log.read_bytes()
    first, *rest = iter_items(batch_of(3))
    with pytest.raises(ValueError, match=message):
        write_log(log, [first | changes, *rest])
    assert log.read_bytes() == before


def test_thresholds_that_no_log_may_hold_are_told_with_their_item(log):
    with pytest.raises(ValueError, match=r"item 1 \(0000000000000000\): thresholds\.qhat: Input should be a finite"):
        write_log(log, iter_items(batch_of(3, qhat=float("inf"), cost=np.zeros(3))))


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_BATCH", 64)
    template, peaks = list(iter_items(batch_of(101))), []
    for n in (211, 1009):
        items = zip(range(n), itertools.cycle(template), strict=False)
        tracemalloc.start()
        try:
            write_log(tmp_path / "log.jsonl", (item | {"pair_id": f"{number:016x}"} for number, item in items))
            assert replay_log(tmp_path / "log.jsonl").is_identical
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # Only the set of ids grows, by a text of 16 characters and its slots; a line has about 1,000 bytes.
    assert peaks[1] - peaks[0] < 300 * (1009 - 211)


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
    _, item = first_of(log, **wanted)
    text = explain_item(item)
    assert said in text
    assert f"Decision: {item.decision}." in text
    assert f"Final answer: {item.final_answer}" in text
    assert item.image_id in text and item.run_id in text
    assert ("wrong: the truth is" in text) == (item.final_answer != item.true_answer)
    # What a terminal would act on is escaped; the log itself keeps the data.
    assert "\x1b" not in text and "\\x1b[31m" in text and len(text.splitlines()) == text.count("\n") + 1


def test_a_log_holds_the_floor_of_each_signal_and_is_decided_again_by_it(tmp_path):
    batch, path = batch_of(101), tmp_path / "log.jsonl"
    policy = Policy(0.8, 0.5, {"ensemble_stability": 0.7, "max_probability": 0.6})
    forced = force(batch.signals, ~batch.sets.any(axis=1), tau_critical=policy.tau_critical)
    decided = {"policy": policy, "forced": forced, "decision": decide(batch.score, policy, forced=forced)}
    write_log(path, iter_items(replace(batch, **decided, cost=None)))
    assert replay_log(path).is_identical
    stopped = [item for item in read_log(path) if item.forced_by == "critical_signal"]
    # The weakest of all signals is another, which has no floor.
    item = next(one for one in stopped if min(one.signals, key=one.signals.get) == ENTROPY_CONFIDENCE)
    named = re.search(r"(\w+) is (\S+), not above the safety limit (\S+):", explain_item(item))
    assert float(named[2]) <= float(named[3]) == policy.tau_critical[named[1]]
    number, item = first_of(path, decision="auto")
    rewrite(path, number, thresholds=item.thresholds.model_dump() | {"tau_critical": {"max_probability": 1.0}})
    assert "forced_by" in {difference.field for difference in replay_log(path).first}


def test_a_log_holds_which_score_decided_and_is_decided_again_by_it(tmp_path):
    batch, path = batch_of(101), tmp_path / "log.jsonl"
    mean = np.random.default_rng(1).uniform(0.3, 1, 101)
    policy = replace(batch.policy, score_name=MEAN_PROBABILITY)
    signals, decision = batch.signals | {MEAN_PROBABILITY: mean}, decide(mean, policy, forced=batch.forced)
    decided = {"policy": policy, "signals": signals, "score": mean, "decision": decision}
    write_log(path, iter_items(replace(batch, **decided, cost=None)))
    assert replay_log(path).is_identical, replay_log(path).text
    number, item = first_of(path, decision="auto")
    assert f"Score {item.score:.3f}, the mean probability of all models." in explain_item(item)
    composed = replace(batch, signals=signals, cost=None)
    write_log(tmp_path / "composite.jsonl", iter_items(composed))
    assert replay_log(tmp_path / "composite.jsonl").is_identical
    _, other = first_of(tmp_path / "composite.jsonl", decision="auto")
    assert "the geometric mean of the signals but mean_probability, times the consistency" in explain_item(other)
    rewrite(path, number, thresholds=item.thresholds.model_dump() | {"score_name": "composite"})
    assert {"score", "policy"} <= {difference.field for difference in replay_log(path).first}
    for name in ("luck", ENTROPY_CONFIDENCE):
        rewrite(path, number, thresholds=item.thresholds.model_dump() | {"score_name": name})
        assert "score_name must be one of" in replay_log(path).text
    shared = {"thresholds": item.thresholds.model_dump(), "signals": {"max_probability": 0.5}}
    rewrite(path, number, **shared)
    assert "the score 'mean_probability' is no signal of the item" in replay_log(path).text


@pytest.mark.parametrize("change", [{"t_clarify": 0.0}, {"qhat": 1.0}, {"tau_pair": 0.001}])
def test_lines_that_follow_from_other_thresholds_are_told(log, change):
    number, item = first_of(log, decision="auto")
    rewrite(log, number, thresholds=item.thresholds.model_dump() | change)
    assert "policy" in {difference.field for difference in replay_log(log).first}


def test_explanations_do_not_round_doubt_away_nor_speak_of_images_that_are_none(log):
    _, item = first_of(log, decision="auto")
    told = explain_item(item.model_copy(update={"probs": [1 - 1e-7, 1e-7], "classes": list(CLASSES)}))
    assert "entailment 0.9999999, contradiction 0.0000001" in told
    alone = item.model_copy(update={"image_id": item.pair_id, "group_id": item.pair_id})
    assert explain_item(alone).startswith(f"Pair {item.pair_id} (split test)")


def test_find_refuses_an_unknown_pair_and_a_damaged_line(log):
    assert find_item(log, f"{7:016x}").pair_id == f"{7:016x}"
    rewrite(log, 7, pair_id="Bär 7")
    assert find_item(log, "Bär 7").pair_id == "Bär 7", "lines as json.dumps writes them"
    with pytest.raises(KeyError, match="holds no pair 'nobody'"):
        find_item(log, "nobody")
    rewrite(log, 1, split=3)
    with pytest.raises(ValueError, match=r"line 1 of .* is damaged: split"):
        find_item(log, f"{0:016x}")


def test_a_pair_is_found_by_its_image_or_sentence_where_that_is_one_alone(log):
    # The last of 211 pairs has an image of its own, the others share one with another pair.
    assert find_item(log, "image-105").pair_id == f"{210:016x}"
    rewrite(log, 7, hypothesis='a "blue" Ähre')
    assert find_item(log, 'a "blue" Ähre').pair_id == f"{6:016x}"
    match = f"no pair .*image-2.*; 2 have it as image or sentence, the first are PAIR={4:016x} .*, PAIR={5:016x} [^=]*$"
    with pytest.raises(KeyError, match=match):
        find_item(log, "image-2")
    with pytest.raises(KeyError, match=f"; 210 have it .* PAIR={0:016x} .* PAIR={2:016x} [^=]*$"):
        find_item(log, 'two "red" squares\u2028and\x1b[31m a line')
    rewrite(log, 9, pair_id="image-3")
    assert find_item(log, "image-3").pair_id == "image-3", "an id is one before it is an image"
    with pytest.raises(KeyError, match=r"holds no pair .test.\"$"):
        find_item(log, "test")


def test_command_line(log, capsys, tmp_path, monkeypatch):
    def told(*arguments):
        status = main([*arguments])
        return status, "".join(capsys.readouterr())

    for arguments, status, said in (
        (["explain", f"{5:016x}"], 0, "Pair 0000000000000005"),
        (["replay"], 0, "identical"),
        (["explain", "nobody"], 2, "error: "),
    ):
        found = told(*arguments, "--log", str(log))
        assert found[0] == status and said in found[1]
    assert told("replay", "--log", str(log.parent / "missing"))[1].endswith("missing does not exist\n")
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    for profile, fault in (
        ("smoke", "make the report first: make report PROFILE=smoke"),
        ("../x", "a profile is a plain name"),
        ("smoek", "did you mean 'smoke'?"),
    ):
        status, said = told("explain", f"{5:016x}", "--profile", profile)
        assert status == 2 and fault in said
    with pytest.raises(SystemExit):
        main(["explain"])
    assert "make explain PAIR=id" in capsys.readouterr().err
    home = tmp_path / "work" / "mine" / "08_policy" / "audit.jsonl"
    home.parent.mkdir(parents=True)
    log.rename(home)
    assert "Pair 0000000000000005" in told("explain", f"{5:016x}", "--profile", "mine")[1]
    rewrite(home, 9, score=0.5)
    status, said = told("replay", "--profile", "mine")
    assert status == 1 and "different" in said
    home.write_bytes(b"")
    status, said = told("replay", "--profile", "mine")
    assert status == 2 and "is empty" in said


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
    (_, stranger), (number, alone) = first_of(path, forced_by="foreign"), first_of(path, decision="auto")
    assert "not above 0.050: the case is foreign and goes to a person" in explain_item(stranger)
    told = "Of such answers at most 0.050 are wrong, with confidence 0.950 (exact binomial test, 97 rows in 89 groups)."
    assert told in explain_item(alone)
    rewrite(path, number, foreign=0.01)
    (first, second, *_) = replay_log(path).first
    assert {first.field, second.field} <= {"forced_by", "decision", "final_answer", "clarification, human_answer"}
    assert written(0.002).is_identical and not any(item.decision == "auto" for item in read_log(path))
    _, of_batch = first_of(path, forced_by="foreign_batch")
    assert "(p = 0.002, not above 0.010): nothing of it goes out" in explain_item(of_batch)
