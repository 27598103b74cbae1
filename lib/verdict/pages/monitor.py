"""What the monitor's page measures: decisions that a log holds since a report, and labels of some of them.

Groups are drawn for labelling by a hash of their names, each with the same probability, before anybody has looked at
them. Labels are used in the order of the log, up to the first drawn group that lacks one: to pass over what is hard
would make every estimate look better than it is.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from verdict.base.artifacts import sha256_file
from verdict.base.files.tables import find_columns, read_table
from verdict.base.numbers import EXACT, SETTING, Number, named
from verdict.base.refusals import listed, shown
from verdict.base.spreadsheet import restore
from verdict.data.own.answers import word_ids
from verdict.decide.guarantee import Gamblers, breach_p_values, error_bounds
from verdict.decide.log.log import Item, read_log
from verdict.decide.outcomes import complement
from verdict.decide.people import keyed_uniform
from verdict.decide.policy import Decision, Forced
from verdict.pages.tables import SHARE
from verdict.stats.uncertainty import NOTHING, Interval, Resampler, bounded, wilson, with_bounds
from verdict.workflow.stage import Stage

AUTO, ALL = Decision.AUTO.text, "all automatic answers"
# Cases are counted by so many where the log has no dates.
BLOCK = 1000
COLUMNS = {"pair_id": ("pair_id", "pair", "id"), "label": ("label", "gold_label", "truth", "true_answer")}
# How much more than is promised may be wrong from the next label on, and after how many an alarm is looked for.
RISEN, WITHIN, N_STREAMS, MOSTLY = (1.5, 2.0, 3.0), (100, 300, 1000), 400, 0.9
_RATES = {"error": "%", "accuracy": "%"}
_POLICY = ("model_hash", "params_hash", "run_id")
_KEPT = ("pair_id", "image_id", "group_id", "hypothesis", "date", "decision", "forced_by", "model_answer", "score")


@dataclass(frozen=True)
class Monitored:
    """`cases`: a row a case in the order of the log: some fields of its item; batch (p-value of the stream so far),
    number (of its line), period, is_drawn, is_wrong (NaN without a label), is_known: whether its group begins before
    the first that lacks a label. `head`: any item; `n_labels`, and of these `n_unknown` of pairs that the log lacks;
    `share` in (0, 1]: probability of a group to be drawn.
    """

    cases: pd.DataFrame
    head: Item
    n_labels: int
    n_unknown: int
    share: float

    @property
    def auto(self) -> pd.DataFrame:
        """The cases that went out alone."""
        return self.cases[self.cases["decision"] == AUTO]

    @property
    def known(self) -> pd.DataFrame:
        """Those of them up to the first that was drawn and lacks its label."""
        return self.auto[self.auto["is_known"]]


def read(stage: Stage, log: str, labels: str) -> Monitored:
    """Read a log of decisions, and labels of its pairs where a file is named.

    Numbers `monitor.n_cases`, `.n_labels`, `.n_used`, `.n_unknown` (labels of pairs that the log lacks), `.share` and
    the names `.log_sha256`, `.labels_sha256`. FileNotFoundError, ValueError where a file cannot be used.
    """
    settings = stage.params.monitor
    found = load(Path(log), Path(labels) if labels else None, settings.share, settings.seed)
    used = int((found.known["is_drawn"]).sum())
    counts = {"n_cases": len(found.cases), "n_labels": found.n_labels, "n_used": used, "n_unknown": found.n_unknown}
    stage.counts("monitor", counts | {"n_auto": len(found.auto)})
    stage.number("monitor.share", settings.share, unit="%", kind=SETTING)
    stage.numbers["monitor.log_sha256"] = named(sha256_file(Path(log))[:16])
    return found


def load(log: Path, labels: Path | None, share: float, seed: int) -> Monitored:
    """`read` without a stage; ValueError names file and line of what cannot be used."""
    if not log.is_file():
        raise FileNotFoundError(f"there is no log of decisions {log}")
    items = []
    for number, item in enumerate(read_log(log), start=1):
        if isinstance(item, str):
            raise ValueError(f"{log}, line {number} is damaged: {item}")
        kept = {name: getattr(item, name) for name in (*_KEPT, *_POLICY)}
        items.append(kept | {"batch": item.thresholds.batch, "number": number})
    if not items:
        raise ValueError(f"{log} holds no decision")
    head, cases = item, pd.DataFrame(items)
    if (twice := cases["pair_id"].duplicated()).any():
        first = cases[twice].iloc[0]
        raise ValueError(f"{log}, line {first['number']}: the pair {shown(first['pair_id'])} comes twice")
    if (others := (cases[[*_POLICY]] != cases.loc[0, [*_POLICY]]).any(axis=1)).any():
        first = cases["number"][others].iloc[0]
        raise ValueError(f"{log}, line {first} was decided by another policy than line 1; give a log of one")
    cases["period"] = _periods(cases, log)
    cases["is_drawn"] = keyed_uniform(cases["group_id"], seed=seed, stream="monitor") < share
    truth = _labels(labels, head) if labels else {}
    told = cases["pair_id"].map(truth)
    cases["is_wrong"] = np.where(told.isna(), np.nan, told != cases["model_answer"])
    waits = cases["is_drawn"] & (cases["decision"] == AUTO) & cases["is_wrong"].isna()
    start = cases.groupby("group_id", sort=False)["number"].transform("min")
    cases["is_known"] = start < start[waits].min() if waits.any() else True
    unknown = list(truth.keys() - set(cases["pair_id"]))
    if truth and len(unknown) == len(truth):
        what = f"none of its {len(truth):,} labels is of a pair of {log}"
        raise ValueError(f"{labels}: {what}: it has {shown(min(unknown))}, and the log {shown(cases['pair_id'][0])}")
    return Monitored(cases, head, len(truth), len(unknown), share)


def _periods(cases: pd.DataFrame, log: Path) -> pd.Series:
    """The week of each case's date ("no date" for one without), or thousands of cases where no case has one."""
    if cases["date"].isna().all():
        first = (np.arange(len(cases)) // BLOCK) * BLOCK
        return pd.Series([f"cases {one + 1:,} to {min(one + BLOCK, len(cases)):,}" for one in first])
    dates = pd.to_datetime(cases["date"], format="ISO8601", errors="coerce", utc=True)
    if (bad := dates.isna() & cases["date"].notna()).any():
        first = cases[bad].iloc[0]
        raise ValueError(f"{log}, line {first['number']}: {shown(first['date'])} is no date such as 2026-03-31")
    year_week = dates.dt.isocalendar()
    weeks = year_week["year"].astype(str) + "-W" + year_week["week"].astype(str).str.zfill(2)
    return weeks.where(dates.notna(), "no date")


def _labels(path: Path, head: Item) -> dict[str, str]:
    """Label by pair, of the rows that have one."""
    table = read_table(path)
    columns = find_columns(table, COLUMNS, ["pair_id", "label"])
    ids, found = word_ids(head.classes), {}
    for line, pair, word in zip(table.lines, *(table.column(columns[name]) for name in COLUMNS), strict=True):
        if not word:
            continue
        if word.casefold() not in ids:
            raise ValueError(f"{path}, line {line}: label {shown(word)} is none of {listed(list(ids))}")
        label = head.classes[ids[word.casefold()]]
        if found.setdefault(restore(pair), label) != label:
            raise ValueError(f"{path}, line {line}: the pair {shown(pair)} has two labels")
    return found


def promise_table(stage: Stage, found: Monitored) -> pd.DataFrame:
    """The promise after each labelled group: limit (of all automatic answers, or of one class), labelled, error (so
    far) with bounds that hold at all looks, p_value of "the error has not risen above the limit".

    Numbers `monitor.promise`, `.confidence`; `.breach_p` (times the number of limits) and `.is_broken`; `.n_to_alarm`
    (labelled cases until then). No rows without a promise, or a label that counts.
    """
    told = found.head.thresholds.promise
    if told is None:
        return pd.DataFrame()
    for name, value in (("promise", told.error), ("confidence", told.confidence)):
        stage.number(f"monitor.{name}", value, unit="%", kind=SETTING)
    used, largest = found.known[found.known["is_drawn"]], _largest(found)
    limits, parts = {ALL: told.error} | {f"answer {name}": one for name, one in told.error_by_class.items()}, []
    for name, limit in limits.items():
        own = used if name == ALL else used[name == "answer " + used["model_answer"]]
        sums = own.groupby("group_id", sort=False)["is_wrong"].agg(["sum", "count"])
        if len(sums):
            n_wrong, n_auto = sums["sum"].to_numpy(), sums["count"].to_numpy()
            low, high = error_bounds(n_wrong, n_auto, told.confidence, largest=largest)
            rate = n_wrong.cumsum() / n_auto.cumsum()
            part = {"limit": name, "promised": limit, "labelled": n_auto.cumsum(), "error": rate}
            part |= {"error_low": np.minimum(low, rate), "error_high": np.maximum(high, rate)}
            p_values = np.minimum(breach_p_values(n_wrong, n_auto, limit, largest=largest) * len(limits), 1.0)
            parts.append(pd.DataFrame(part | {"p_value": p_values}))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    smallest = table["p_value"].min() if len(table) else np.nan
    stage.number("monitor.breach_p", smallest, kind=EXACT)
    broken = table[table["p_value"] <= 1 - told.confidence] if len(table) else table
    stage.number("monitor.is_broken", len(broken) > 0, kind=EXACT)
    stage.number("monitor.n_to_alarm", broken["labelled"].min() if len(broken) else np.nan, unit="count")
    if len(table):
        last = table[table["limit"] == ALL].iloc[-1]
        bounds = (float(last[name]) for name in ("error", "error_low", "error_high"))
        stage.numbers["monitor.labelled_error"] = Number(*bounds, n=int(last["labelled"]), unit="%")
    return table


def power_table(stage: Stage, found: Monitored) -> pd.DataFrame:
    """How soon an alarm would come if the error rate rose from the next label on, to `RISEN` times the promise.

    Simulated streams go on from the labels that there are, with groups of the log's sizes whose answers err apart.
    Returns error; for each of `WITHIN` labels the share of streams with an alarm by then, with Wilson's interval, and
    `known_…`, the same for Wald's test, who is told when and to what the error rises; `median_labels` until half have
    one, NaN beyond the simulated ones. Numbers `monitor.seen`, `.seen_by_knowing` (the double, within `.seen_within`
    labels), `.n_to_double` (its median), `.found_error` (the smallest that `MOSTLY` of the streams show within as many,
    by the lower bound). No rows without a promise, or after an alarm.
    """
    told = found.head.thresholds.promise
    if told is None or stage.numbers["monitor.is_broken"].value or found.auto.empty:
        return pd.DataFrame()
    drawn = found.known[found.known["is_drawn"]].groupby("group_id", sort=False)["is_wrong"].agg(["sum", "count"])
    past = [np.repeat(drawn[[name]].to_numpy(), N_STREAMS, axis=1) for name in ("sum", "count")]
    sizes, rng, rows = found.auto.groupby("group_id")["pair_id"].count().to_numpy(), stage.rng("monitor.power"), []
    n_auto = rng.choice(sizes, (int(np.ceil(1.2 * WITHIN[-1] / sizes.mean())), N_STREAMS))
    labels, tail = n_auto.cumsum(axis=0), (1 - told.confidence) / (1 + len(told.error_by_class))
    for rate in (times * told.error for times in RISEN if times * told.error < 1):
        n_wrong = rng.binomial(n_auto, rate)
        streams = (np.vstack(both) for both in zip(past, (n_wrong, n_auto), strict=True))
        ours = breach_p_values(*streams, told.error, largest=_largest(found))[len(drawn) :]
        ratio = ((1 - rate) / (1 - told.error)) ** (n_auto - n_wrong) * (rate / told.error) ** n_wrong
        known = Gamblers(1, N_STREAMS, is_at_once=True).play(ratio[..., None])
        alarm = {"within": _until_alarm(ours <= tail, labels), "known": _until_alarm(known <= tail, labels)}
        half = float(np.median(alarm["within"]))
        row: dict[str, object] = {"error": rate, "median_labels": half if np.isfinite(half) else np.nan}
        for name, n in product(alarm, WITHIN):
            n_seen = (alarm[name] <= n).sum()
            ends = wilson(n_seen, N_STREAMS, level=stage.params.statistics.level)
            row |= with_bounds(f"{name}_{n}", Interval(float(n_seen / N_STREAMS), *ends))
        rows.append(row)
    for row in rows[1:2]:
        stage.counts("monitor", {"seen_within": WITHIN[1]})
        stage.number("monitor.n_to_double", row["median_labels"], unit="count")
        for name, column in (("seen", "within"), ("seen_by_knowing", "known")):
            share = Interval.from_columns(row, f"{column}_{WITHIN[1]}")
            stage.numbers[f"monitor.{name}"] = share.number(n=N_STREAMS, unit="%")
    found_errors = [row["error"] for row in rows if row[f"within_{WITHIN[1]}_low"] >= MOSTLY]
    stage.number("monitor.found_error", min(found_errors, default=np.nan), unit="%", kind=EXACT)
    stage.number("monitor.mostly", MOSTLY, unit="%", kind=SETTING)
    return pd.DataFrame(rows)


def _until_alarm(is_alarm: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels (n, m) until the first alarm (n, m) of each stream, (m,); infinite where there is none."""
    return np.where(is_alarm, labels, np.inf).min(axis=0)


def _largest(found: Monitored) -> int:
    return int(found.auto.groupby("group_id")["pair_id"].count().max()) if len(found.auto) else 1


def estimated_error(known: pd.DataFrame, draws: Resampler, share: float) -> Interval:
    """Horvitz and Thompson's estimate of the error rate of automatic answers, with its interval over their groups.

    A drawn answer stands for 1 / share of them. Horvitz and Thompson (1952), JASA 47, eq. 10.
    """
    weighed = np.where(known["is_drawn"], known["is_wrong"].fillna(0.0), 0.0) / share
    return draws.mean(weighed, span=(0.0, 1 / share))


def period_table(stage: Stage, found: Monitored) -> pd.DataFrame:
    """By week: cases; shares of auto, clarify and human, and of what the stream's test forces, with intervals over
    groups; labelled; error of the automatic answers, estimated, with its interval, where every drawn one is labelled.

    Numbers `monitor.auto_share`, and `monitor.error`, `.accuracy` (of automatic answers) over all that is known.
    """
    rows = []
    # Weeks in their order, whatever that of the cases is; "no date" comes last, and "cases …" are in order already.
    for period, own in found.cases.groupby("period", sort=not found.cases["date"].isna().all()):
        draws = stage.resampler(own["group_id"])
        row: dict[str, object] = {"period": period, "n": len(own)}
        row |= bounded({branch.text: draws.mean(own["decision"] == branch.text, span=SHARE) for branch in Decision})
        row["after_alarm"] = int((own["forced_by"] == Forced.FOREIGN_BATCH.text).sum())
        auto = own[own["decision"] == AUTO]
        row["labelled"] = int((auto["is_known"] & auto["is_drawn"]).sum())
        error = NOTHING
        if row["labelled"] and auto["is_known"].all():
            error = estimated_error(auto, stage.resampler(auto["group_id"]), found.share)
        rows.append(row | with_bounds("error", error))
    share = stage.resampler(found.cases["group_id"]).mean(found.cases["decision"] == AUTO, span=SHARE)
    stage.estimates("monitor", {"auto_share": share}, {"auto_share": "%"}, n=len(found.cases))
    if (known := found.known)["is_drawn"].any():
        error = estimated_error(known, stage.resampler(known["group_id"]), found.share)
        stage.estimates("monitor", {"error": error, "accuracy": complement(error)}, _RATES, n=len(known))
    return pd.DataFrame(rows)


def stream_numbers(stage: Stage, found: Monitored) -> None:
    """Numbers `monitor.stream_p` (of "the cases have not changed"), `.n_after_alarm`: cases that its alarm forced."""
    last = found.cases["batch"].iloc[-1]
    stage.number("monitor.stream_p", np.nan if last is None else last, n=len(found.cases), kind=EXACT)
    forced = (found.cases["forced_by"] == Forced.FOREIGN_BATCH.text).sum()
    stage.counts("monitor", {"n_after_alarm": int(forced)})


def next_table(stage: Stage, found: Monitored) -> pd.DataFrame:
    """Automatic answers to label next, in the order in which they count: pair_id, image, hypothesis, date, answer, and
    an empty column for the label. Number `monitor.n_next`.
    """
    auto = found.auto
    waiting = auto[auto["is_drawn"] & auto["is_wrong"].isna()]
    stage.counts("monitor", {"n_next": len(waiting)})
    shown_columns = {"image_id": "image", "model_answer": "answer"}
    columns = ["pair_id", "image_id", "hypothesis", "date", "model_answer"]
    return waiting[columns].rename(columns=shown_columns).dropna(axis="columns", how="all").assign(label="")
