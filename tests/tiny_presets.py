"""Two presets in keras-hub's format with sizes that differ wherever they may, made as the shipped ones are."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from verdict.base.params import ModelParams
from verdict.model.backend import keras, keras_hub

WORDS = ["there", "is", "a", "red", "seven", "above", "two", "blue", "ones"]
SIZE = (32, 48)


@cache
def _made() -> tempfile.TemporaryDirectory:
    """A vision and a text preset with fixed random weights, in two folders, made once a process."""
    keras.utils.set_random_seed(1)
    folder = tempfile.TemporaryDirectory()
    vision, text = (str(Path(folder.name) / name) for name in ("vision", "text"))
    keras_hub.models.ViTBackbone(
        image_shape=(*SIZE, 3), patch_size=16, num_layers=2, num_heads=2, hidden_dim=10, mlp_dim=22
    ).save_to_preset(vision)
    keras_hub.layers.ViTImageConverter(image_size=SIZE, scale=1 / 127.5, offset=-1.0).save_to_preset(vision)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = keras_hub.models.DistilBertTokenizer(vocabulary=vocabulary, lowercase=True)
    keras_hub.models.DistilBertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=14,
        intermediate_dim=26,
        max_sequence_length=11,
    ).save_to_preset(text)
    keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=11).save_to_preset(text)
    return folder


def save_presets(vision: Path, text: Path) -> ModelParams:
    """Write the presets into two folders; parameters that name them."""
    for name, target in (("vision", vision), ("text", text)):
        shutil.copytree(Path(_made().name) / name, target, dirs_exist_ok=True)
    return ModelParams(
        vision_preset=str(vision), text_preset=str(text), sequence_length=7, heads=3, key_dim=4, mlp_dim=17
    )
