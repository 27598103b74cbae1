"""A new notebook from the template keeps every rule."""

import json

import pytest

from verdict.report.lint import lint_notebook
from verdict.report.template import main, new_notebook


def test_a_new_notebook_passes_the_lint(tmp_path, capsys):
    assert main(["14_ablation", "--question", "What is missing?", "--folder", str(tmp_path)]) == 0
    path = tmp_path / "14_ablation.ipynb"
    assert lint_notebook(path) == []
    told = capsys.readouterr().out
    assert 'Spec("14_ablation", "What is missing?"' in told
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "".join(cells[0]["source"]).startswith("# Ablation\n\nWhat is missing?")
    tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
    assert tags == ["parameters", "setup", "hide-input", "answer", "check", "save"]
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_a_notebook_that_exists_is_not_touched(tmp_path, capsys):
    (tmp_path / "14_ablation.ipynb").write_text("mine", encoding="utf-8")
    assert main(["14_ablation", "--folder", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "14_ablation.ipynb").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["ablation", "1_a", "14_Ablation", "14_a/b", "14_"])
def test_a_name_of_another_form_is_refused(name):
    with pytest.raises(ValueError, match="two digits, an underscore"):
        new_notebook(name, "T", "Q?")
    with pytest.raises(ValueError, match="ends with a question mark"):
        new_notebook("14_a", "T", "Q.")
