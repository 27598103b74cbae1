"""Answers of assistants: read, understood, scored by hand; a file that a real (tiny, random) LLaVA generated."""

import json

import numpy as np
import pandas as pd
import pytest

from verdict.clip.robustness import assistant
from verdict.stats.uncertainty import Resampler


def over(groups, n_resamples=300, seed=0):
    return Resampler(np.asarray(groups), n_resamples, 0.95, seed)


CHOICES = ["cat", "dog", "a red car"]
QUESTIONS = pd.DataFrame({"question_id": ["q1", "q2", "q3"]})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", 1),
        ("(B) dog", 1),
        ("A: cat", 0),
        ("I think the answer is (c)", 2),
        ("It shows a dog.", 1),
        ("A red car", 2),
        ("A dog", 1),
        ("A ", 0),
        ("a cat and a dog", assistant.UNREADABLE),
        ("D", assistant.UNREADABLE),
        ("dogma", assistant.UNREADABLE),
        ("", assistant.UNREADABLE),
    ],
)
def test_what_an_answer_names(answer, expected):
    assert assistant.chosen(answer, CHOICES) == expected


def test_both_kinds_of_file_are_read_in_the_order_of_the_questions(tmp_path):
    rows = [("q3", "B, surely"), ("q1", "A"), ("q2", "dog")]
    (tmp_path / "a.csv").write_text("question_id,answer\n" + "".join(f'{name},"{said}"\n' for name, said in rows))
    lines = [json.dumps({"question_id": name, "answer": said}) for name, said in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    for path in (tmp_path / "a.csv", tmp_path / "a.jsonl"):
        assert assistant.read_answers(path, QUESTIONS).tolist() == ["A", "dog", "B, surely"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "question_id,answer\nq1,A\nq9,B\n", "line 3: 'q9' was never asked"),
        ("a.csv", "question_id,answer\nq1,A\nq1,B\n", "line 3: 'q1' is answered twice"),
        ("a.csv", "question_id,answer\nq1,A\n", "2 of 3 questions have no answer, the first is 'q2'"),
        ("a.jsonl", '{"question_id": "q1", "answer": ["A"]}\n', "line 1: 'answer' is .*expected text"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name_row_and_cause(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        assistant.read_answers(path, QUESTIONS)


def test_scores_by_hand():
    # The encoder is right on questions 0-2 and wrong on 3-5; the assistant repairs 3, spoils 2, cannot be read on 5.
    truth, encoder, said = [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 0, 0], [0, 1, 1, 0, 0, -1]
    found = assistant.score(said, encoder, truth, [3] * 6, over(range(6))).set_index("measure")
    expected = {"accuracy": 3 / 6, "encoder accuracy": 3 / 6, "difference": 0, "agreement": 3 / 6, "unreadable": 1 / 6}
    assert found["value"].to_dict() == pytest.approx({**expected, "gain": 1 / 3, "loss": 1 / 3})
    assert found["by_chance"].dropna().to_dict() == pytest.approx({"accuracy": 1 / 3, "gain": 1 / 2})
    assert found.loc["accuracy", "value_low"] < 1 / 2 < found.loc["accuracy", "value_high"]


def test_a_tiny_llava_generates_an_answer_file_that_is_read(tmp_path, capsys):
    from PIL import Image

    from tiny_assistant import write_assistant
    from verdict.clip.encoder import ask

    llava, rng, rows = write_assistant(tmp_path / "llava"), np.random.default_rng(0), []
    for name in (f"q{k}" for k in range(4)):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
        rows.append({"question_id": name, "image": f"{name}.png", "question": assistant.question(CHOICES)})
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "answers.jsonl"
    assert ask.main([str(tmp_path), str(llava), str(path), "--max-new-tokens", "3"]) == 0
    assert "4 answers" in capsys.readouterr().out
    said = assistant.read_answers(path, pd.DataFrame(rows))
    assert len(said) == 4 and (said != "").any()
