"""What an assistant said is kept: a run that was killed goes on, and nothing is asked twice."""

import hashlib
import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tiny_assistant import write_assistant
from verdict.base.params import AskedParams
from verdict.model.assistant import Assistant
from verdict.model.transcript import said_of

PROMPT = "{hypothesis} Yes or no ."
N = 11


class Killed(BaseException):
    """As a signal is."""


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return write_assistant(tmp_path_factory.mktemp("llava"))


@pytest.fixture
def asked(llava, tmp_path, monkeypatch):
    """Ask about 11 pairs of 4 images, of which two are copies; prompts that were put to the model are counted."""
    (tmp_path / "images").mkdir()
    images = {}
    for k, name in enumerate("abcd"):
        path, noise = tmp_path / "images" / f"{name}.png", np.random.default_rng(min(k, 2))
        Image.fromarray(noise.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
        images[name] = (path, hashlib.sha256(path.read_bytes()).hexdigest())
    texts = [f"{'A ' * (k % 5)}red" for k in range(N)]
    pairs = pd.DataFrame({"image_id": [*("abcd" * 3)][:N], "hypothesis": texts})
    pairs["place"] = [f"line {k + 2}" for k in range(N)]
    plain, put = Assistant.log_probs, []

    def counted(self, seen, prompts):
        if len(put) >= ask.until:
            raise Killed
        put.extend((hashlib.sha256(one.tobytes()).hexdigest(), text) for one, text in zip(seen, prompts, strict=True))
        return ask.spoilt(plain(self, seen, prompts))

    def ask(table=pairs, *, folder="said", hub=llava, prompt=PROMPT, batch=4):
        own = AskedParams(hub=str(hub), revision="", prompt=prompt, batch=batch)
        return said_of(table, images, own, folder=tmp_path / folder, progress=ask.told.append)

    ask.until, ask.put, ask.told, ask.spoilt, ask.pairs = 999, put, [], lambda values: values, pairs
    monkeypatch.setattr(Assistant, "log_probs", counted)
    return ask


def n_distinct(pairs):
    return len(set(zip(pairs["image_id"].replace("d", "c"), pairs["hypothesis"], strict=True)))


def test_each_image_and_sentence_is_asked_once_and_copies_of_an_image_are_one(asked, tmp_path):
    said = asked()
    assert said.shape == (N, 2) and len(asked.put) == n_distinct(asked.pairs) < N
    assert max(Counter(asked.put).values()) == 1
    assert asked.told[-1] == f"asked {len(asked.put)} of {len(asked.put)} pairs"
    for row in (0, 7):
        alone = asked(asked.pairs.iloc[[row]], folder=f"alone {row}")
        assert alone[0] == pytest.approx(said[row], abs=1e-4)


def test_a_killed_run_goes_on_and_says_what_an_undisturbed_one_does(asked, monkeypatch):
    whole = asked(folder="undisturbed")
    asked.put.clear()
    asked.until = 8
    with pytest.raises(Killed):
        asked()
    assert len(asked.put) == 8
    asked.until = 999
    assert (asked() == whole).all()
    assert len(asked.put) == n_distinct(asked.pairs) and max(Counter(asked.put).values()) == 1
    monkeypatch.setattr(Assistant, "load", None)
    assert (asked(asked.pairs[::-1]) == whole[::-1]).all(), "nothing is left, and nothing is loaded"


def test_a_line_that_was_cut_off_is_asked_again_and_a_damaged_one_is_refused(asked, tmp_path):
    whole = asked()
    (path,) = (tmp_path / "said").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    asked.put.clear()
    assert np.allclose(asked(), whole, atol=1e-4) and len(asked.put) == 1
    assert np.allclose(asked(), whole, atol=1e-4) and len(asked.put) == 1, "and what was added can be read"
    for bad in (b"[1, 2]\n", b'["a", "b", "c", 1]\n', b"{\n"):
        path.write_bytes(content + bad + content[:50])
        with pytest.raises(ValueError, match=rf"line {content.count(bytes([10])) + 1}: .*delete the file"):
            asked()


def test_another_prompt_or_model_is_asked_anew_and_a_copy_of_the_folder_is_not(asked, llava, tmp_path):
    first = asked()
    n = len(asked.put)
    shutil.copytree(llava, tmp_path / "copy")
    assert (asked(hub=tmp_path / "copy") == first).all() and len(asked.put) == n
    assert not np.allclose(asked(prompt=f"What ? {PROMPT}"), first) and len(asked.put) == 2 * n
    other = write_assistant(tmp_path / "other", seed=1)
    assert not np.allclose(asked(hub=other), first) and len(asked.put) == 3 * n


def test_marks_in_a_sentence_and_answers_that_are_no_numbers_are_refused_by_place(asked):
    marked = asked.pairs.assign(hypothesis=[*asked.pairs["hypothesis"][:-1], "a <image> in it"])
    with pytest.raises(ValueError, match=r"^line 12: the sentence holds '<image>'"):
        asked(marked)
    assert not asked.put, "before anything is asked"
    asked.spoilt = lambda values: np.where(np.arange(len(values))[:, None] == 2, np.nan, values)
    with pytest.raises(ValueError, match=r"^line 4: .* gave no number"):
        asked()


def test_a_brace_in_a_sentence_is_text(asked, tmp_path):
    asked(asked.pairs.iloc[:1].assign(hypothesis="a {hypothesis} {0}"))
    assert asked.put[0][1] == "a {hypothesis} {0} Yes or no ."
    (path,) = (tmp_path / "said").iterdir()
    assert json.loads(path.read_text())[1] == "a {hypothesis} {0}"
