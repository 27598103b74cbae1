"""Parameter files as plain values; what is refused by name is in the hostile corpus."""

import pytest

from verdict.base.parameter_files import MAX_FILE_BYTES, ParamsError, merge, nearest, read_yaml, unreadable


def test_a_file_is_read_as_it_stands(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "title: Größe\nseeds: [1, 2]\nsizes: {train: 10, share: 0.5}\n", encoding="utf-8"
    )
    assert read_yaml(tmp_path / "own.yaml") == {
        "title": "Größe",
        "seeds": [1, 2],
        "sizes": {"train": 10, "share": 0.5},
    }


def test_a_fault_is_named_with_file_and_line(tmp_path):
    (tmp_path / "own.yaml").write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(ParamsError, match=r"own\.yaml, line 3: the key 'a' stands twice"):
        read_yaml(tmp_path / "own.yaml")


def test_a_missing_file_names_the_nearest_profile_and_no_other_file(tmp_path):
    for name in ("base", "rubric", "digits"):
        (tmp_path / f"{name}.yaml").write_text("a: 1\n")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'digits'\?; profiles are \['digits'\]"):
        read_yaml(tmp_path / "digit.yaml")


def test_a_file_is_bounded(tmp_path):
    (tmp_path / "own.yaml").write_text("a: " + "x" * MAX_FILE_BYTES)
    with pytest.raises(ParamsError, match="larger than 1,000,000 bytes"):
        read_yaml(tmp_path / "own.yaml")


def test_mappings_are_merged_and_all_else_is_replaced():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merge(base, {"a": {"c": [9]}, "e": {}}) == {"a": {"b": 1, "c": [9]}, "d": 3, "e": {}}
    assert merge(base, {"a": 5}) == {"a": 5, "d": 3}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_a_word_is_compared_with_what_is_known():
    assert nearest("drouput", ["dropout", "epochs"]) == "; did you mean 'dropout'?"
    assert nearest("zzz", ["dropout"]) == ""


def test_control_characters_are_found_in_keys_and_in_depth():
    assert list(unreadable({"a": ["fine", {"b": "x\u0007"}]})) == ["a.1.b: the text holds the control character U+0007"]
    assert len(list(unreadable({"k\u009b": 1}))) == 1
