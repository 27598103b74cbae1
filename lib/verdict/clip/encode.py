"""A dual encoder from a hub id, a folder or the package, by the same code: images and texts to unit vectors.

Traps of transformers 5 that this module takes care of: features come inside an output object; attention maps exist
with eager attention only; the image processor is the Pillow one whether or not torchvision is installed; a text tower
whose `eos_token_id` is not its tokenizer's gives one vector for every text, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.utils import logging

from verdict import paths
from verdict.artifacts import content_hash, sha256_tree
from verdict.clip.hub import check_hub

# Bars of a second's work would stand in every page.
logging.disable_progress_bar()

Progress = Callable[[str], None]


def silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class DualEncoder:
    """Two towers into one space.

    Attributes
    ----------
    name : str
        Of the preset that is in use.
    revision : str
        Commit of a hub id, "" otherwise.
    identity : str
        Hash of weights, tokenizer and preprocessing: what an embedding depends on besides its input.
    batch : int
        Inputs that are encoded together.
    """

    name: str
    revision: str
    identity: str
    model: CLIPModel
    processor: CLIPImageProcessorPil
    tokenizer: CLIPTokenizer
    batch: int = 128

    @classmethod
    def from_preset(cls, preset: str, revision: str = "", *, batch: int = 128, threads: int = 1) -> DualEncoder:
        """Load a folder, a preset that the package ships, or a hub id.

        Parameters
        ----------
        preset : str
            Name or folder, as `CLIPModel.from_pretrained` takes it.
        revision : str
            Of a hub id: its commit, 40 hexadecimal digits.
        batch, threads : int
            How much is computed at once; results agree to rounding.

        Raises
        ------
        ValueError
            For a hub id without a revision, and for a model that reads every text alike.
        ConnectionError
            For a hub id that is neither stored on this machine nor reachable.
        OSError
            For a folder that holds no CLIP, and for a hub id or revision that the hub does not know.
        """
        torch.set_num_threads(threads)
        folder = paths.preset_folder(preset)
        if folder is not None:
            return cls._load(str(folder), preset, "", batch, sha256_tree(folder))
        check_hub(preset, revision)
        own = (preset, preset, revision, batch, f"{preset}@{revision}")
        try:
            return cls._load(*own)
        except OSError:
            # Not stored on this machine, or in part. What the hub says is final: a wrong name is an error.
            return cls._load(*own, offline=False)

    @classmethod
    def _load(
        cls, source: str, name: str, revision: str, batch: int, weights: str, *, offline: bool = True
    ) -> DualEncoder:
        more: dict[str, Any] = {"local_files_only": offline, **({"revision": revision} if revision else {})}
        # Weights are safetensors, or read by torch as weights alone: neither runs code.
        model = CLIPModel.from_pretrained(source, attn_implementation="eager", **more)
        model = model.float().eval()
        processor = CLIPImageProcessorPil.from_pretrained(source, **more)
        tokenizer = CLIPTokenizer.from_pretrained(source, **more)
        identity = content_hash([weights, processor.to_dict()])
        loaded = cls(name, revision, identity, model, processor, tokenizer, batch)
        loaded.check_texts()
        return loaded

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with to be logits: exp of the stored parameter."""
        return float(np.exp(self.model.logit_scale.item()))

    @property
    def n_params(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def dim(self) -> int:
        """Of the joint space."""
        return int(self.model.config.projection_dim)

    @property
    def image_px(self) -> int:
        """Side of the square that the vision tower sees."""
        return int(self.model.config.vision_config.image_size)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_px // int(self.model.config.vision_config.patch_size)

    def check_texts(self) -> None:
        """Refuse a text tower that cannot tell texts apart.

        Raises
        ------
        ValueError
            If two different texts get one vector.
        """
        one, other = self.texts(["a red one", "two blue dogs"])
        if np.allclose(one, other, atol=1e-6):
            ids = (self.model.config.text_config.eos_token_id, self.tokenizer.eos_token_id)
            raise ValueError(
                f"{self.name}: every text gets the same vector; eos_token_id of model and tokenizer: {ids}"
            )

    def pixels(self, images: np.ndarray) -> torch.Tensor:
        """uint8 (n, h, w, 3) → float32 (n, 3, px, px), exactly as the preset's processor does it.

        Images that already have the size it asks for are not resized, which saves it picture by picture.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"expected uint8 images (n, height, width, 3), got {images.dtype} {images.shape}")
        own = self.processor
        if own.do_rescale and own.do_normalize and images.shape[1:3] == (self.image_px, self.image_px):
            scaled = images.astype(np.float32) * np.float32(own.rescale_factor)
            scaled = (scaled - np.float32(own.image_mean)) / np.float32(own.image_std)
            return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
        return own(list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]

    def images(self, images: np.ndarray, *, progress: Progress = silent) -> np.ndarray:
        """Embed images: uint8 (n, h, w, 3) of any size → float32 (n, d), unit length."""
        return self._batches(
            len(images), lambda part: feature(self.model.get_image_features(self.pixels(images[part]))), progress
        )

    def texts(self, texts: Sequence[str], *, progress: Progress = silent) -> np.ndarray:
        """Embed texts → float32 (n, d), unit length; what is longer than the tower takes is cut."""
        texts = list(texts)
        return self._batches(
            len(texts), lambda part: feature(self.model.get_text_features(**self._tokens(texts[part]))), progress
        )

    def _tokens(self, texts: list[str]) -> Any:
        longest = int(self.model.config.text_config.max_position_embeddings)
        return self.tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")

    def patches(self, images: np.ndarray, *, progress: Progress = silent) -> np.ndarray:
        """Last-layer patch tokens in the joint space: float32 (n, grid * grid, d), unit length, row by row.

        CLIP trains the class token alone: the tokens pass its last norm and its projection here all the same.
        """

        def encode(part: slice) -> torch.Tensor:
            tower = self.model.vision_model
            tokens = tower(pixel_values=self.pixels(images[part])).last_hidden_state[:, 1:]
            return self.model.visual_projection(tower.post_layernorm(tokens))

        return self._batches(len(images), encode, progress)

    def attentions(self, images: np.ndarray) -> np.ndarray:
        """Attention maps of the vision tower: float32 (n, layers, heads, tokens, tokens), rows sum to 1.

        Raises
        ------
        RuntimeError
            If the tower gives none, as all but eager attention do.
        """
        with torch.inference_mode():
            found = self.model.vision_model(pixel_values=self.pixels(images), output_attentions=True).attentions
        if not found:
            raise RuntimeError(f"{self.name} gave no attention maps: load it with eager attention")
        return torch.stack(list(found), dim=1).numpy()

    def _batches(self, n: int, encode: Callable[[slice], torch.Tensor], progress: Progress) -> np.ndarray:
        """Unit vectors of n inputs, batch by batch."""
        if n == 0:
            raise ValueError("nothing to encode")
        found = []
        with torch.inference_mode():
            for start in range(0, n, self.batch):
                part = torch.nn.functional.normalize(encode(slice(start, start + self.batch)).float(), dim=-1)
                found.append(part.numpy())
                progress(f"encoded {min(start + self.batch, n)}/{n}")
        return np.concatenate(found)


def feature(output: Any) -> torch.Tensor:
    """The projected feature: since transformers 5 an output object holds it, before that it was the output."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def saved(model: CLIPModel, processor: CLIPImageProcessorPil, tokenizer: CLIPTokenizer, folder: Path) -> Path:
    """Write the three parts of a dual encoder so that `from_preset` reads them."""
    for part in (model, processor, tokenizer):
        part.save_pretrained(str(folder))
    return folder
