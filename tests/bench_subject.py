"""A subject for tests of the benches: small backbones of three blocks, and photographs of which each is one file."""

import numpy as np
from tests.bench.subjects import Subject, random_pairs, with_preprocessing, write_photographs

from verdict.base.params import FitParams, ModelParams
from verdict.model.backend import keras, keras_hub

MODEL = ModelParams(vision_preset="none", text_preset="none", sequence_length=7, heads=3, key_dim=4, mlp_dim=17)
FIT = FitParams(learning_rate=1e-2, weight_decay=1e-2, dropout=0.1, epochs=1, patience=1, schedule="constant")


def small_encoders(*, dtype="float32"):
    keras.utils.set_random_seed(0)
    vision = keras_hub.models.ViTBackbone(
        image_shape=(32, 48, 3), patch_size=16, num_layers=3, num_heads=2, hidden_dim=10, mlp_dim=22, dtype=dtype
    )
    text = keras_hub.models.DistilBertBackbone(
        vocabulary_size=37,
        num_layers=3,
        num_heads=2,
        hidden_dim=14,
        intermediate_dim=26,
        max_sequence_length=11,
        dtype=dtype,
    )
    return with_preprocessing(vision, text, MODEL.sequence_length)


def small_subject(folder, *, n_images=5, n_train=13, n_val=4):
    files = write_photographs(folder, n_images, seed=0)
    rng = np.random.default_rng(0)
    train, val = (random_pairs(list(files), n, rng=rng) for n in (n_train, n_val))
    return Subject("small", MODEL, small_encoders, files, train, val, FIT, batch=5)
