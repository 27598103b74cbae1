"""What the page on saved logits measures: what was read, how good the model is, and how good people are where."""

from collections import Counter
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from verdict.base import paths
from verdict.base.files.images import ImageStore, write_folder_store
from verdict.base.labels import Split, vote_columns
from verdict.base.numbers import ESTIMATE, EXACT, SETTING, Number, named
from verdict.data.own.answers import ANSWER
from verdict.data.own.recorded import RecordedSet
from verdict.data.sources import read_given
from verdict.model.predict import answers_of, logits_of, right_of
from verdict.model.transcript import said_of
from verdict.pages.published import read_published
from verdict.pages.tables import GAP, SHARE, by_part
from verdict.stats.metrics import confusion_counts, nll_of_logits
from verdict.stats.neighbours import neighbour_distance
from verdict.stats.scores import softmax, top_class
from verdict.stats.uncertainty import NOTHING, bounded, columns_of
from verdict.workflow.stage import Stage
from verdict.workflow.stages import DISTANCES

CLEAR = 0.8
ASKED = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Named where no published study says how many are asked.
A_TENTH = 0.1
MODEL, PERSON, MAJORITY = "model", "person", "majority"
GAVE = {
    **{"logits": "logits", "log_probs": "log-probabilities of each class", "probs": "probabilities of each class"},
    **{"top_k": "lists of its likeliest tokens with their log-probabilities", "samples": "several sampled answers"},
    ANSWER: "one answer without a probability",
}
COUNTED = ("n_clipped", "n_bounded", "n_undecided", "n_elsewhere", "n_samples")
SHOWN_CASES = 8
SHOWN_COUPLES = 10


def given_to(stage: Stage) -> RecordedSet:
    """What the files that the parameters name say, or the model that is asked; what it once said is not asked again."""
    where = {"folder": paths.transcripts(stage.profile), "threads": stage.threads, "progress": stage.progress}
    return read_given(stage.params.data, partial(said_of, asked=stage.params.data.answers.model, **where))


def read(stage: Stage) -> RecordedSet:
    """Read what is given, and store its images; numbers `data.n_pairs`, `.n_classes` and `.n_tuning`."""
    stage.progress("reading what the model said")
    found = given_to(stage)
    if found.images:
        files, hashes = ({name: one[k] for name, one in found.images.items()} for k in (0, 1))
        write_folder_store(stage.path("images"), files, hashes)
    counts = {"n_pairs": len(found.pairs), "n_classes": len(stage.classes)}
    stage.counts("data", counts | {"n_models": found.predictions["seed"].nunique()})
    forms = [form for form in dict.fromkeys(found.files["form"]) if form in GAVE]
    stage.numbers["data.form"] = named(" and ".join(GAVE[form] for form in forms))
    stage.number("data.is_bare", ANSWER in forms, kind=EXACT)
    if "model" in found.files:
        model, revision, prompt = found.files.loc[0, ["model", "revision", "prompt"]]
        stage.numbers |= {"data.asked": named(f"{model} ({revision[:12]})"), "data.prompt": named(prompt)}
    counted = found.files[[name for name in COUNTED if name in found.files]].sum()
    stage.counts("data", {name: n for name, n in counted.items() if n})
    if "sampling_sd" in found.files:
        stage.number("data.sampling_sd", found.files["sampling_sd"].mean(), kind=EXACT)
    stage.counts("data", {"n_tuning": found.pairs["is_tuning"].sum()}, split=str(Split.TEST))
    return found


def splits_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """Each split: rows, groups and tuning rows where there are any, accuracy and NLL with intervals.

    Also numbers `data.<split>.n_pairs`, `.accuracy` and `.nll`.
    """
    rows = []
    for split, table in found.judged.groupby("split", sort=False):
        logits, y_true = logits_of(table), table["y_true"].to_numpy()
        hit = right_of(table).astype(float)
        draws = stage.resampler(table["group_id"])
        scores = {"accuracy": draws.mean(hit, span=SHARE)}
        scores["nll"] = draws.interval(partial(nll_of_logits, logits, y_true))
        row: dict[str, object] = {"split": split, "n": len(table)}
        if found.has_groups:
            row["groups"] = draws.n_groups
        if found.pairs["is_tuning"].any():
            row["tune_the_policy"] = int(found.pairs.loc[found.pairs["split"] == split, "is_tuning"].sum())
        stage.number(f"data.{split}.n_pairs", len(table), unit="count", split=str(split))
        stage.estimates(f"data.{split}", scores, {"accuracy": "%"}, n=len(table), split=str(split))
        rows.append(row | bounded(scores))
    return pd.DataFrame(rows)


def worth_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """How often the first model's bare answers are right, by class: answer, n, right (interval over groups), of val.

    No rows where it said more than that.
    """
    table = found.judged[found.judged["split"] == Split.VAL]
    answer, draws = answers_of(table), stage.resampler(table["group_id"])
    parts = {name: answer == k for k, name in enumerate(stage.classes if len(table) else ())}
    return by_part(draws, parts, {"right": (answer == table["y_true"].to_numpy(), SHARE)}, "answer")


def examples(stage: Stage, found: RecordedSet) -> dict:
    """Images and titles of some cases of test, drawn at random, as a gallery shows them; none without images."""
    is_shown = (found.pairs["split"] == Split.TEST) & found.pairs["image_id"].isin(list(found.images))
    if not is_shown.any():
        return {}
    rows = np.flatnonzero(is_shown)
    rows = np.sort(stage.rng("recorded.examples").choice(rows, min(SHOWN_CASES, len(rows)), replace=False))
    answer = answers_of(found.judged.iloc[rows])
    images, cases = ImageStore.open(stage.path("images")), found.pairs.iloc[rows]
    words = cases["hypothesis"] if "hypothesis" in cases else cases["image_id"]
    told = zip(words, cases["label"], answer, strict=True)
    titles = [f"{text}\n{label}; model: {stage.classes[k]}" for text, label, k in told]
    return {"images": [images.thumbnail(image_id) for image_id in cases["image_id"]], "titles": titles}


def models_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """Each model on test: model, n, accuracy, difference to the first (paired), with intervals."""
    names = stage.params.data.answers.models or ("the model",)
    test = found.predictions[found.predictions["split"] == Split.TEST]
    hits = [right_of(own) for _, own in test.groupby("seed")]
    draws, rows = stage.resampler(test.loc[test["seed"] == test["seed"].min(), "group_id"]), []
    for name, hit in zip(names, hits, strict=True):
        own = draws.means(np.column_stack([hit, hit.astype(float) - hits[0]]), [SHARE, GAP])
        values = {"accuracy": own[0], "difference": own[1] if hit is not hits[0] else NOTHING}
        rows.append({"model": name, "n": len(hit)} | bounded(values))
    return pd.DataFrame(rows)


def class_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """How often each class occurs in each split: class, and one column of counts a split."""
    counts = found.pairs.groupby(["label", "split"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(list(stage.classes), fill_value=0)
    return counts.rename_axis(index="class", columns=None).reset_index()


def overlap_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """Rows that every two splits share.

    Returns left, right, n_left, n_right, shared_rows (rows of the right one whose logits also stand, to the last bit,
    in the left one) and shared_groups, where the data name groups; the last row holds the sums. The first sum is the
    number `data.n_shared_rows`, not defined where most rows equal others, as bare answers do.
    """
    parts = {str(split): table for split, table in found.judged.groupby("split", sort=False)}
    counted = {split: Counter(row.tobytes() for row in logits_of(table)) for split, table in parts.items()}
    rows = []
    for left, right in combinations(parts, 2):
        row = {"left": left, "right": right, "n_left": len(parts[left]), "n_right": len(parts[right])}
        if len(set().union(*counted.values())) > len(found.judged) / 2:
            row["shared_rows"] = sum(n for logits, n in counted[right].items() if logits in counted[left])
        if found.has_groups:
            groups = [set(parts[split]["group_id"]) for split in (left, right)]
            row["shared_groups"] = len(groups[0] & groups[1])
        rows.append(row)
    table = pd.DataFrame(rows)
    total = table[[name for name in table if name.startswith("shared_")]].sum()
    stage.number("data.n_shared_rows", total.get("shared_rows", np.nan), unit="count")
    return pd.concat([table, pd.DataFrame([{"left": "all", "right": "two by two", **total}])], ignore_index=True)


def confused_couples(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """The most frequent mistakes on test: true class, answer, n, share of the true class's rows; at most ten."""
    table = found.judged[found.judged["split"] == Split.TEST]
    counts = confusion_counts(table["y_true"], answers_of(table), len(stage.classes))
    true, told = np.nonzero(counts * (1 - np.eye(len(counts))))
    names, n = np.array(stage.classes, dtype=object), counts[true, told]
    couples = pd.DataFrame({"true_class": names[true], "answer": names[told], "n": n.astype(int)})
    couples["share"] = n / counts.sum(axis=1)[true]
    return couples.sort_values("n", ascending=False, kind="stable").head(SHOWN_COUPLES)


def people_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """How often one person is right, and the model, on all test rows with answers and on parts of them.

    Returns rows, n, person, model, difference (person minus model, paired), with intervals; no rows where nobody's
    answers to test are known. Numbers `data.people.accuracy`, `.majority`, `.n_votes`, `.unclear` (share of rows on
    which fewer than four fifths of the people are right) and `.on_errors` (where the model is wrong).
    """
    asked = _asked(stage, found)
    if asked is None:
        return pd.DataFrame()
    table, votes, top, right = asked
    person, model = right[PERSON], right[MODEL]
    parts = {"all": np.ones(len(table), dtype=bool), "the model is right": model == 1, "the model is wrong": model == 0}
    parts["its least confident tenth"] = top <= np.quantile(top, 0.1)
    draws = stage.resampler(table["group_id"])
    columns = {"person": (person, SHARE), "model": (model, SHARE), "difference": (person - model, GAP)}
    rows = by_part(draws, parts, columns, "rows")
    # Where the model is right it is right: that is no estimate.
    rows.loc[rows["rows"].str.startswith("the model is"), ["model_low", "model_high"]] = np.nan
    stage.number("data.people.n_votes", votes.sum(), unit="count")
    shares = {"accuracy": person, "majority": right[MAJORITY], "unclear": person < CLEAR}
    told = {name: draws.mean(share, span=SHARE) for name, share in shares.items()}
    stage.estimates("data.people", told, dict.fromkeys(told, "%"), n=len(table), split=str(Split.TEST))
    errs = parts["the model is wrong"]
    told = {"on_errors": draws.of(errs).mean(person[errs], span=SHARE)}
    stage.estimates("data.people", told, {"on_errors": "%"}, n=int(errs.sum()), split=str(Split.TEST))
    return rows


def _asked(stage: Stage, found: RecordedSet) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, dict] | None:
    """Test rows that people judged: predictions, votes (n, K), largest probability and who is right, (n,) each."""
    columns = vote_columns(stage.classes)
    if not set(columns) <= set(found.pairs):
        return None
    votes = np.nan_to_num(found.pairs[columns].to_numpy(dtype=float))
    known = (votes.sum(axis=1) > 0) & (found.pairs["split"] == Split.TEST).to_numpy()
    if not known.any():
        return None
    table, votes = found.judged[known].reset_index(drop=True), votes[known]
    y_true, logits = table["y_true"].to_numpy(), logits_of(table)
    right = {MODEL: right_of(table).astype(float), MAJORITY: (top_class(votes) == y_true).astype(float)}
    right[PERSON] = votes[np.arange(len(table)), y_true] / votes.sum(axis=1)
    return table, votes, softmax(logits).max(axis=1), right


def distances(found: RecordedSet) -> dict[str, pd.DataFrame]:
    """The table `DISTANCES` (pair_id, split, distance) where files hold features, else nothing.

    A row's distance is that to the nearest row of calib of another group, so that one of calib is no nearer than a new
    one; this has one group more to be near, which makes its p-value larger by a hair.
    """
    if found.features is None:
        return {}
    is_known = (found.pairs["split"] == Split.CALIB).to_numpy()
    groups = found.pairs["group_id"].to_numpy()
    pairs = (groups, groups[is_known])
    distance = neighbour_distance(found.features, found.features[is_known], pairs)
    return {DISTANCES: found.pairs[["pair_id", "split"]].assign(distance=distance.round(6))}


def whole_table(stage: Stage, found: RecordedSet) -> pd.DataFrame:
    """Accuracy of model and people together by the share of test rows that is asked, the least confident first.

    Returns share_asked, one_person and majority (who answers what is asked), with intervals; no rows where nobody's
    answers are known. Numbers `data.people.share_asked`: one in as many as a published study names at most, where the
    parameters name one, else a tenth; `.whole` and `.whole_by_majority` there; `published.whole` with its spread.
    """
    asked, study = _asked(stage, found), stage.params.report.published
    if asked is None:
        return pd.DataFrame()
    named = A_TENTH
    if study is not None:
        known = read_published(study, "_people").iloc[0]
        named, value, spread = 1 / known["work_factor"], known["accuracy"], known["spread"]
        stage.numbers["published.whole"] = Number(value, value - spread, value + spread, unit="%", kind=ESTIMATE)
    table, _, top, right = asked
    shares = sorted({*ASKED, named})
    place = np.lexsort((table["pair_id"].to_numpy(dtype=str), top)).argsort()
    is_asked = place[:, None] < np.rint(np.array(shares) * len(table))[None, :]
    draws, columns = stage.resampler(table["group_id"]), {}
    for name, who in (("one_person", PERSON), ("majority", MAJORITY)):
        answered = np.where(is_asked, right[who][:, None], right[MODEL][:, None])
        columns[name] = draws.means(answered, [SHARE] * len(shares))
    at, told = shares.index(named), {"n": len(table), "split": str(Split.TEST)}
    stage.number("data.people.share_asked", named, unit="%", kind=SETTING)
    whole = {"whole": columns["one_person"][at], "whole_by_majority": columns["majority"][at]}
    stage.estimates("data.people", whole, dict.fromkeys(whole, "%"), **told)
    rows = [bounded(dict(zip(columns, found, strict=True))) for found in zip(*columns.values(), strict=True)]
    return pd.DataFrame(rows).assign(share_asked=shares)[["share_asked", *columns_of(*columns)]]
