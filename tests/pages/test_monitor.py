"""The monitor: an estimate that no choice of labels can bend, weeks, what is labelled next, and bad files."""

import json

import numpy as np
import pytest

from verdict.base import paths
from verdict.base.artifacts import write_text
from verdict.base.params import load_params
from verdict.decide.guarantee import breach_p_values
from verdict.decide.log.items import DecidedBatch, iter_items
from verdict.decide.log.log import write_log
from verdict.decide.policy import Decision, Policy
from verdict.decide.signals import composite, of_one_answer
from verdict.pages import monitor
from verdict.report.monitor import render_monitor
from verdict.stats.uncertainty import Resampler
from verdict.workflow.stage import Stage

CLASSES = ("entailment", "contradiction")
PROMISE = {"error": 0.05, "confidence": 0.95, "error_by_class": {}, "method": "exact", "n_rows": 9, "n_groups": 9}
N, PER_GROUP = 601, 2


def write_decisions(path, *, n=N, error=0.1, seed=0, dates=True, per_group=PER_GROUP, by_class=None):
    """A log of decisions in pairs of a group, and the truth of each; whoever went out alone errs so often."""
    rng = np.random.default_rng(seed)
    logits = np.column_stack([np.zeros(n), rng.normal(0, 3, n)])
    probs = np.exp(logits - np.logaddexp(logits[:, :1], logits[:, 1:]))
    sets = 1 - probs <= 0.9
    signals = of_one_answer(probs, sets)
    decision = np.where(probs.max(axis=1) > 0.8, Decision.AUTO, Decision.HUMAN)
    answer = logits.argmax(axis=1)
    truth = np.where(rng.random(n) < error, 1 - answer, answer)
    ids = [f"case-{k}" for k in range(n)]
    batch = DecidedBatch(
        **{name: ids for name in ("pair_id", "image_id", "hypothesis")},
        group_id=[f"group-{k // per_group}" for k in range(n)],
        split=["new"] * n,
        date=[f"2026-0{1 + k // 200}-15T10:00:00" for k in range(n)] if dates else None,
        **{"logits": logits, "probs": probs, "temperature": 1.0, "signals": signals, "sets": sets, "qhat": 0.9},
        **{"score": composite(signals), "forced": np.zeros(n, dtype=int), "decision": decision},
        promise=PROMISE | {"is_kept": True, "error_by_class": by_class or {}},
        batch=1.0,
        policy=Policy(0.8, 0.8, None, None, 0.01),
        **{"classes": CLASSES, "model_hash": "m", "params_hash": "p", "run_id": "r"},
    )
    write_log(path, iter_items(batch))
    return dict(zip(ids, np.array(CLASSES)[truth].tolist(), strict=True))


def write_labels(path, truth):
    write_text(path, "pair_id,label\n" + "".join(f"{pair},{label}\n" for pair, label in truth.items()))
    return path


@pytest.fixture
def stage(tmp_path):
    return Stage("monitor", "smoke", None, None, tmp_path, load_params("smoke"))


def study(stage, tmp_path, log, truth):
    labels = write_labels(tmp_path / "labels.csv", truth)
    return monitor.read(stage, str(log), str(labels))


def test_the_estimate_is_unbiased_over_what_may_be_drawn(tmp_path):
    truth = write_decisions(tmp_path / "log.jsonl", n=307)
    labels, estimates = write_labels(tmp_path / "labels.csv", truth), []
    for seed in range(50):
        found = monitor.load(tmp_path / "log.jsonl", labels, 0.25, seed)
        draws = Resampler(found.known["group_id"], 2, 0.95, 0)
        estimates.append(monitor.estimated_error(found.known, draws, 0.25).value)
    wrong = found.auto["is_wrong"].mean()
    assert abs(np.mean(estimates) - wrong) < 3 * np.std(estimates) / np.sqrt(len(estimates))
    assert np.std(estimates) > 0.005
    everything = monitor.load(tmp_path / "log.jsonl", labels, 1.0, 5)
    draws = Resampler(everything.known["group_id"], 2, 0.95, 0)
    assert monitor.estimated_error(everything.known, draws, 1.0).value == pytest.approx(wrong)


def test_whole_groups_are_drawn_as_often_as_is_said(tmp_path):
    write_decisions(tmp_path / "log.jsonl", n=2001, error=0.0, dates=False)
    cases = monitor.load(tmp_path / "log.jsonl", None, 0.25, 5).cases
    assert (cases.groupby("group_id")["is_drawn"].nunique() == 1).all()
    share = cases.groupby("group_id")["is_drawn"].first().mean()
    assert abs(share - 0.25) < 3 * np.sqrt(0.25 * 0.75 / 1001)


def test_labels_behind_one_that_lacks_do_not_count(tmp_path, stage):
    """Whoever leaves out the answers that are wrong makes nothing look better: the page waits for them."""
    truth = write_decisions(tmp_path / "log.jsonl", error=0.3)
    whole = monitor.load(tmp_path / "log.jsonl", write_labels(tmp_path / "all.csv", truth), 0.1, 5)
    drawn = whole.auto[whole.auto["is_drawn"]]
    hard = drawn.loc[drawn["is_wrong"] == 1, "pair_id"].tolist()
    found = study(stage, tmp_path, tmp_path / "log.jsonl", {k: v for k, v in truth.items() if k not in hard[2:]})
    missing = drawn.loc[drawn["pair_id"] == hard[2]].iloc[0]
    used = found.known[found.known["is_drawn"]]
    assert used["number"].max() < missing["number"] and used["is_wrong"].sum() <= 2
    waiting = monitor.next_table(stage, found)
    assert waiting["pair_id"].tolist() == hard[2:] and waiting.columns[-1] == "label"
    assert stage.numbers["monitor.n_next"].value == len(hard) - 2
    table = monitor.period_table(stage, found)
    assert table["period"].tolist() == ["2026-W03", "2026-W07", "2026-W11", "2026-W16"]
    assert table["n"].tolist() == [200, 200, 200, 1] and table["error"].isna().iloc[-2]
    assert stage.numbers["monitor.accuracy"].value == 1 - stage.numbers["monitor.error"].value


@pytest.mark.parametrize(("error", "is_broken"), [(0.02, 0), (0.3, 1)])
def test_a_broken_promise_is_told_with_when_and_a_kept_one_is_not(tmp_path, stage, error, is_broken):
    truth = write_decisions(tmp_path / "log.jsonl", n=1501, error=error, dates=False, by_class={"contradiction": 0.1})
    found = study(stage, tmp_path, tmp_path / "log.jsonl", truth | {"nobody": CLASSES[0]})
    table = monitor.promise_table(stage, found)
    assert set(table["limit"]) == {"all automatic answers", "answer contradiction"}
    used = found.known[found.known["is_drawn"]]
    last = table[table["limit"] == "all automatic answers"].iloc[-1]
    assert last["labelled"] == len(used) == stage.numbers["monitor.n_used"].value
    assert last["error"] == pytest.approx(used["is_wrong"].mean())
    assert last["error_low"] < error < last["error_high"]
    assert stage.numbers["monitor.is_broken"].value == is_broken
    assert (stage.numbers["monitor.n_to_alarm"].value < len(used)) == bool(is_broken)
    assert stage.numbers["monitor.n_unknown"].value == 1
    assert monitor.period_table(stage, found)["period"].iloc[0] == "cases 1 to 1,000"
    monitor.stream_numbers(stage, found)
    assert stage.numbers["monitor.stream_p"].value == 1.0


def test_the_power_that_is_told_is_that_of_the_page_s_own_test(tmp_path, stage):
    """What is simulated for a break is what breaks do; Wald's test, who knows all about it, comes sooner."""
    truth = write_decisions(tmp_path / "log.jsonl", n=3001, error=0.02, dates=False)
    found = study(stage, tmp_path, tmp_path / "log.jsonl", truth)
    monitor.promise_table(stage, found)
    table = monitor.power_table(stage, found).set_index("error")
    assert table.index.tolist() == pytest.approx([0.075, 0.1, 0.15])
    shares = table[["within_100", "within_300", "within_1000"]].to_numpy()
    assert (np.diff(shares, axis=1) >= 0).all() and (np.diff(shares, axis=0) >= 0).all() and shares[2, 1] > 0.95
    assert (table["within_300"] <= table["known_300"]).all()
    half = table["median_labels"]
    assert (np.diff(half) < 0).all() and ((table["within_300"] >= 0.5) == (half <= 300)).all()
    assert stage.numbers["monitor.n_to_double"].value == half.iloc[1]
    is_found = table["within_300_low"] >= 0.9
    assert stage.numbers["monitor.found_error"].value == pytest.approx(is_found.idxmax()) and not is_found.iloc[0]
    seen = stage.numbers["monitor.seen"]
    assert seen.low < seen.value == table["within_300"].iloc[1] < seen.high
    rng, known = np.random.default_rng(6), found.known[found.known["is_drawn"]]
    past = np.repeat(known["is_wrong"].to_numpy()[:, None], 400, axis=1)
    wrong = np.vstack([past, rng.random((300, 400)) < 0.1])
    alone = (breach_p_values(wrong, np.ones(wrong.shape), 0.05)[-1] <= 0.05).mean()
    assert abs(alone - seen.value) < 0.15, "groups of two, whose bets are bounded by both"


def test_without_labels_nothing_is_known(tmp_path, stage):
    write_decisions(tmp_path / "log.jsonl")
    found = monitor.read(stage, str(tmp_path / "log.jsonl"), "")
    assert monitor.promise_table(stage, found).empty and len(monitor.power_table(stage, found)) == 3
    assert np.isnan(stage.numbers["monitor.breach_p"].value)
    assert "monitor.accuracy" not in stage.numbers and monitor.period_table(stage, found)["labelled"].sum() == 0
    assert len(monitor.next_table(stage, found)) == found.auto["is_drawn"].sum()


FAULTS = {
    "unknown label": ("case-3,entailment\ncase-4,perhaps\n", r"labels.csv, line 3: label 'perhaps' is none of"),
    "two labels": ("case-3,entailment\ncase-3,no\n", r"labels.csv, line 3: the pair 'case-3' has two labels"),
    "none that matches": (
        "03,yes\n04,no\n",
        r"none of its 2 labels is of a pair of .*log.jsonl: it has '03', and the log",
    ),
    "no column": (None, r"no column for \['label'\]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_labels_that_cannot_be_used_are_refused_by_line(tmp_path, fault):
    write_decisions(tmp_path / "log.jsonl", n=11)
    rows, match = FAULTS[fault]
    write_text(tmp_path / "labels.csv", "pair_id,label\n" + rows if rows else "pair_id,what\na,b\n")
    with pytest.raises(ValueError, match=match):
        monitor.load(tmp_path / "log.jsonl", tmp_path / "labels.csv", 0.1, 5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pair_id": "case-0"}, "log.jsonl, line 4: the pair 'case-0' comes twice"),
        ({"date": "yesterday"}, "log.jsonl, line 4: 'yesterday' is no date"),
        ({"params_hash": "another"}, "log.jsonl, line 4 was decided by another policy than line 1"),
        ({"decision": "perhaps"}, "log.jsonl, line 4 is damaged: decision"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_by_line(tmp_path, changes, match):
    log = tmp_path / "log.jsonl"
    write_decisions(log, n=11)
    lines = log.read_text(encoding="utf-8").splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | changes)
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        monitor.load(log, None, 0.1, 5)
    log.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no decision"):
        monitor.load(log, None, 0.1, 5)
    with pytest.raises(FileNotFoundError, match=r"there is no log of decisions .*gone\.jsonl"):
        monitor.load(tmp_path / "gone.jsonl", None, 0.1, 5)


def test_labels_that_the_log_does_not_know_are_counted_before_anything_runs(tmp_path, monkeypatch, capsys):
    write_decisions(tmp_path / "log.jsonl", n=11)
    labels = write_labels(tmp_path / "labels.csv", {"case-1": "yes", "case-01": "no", "case-02": "no"})
    monkeypatch.setattr("verdict.report.monitor.run_stage", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render_monitor("smoke", tmp_path / "log.jsonl", labels)
    assert "2 of 3 labels are of pairs that" in capsys.readouterr().err


def test_a_log_of_another_profiles_policy_is_refused_and_one_of_an_older_policy_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("verdict.report.monitor.run_stage", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(paths, "work_dir", lambda profile: tmp_path / profile)
    log = tmp_path / "log.jsonl"
    write_decisions(log, n=11)
    for profile in ("digits", "smoke"):
        (tmp_path / profile / "08_policy").mkdir(parents=True)
    own = tmp_path / "digits" / "08_policy" / "audit.jsonl"
    own.write_text(log.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"log\.jsonl was decided by the policy of digits: make monitor PROFILE=digits"
    ):
        render_monitor("smoke", log)
    with pytest.raises(ZeroDivisionError):
        render_monitor("digits", log)
    assert "another policy" not in capsys.readouterr().err
    item = json.loads(own.read_text(encoding="utf-8").splitlines()[0])
    own.write_text(json.dumps(item | {"run_id": "tuned again"}) + "\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        render_monitor("digits", log)
    assert "decided by another policy than the report of digits has now" in capsys.readouterr().err


def test_weeks_are_in_their_order_whatever_that_of_the_cases_is(tmp_path, stage):
    log = tmp_path / "log.jsonl"
    write_decisions(log)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines[-1]["date"] = None
    log.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)), encoding="utf-8")
    table = monitor.period_table(stage, monitor.load(log, None, 0.1, 5))
    assert table["period"].tolist() == ["2026-W03", "2026-W07", "2026-W11", "no date"]


def test_cases_without_a_date_are_a_period_of_their_own(tmp_path):
    log = tmp_path / "log.jsonl"
    write_decisions(log, n=11)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines[3]["date"] = None
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert (monitor.load(log, None, 0.1, 5).cases["period"] == "no date").tolist() == [k == 3 for k in range(11)]


def test_blank_labels_and_apostrophes_of_spreadsheets_are_passed_over(tmp_path):
    write_decisions(tmp_path / "log.jsonl", n=11)
    write_text(tmp_path / "labels.csv", "pair_id,label\n'case-1,yes\ncase-2,\n")
    found = monitor.load(tmp_path / "log.jsonl", tmp_path / "labels.csv", 1.0, 5)
    assert (found.n_labels, found.n_unknown) == (1, 0)
    assert found.cases["is_wrong"].notna().tolist() == [k == 1 for k in range(11)]
