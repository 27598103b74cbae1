"""An assistant's log-probabilities of yes and no, on a tiny LLaVA with random weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForImageTextToText, AutoProcessor

from tiny_assistant import WORDS, write_assistant
from verdict.model.assistant import Assistant

RNG = np.random.default_rng(3)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)) for _ in range(3)]
TEXTS = ["red .", "What red or true A B C ? Yes or no .", "A : B"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_assistant(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def assistant(folder):
    return Assistant.load(str(folder))


def test_yes_and_no_have_what_all_their_tokens_have_in_the_models_own_pass(assistant, folder):
    model, processor = (one.from_pretrained(folder) for one in (AutoModelForImageTextToText, AutoProcessor))
    given = processor(images=IMAGES[0], text=f"USER: <image>\n{TEXTS[0]}\nASSISTANT:", return_tensors="pt")
    with torch.inference_mode():
        probs = model(**given).logits[0, -1].softmax(dim=-1)
    place = {word: 5 + k for k, word in enumerate(WORDS)}
    yes, no = (sum(probs[place[word]] for word in words) for words in (("Yes", "yes", "true"), ("No", "no")))
    assert np.exp(assistant.log_probs(IMAGES[:1], TEXTS[:1])) == pytest.approx(np.array([[yes, no]]), rel=1e-4)


def test_a_batch_says_what_each_pair_says_and_the_image_counts(assistant):
    together = assistant.log_probs(IMAGES, TEXTS)
    alone = np.concatenate([assistant.log_probs([image], [text]) for image, text in zip(IMAGES, TEXTS, strict=True)])
    assert together.shape == (3, 2) and together.dtype == np.float64 and (together < 0).all()
    assert np.allclose(together, alone, atol=1e-4)
    assert not np.allclose(alone[0], assistant.log_probs(IMAGES[1:2], TEXTS[:1]), atol=1e-3)


def test_a_template_of_its_own_is_used(folder, assistant):
    own = Assistant.load(str(folder))
    own.processor.chat_template = (
        "{% for part in messages[0]['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}"
        "{% endfor %}{% if add_generation_prompt %} ASSISTANT{% endif %}"
    )
    assert own._prompt("red") == "<image>red ASSISTANT"
    assert not np.allclose(own.log_probs(IMAGES[:1], TEXTS[:1]), assistant.log_probs(IMAGES[:1], TEXTS[:1]))


def test_the_mark_that_begins_a_text_stands_once(folder):
    own = Assistant.load(str(folder))
    own.processor.tokenizer._tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    for template in ("<image>", "<s><image>"):
        own.processor.chat_template = f"{template}{{{{ messages[0]['content'][1]['text'] }}}}"
        assert (own._inputs(IMAGES[:1], TEXTS[:1])["input_ids"] == 1).sum() == 1


def test_a_vocabulary_without_yes_is_refused(tmp_path):
    mute = write_assistant(tmp_path, ("No", "red"))
    with pytest.raises(ValueError, match="no token for yes or for no"):
        Assistant.load(str(mute)).log_probs(IMAGES[:1], TEXTS[:1])


def test_pickled_weights_and_code_beside_them_are_not_read(folder, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(folder)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"does not hold config\.json and weights as safetensors"):
        Assistant.load(str(tmp_path))
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.safetensors")
    with pytest.raises(Exception, match=r"(?i)header|safetensors"):
        Assistant.load(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises((ValueError, OSError)):
        Assistant.load(str(tmp_path))
    assert not (tmp_path / "ran").exists()
