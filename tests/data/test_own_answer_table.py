"""One table of answers: the same model in every form is the same model, and what cannot be read is refused by place."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from verdict.base.labels import class_names, vote_columns
from verdict.base.params import load_params
from verdict.data.own.answer_table import build
from verdict.data.own.answers import worth_of
from verdict.data.sources import check_inputs
from verdict.decide.guarantee import Known, Promise, keep_promise
from verdict.decide.policy import Costs, decide, price_outcomes, tune_policy
from verdict.decide.sets import conformal_quantile
from verdict.decide.signals import composite, of_one_answer
from verdict.decide.temperature import Temperature
from verdict.model.predict import logits_of
from verdict.stats.metrics import ece, nll
from verdict.stats.scores import log_softmax, softmax

SENTENCE, N, N_IMAGES = class_names(), 120, 30
RNG = np.random.default_rng(4)
Y_TRUE = RNG.integers(0, 2, N)
LOGITS = RNG.normal(size=(N, 2)) + 2 * np.eye(2)[Y_TRUE]
LOGITS = LOGITS.astype(np.float16).astype(float)


def rows(**columns):
    """A table of N pairs of 30 images with further columns, or others in their place."""
    own = {
        "image": [f"i{k % N_IMAGES}" for k in range(N)],
        "hypothesis": [f"thing {k}" for k in range(N)],
        "label": np.where(Y_TRUE == 0, "yes", "no"),
        "logprob_yes": log_softmax(LOGITS)[:, 0],
        "logprob_no": log_softmax(LOGITS)[:, 1],
    }
    return pd.DataFrame({name: value for name, value in (own | columns).items() if value is not None})


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Write a table, with the ending of a file, and read it by parameters."""
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))

    def read_table(table, file="a.csv", *, seed=1, classes=SENTENCE, **options):
        if file.endswith(".parquet"):
            table.to_parquet(tmp_path / file)
        elif file.endswith(".jsonl"):
            table.to_json(tmp_path / file, orient="records", lines=True, double_precision=15)
        else:
            table.to_csv(tmp_path / file, index=False)
        own = load_params("base").data.answers.model_copy(update={"table": file, **options})
        return build(own, classes, seed=seed)

    return read_table


def without_log_probs(**columns):
    return rows(logprob_yes=None, logprob_no=None, **columns)


def by_class(prefix, values, dtype=np.float64):
    values = values.astype(dtype)
    return without_log_probs(**{f"{prefix}_yes": values[:, 0], f"{prefix}_no": values[:, 1]})


LISTS = [[{"token": " Yes", "logprob": a}, {"token": "no", "logprob": b}] for a, b in log_softmax(LOGITS).tolist()]
# Rows name the tokens each in its own way: Parquet makes one mapping of all these names.
MAPPINGS = [
    dict(zip(("Yes", "no") if k % 2 else (" yes", "No."), row, strict=True))
    for k, row in enumerate(log_softmax(LOGITS).tolist())
]
SAME = {
    "logits": (by_class("logit", LOGITS), "a.csv"),
    "float16": (by_class("logit", LOGITS, np.float16), "a.parquet"),
    "log-softmax": (by_class("log_softmax", log_softmax(LOGITS)), "a.csv"),
    "log-probabilities": (rows(), "a.jsonl"),
    "probabilities": (by_class("prob", softmax(LOGITS)), "a.csv"),
    "one-probability": (without_log_probs(p_no=softmax(LOGITS)[:, 1]), "a.parquet"),
    "lists": (without_log_probs(top_logprobs=LISTS), "a.jsonl"),
    "lists-in-parquet": (without_log_probs(top_logprobs=LISTS), "a.parquet"),
    "mappings-in-parquet": (without_log_probs(top_logprobs=MAPPINGS), "a.parquet"),
    "lists-as-text": (without_log_probs(top_logprobs=[json.dumps(one) for one in LISTS]), "a.csv"),
}


def judged(found):
    """What pages are made of: temperature, NLL, ECE, the threshold of sets, the sets, the score, the policy that keeps
    a promise, and what it decides.
    """
    calib, test = (found.judged[found.judged["split"] == split].reset_index(drop=True) for split in ("calib", "test"))
    fitted = Temperature.fit(logits_of(calib), calib["y_true"])
    known, probs = (fitted.transform(logits_of(part)) for part in (calib, test))
    y_calib, y_true = calib["y_true"].to_numpy(), test["y_true"].to_numpy()
    qhat = conformal_quantile(1 - known[np.arange(len(known)), y_calib], 0.1)
    sets = 1 - probs <= qhat
    signals, own = of_one_answer(known, 1 - known <= qhat), of_one_answer(probs, sets)
    score, is_wrong = composite(signals), known.argmax(axis=1) != y_calib
    half = calib["pair_id"].str[-1] < "8"
    told = Known(score, is_wrong, calib["pair_id"].to_numpy())
    kept = keep_promise(told.take(half), told.take(~half), Promise(0.4, 0.6))
    costs = Costs(1.0, 0.25, [10.0, 10.0])
    priced = price_outcomes(costs, y_calib, model=known.argmax(axis=1), human=y_calib, clarified=known, n_classes=2)
    policy = tune_policy(score, priced, allowed=kept.thresholds)
    scalars = [fitted.temperature, nll(probs, y_true), ece(probs, y_true), qhat, policy.t_auto, policy.t_clarify]
    decision = decide(composite(own), policy)
    assert len(kept.thresholds) and len(np.unique(decision)) > 1, "a promise is kept, and something decided by it"
    return np.concatenate([scalars, composite(own), sets.ravel(), decision])


@pytest.mark.parametrize("form", SAME)
def test_one_model_in_every_form_is_judged_alike(read, form):
    table, file = SAME[form]
    found = read(table, file)
    np.testing.assert_allclose(judged(found), judged(read(*SAME["logits"])), atol=1e-6, rtol=0)
    assert len(found.judged) == N and found.pairs["pair_id"].is_unique
    assert found.pairs["label"].tolist() == [SENTENCE[k] for k in found.judged["y_true"]]


def test_images_stay_on_one_side_and_the_split_is_the_seeds(read):
    found, again, other = (read(rows(), seed=seed) for seed in (1, 1, 2))
    assert found.pairs.groupby("image_id")["split"].nunique().max() == 1
    assert found.pairs["split"].value_counts().to_dict() == {"calib": N / 2, "test": N / 2}
    assert found.pairs["split"].equals(again.pairs["split"]) and not found.pairs["split"].equals(other.pairs["split"])
    group = [f"g{k % N_IMAGES // 2}" for k in range(N)]
    assert set(read(rows(group=group)).pairs["group_id"]) == set(group)


def test_a_split_column_decides_and_what_is_left_out_is_counted(read):
    split = np.array(["dev", "test", "independent", "train"])[np.arange(N) % N_IMAGES % 4]
    found = read(rows(split=split))
    counts = pd.Series(split).value_counts()
    wanted = {"calib": counts["dev"], "test": counts["test"], "independent": counts["independent"]}
    assert found.pairs["split"].value_counts().to_dict() == wanted
    assert found.files["left_out_train"].item() == counts["train"]
    calib = np.where(split == "train", "calib", split)
    assert read(rows(split=calib)).files["left_out_val"].item() == counts["dev"], (
        "val calibrates where nothing else does"
    )


def test_later_rows_are_another_distribution(read):
    date = np.where(np.arange(N) % N_IMAGES < 9, "2026-03-01T10:00", "2026-02-28")
    found = read(rows(date=date), independent_from="2026-03-01")
    assert (found.pairs["split"] == "independent").sum() == (date == "2026-03-01T10:00").sum()
    with pytest.raises(ValueError, match=r"a\.csv, line 4, column 'date': 'soon' is no date"):
        read(rows(date=np.where(np.arange(N) == 2, "soon", date)), independent_from="2026-03-01")
    with pytest.raises(ValueError, match="there is no column date"):
        read(rows(), independent_from="2026-03-01")
    for which, since in (("no", "2026-03-02"), ("every", "2026-02-28")):
        with pytest.raises(ValueError, match=rf"a\.csv: {which} row is dated .*, {since}, or later"):
            read(rows(date=date), independent_from=since)
    with pytest.raises(ValueError, match=r"a\.csv: .*independent_from is given, and the column split decides"):
        read(rows(date=date, split=np.where(np.arange(N) % 2, "calib", "test")), independent_from="2026-03-01")


def test_questions_people_and_the_tables_own_names(read):
    human = np.where(np.arange(N) % 5 == 0, "", np.where(Y_TRUE == 0, "Yes", "no"))
    table = rows(hypothesis=None, question=[f"Is it {k}?" for k in range(N)], human=human).rename(
        columns={"logprob_yes": "lp1", "logprob_no": "lp2", "label": "gold answer", "image": "file"}
    )
    columns = {"logprob_yes": "lp1", "logprob_no": "lp2", "label": "gold answer"}
    found = read(table, columns=columns)
    assert found.pairs["hypothesis"][3] == "Is it 3?"
    votes = found.pairs[vote_columns(SENTENCE)]
    assert votes.isna().all(axis=1).tolist() == (human == "").tolist()
    assert (votes[human != ""].idxmax(axis=1) == "votes_" + found.pairs["label"][human != ""]).all()
    with_answer = rows(hypothesis=None, question="What is it?", answer=[f"a {k}" for k in range(N)])
    assert read(with_answer).pairs["hypothesis"][3] == "What is it? a 3"
    with pytest.raises(ValueError, match=r"data\.answers\.columns names \['lp9'\], found"):
        read(table, columns=columns | {"logprob_no": "lp9"})
    with pytest.raises(ValueError, match=r"columns names \['hypothesys'\], which nothing .*did you mean 'hypothesis'"):
        read(table, columns=columns | {"hypothesys": "question"})
    unnamed = table.rename(columns={"file": "picture"}).assign(picture=["", *table["file"][1:]])
    with pytest.raises(ValueError, match="line 2: picture is empty"):
        read(unnamed, columns=columns | {"image": "picture"})


def test_several_models_answer_the_same_pairs(read):
    other = rows(logprob_yes=log_softmax(-LOGITS)[:, 0], logprob_no=log_softmax(-LOGITS)[:, 1]).assign(model="b")[::-1]
    table = pd.concat([rows().assign(model="a"), other], ignore_index=True)
    found = read(table, models=("b", "a"))
    parts = [part.reset_index(drop=True) for _, part in found.predictions.groupby("seed")]
    assert parts[0]["pair_id"].equals(parts[1]["pair_id"]) and found.pairs["pair_id"].equals(parts[0]["pair_id"])
    np.testing.assert_allclose(logits_of(parts[0])[:, 0], logits_of(parts[1])[:, 1])
    assert read(table, models=("a",)).files["left_out_models"].item() == N
    with pytest.raises(ValueError, match=r"the column model names \['a', 'b'\]; name those that are wanted"):
        read(table)
    with pytest.raises(ValueError, match=r"1 pairs are not answered by every model, the first is line 2$"):
        read(table[:-1], models=("b", "a"))


def test_what_any_models_rows_say_of_a_pair_is_known_and_two_may_not_differ(read):
    votes = {"votes_yes": np.where(Y_TRUE == 0, 3.0, 1.0), "votes_no": 1.0}
    split, date = np.where(np.arange(N) % N_IMAGES < 15, "calib", "test"), np.where(np.arange(N) < 60, "2026", "2025")
    told = rows(**votes, split=split, family="f", model="b", date=date)
    silent = rows(model="a", votes_yes="", votes_no="", split="", family="", date="2020")
    found = read(pd.concat([silent, told[::-1]], ignore_index=True), models=("a", "b"))
    alone = read(told)
    pd.testing.assert_frame_equal(found.pairs.drop(columns="date"), alone.pairs.drop(columns="date"))
    assert found.pairs[vote_columns(SENTENCE)].notna().all(axis=None)
    for name, value in {"split": "test", "family": "g", "votes_yes": 4, "label": "no", "group": "h"}.items():
        own = told.assign(group=told["image"])
        other = own.assign(model="a", **{name: np.where(np.arange(N) == 7, value, own[name])})
        own = own.iloc[[7, *range(7), *range(8, N)]]
        wanted = rf"a\.csv, line 122, column '{name.replace('yes', 'entailment')}'.* in another .* line 9$"
        with pytest.raises(ValueError, match=wanted):
            read(pd.concat([other, own], ignore_index=True), models=("a", "b"))
    with pytest.raises(ValueError, match=r"column 'date': '2020-01-01', and '2026-01-01' in"):
        dated = rows(group=[f"g{k % N_IMAGES}" for k in range(N)])
        pair = [dated.assign(model="a", date="2026-01-01"), dated.assign(model="b", date="2020-01-01")]
        read(pd.concat(pair, ignore_index=True), models=("a", "b"), independent_from="2026-01-01")


def test_bare_answers_are_worth_what_rows_of_their_own_say(read):
    """A part of calib's images says how often each class's answer is right, and does nothing else."""
    word = np.where(LOGITS.argmax(axis=1) == 0, "Yes.", "no")
    table = without_log_probs(model_answer=word)
    found = read(table)
    by_split = found.pairs.groupby("split")["image_id"].nunique()
    assert by_split.to_dict() == {"val": 4, "calib": 11, "test": 15} and found.pairs["image_id"].nunique() == N_IMAGES
    logits, y_true = logits_of(found.judged), found.judged["y_true"].to_numpy()
    tells = (found.judged["split"] == "val").to_numpy()
    np.testing.assert_array_equal(logits[~tells].max(axis=0), worth_of(logits[tells] > 0, y_true[tells]))
    assert ((logits > 0).sum(axis=1) == 1).all() and len(np.unique(logits, axis=0)) == 2
    split = np.array(["val", "test", "calib"])[np.arange(N) % N_IMAGES % 3]
    own = read(table.assign(split=split))
    assert (own.pairs["split"] == "val").sum() == (split == "val").sum(), "rows of val that there are serve"
    assert "left_out_val" not in own.files
    other = pd.concat([table.assign(model="a"), table.assign(model="b", model_answer="yes")], ignore_index=True)
    both = read(other, models=("a", "b")).predictions.groupby("seed")["logit_0"].max()
    assert both[0] == logits[:, 0].max() != both[1]


ANSWER = np.where(LOGITS.argmax(axis=1) == 0, "yes", "no")
OWN_LOGPROB = log_softmax(LOGITS).max(axis=1)


def differing(n):
    """The model's answers, but for n that are others."""
    return np.where(np.arange(N) < n, np.where(ANSWER == "yes", "no", "yes"), ANSWER)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            without_log_probs(model_answer=ANSWER, logprob=OWN_LOGPROB),
            {},
            r"'model_answer' says 'no', and \['logprob'\] say 'yes' by \['-0.*\]; 'logprob' is read as that of 'yes' "
            "in every row, whatever the answer: leave one .*, or make it that, as logprob_yes .* of 120 rows, the",
        ),
        (without_log_probs(answer=ANSWER, p=np.exp(OWN_LOGPROB)), {"form": "probs"}, "'p' is read as that of 'yes' in"),
        (
            rows(logprob_yes=log_softmax(LOGITS)[:, 1], logprob_no=log_softmax(LOGITS)[:, 0], prediction=ANSWER),
            {},
            r"'prediction' says 'no', and \['logprob_yes', 'logprob_no'\] say 'yes' by .* or name the form .*line 2",
        ),
        (rows(model_answer=differing(7)), {}, "7 of 120 rows, the first is line 2"),
    ],
)
def test_an_answer_beside_what_contradicts_it_is_refused(read, table, options, message):
    with pytest.raises(ValueError, match=rf"a\.csv: .*{message}"):
        read(table, **options)


def test_drawn_answers_ties_other_words_and_a_form_that_is_named_are_let_through(read):
    told = "answer (another one in {} rows)"
    tied = without_log_probs(p=np.where(ANSWER == "yes", 0.496, 0.504), model_answer=ANSWER)
    words = rows(model_answer=np.where(np.arange(N) % 2, "I cannot say", ANSWER))
    for table, kind, wanted in [
        (rows(model_answer=differing(6)), "auto", told.format(6)),
        (rows(model_answer=differing(60)), "log_probs", told.format(60)),
        (tied, "auto", "answer"),
        (words, "auto", "answer"),
    ]:
        assert read(table, form=kind).files.loc[0, "also_there"] == wanted


def test_probabilities_of_several_classes_that_contradict_the_answer_are_refused(read):
    names, probs = ("cat", "dog", "emu"), softmax(RNG.normal(size=(N, 3)))
    table = pd.DataFrame(probs, columns=[f"prob_{name}" for name in names])
    table = table.assign(label=np.resize(names, N), model_answer=np.array(names)[probs.argmax(axis=1)])
    assert read(table, classes=names).files.loc[0, "also_there"] == "answer"
    table["model_answer"] = np.array(names)[probs.argmin(axis=1)]
    with pytest.raises(ValueError, match=r"a\.csv: 'model_answer' says .*'prob_emu'\] say .*120 of 120 rows"):
        read(table, classes=names)


def saved_features(folder, ids, values, **others):
    np.savez(folder / "seen.npz", pair_id=np.array(ids), features=values, **others)
    return {"features": "seen.npz"}


def test_what_the_model_saw_is_found_by_pair(read, tmp_path):
    ids, values = [f"p{k}" for k in range(N)], RNG.normal(size=(N + 1, 3))
    options = saved_features(tmp_path, [*ids, "another"][::-1], values[::-1])
    found = read(rows(id=ids), **options)
    np.testing.assert_array_equal(found.features, values[[int(one[1:]) for one in found.pairs["pair_id"]]])
    assert read(rows(id=ids)).features is None


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        (["p0"] * N, np.ones((N, 2)), r"seen\.npz: row 1 \(counted from 0\): the pair 'p0' comes twice"),
        ([f"q{k}" for k in range(N)], np.ones((N, 2)), r"seen\.npz: .* no features .120 of 120 .* pair p\d+, line"),
        ([f"p{k}" for k in range(N)], np.zeros((N, 2)), r"seen\.npz: features must be finite and not all zero .120 of"),
        ([f"p{k}" for k in range(N)], np.ones((N, 2))[:5], r"seen\.npz: features must be numbers of shape \(120, d\)"),
    ],
)
def test_features_that_cannot_be_used_are_refused(read, tmp_path, ids, values, message):
    with pytest.raises(ValueError, match=message):
        read(rows(id=[f"p{k}" for k in range(N)]), **saved_features(tmp_path, ids, values))


def test_images_are_found_and_named(read, tmp_path):
    (tmp_path / "img").mkdir()
    for k in range(N_IMAGES):
        Image.new("RGB", (4, 4), (k, k // 2, 0)).save(tmp_path / "img" / f"i{k}.png")
    (tmp_path / "img" / "i5.png").write_bytes((tmp_path / "img" / "i4.png").read_bytes())
    found = read(rows(), images="img")
    assert len(found.images) == N_IMAGES == found.files["images"].item()
    both = found.pairs[found.pairs["image_id"].isin(["i4", "i5"])]
    assert both["group_id"].nunique() == 1 == both["split"].nunique(), "copies stay together"
    (tmp_path / "img" / "i7.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"a\.csv, line 9: 1 images .*; set data\.answers\.allow_missing_images to keep"
    ):
        read(rows(), images="img")
    assert read(rows(), images="img", allow_missing_images=True).files["rows_without_image"].item() == N // N_IMAGES


def test_a_damaged_picture_is_refused_with_table_and_line(read, tmp_path):
    (tmp_path / "img").mkdir()
    for k in range(N_IMAGES):
        Image.new("RGB", (4, 4), (k, k // 2, 0)).save(tmp_path / "img" / f"i{k}.png")
    (tmp_path / "img" / "i7.png").write_bytes(b"no picture")
    read(rows(), images="img")
    base = load_params("base")
    answers = base.data.answers.model_copy(update={"table": "a.csv", "images": "img"})
    data = base.data.model_copy(update={"source": "answers", "answers": answers})
    with pytest.raises(ValueError, match=r"/a\.csv: 1 image cannot be read; .*: line 9: .*/img/i7\.png"):
        check_inputs(base.model_copy(update={"data": data}))


def test_named_classes_need_neither_image_nor_sentence(read):
    table = pd.DataFrame({"label": np.where(Y_TRUE == 0, "cat", "dog"), "logit": LOGITS[:, 1] - LOGITS[:, 0]})
    found = read(table, classes=("cat", "dog"))
    assert "hypothesis" not in found.pairs and found.pairs["pair_id"].tolist() == [f"row-{k}" for k in range(N)]
    np.testing.assert_allclose(judged(found)[0], Temperature.fit(*_calib_of(found)).temperature)


def _calib_of(found):
    chosen = found.pairs.index[found.pairs["split"] == "calib"]
    return LOGITS[chosen], Y_TRUE[chosen]


IS_FIRST = np.arange(N) % N_IMAGES < N_IMAGES // 2
IN_FEW_GROUPS = {"split": np.where(IS_FIRST, "calib", "test")}
IN_FEW_GROUPS |= {"group": [f"c{k % N_IMAGES}" if one else f"t{k % 3}" for k, one in enumerate(IS_FIRST)]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": np.where(np.arange(N) == 4, "perhaps", "yes")},
            "line 6: label 'perhaps' .*'yes', 'true'.*'no', 'false'",
        ),
        ({"label": Y_TRUE}, r"the labels are \['0', '1'\]: some count entailment first"),
        ({"label": "yes"}, "in the split calib every label is 'entailment'"),
        ({"split": np.where(np.arange(N) == 5, "calib", "test")}, "the split calib has 1 row; at least 20 are needed"),
        (IN_FEW_GROUPS, "the split test has 3 groups; at least 4 are needed"),
        ({"label": None}, r"no column says what is true; found .*'hypothesis'.*: call it label"),
        ({"logprob_yes": np.where(np.arange(N) == 7, 0.3, -1)}, "at most 0; did you give logits.*the first is line 9"),
        ({"logprob_yes": ["x", *[-1.0] * (N - 1)]}, "line 2, column 'logprob_yes': 'x' is not a number"),
        ({"hypothesis": ["", *map(str, range(N - 1))]}, "line 2: hypothesis is empty"),
        ({"hypothesis": "one for all"}, r"line 32: repeats line 2, the same pair"),
        (
            {"split": np.where(np.arange(N) == 5, "exam", "test")},
            "line 7, column 'split': unknown split 'exam'; .*independent",
        ),
        ({"split": "test"}, "no row has the split calib"),
        ({"split": np.where(np.arange(N) < 60, "test", "calib")}, "is in the splits .*line"),
        ({"human": np.where(np.arange(N) == 3, "perhaps", "")}, "line 5, column 'human': 'perhaps' is none of"),
        ({"votes_yes": np.where(np.arange(N) == 3, -1, 1), "votes_no": 1}, "whole numbers, .*the first is line 5"),
        ({"votes_yes": np.where(np.arange(N) == 3, 0.5, 1), "votes_no": 1}, "whole numbers, .*the first is line 5"),
        ({"model": np.where(np.arange(N) == 2, "", "a")}, "line 4, column 'model': is empty"),
        ({"human": np.where(Y_TRUE == 0, "no", "yes")}, "no better than chance"),
        ({"votes_yes": 1}, "people's answers need a column for each class, found only 'votes_yes'"),
        ({"hypothesis": None}, "line 32: repeats line 2, the same pair: no column hypothesis or question tells"),
        ({"group": "one"}, "1 groups cannot fill 2 splits"),
        ({"logprob_yes": "", "logprob_no": ""}, r"no row says anything of .*, in \['logprob_yes', 'logprob_no'\]"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_place(read, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(rows(**change))
    assert "a.csv" in str(caught.value)


def test_numbers_of_a_parquet_file_are_those_of_its_text_and_a_fault_is_in_the_same_row(read):
    """Columns of numbers are never made text; labels, ids and what nobody reads are."""
    table = by_class("logit", LOGITS).assign(
        id=np.arange(N) + 0.5, other=LOGITS[:, 0], votes_yes=2.0 - Y_TRUE, votes_no=1.0
    )
    found, same = read(table, "a.parquet"), read(table, "a.csv")
    for name in ("pairs", "predictions"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(same, name), check_exact=True)
    assert (
        found.pairs["pair_id"][0] == "0.5" and found.files["ignored"].item() == same.files["ignored"].item() == "other"
    )
    lacks = table.assign(logit_yes=[*LOGITS[:6, 0], None, *LOGITS[7:, 0]])
    with pytest.raises(ValueError, match=r"a\.parquet: row 7, column 'logit_yes': is empty"):
        read(lacks, "a.parquet")
    long = table.assign(hypothesis=[*table["hypothesis"][:4], "a" * 10_001, *table["hypothesis"][5:]])
    with pytest.raises(ValueError, match=r"a\.parquet, line 5: a field of 10,001 characters"):
        read(long, "a.parquet")


def test_a_file_that_is_no_parquet_and_a_nested_cell_are_refused(read, tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    own = load_params("base").data.answers.model_copy(update={"table": "bad.parquet"})
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read as Parquet"):
        build(own, SENTENCE, seed=1)
    with pytest.raises(ValueError, match=r"a\.parquet: row 3: label"):
        read(rows(label=np.where(np.arange(N) == 2, "?", "yes")), "a.parquet")


ASKED = {"hub": "some/model", "revision": "0" * 40, "prompt": "{hypothesis} ?", "batch": 4}


@pytest.fixture
def asking(read, tmp_path, monkeypatch):
    """Read a table without answers, with images, and put its pairs to a function."""
    (tmp_path / "images").mkdir()
    for k in range(N_IMAGES):
        Image.new("RGB", (3, 3), (k, 0, 0)).save(tmp_path / "images" / f"i{k}.png")
    own = load_params("base").data.answers
    model = own.model.model_copy(update=ASKED)

    def ask_table(ask=None, **columns):
        without_log_probs(**columns).to_csv(tmp_path / "a.csv", index=False)
        options = {"table": "a.csv", "images": "images", "model": model}
        return build(own.model_copy(update=options), SENTENCE, seed=1, ask=ask)

    return ask_table


def test_a_model_that_is_asked_says_what_the_same_table_holds(asking, read):
    """Asked about the pairs that pages read, and no other; without being asked it has said nothing."""
    split = np.where(np.arange(N) % 30 < 9, "train", np.where(np.arange(N) % 30 < 20, "calib", "test"))
    said, put = dict(zip(rows()["hypothesis"], log_softmax(LOGITS), strict=True)), []

    def ask(pairs, images):
        put.extend(pairs["hypothesis"])
        assert all(images[name][0].stem == name for name in pairs["image_id"])
        assert pairs["place"].tolist() == [f"a.csv, line {int(text.split()[1]) + 2}" for text in pairs["hypothesis"]]
        return np.array([said[text] for text in pairs["hypothesis"]])

    found, same = asking(ask, split=split), read(rows(split=split))
    assert set(put) == set(found.pairs["hypothesis"]) and len(put) == (split != "train").sum()
    pd.testing.assert_frame_equal(found.pairs, same.pairs)
    np.testing.assert_array_equal(logits_of(found.predictions), logits_of(same.predictions))
    facts = found.files.iloc[0]
    assert facts["model"] == "some/model" and facts["prompt"] == "{hypothesis} ?" and facts["left_out_train"] > 0
    assert facts["smallest"] == log_softmax(LOGITS)[split != "train"].min() and "n_undecided" not in facts
    assert not logits_of(asking(split=split).predictions).any()


def test_mass_elsewhere_is_counted_and_a_table_without_sentences_is_refused(asking):
    found = asking(lambda pairs, images: np.log(np.full((len(pairs), 2), 0.3)))
    assert found.files.loc[0, "n_elsewhere"] == N
    with pytest.raises(ValueError, match=r"a\.csv: no column hypothesis or question to ask about"):
        asking(hypothesis=None)
    with pytest.raises(FileNotFoundError, match=r"1 images are not in .*\['gone'\]$"):
        asking(image=["gone", *rows()["image"][1:]])
