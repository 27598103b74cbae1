"""Files of saved logits: nothing that could run code is read, and every bad cell has its place."""

import pickle
import zipfile

import numpy as np
import pytest

from verdict.data.recorded_files import HUMAN, LABELS, LOGITS, read_arrays, read_number_table

NAMES = ("cat", "dog", "emu")
LOGITS_3 = np.random.default_rng(0).normal(size=(7, 3))


def test_columns_become_the_arrays_of_an_archive(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,logit_cat,logit_emu,logit_dog,human_0,human_1,human_2,site\nemu,5,1,-2.5,3,0,7,x\n")
    found = read_arrays(path, NAMES)
    assert found[LOGITS].tolist() == [[5.0, -2.5, 1.0]]
    assert found[LABELS].tolist() == [2]
    assert found[HUMAN].tolist() == [[3.0, 0.0, 7.0]]
    assert found["site"].tolist() == ["x"]
    assert read_arrays(path, NAMES).keys() == {LOGITS, LABELS, HUMAN, "site"}


def test_a_table_of_numbers_alone(tmp_path):
    (tmp_path / "c.csv").write_text("a,b\n1,2\n3,4.5\n")
    assert read_number_table(tmp_path / "c.csv").tolist() == [[1.0, 2.0], [3.0, 4.5]]
    (tmp_path / "c.csv").write_text("a,b\n1,two\n")
    with pytest.raises(ValueError, match=r"c.csv, line 2: 'two' is not a number"):
        read_number_table(tmp_path / "c.csv")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "zeros.npz", logits=np.zeros((10_000, 10)))
    monkeypatch.setattr("verdict.data.recorded_files.MAX_BYTES", 700_000)
    assert (tmp_path / "zeros.npz").stat().st_size < 700_000
    with pytest.raises(ValueError, match=r"zeros.npz unpacks to 800,\d+ bytes; at most 700,000"):
        read_arrays(tmp_path / "zeros.npz", NAMES)
    monkeypatch.setattr("verdict.data.recorded_files.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_arrays(tmp_path / "zeros.npz", NAMES)


def test_pickles_and_other_formats_are_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for name, content, message in (
        ("p.pkl", pickle.dumps(Trap()), "is a pickle"),
        ("p.npz", pickle.dumps(Trap()), "is a pickle"),
        ("p.csv", pickle.dumps(Trap(), protocol=4), "is a pickle"),
        ("text.npz", b"not an archive at all", "not an npz archive"),
        ("cut.npz", b"PK\x03\x04" + b"\0" * 50, "not an npz archive|cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            read_arrays(tmp_path / name, NAMES)
        assert name in str(caught.value)
    np.save(tmp_path / "bare.npy", LOGITS_3)
    (tmp_path / "bare.npz").write_bytes((tmp_path / "bare.npy").read_bytes())
    with pytest.raises(ValueError, match="one bare array"):
        read_arrays(tmp_path / "bare.npz", NAMES)
    with zipfile.ZipFile(tmp_path / "torch.npz", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="holds a pickle"):
        read_arrays(tmp_path / "torch.npz", NAMES)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,logit_0,logit_1,logit_2\n0,1,2\n", "line 2: 3 cells for 4 columns"),
        ("label,logit_0,logit_1,logit_2\n0,5,2,x\n", "line 2: 'x' is not a number"),
        ("label,logit_0,logit_1,logit_2\ncow,5,2,1\n", "line 2: label 'cow' is no class id"),
        ("label,logit_0,logit_1\n0,5,2\n", "are not logit_<class>"),
        ("label,logit_0,logit_0,logit_2\n0,5,2,1\n", "a column name stands twice"),
        ("label,logit_0,logit_1,logit_2\n", "no rows"),
    ],
)
def test_bad_tables_are_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_arrays(path, NAMES)
    assert str(path) in str(caught.value)
