"""New cases by a stored policy: the report's own decisions, a log that is its own state, and a test that is heard."""

import codecs
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from simulated_stage import KEPT, make_stage
from verdict.base.labels import class_names
from verdict.data.pairs import make_pair_id
from verdict.decide.deferral import Calibrated, costs_of, decide_batch, gather, log_decisions, people_of
from verdict.decide.log import __main__ as command
from verdict.decide.log.cases import logits_of_cases, numbered_lines
from verdict.decide.log.explain import explain_item
from verdict.decide.log.log import find_item, read_log
from verdict.decide.log.replay import replay_log
from verdict.decide.log.stored import _form_read, stored_of
from verdict.decide.log.stream import CHANGED, IGNORED, decide_stream
from verdict.decide.policy import Forced, Policy
from verdict.decide.signals import COMPOSITE, ENSEMBLE_STABILITY, MEAN_PROBABILITY
from verdict.workflow import stages
from verdict.workflow.stages import DISTANCES

CALIBRATED = Calibrated({11: 2.0, 23: 2.0}, 11, 0.9, 0.1)
GIVEN = ("pair_id", "image_id", "group_id", "hypothesis", "logits", "signals", "foreign")
DECIDED = ("pair_id", "decision", "forced_by", "conformal_set", "model_answer")
MEASURED = ("probs", "score", "foreign")


def distances_of(stage):
    rng, tables = np.random.default_rng(5), [stage.tables[split, 11] for split in ("calib", "test")]
    parts = [table[["pair_id", "split"]].assign(distance=rng.gamma(4, 1, len(table))) for table in tables]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module", params=["distances", "logits alone"])
def report(request, tmp_path_factory):
    """A report's log of its test pairs, and the policy that stands in it."""
    folder = tmp_path_factory.mktemp("report")
    stage = make_stage("08_policy", folder)
    if request.param == "distances":
        stage.asked[DISTANCES] = distances_of(stage)
    else:
        stage.tables = {key: table for key, table in stage.tables.items() if key[1] == 11}
    calibrated = CALIBRATED if request.param == "distances" else Calibrated({11: 2.0}, 11, 0.9, 0.1)
    people, costs = people_of(stage, stage.tables["calib", 11]), costs_of(stage.params.policy, class_names())
    calibrated = replace(calibrated, score=MEAN_PROBABILITY if request.param == "distances" else COMPOSITE)
    found = gather(stage, "test", calibrated, KEPT)
    low, high = np.quantile(found.score[found.forced == Forced.NONE], [0.3, 0.7])
    policy = Policy(float(high), float(low), stage.params.policy.critical_floor, 0.01, 0.01, found.by)
    batch = decide_batch(stage, found, people, policy, calibrated=calibrated, kept=KEPT, costs=costs)
    log_decisions(folder / "audit.jsonl", batch)
    return folder / "audit.jsonl", stored_of(stage, next(read_log(folder / "audit.jsonl")), KEPT)


def given(log, *names, **changes):
    """Cases as somebody gives them: some fields of the items of a log."""
    items = map(json.loads, Path(log).read_bytes().splitlines())
    return [{name: item[name] for name in names or GIVEN} | changes for item in items]


def run(stored, rows, out):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return decide_stream(stored, numbered_lines(io.BytesIO(text.encode()), "new.jsonl"), "new.jsonl", out)


def test_a_reports_own_test_pairs_are_decided_as_in_the_report(report, tmp_path):
    log, stored = report
    counts = run(stored, given(log, model=stored.head.model_hash), tmp_path / "out.jsonl")
    theirs, ours = (list(map(json.loads, path.read_bytes().splitlines())) for path in (log, tmp_path / "out.jsonl"))
    assert [[one[name] for name in DECIDED] for one in ours] == [[one[name] for name in DECIDED] for one in theirs]
    for name in MEASURED if stored.distances is not None else MEASURED[:2]:
        np.testing.assert_allclose([one[name] for one in ours], [one[name] for one in theirs], rtol=0, atol=1e-12)
    assert len({one["decision"] for one in theirs}) == 3 and counts["without the model's name"] == 0
    assert sum(counts[name] for name in ("auto", "clarify", "human")) == len(theirs)
    replay = replay_log(tmp_path / "out.jsonl")
    assert replay.is_identical, replay.text
    asked = next(one["pair_id"] for one in ours if one["decision"] == "clarify")
    assert "Final answer: none yet." in explain_item(find_item(tmp_path / "out.jsonl", asked))


def test_a_run_that_is_killed_anywhere_goes_on_without_a_lost_or_doubled_line(report, tmp_path):
    log, stored = report
    rows, out = given(log), tmp_path / "out.jsonl"
    run(stored, rows, out)
    whole = out.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in (0, 17, ends[0], ends[0] + 1, ends[511], ends[511] + 900, ends[-1] - 1, ends[-1]):
        out.write_bytes(whole[:size])
        counts = run(stored, rows, out)
        assert out.read_bytes() == whole, size
        assert counts["passed over"] == sum(end <= size for end in ends)


def test_what_comes_later_goes_on_where_the_log_ended(report, tmp_path):
    log, stored = report
    rows, out = given(log), tmp_path / "out.jsonl"
    run(stored, rows, tmp_path / "whole.jsonl")
    for part in (rows[:300], rows[:400], rows[400:650], rows[400:]):
        run(stored, part, out)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("size", [3, 512])
def test_a_decided_case_is_passed_over_wherever_it_stands(report, tmp_path, size):
    """An export is sorted newest first, and holds a case twice, the second time with another answer."""
    log, stored = report
    rows, out = given(log), tmp_path / "out.jsonl"
    run(stored, rows[600:], out)
    twice = [rows[0], rows[600] | {"logits": rows[600]["logits"][::-1]}, rows[1] | {"logits": rows[1]["logits"][::-1]}]
    lines = [(k, json.dumps(row).encode()) for k, row in enumerate([*rows[:600], *twice, *rows[600:]][::-1], start=1)]
    counts = decide_stream(stored, (lines[k : k + size] for k in range(0, len(lines), size)), "new.jsonl", out)
    assert counts["passed over"] == len(rows) - 600 + 3 and counts[CHANGED] == 2
    ids = [item.pair_id for item in read_log(out)]
    assert sorted(ids) == sorted(row["pair_id"] for row in rows) and replay_log(out).is_identical
    with pytest.raises(ValueError, match=r"out\.jsonl, line 702 repeats the pair"):
        out.write_bytes(out.read_bytes() + out.read_bytes().splitlines(keepends=True)[0])
        run(stored, rows, out)


def test_an_answer_that_has_changed_since_it_was_decided_is_counted(report, tmp_path):
    log, stored = report
    rows, out = given(log), tmp_path / "out.jsonl"
    run(stored, rows[:600], out)
    assert run(stored, rows[:650], out)[CHANGED] == 0
    for k in (0, 511, 620, 649):
        rows[k]["logits"] = rows[k]["logits"][::-1]
    assert run(stored, rows, out)[CHANGED] == 4
    assert run(stored, [{"pair_id": row["pair_id"]} for row in rows], out)[CHANGED] == 0


def test_a_picture_that_has_changed_since_it_was_decided_on_is_counted_where_its_hash_is_known(report, tmp_path):
    log, stored = report
    rows, out, older = given(log)[:600], tmp_path / "out.jsonl", tmp_path / "older.jsonl"
    run(stored, [row | {"image_sha256": f"{k:016x}"} for k, row in enumerate(rows)], out)
    # Pairs that the report's model is asked about come without an answer.
    named = [{"pair_id": row["pair_id"], "image_sha256": f"{k:016x}"} for k, row in enumerate(rows)]
    assert run(stored, named, out)[CHANGED] == 0 and replay_log(out).is_identical
    for k in (0, 511, 599):
        named[k]["image_sha256"] = "another"
    assert run(stored, named, out)[CHANGED] == 3
    assert run(stored, rows, out)[CHANGED] == 0
    items = [json.loads(line) for line in out.read_bytes().splitlines()]
    older.write_text(
        "".join(json.dumps({k: v for k, v in item.items() if k != "image_sha256"}) + "\n" for item in items)
    )
    assert run(stored, named, older)[CHANGED] == 0 and replay_log(older).is_identical
    assert explain_item(find_item(older, items[0]["pair_id"])) == explain_item(find_item(out, items[0]["pair_id"]))


@pytest.mark.parametrize("place", ["digits/audit.jsonl", "gone/08_policy/audit.jsonl"])
def test_a_log_of_a_report_or_a_file_beside_it_is_refused_as_out(report, tmp_path, monkeypatch, place):
    monkeypatch.setattr("verdict.base.paths.WORK", tmp_path)
    out = tmp_path / place
    out.parent.mkdir(parents=True)
    if place.startswith("gone"):
        (out.parent / "run.json").touch()
    with pytest.raises(ValueError, match=r"audit\.jsonl lies among the results of a report"):
        run(report[1], given(report[0])[:1], out)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["-", "/dev/full", "pipe", "link", "folder"])
def test_what_is_no_file_is_refused_before_it_is_opened(report, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / kind if kind in ("pipe", "link", "folder") else Path(kind)
    os.mkfifo(out) if kind == "pipe" else out.mkdir() if kind == "folder" else None
    if kind == "link":
        out.symlink_to("/dev/full")
    with pytest.raises(ValueError, match=f"OUT={out} is no file"):
        run(report[1], given(report[0])[:1], out)
    assert not (tmp_path / "-").exists()


def test_after_an_alarm_every_later_case_goes_to_a_person(report, tmp_path):
    log, stored = report
    rows, out = given(log), tmp_path / "out.jsonl"
    unsure = [row | {"pair_id": f"{row['pair_id']}-2", "group_id": f"{row['group_id']}-2"} for row in rows]
    unsure = [row | {"logits": [0.2 * one for one in row["logits"]]} for row in unsure]
    counts = run(stored, rows + unsure, out)
    items = [json.loads(line) for line in out.read_bytes().splitlines()]
    alarm = next(place for place, one in enumerate(items) if one["thresholds"]["batch"] <= 0.01)
    assert 701 < alarm < 701 + 300
    assert {one["decision"] for one in items[alarm:]} == {"human"}
    assert sum(one["forced_by"] == "foreign_batch" for one in items) == counts["forced by foreign_batch"] > 100
    assert all(one["forced_by"] != "foreign_batch" for one in items[:alarm])
    p_values = [one["thresholds"]["batch"] for one in items]
    assert p_values == sorted(p_values, reverse=True)
    again = [row | {"pair_id": f"{row['pair_id']}-3"} for row in rows[:5]]
    run(stored, again, out)
    last = [json.loads(line) for line in out.read_bytes().splitlines()[-5:]]
    assert {one["decision"] for one in last} == {"human"} and last[-1]["pair_id"] == again[-1]["pair_id"]
    assert "differs from what the policy was tuned on" in explain_item(find_item(out, again[-1]["pair_id"]))


def test_a_run_that_is_refused_at_its_first_case_leaves_a_log_as_it_was_or_none(report, tmp_path):
    log, stored = report
    rows, out = given(log)[:2], tmp_path / "new" / "out.jsonl"
    for size in (None, 0):
        with pytest.raises(ValueError, match="line 1, column 'model'"):
            run(stored, [rows[0] | {"model": "another"}, rows[1]], out)
        assert (out.stat().st_size if out.exists() else None) == size
        out.touch()
    with pytest.raises(ValueError, match="line 2, column 'model'"):
        run(stored, [rows[0], rows[1] | {"model": "another"}], out)
    assert len(out.read_bytes().splitlines()) == 1


FAULTS = {
    "model": ({"model": "another"}, r"line 4, column 'model': 'another', where the policy was tuned for .*text1"),
    "classes": ({"logits": [0.1, 0.2, 0.3]}, r"line 4, column 'logits': expected 2 numbers"),
    "too large": ({"logits": [0.1, 1e9]}, r"logits beyond 10000.*new.jsonl, line 4"),
    "words": ({"logits": [0.1, "much"]}, r"line 4, column 'logit_contradiction': 'much' is not a number"),
    "no id": ({"pair_id": None, "hypothesis": None}, r"line 4: there is no column 'pair_id'"),
    "id": ({"pair_id": ["a"]}, r"line 4, column 'pair_id': expected a text"),
    "date": ({"date": "gestern"}, r"line 4, column 'date': 'gestern' is no date such as 2026-03-31"),
    "slip": ({"gruop": "g", "mdoel": "other"}, r"line 4, column 'gruop': is not known; did you mean 'group'\?"),
    "other case": ({"Model": "other"}, r"line 4, column 'Model': is not known; did you mean 'model'\?"),
    "other form": ({"logits": None}, r"line 4, column 'logits': is empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_case_that_cannot_be_decided_stops_the_run_after_those_before_it(report, tmp_path, fault):
    log, stored = report
    rows, (changes, match) = given(log), FAULTS[fault]
    with pytest.raises(ValueError, match=match):
        run(stored, [*rows[:3], rows[3] | changes, *rows[4:]], tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 3
    run(stored, rows, tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == len(rows)


@pytest.mark.parametrize("n", [1, 7, 8, 520])
def test_logits_that_all_look_like_probabilities_are_refused_before_the_first_decision(report, tmp_path, n):
    log, stored = report
    rows, out = [row | {"logits": [0.31, 0.69]} for row in given(log)[:n]], tmp_path / "out.jsonl"
    for some in (rows, [rows[0], rows[0]]):
        with pytest.raises(
            ValueError, match=r"new.jsonl, line 1: .*call them prob_<class>.*; set data.answers.allow_small"
        ):
            run(stored, some, out)
        assert not out.exists()
    counts = run(replace(stored, how=stored.how.model_copy(update={"allow_small": True})), rows, out)
    assert sum(counts[name] for name in ("auto", "clarify", "human")) == n


def test_a_few_logits_that_sum_to_1_by_chance_are_decided_as_logits(report, tmp_path):
    log, stored = report
    rows, out, slow = given(log)[:512], tmp_path / "out.jsonl", tmp_path / "slow.jsonl"
    alike = {"logits": [0.31, 0.69]}
    rows[:7], rows[505:] = ([row | alike for row in some] for some in (rows[:7], rows[505:]))
    run(stored, rows, out)
    whole = out.read_bytes()
    assert len(whole.splitlines()) == 512 and next(read_log(out)).logits == alike["logits"]
    # The last of a chunk is judged with those of it that a killed run has decided.
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:511]))
    run(stored, rows, out)
    assert out.read_bytes() == whole
    one_by_one = ([(k, json.dumps(rows[k]).encode())] for k in (9, 0))
    decide_stream(stored, one_by_one, "in", slow)
    assert len(slow.read_bytes().splitlines()) == 2


def test_after_certain_cases_alone_probabilities_are_still_refused(report, tmp_path):
    log, stored = report
    rows = [row | {"logits": logits} for row, logits in zip(given(log), ([1.0, 0.0], [0.31, 0.69]), strict=False)]
    one_by_one = ([(k, json.dumps(row).encode())] for k, row in enumerate(rows, start=1))
    with pytest.raises(ValueError, match=r"in, line 2: .*call them prob_<class>"):
        decide_stream(stored, one_by_one, "in", tmp_path / "out.jsonl")


def test_what_the_policy_was_tuned_with_must_be_given(report, tmp_path):
    log, stored = report
    if stored.distances is None:
        run(stored, given(log, "pair_id", "logits"), tmp_path / "out.jsonl")
        return
    with pytest.raises(ValueError, match=f"line 1, column '{ENSEMBLE_STABILITY}': is missing"):
        run(stored, given(log, "pair_id", "logits", "foreign"), tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match="column 'foreign': is missing"):
        run(stored, given(log, "pair_id", "logits", "signals"), tmp_path / "out.jsonl")
    twice = given(log, "pair_id", "logits", "signals", "foreign", ensemble_stability=0.25)[:1]
    with pytest.raises(ValueError, match=r"'ensemble_stability': stands twice, as .* among signals and as 0\.25"):
        run(stored, twice, tmp_path / "out.jsonl")
    far = given(log, "pair_id", "logits", "signals", distance=1e6)
    counts = run(stored, far, tmp_path / "out.jsonl")
    assert counts["forced by foreign"] > 100


def test_lines_that_are_no_cases_and_logs_of_others_are_refused(report, tmp_path):
    log, stored = report
    rows, out = given(log), tmp_path / "out.jsonl"
    marked = codecs.BOM_UTF8 + json.dumps(rows[0]).encode()
    decide_stream(stored, numbered_lines(io.BytesIO(marked), "new.jsonl"), "new.jsonl", tmp_path / "marked.jsonl")
    assert json.loads((tmp_path / "marked.jsonl").read_bytes())["pair_id"] == rows[0]["pair_id"]
    faults = {b"[1]\n": "line 1: Input should be an object", b"\n{\n": "line 2: ", b'{"a": 1}': "line 1: "}
    for text, match in faults.items():
        with pytest.raises(ValueError, match=match):
            decide_stream(stored, numbered_lines(io.BytesIO(text), "new.jsonl"), "new.jsonl", out)
    other = json.loads(log.read_bytes().splitlines()[0]) | {"params_hash": "another"}
    missing = r"out\.jsonl is no log of decisions, or damaged: line 1 has no 'model_hash'"
    damaged = {
        "{}": missing,
        json.dumps(rows[0]): missing,
        json.dumps(other | {"params_hash": stored.head.params_hash, "logits": 5}): "line 1 is damaged: IndexError",
        json.dumps(other | {"probs": [0.1, 0.2, 0.3, 0.4]}): "line 1 was decided by another policy",
        "{broken": r"line 1 is damaged: Invalid JSON: .* got '{broken'$",
    }
    for content, match in {json.dumps(other): "line 1 was decided by another policy", **damaged}.items():
        out.write_text(content + "\n")
        with pytest.raises(ValueError, match=match):
            run(stored, rows, out)
    for content in ("my notes", "notes\nof mine", "\n".join(map(json.dumps, rows[:3]))):
        out.write_text(content)
        with pytest.raises(ValueError, match=r"out\.jsonl"):
            run(stored, rows, out)
        assert out.read_text() == content, "what is no log is left as it was"
    assert run(stored, [], tmp_path / "nothing.jsonl").total() == 0


def test_every_form_of_an_answer_gives_the_same_decisions(report, tmp_path):
    log, stored = report
    items = [json.loads(line) for line in log.read_bytes().splitlines()]
    z = np.array([item["logits"] for item in items])
    logprobs = z - np.logaddexp(z[:, :1], z[:, 1:])
    rows = [
        {name: value for name, value in row.items() if name != "logits"} | {"logprob_yes": yes, "logprob_no": no}
        for row, (yes, no) in zip(given(log), logprobs.tolist(), strict=True)
    ]
    run(stored, rows, tmp_path / "out.jsonl")
    ours = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [one["decision"] for one in ours] == [one["decision"] for one in items]
    np.testing.assert_allclose([one["probs"] for one in ours], [one["probs"] for one in items], rtol=0, atol=1e-9)
    rows[600]["logprob_no"] = 3.0
    with pytest.raises(ValueError, match=r"log-probabilities are at most 0.*new.jsonl, line 601"):
        run(stored, rows, tmp_path / "other.jsonl")
    assert len((tmp_path / "other.jsonl").read_bytes().splitlines()) == 600


def test_answers_are_read_in_the_form_that_the_policy_was_tuned_on_and_others_must_not_contradict(report, tmp_path):
    log, stored = report
    tuned_on_probs = replace(stored, form="probs")
    items = [json.loads(line) for line in log.read_bytes().splitlines()]
    both = given(log, *(name for name in GIVEN if name != "logits"), prob_yes=0.99, logit_yes=-5)[:3]
    run(tuned_on_probs, both, tmp_path / "out.jsonl")
    assert {item.model_answer for item in read_log(tmp_path / "out.jsonl")} == {"entailment"}
    run(stored, both, tmp_path / "logits.jsonl")
    assert {item.model_answer for item in read_log(tmp_path / "logits.jsonl")} == {"contradiction"}
    # A line of a log holds its logits, from which its probabilities follow by the temperature.
    run(tuned_on_probs, items, tmp_path / "again.jsonl")
    assert [item.decision for item in read_log(tmp_path / "again.jsonl")] == [item["decision"] for item in items]
    tuned_on_samples, rows = replace(stored, form="samples"), [both[0] | {"logit_yes": 5}, *both[1:]]
    match = r"line 2: \['logit_yes'\] says contradiction, \['prob_yes'\] says entailment, .* tuned on samples; give one"
    with pytest.raises(ValueError, match=match):
        run(tuned_on_samples, rows, tmp_path / "second.jsonl")
    assert len((tmp_path / "second.jsonl").read_bytes().splitlines()) == 1
    named = [row | {"model_answer": answer} for row, answer in zip(both, ("Yes", "It depends", "no"), strict=True)]
    with pytest.raises(ValueError, match=r"line 3: \['prob_yes'\] says entailment, .*'model_answer'.* says contrad"):
        run(tuned_on_probs, named, tmp_path / "named.jsonl")
    assert len((tmp_path / "named.jsonl").read_bytes().splitlines()) == 2


def test_a_case_may_be_named_as_in_the_table_of_a_report(report, tmp_path):
    log, stored = report
    rows = [{name: row[name] for name in row if name != "pair_id"} | {"id": row["pair_id"]} for row in given(log)[:2]]
    asked = {"hypothesis": None, "question": "Is it a 1?", "answer": "yes", "image_id": None, "img": "a.png"}
    counts = run(stored, [rows[0], rows[1] | asked | {"id": None}], tmp_path / "out.jsonl")
    first, second = read_log(tmp_path / "out.jsonl")
    assert first.pair_id == rows[0]["id"] and not [what for what in counts if what.startswith(IGNORED)]
    assert second.pair_id == make_pair_id("a.png", "Is it a 1? yes") and second.hypothesis == "Is it a 1? yes"
    with pytest.raises(ValueError, match=r"no column 'pair_id', nor 'image' and .*'question'.*, in \['question'"):
        run(stored, [{"question": "Is it a 1?", "logit_yes": 1.0}], tmp_path / "out.jsonl")


@pytest.mark.parametrize(("hub", "form"), [("", "probs"), ("some/model", "log_probs")])
def test_the_form_is_the_one_that_the_page_on_what_was_given_found(tmp_path, hub, form):
    pd.DataFrame({"part": ["val", "test"], "form": ["probs", "logits"]}).to_parquet(tmp_path / "files.parquet")
    stage = SimpleNamespace(given=stages.RECORDED, upstream=lambda name, file: tmp_path / file)
    assert _form_read(stage, SimpleNamespace(model=SimpleNamespace(hub=hub))) == form


def test_what_people_log_besides_is_let_by_and_named_once(report, tmp_path, capsys, monkeypatch):
    log, stored = report
    items = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert not [what for what in run(stored, items, tmp_path / "log.jsonl") if what.startswith(IGNORED)]
    rows = [*given(log)[:600], *given(log, model_version="3", latency_ms=12)[600:]]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("verdict.decide.log.stored.load_stored", lambda profile: stored)
    options = ["--in", str(tmp_path / "new.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert command.main(["decide", *options]) == 0
    told = capsys.readouterr()
    assert "nothing here reads the columns ['latency_ms', 'model_version']\n" in told.err and "latency" not in told.out


def test_a_bare_answer_is_worth_what_the_report_found_and_nothing_where_more_was_given(report):
    rows = [{"given": {"model_answer": word}, "place": f"new.jsonl, line {k}"} for k, word in enumerate(("no", "Yes"))]
    _, fault = logits_of_cases(rows, report[1])
    assert "line 0: column 'model_answer': a bare answer, and the policy was tuned with more" in str(fault)
    logits, fault = logits_of_cases(rows, replace(report[1], worth=np.array([0.7, 1.5])))
    assert logits.tolist() == [[0.0, 1.5], [0.7, 0.0]] and fault is None


class Pipe(io.BytesIO):
    """Gives seven bytes at a time, as a slow writer would."""

    def read1(self, size=-1):
        return super().read1(7)


def test_lines_come_whole_however_they_arrive():
    text = b'{"a": 1}\n\n  \n{"b": 2}\r\nlast'
    found = [line for lines in numbered_lines(Pipe(text), "in") for line in lines]
    assert [(number, line.strip()) for number, line in found] == [(1, b'{"a": 1}'), (4, b'{"b": 2}'), (5, b"last")]
    with pytest.raises(ValueError, match="in, line 1: more than"):
        list(numbered_lines(io.BytesIO(b"x" * 9_000_000), "in"))


def test_messages_call_a_column_as_the_person_does_and_name_one_line(report, tmp_path):
    log, stored = report
    mine = replace(stored, how=stored.how.model_copy(update={"columns": {"image_id": "picture"}}))
    with pytest.raises(ValueError, match=r"line 2, column 'picture': expected a text of 1 to"):
        run(mine, [*given(log)[:1], given(log, "pair_id", "logits")[1] | {"picture": ["a"]}], tmp_path / "out.jsonl")
    chunks = numbered_lines(io.BytesIO(b'\n\n{"pair_id": "a",}\n'), "new.jsonl")
    with pytest.raises(ValueError, match=r"^new\.jsonl, line 3: Invalid JSON: .* at column \d+, got") as refused:
        decide_stream(stored, chunks, "new.jsonl", tmp_path / "other.jsonl")
    assert str(refused.value).count("line") == 1
    listed = [{"pair_id": "a", "top_logprobs": "[1"}]
    if stored.distances is None:
        with pytest.raises(ValueError, match=r"line 1, column 'top_logprobs': '\[1' is not JSON: ") as refused:
            run(stored, listed, tmp_path / "other.jsonl")
        assert str(refused.value).count("line") == 1
