"""Saved logits: what is read, and everything that is refused by name."""

import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from verdict.base.labels import vote_columns
from verdict.base.params import RecordedParams
from verdict.data.own.recorded import build, read_counts, read_file
from verdict.model.predict import logits_of
from verdict.stats.scores import log_softmax, softmax

NAMES = ("cat", "dog", "emu")
N = 41


def logits_and_labels(seed=0, n=N):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 3, n)
    logits = 3 * rng.normal(size=(n, 3))
    logits[np.arange(n), y_true] += 4
    return logits, y_true


def counts_for(y_true, seed=3):
    rng = np.random.default_rng(seed)
    return np.stack([rng.multinomial(50, np.where(np.arange(3) == k, 0.9, 0.05)) for k in y_true])


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def params_of(**files):
    empty = {"val": "", "test": "", "independent": "", "human_counts": "", "group": ""}
    return RecordedParams(**empty | files, class_names=NAMES, allow_small=False, tuning_share=0.5)


def test_an_archive_is_read_as_it_was_saved(tmp_path):
    logits, y_true = logits_and_labels()
    path = save(tmp_path / "a.npz", logits=logits.astype(np.float32), labels=y_true[:, None], extra=np.zeros(3))
    found = read_file(path, NAMES)
    assert found.logits.dtype == np.float64
    assert np.array_equal(found.logits, logits.astype(np.float32))
    assert np.array_equal(found.y_true, y_true)
    assert (found.human, found.groups) == (None, None)
    assert found.facts["rows"] == N and found.facts["stored_as"] == "float32" and found.facts["ignored"] == "extra"


@pytest.mark.parametrize(("by", "delimiter"), [("name", ","), ("id", ";"), ("name", "\t")])
def test_a_table_is_read_whatever_its_columns_are_called(tmp_path, by, delimiter):
    logits, y_true = logits_and_labels()
    names = NAMES if by == "name" else range(3)
    table = pd.DataFrame({f"logit_{name}": logits[:, k] for k, name in enumerate(names)})
    table = table[table.columns[::-1]]
    table["label"] = [NAMES[k] for k in y_true] if by == "name" else y_true
    for k, name in enumerate(names):
        table[f"human_{name}"] = counts_for(y_true)[:, k]
    table["site"] = [f"s{k // 4}" for k in range(N)]
    table.to_csv(tmp_path / "a.csv", index=False, sep=delimiter)
    found = read_file(tmp_path / "a.csv", NAMES, group="site")
    np.testing.assert_allclose(found.logits, logits)
    assert np.array_equal(found.y_true, y_true)
    assert np.array_equal(found.human, counts_for(y_true))
    assert found.groups.tolist() == table["site"].tolist()


LOGITS, Y_TRUE = logits_and_labels()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (0.5 + LOGITS / 40, Y_TRUE, "look like sigmoid scores .* save what went into the sigmoid"),
        (np.column_stack([-LOGITS[:, 0], LOGITS[:, 0]]) / 40, Y_TRUE % 2, "cosines.*; set allow_small"),
        (
            np.tile([[0.3, 0.7], [0.6, 0.4], [0.0, 1.0]], (N, 1))[:N],
            Y_TRUE % 2,
            "probabilities; call them prob_<class>",
        ),
        (LOGITS * 1e4, Y_TRUE, "logits beyond 10000: .* divide all of them.*row 0 .counted from 0"),
        (LOGITS, Y_TRUE + 2, r"must lie in 0 … 2, .* rows, the first is row \d+ \(counted"),
    ],
)
def test_what_is_not_logits_is_refused_with_its_file(tmp_path, logits, labels, message):
    """What the hostile logits do not hold."""
    path = save(tmp_path / "bad.npz", logits=logits, labels=labels)
    assert re.search(rf"{path}: .*{message}", refusal(path, NAMES[: logits.shape[1]]))


def test_small_logits_are_accepted_where_they_are_meant(tmp_path):
    path = save(tmp_path / "a.npz", logits=LOGITS / 40, labels=Y_TRUE)
    assert len(read_file(path, NAMES, allow_small=True).logits) == N


@pytest.mark.parametrize("own", [[[5.0, 0.0], [-4.0, 1.0]], [[0.5, 0.0], [1.0, 1.0]]])
def test_logits_with_a_0_or_1_among_rows_that_sum_to_1_are_logits(tmp_path, own):
    logits = np.tile([*own, [0.3, 0.7]], (N, 1))[:N]
    path = save(tmp_path / "a.npz", logits=logits, labels=Y_TRUE % 2)
    assert np.array_equal(read_file(path, NAMES[:2], allow_small=True).logits, logits)


def test_the_rows_of_a_binary_model_pass(tmp_path):
    logits = np.column_stack([np.zeros(N), LOGITS[:, 1] / 20])
    path = save(tmp_path / "a.npz", logits=logits, labels=(LOGITS[:, 1] > 0).astype(int))
    assert len(read_file(path, NAMES[:2]).logits) == N


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda counts: counts[:-1], "must have shape"),
        (lambda counts: counts.astype(str), "whole numbers, got <U"),
        (lambda counts: counts - 100, "none below 0"),
        (lambda counts: counts + 0.5, "whole numbers"),
        (
            lambda counts: np.where(np.arange(N)[:, None] == 4, 0, counts),
            "no answer .*1 of 41 rows, the first is row 4",
        ),
        (lambda counts: np.roll(np.eye(3)[Y_TRUE], 1, axis=1), "no better than chance"),
        (lambda counts: counts / counts.sum(axis=1, keepdims=True), "counts.npy, got shares that sum to 1"),
    ],
)
def test_answers_of_people_must_fit(tmp_path, change, message):
    """CIFAR-10H is published as two arrays without an archive round them."""
    counts = counts_for(Y_TRUE)
    np.save(tmp_path / "counts.npy", counts)
    assert np.array_equal(read_counts(tmp_path / "counts.npy", Y_TRUE, NAMES), counts)
    np.save(tmp_path / "bad.npy", change(counts))
    with pytest.raises(ValueError, match=rf"bad\.npy: .*{message}"):
        read_counts(tmp_path / "bad.npy", Y_TRUE, NAMES)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of three parts below $VERDICT_DATA; people answered test alone."""
    monkeypatch.setenv("VERDICT_DATA", str(tmp_path))
    for seed, name in enumerate(("val", "test", "independent")):
        logits, y_true = logits_and_labels(seed)
        save(tmp_path / f"{name}.npz", logits=logits, labels=y_true, site=np.arange(N) // 2 + 1000 * seed)
        if name == "test":
            save(tmp_path / "people.npz", counts=counts_for(y_true))
    return {"val": "val.npz", "test": "test.npz", "independent": "independent.npz", "human_counts": "people.npz"}


def test_files_become_tables(files):
    found = build(params_of(**files), seed=1)
    pairs, predictions = found.pairs, found.predictions
    assert predictions.groupby("split").size().to_dict() == {"calib": N, "test": N, "independent": N}
    assert pairs["pair_id"].is_unique and pairs["pair_id"].equals(predictions["pair_id"])
    assert pairs["label"].tolist() == [NAMES[k] for k in predictions["y_true"]]
    test = predictions[predictions["split"] == "test"]
    np.testing.assert_array_equal(logits_of(test), logits_and_labels(1)[0])
    assert pairs.loc[pairs["split"] != "test", vote_columns(NAMES)].isna().all().all()
    assert (pairs.loc[pairs["split"] == "test", vote_columns(NAMES)].sum(axis=1) == 50).all()
    assert found.files["part"].tolist() == ["val", "test", "independent", "people, test"]


def test_features_are_joined_in_the_order_of_the_rows_or_none_are_there(files, tmp_path):
    assert build(params_of(**files), seed=1).features is None
    own = {name: np.random.default_rng(k).normal(size=(N, 5)) for k, name in enumerate(("val", "test", "independent"))}
    for seed, (name, values) in enumerate(own.items()):
        logits, y_true = logits_and_labels(seed)
        save(tmp_path / f"{name}.npz", logits=logits, labels=y_true, features=values)
    found = build(params_of(**files), seed=1)
    for split, name in (("calib", "val"), ("test", "test"), ("independent", "independent")):
        assert np.array_equal(found.features[(found.pairs["split"] == split).to_numpy()], own[name])
    assert set(found.files["ignored"].dropna()) == {"nothing"}
    logits, y_true = logits_and_labels(1)
    zero = np.where(np.arange(N)[:, None] == 7, 0.0, own["test"])
    for values, message in (
        ({}, r"val\.npz holds features and \['test\.npz'\] does not"),
        ({"features": own["test"][:, :4]}, r"differ in width: \[4, 5\]"),
        ({"features": own["test"][:9]}, rf"test\.npz: features must be numbers of shape \({N}, d\)"),
        ({"features": zero}, r"test\.npz: features must be finite and not all zero .1 of 41 rows, the first is row 7"),
        ({"features": np.where(zero == 0, np.nan, zero)}, "the first is row 7"),
    ):
        save(tmp_path / "test.npz", logits=logits, labels=y_true, **values)
        with pytest.raises(ValueError, match=message):
            build(params_of(**files), seed=1)


def test_a_part_of_test_tunes_the_policy_where_people_answered_test_alone(files, tmp_path):
    one, other = (build(params_of(**files, group="site"), seed=seed).pairs for seed in (1, 2))
    assert set(one.loc[one["is_tuning"], "split"]) == {"test"}
    assert 0.3 < one.loc[one["split"] == "test", "is_tuning"].mean() < 0.7
    assert one.groupby("group_id")["is_tuning"].nunique().max() == 1, "a group tunes or judges, never both"
    assert one["is_tuning"].tolist() != other["is_tuning"].tolist()
    assert one["is_tuning"].tolist() == build(params_of(**files, group="site"), seed=1).pairs["is_tuning"].tolist()
    logits, y_true = logits_and_labels(0)
    save(tmp_path / "val.npz", logits=logits, labels=y_true, human_counts=counts_for(y_true))
    assert not build(params_of(**files), seed=1).pairs["is_tuning"].any()
    assert not build(params_of(**files | {"human_counts": ""}), seed=1).pairs["is_tuning"].any()


def test_a_group_in_two_files_is_refused(files, tmp_path):
    logits, y_true = logits_and_labels(1)
    save(tmp_path / "test.npz", logits=logits, labels=y_true, site=np.arange(N) // 2)
    with pytest.raises(ValueError, match="group '0' is in val and in test"):
        build(params_of(**files, group="site"), seed=1)
    save(tmp_path / "test.npz", logits=logits, labels=y_true, site=np.array(["a", " "] + ["b"] * (N - 2)))
    with pytest.raises(ValueError, match=r"rows have no group .1 of 41 rows, the first is row 1"):
        build(params_of(**files, group="site"), seed=1)


def test_a_missing_file_says_what_to_give(files, tmp_path):
    (tmp_path / "test.npz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"data.recorded.test: there is no file .*test.npz and .*give an .npz with `logits`"
    ):
        build(params_of(**files), seed=1)


def refusal(path, names=NAMES, **options):
    with pytest.raises(ValueError) as caught:
        read_file(path, names, **options)
    return str(caught.value)


def test_labels_are_names_or_whole_numbers(tmp_path):
    words = np.array(["Cat", " dog", "EMU"])[Y_TRUE]
    for k, labels in enumerate((words, words.astype("S"), Y_TRUE.astype(np.float32), Y_TRUE.astype(str))):
        path = save(tmp_path / f"{k}.npz", logits=LOGITS, labels=labels)
        assert read_file(path, NAMES).y_true.tolist() == list(Y_TRUE)
    near = save(tmp_path / "near.npz", logits=LOGITS, labels=np.where(Y_TRUE == 1, "cow", words))
    assert "label 'cow' is no class id and not one of ['cat', 'dog', 'emu']" in refusal(near)
    mixed = save(tmp_path / "mixed.npz", logits=LOGITS, labels=np.where(np.arange(len(Y_TRUE)) == 4, "1", words))
    assert re.search(r"row 4\b.*: label '1' is a class id, and '\w+' a name", refusal(mixed)), refusal(mixed)
    upper = ("cat", "Cat", "emu")
    assert "label 'CAT'" in refusal(save(tmp_path / "two.npz", logits=LOGITS, labels=np.full(N, "CAT")), upper)


def test_one_column_of_two_classes_is_about_the_second(tmp_path):
    labels, names = Y_TRUE % 2, ("no", "yes")
    rows = np.column_stack([np.zeros(N), LOGITS[:, 0]])
    for k, logits in enumerate((LOGITS[:, 0], LOGITS[:, :1])):
        path = save(tmp_path / f"{k}.npz", logits=logits, labels=labels)
        assert np.array_equal(read_file(path, names).logits, rows)
    for column in ("logit", "logit_yes"):
        pd.DataFrame({column: LOGITS[:, 0], "label": labels}).to_csv(tmp_path / "one.csv", index=False)
        np.testing.assert_allclose(read_file(tmp_path / "one.csv", names).logits, rows)
    pd.DataFrame({"score": LOGITS[:, 0], "label": labels}).to_csv(tmp_path / "one.csv", index=False)
    assert "no column says what the model said: found ['score', 'label']; give logit_<class>" in refusal(
        tmp_path / "one.csv", names
    )


def test_an_archive_of_probabilities_or_their_logarithms_is_read(tmp_path):
    wanted = softmax(LOGITS)
    for name, values in (
        ("probs", wanted),
        ("softmax", wanted.astype(np.float32)),
        ("log_softmax", log_softmax(LOGITS)),
    ):
        found = read_file(save(tmp_path / "a.npz", **{name: values}, labels=Y_TRUE), NAMES)
        np.testing.assert_allclose(softmax(found.logits), wanted, atol=1e-6)
        assert found.facts["form"] == ("log_probs" if name == "log_softmax" else "probs")
    wanted[3] = [0, 0, 1]
    assert read_file(save(tmp_path / "a.npz", probs=wanted, labels=Y_TRUE), NAMES).facts["n_clipped"] == 2
    said = refusal(save(tmp_path / "a.npz", probs=wanted * 1.2, labels=Y_TRUE))
    assert "probabilities must lie in [0, 1]" in said or "sum to more than 1" in said
    assert "there is no 'logits' among ['labels', 'prob']" in refusal(
        save(tmp_path / "a.npz", prob=wanted, labels=Y_TRUE)
    )


def test_counts_of_a_table_are_found_by_the_names_of_the_classes(tmp_path):
    counts = counts_for(Y_TRUE)
    table = pd.DataFrame(counts[:, ::-1], columns=["human_emu", "human_dog", "human_cat"])
    table.to_csv(tmp_path / "c.csv")
    assert np.array_equal(read_counts(tmp_path / "c.csv", Y_TRUE, NAMES), counts)
    table.loc[3] = 0
    table.to_csv(tmp_path / "c.csv", sep=";")
    with pytest.raises(ValueError, match=r"rows have no answer of anybody .1 of 41 rows, the first is line 5"):
        read_counts(tmp_path / "c.csv", Y_TRUE, NAMES)


def test_weights_of_torch_and_a_workbook_are_named(tmp_path):
    for file, member, message in (
        ("a.pt", "archive/data.pkl", "weights saved by torch"),
        ("a.csv", "xl/workbook.xml", "an Excel workbook (.xlsx), where a table is read; save it as CSV"),
        ("b.csv", "content.xml", "an OpenDocument table"),
    ):
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            archive.writestr(member, "x")
        assert message in refusal(tmp_path / file)


def csv_of(path, *, lines):
    body = [f"{NAMES[k % 3]},{k},{2.5 - k},1.25" for k in range(6)]
    path.write_text("\n".join(["label,logit_cat,logit_dog,logit_emu", *body, *lines]) + "\n", encoding="utf-8")
    return path


def test_what_a_spreadsheet_writes_is_read(tmp_path):
    """A mark, `sep=`, decimal commas, blank rows and columns, and a name with blanks."""
    names = ("cat", "dog", "big emu")
    rows = "label;logit_cat;logit_dog;logit_big emu;;\ncat;1,5;-2,25;3;;\n;;;;;\nBig Emu;0,5;1;12,0;;\n"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + ("sep=;\r\n" + rows.replace("\n", "\r\n")).encode())
    found = read_file(tmp_path / "a.csv", names)
    assert found.logits.tolist() == [[1.5, -2.25, 3.0], [0.5, 1.0, 12.0]] and found.y_true.tolist() == [0, 2]
    (tmp_path / "a.csv").write_text(rows.replace("0,5", "0.5"))
    assert "some numbers have a decimal comma and some a point" in refusal(tmp_path / "a.csv", names)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["", "", "cat,nan,1,2"], "the first is line 10"),
        (["cat,1,2,3", "cow,1,2,3"], "line 9: label 'cow'"),
        (['"cat",1,2,"', '3"', "cat,1,,3"], "line 10, column 'logit_dog': is empty"),
    ],
)
def test_a_line_is_the_one_that_an_editor_shows(tmp_path, lines, message):
    assert message in refusal(csv_of(tmp_path / "a.csv", lines=lines))


def test_rows_that_nothing_can_be_fitted_on_are_refused(files, tmp_path):
    logits, _ = logits_and_labels(0)
    for n, labels, n_groups, message in (
        (N, np.ones(N, dtype=int), N, "in the split {} every label is 'dog'; rows of one class alone"),
        (7, np.arange(7) % 3, 7, "the split {} has 7 rows; at least 20 are needed"),
        (N, np.arange(N) % 3, 3, "the split {} has 3 groups; at least 4 are needed"),
    ):
        for name in ("val", "test"):
            path = tmp_path / f"{name}.npz"
            before = path.read_bytes()
            save(path, logits=logits[:n], labels=labels, site=np.arange(n) % n_groups)
            with pytest.raises(ValueError, match=message.format(name)):
                build(params_of(**files | {"human_counts": "", "group": "site"}), seed=1)
            path.write_bytes(before)
