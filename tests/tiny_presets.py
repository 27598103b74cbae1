"""Two presets in keras-hub's format with sizes that differ wherever they may, made as the shipped ones are."""

from pathlib import Path

from verdict.base.params import ModelParams
from verdict.model.backend import keras_hub

WORDS = ["there", "is", "a", "red", "seven", "above", "two", "blue", "ones"]
SIZE = (32, 48)


def save_presets(vision: Path, text: Path) -> ModelParams:
    """Write a vision and a text preset with random weights into two folders; parameters that name them."""
    keras_hub.models.ViTBackbone(
        image_shape=(*SIZE, 3), patch_size=16, num_layers=2, num_heads=2, hidden_dim=10, mlp_dim=22
    ).save_to_preset(str(vision))
    keras_hub.layers.ViTImageConverter(image_size=SIZE, scale=1 / 127.5, offset=-1.0).save_to_preset(str(vision))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = keras_hub.models.DistilBertTokenizer(vocabulary=vocabulary, lowercase=True)
    keras_hub.models.DistilBertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=14,
        intermediate_dim=26,
        max_sequence_length=11,
    ).save_to_preset(str(text))
    preprocessor = keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=11)
    preprocessor.save_to_preset(str(text))
    return ModelParams(
        vision_preset=str(vision), text_preset=str(text), sequence_length=7, heads=3, key_dim=4, mlp_dim=17
    )
