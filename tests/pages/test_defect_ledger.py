"""The ledger: every defect once, every test that it names, every number that it shows."""

import ast
import re

import pytest

from verdict.base import paths
from verdict.base.numbers import Number
from verdict.pages.defects import SEVERITIES, ledger_table, read_ledger, severity_table

TESTS = paths.ROOT / "tests"


def test_every_defect_stands_once_with_its_severity():
    ledger = read_ledger()
    numbers = {int(re.match(r"D(\d+)", name)[1]) for name in ledger["id"]}
    assert ledger["id"].is_unique
    assert numbers == set(range(1, 51))
    assert set(ledger["severity"]) == set(SEVERITIES)
    assert ledger["defect"].str.endswith(".").all() and (ledger["defect"].str.len() < 140).all()


def test_every_headline_defect_is_measured_and_has_a_test():
    worst = read_ledger().query("severity == 'A'")
    assert len(worst) == 11
    assert (worst["check"] != "").all() and (worst["number"] != "").all()


def test_the_tests_that_are_named_exist():
    named = [check.split("::") for cell in read_ledger()["check"] for check in cell.split("; ") if check]
    assert len(named) > 30
    trees = {file: ast.parse((TESTS / file).read_text(encoding="utf-8")) for file in {file for file, _ in named}}
    functions = {file: {getattr(node, "name", "") for node in tree.body} for file, tree in trees.items()}
    assert not [name for file, name in named if name not in functions[file]]


def test_a_number_and_its_quantity_go_together():
    ledger = read_ledger()
    assert ((ledger["number"] == "") == (ledger["quantity"] == "")).all()


def test_the_table_shows_numbers_and_refuses_a_missing_one():
    numbers = {name: Number(k) for k, name in enumerate(read_ledger()["number"]) if name}
    found = ledger_table(numbers).set_index("id")
    assert found.loc["D01", "here"] == numbers["defect.names.difference"]
    assert found.loc["D50", "here"] is None
    undefined = ledger_table({**numbers, "defect.ranking.reversed": Number(float("nan"))}).set_index("id")
    assert undefined.loc["D05", "here"] is None
    with pytest.raises(KeyError, match=r"defect\.names\.difference"):
        ledger_table({name: value for name, value in numbers.items() if name != "defect.names.difference"})


def test_severities_are_counted():
    found = severity_table()
    assert found["n_defects"].sum() == len(read_ledger())
    assert (found["n_checked"] <= found["n_defects"]).all()
    assert found.loc[0, ["severity", "n_defects", "n_checked", "n_measured"]].tolist() == ["A", 11, 11, 11]


def test_the_tables_travel_with_the_package():
    assert '"**/*.csv"' in (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
