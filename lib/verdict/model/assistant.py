"""A vision-language assistant of the hub or of a folder: what it says of images and texts.

Any model that transformers calls image-text-to-text. Weights are safetensors, and no code that comes with them is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from verdict.base import paths
from verdict.base.files.hub import check_preset
from verdict.base.labels import class_names
from verdict.data.own.answers import token_class, word_ids

# Bars of a second's work would stand in every page.
logging.disable_progress_bar()
GREEDY = {"do_sample": False, "num_beams": 1}
_BARE = "USER: <image>\n{}\nASSISTANT:"


@dataclass(frozen=True, eq=False)
class Assistant:
    """A model that answers a text about an image, on a GPU where one is visible, and the processor of both."""

    name: str
    model: Any
    processor: Any

    @classmethod
    def load(cls, preset: str, revision: str = "", *, threads: int = 1) -> Assistant:
        """Load a folder, or a hub id with its commit; on a GPU in the precision that was stored, else in float32.

        ValueError, OSError for what holds no such model, or needs code of its own; else as `hub.check_preset`.
        """
        check_preset(preset, revision, needs_weights=True)
        torch.set_num_threads(threads)
        try:
            return cls._load(preset, revision, offline=True)
        except OSError:
            # Not stored on this machine, or in part. What the hub says is final: a wrong name is an error.
            return cls._load(preset, revision, offline=False)

    @classmethod
    def _load(cls, preset: str, revision: str, *, offline: bool) -> Assistant:
        folder = paths.preset_folder(preset)
        source = str(folder or preset)
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": offline}
        if folder is None:
            options["revision"] = revision
        is_gpu = torch.cuda.is_available()
        dtype = "auto" if is_gpu else torch.float32
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, use_safetensors=True, **options)
        processor = AutoProcessor.from_pretrained(source, **options)
        # The first word of an answer follows its prompt, whatever the lengths of others in the batch.
        processor.tokenizer.padding_side = "left"
        return cls(preset, model.eval().to("cuda" if is_gpu else "cpu"), processor)

    @cached_property
    def tokens(self) -> tuple[list[int], ...]:
        """Ids of the tokens that say yes and that say no, as of a list of all tokens; ValueError for none."""
        words = word_ids(class_names())
        by_class: tuple[list[int], list[int]] = ([], [])
        for token, token_id in self.processor.tokenizer.get_vocab().items():
            k = token_class(token, words)
            if k is not None:
                by_class[k].append(token_id)
        if not all(by_class):
            raise ValueError(f"{self.name}: its vocabulary has no token for yes or for no; ask a model that has both")
        return tuple(map(sorted, by_class))

    @property
    def marks(self) -> list[str]:
        """Words that the model reads as no text: where an image stands, where an answer ends."""
        return list(self.processor.tokenizer.all_special_tokens)

    def log_probs(self, images: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        """Log-probabilities, float64 (n, 2), that the answer to each text about its image begins with yes, with no."""
        options = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        with torch.inference_mode():
            answer = self.model.generate(**self._inputs(images, texts), **GREEDY, **options)
            by_token = answer.logits[0].double().log_softmax(dim=-1)
            return torch.stack([by_token[:, ids].logsumexp(dim=-1) for ids in self.tokens], dim=1).cpu().numpy()

    def words(self, image: Image.Image, text: str, *, max_new_tokens: int) -> str:
        """The most likely answer to a text about an image."""
        inputs = self._inputs([image], [text])
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, **GREEDY, max_new_tokens=max_new_tokens)
        n_prompt = 0 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        return self.processor.tokenizer.decode(tokens[0, n_prompt:], skip_special_tokens=True).strip()

    def _inputs(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Any:
        prompts = [self._prompt(text) for text in texts]
        begin = self.processor.tokenizer.bos_token
        # A template may write the token that begins a text, which the tokenizer would write once more.
        options = {"add_special_tokens": False} if begin and prompts[0].startswith(begin) else {}
        one_each = [[image] for image in images]
        inputs = self.processor(images=one_each, text=prompts, padding=True, return_tensors="pt", **options)
        return inputs.to(self.model.device, self.model.dtype)

    def _prompt(self, text: str) -> str:
        """A text about one image as the processor wants it; the form of LLaVA 1.5 where it has no template."""
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": text}]
            talk = [{"role": "user", "content": content}]
            return self.processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        return _BARE.format(text)
