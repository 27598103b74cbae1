"""Files of saved logits: nothing that could run code is read, and every bad cell has its place."""

import numpy as np
import pytest

from verdict.data.own.answer_files import How, read_numbers, read_saved

NAMES = ("cat", "dog", "emu")


def test_a_table_of_numbers_alone(tmp_path):
    (tmp_path / "c.csv").write_text("a,b\n1,2\n3,4.5\n")
    assert read_numbers(tmp_path / "c.csv", NAMES)[0].tolist() == [[1.0, 2.0], [3.0, 4.5]]
    (tmp_path / "c.csv").write_text("a,b\n1,two\n")
    with pytest.raises(ValueError, match=r"c.csv, line 2, column 'b': 'two' is not a number"):
        read_numbers(tmp_path / "c.csv", NAMES)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "zeros.npz", logits=np.zeros((10_000, 10)))
    monkeypatch.setattr("verdict.data.own.answer_files.MAX_BYTES", 700_000)
    assert (tmp_path / "zeros.npz").stat().st_size < 700_000
    with pytest.raises(ValueError, match=r"zeros.npz unpacks to 800,\d+ bytes; at most 700,000"):
        read_saved(tmp_path / "zeros.npz", How(NAMES))
    monkeypatch.setattr("verdict.data.own.answer_files.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_saved(tmp_path / "zeros.npz", How(NAMES))
