"""The cross-attention entailment network, and the freeze plan that cuts it into a frozen prefix and a trained suffix.

    pixels ─► ViT ─► V (n_tokens, d)                        key, value
    tokens ─► DistilBERT ─► T (n_words, d) ─► T[:, :1] = Q  query
    X = LayerNorm(Q + MultiHeadAttention(Q, V)) ─► Dense(GELU) ─► Dropout ─► Dense(1) = logit of CONTRADICTION

The prefix runs in inference mode, once per image and once per hypothesis; the suffix is trained. Both are made of the
very layers of the whole network, so that training the suffix trains the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verdict.model.backend import keras, keras_hub

ops = keras.ops

# What is kept on the way to the logit. `take_cls_token` is the query, [CLS] of the hypothesis: stored tables know it by
# the name of the layer that once took it.
STATES = ("take_cls_token", "attention", "xattn", "xattn_norm", "mlp_1", "logit")


@dataclass(frozen=True)
class FreezePlan:
    """How many of the last transformer blocks of each encoder train; the fusion head always does."""

    vision_blocks: int = 0
    text_blocks: int = 0

    def check(self, network: Network) -> None:
        """Refuse, with a ValueError, a plan of more blocks than the network has."""
        for kind, wanted, blocks in (
            ("vision_blocks", self.vision_blocks, network.vision_layers),
            ("text_blocks", self.text_blocks, network.text_layers),
        ):
            if not 0 <= wanted <= len(blocks):
                raise ValueError(f"{kind} must lie in 0..{len(blocks)} for these backbones, got {wanted}")


class SingleQueryAttention(keras.layers.MultiHeadAttention):
    """Multi-head attention for a query of one token: the same function and weights, with far less arithmetic.

    (q W_q)(v W_k)ᵀ = ((q W_q) W_kᵀ) vᵀ, and Σ_j a_j (v_j W_v) = (Σ_j a_j v_j) W_v: the key projection acts on the query
    and the value projection on the pooled tokens, once a pair instead of once a token.
    """

    def call(self, query, value, return_attention_scores=False, training=None):
        """Attend from (batch, 1, d_q) to (batch, n_tokens, d_v); scores have shape (batch, heads, 1, n_tokens)."""
        asked = self.query_dense(query)[:, 0] * self._key_dim**-0.5
        towards = ops.einsum("bhk,dhk->bhd", asked, self.key_dense.kernel)
        scores = ops.matmul(towards, ops.transpose(value, (0, 2, 1)))
        scores = scores + ops.sum(asked * self.key_dense.bias, axis=-1, keepdims=True)
        weights = ops.softmax(scores, axis=-1)
        kept = self._dropout_layer(weights, training=training)
        pooled = ops.matmul(kept, value)
        heads = ops.einsum("bhd,dhk->bhk", pooled, self.value_dense.kernel)
        heads = heads + self.value_dense.bias * ops.sum(kept, axis=-1, keepdims=True)
        output = self.output_dense(heads[:, None])
        return (output, weights[:, :, None, :]) if return_attention_scores else output

    def compute_output_spec(self, query, value, return_attention_scores=False, training=None):
        """Shapes and dtypes of what `call` returns."""
        output = keras.KerasTensor(query.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return output
        return output, keras.KerasTensor((query.shape[0], self._num_heads, 1, value.shape[1]), dtype=self.compute_dtype)


@dataclass(frozen=True)
class Network:
    """The whole network and its layers.

    `model` takes pixels (batch, H, W, 3), token ids and padding mask (batch, n_words), by name, to (batch, 1) logits;
    `head` holds the fusion head's layers by name.
    """

    model: keras.Model
    vision: keras.Model
    text: keras.Model
    head: dict[str, keras.layers.Layer]
    sequence_length: int

    @property
    def vision_layers(self) -> list[keras.layers.Layer]:
        """Transformer blocks, first to last."""
        return list(self.vision.get_layer("vit_encoder").encoder_layers)

    @property
    def text_layers(self) -> list[keras.layers.Layer]:
        """Transformer blocks, first to last."""
        return [self.text.get_layer(f"transformer_layer_{i}") for i in range(self.text.num_layers)]

    @property
    def n_image_tokens(self) -> int:
        """Tokens that an image becomes, the class token included."""
        return int(self.vision.output_shape[1])


def build_network(
    vision: keras_hub.models.ViTBackbone,
    text: keras_hub.models.DistilBertBackbone,
    *,
    sequence_length: int,
    heads: int,
    key_dim: int,
    mlp_dim: int,
    dropout: float,
    attention: type[keras.layers.MultiHeadAttention] = SingleQueryAttention,
) -> Network:
    """Put two encoders, whose layers become the network's, and a fusion head together.

    A hypothesis has `sequence_length` tokens, [CLS] and [SEP] included; `dropout` is of attention weights and
    hidden layer. Keras' own `MultiHeadAttention` is the same function of the same weights, computed the long way.
    """
    if sequence_length > text.max_sequence_length:
        limit = text.max_sequence_length
        raise ValueError(f"sequence_length must lie in 2..{limit} for this text encoder, got {sequence_length}")
    width = text.hidden_dim
    head: dict[str, keras.layers.Layer] = {
        "xattn": attention(heads, key_dim, dropout=dropout, name="xattn"),
        "xattn_residual": keras.layers.Add(name="xattn_residual"),
        "xattn_norm": keras.layers.LayerNormalization(epsilon=1e-6, name="xattn_norm"),
        "flatten_cls": keras.layers.Flatten(name="flatten_cls"),
        "mlp_1": keras.layers.Dense(mlp_dim, activation="gelu", name="mlp_1"),
        "drop_1": keras.layers.Dropout(dropout, name="drop_1"),
        "logit": keras.layers.Dense(1, dtype="float32", name="logit"),
    }
    head["xattn"].build((None, 1, width), (None, vision.output_shape[1], vision.hidden_dim))
    pixels = keras.Input(tuple(vision.input_shape[1:]), name="pixels")
    token_ids = keras.Input((sequence_length,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((sequence_length,), dtype="int32", name="padding_mask")
    words = text({"token_ids": token_ids, "padding_mask": padding_mask})
    logit = head_states(head, words[:, :1], vision(pixels))["logit"]
    inputs = {"pixels": pixels, "token_ids": token_ids, "padding_mask": padding_mask}
    return Network(keras.Model(inputs, logit, name="verdict"), vision, text, head, sequence_length)


def head_states(head: dict[str, keras.layers.Layer], query: Any, image_tokens: Any) -> dict[str, Any]:
    """Fuse a [CLS] query (batch, 1, d) with image tokens (batch, n_tokens, d); every state on the way to the logit.

    By name (`STATES`): `take_cls_token` (batch, 1, d), the query itself; `attention` (batch, heads, 1, n_tokens),
    weights that sum to one over tokens; `xattn` (batch, 1, d), what was attended to; `xattn_norm` (batch, 1, d);
    `mlp_1` (batch, mlp_dim); `logit` (batch, 1).
    """
    attended, attention = head["xattn"](query, image_tokens, return_attention_scores=True)
    fused = head["xattn_norm"](head["xattn_residual"]([query, attended]))
    hidden = head["mlp_1"](head["flatten_cls"](fused))
    logit = head["logit"](head["drop_1"](hidden))
    return dict(zip(STATES, (query, attention, attended, fused, hidden, logit), strict=True))


def apply_plan(network: Network, plan: FreezePlan) -> list[str]:
    """Freeze the whole network, then let the plan's blocks and the head train.

    All parents are freed, then every weight's own flag is set: the result does not depend on what was set before.
    Returns the names of the trainable layers: blocks by backbone and index, head layers by name.
    """
    plan.check(network)
    first_vision = len(network.vision_layers) - plan.vision_blocks
    first_text = len(network.text_layers) - plan.text_blocks
    chosen = {
        **{f"vision.{block.name}": block for block in network.vision_layers[first_vision:]},
        **{f"text.{block.name}": block for block in network.text_layers[first_text:]},
        **{f"head.{name}": layer for name, layer in network.head.items() if layer.weights},
    }
    network.model.trainable = True
    trained = {id(weight) for layer in chosen.values() for weight in layer.variables}
    for weight in network.model.variables:
        if "seed_generator" not in weight.path:
            weight.trainable = id(weight) in trained
    return list(chosen)


def trainable_count(network: Network) -> int:
    """Number of trainable parameters."""
    return sum(int(ops.size(weight)) for weight in network.model.trainable_variables)


def vision_prefix(network: Network, depths: Sequence[int], *, means: bool = False) -> keras.Model:
    """Pixels → image tokens before the last blocks, as many as a depth says; of several depths a list, in one pass.

    With `means` one more output: the mean over tokens at every depth, the last first, (batch, n_blocks + 1, d).
    """
    pixels = keras.Input(tuple(network.vision.input_shape[1:]), name="pixels")
    encoder = network.vision.get_layer("vit_encoder")
    tokens = [encoder.dropout(network.vision.get_layer("vit_patching_and_embedding")(pixels))]
    for block in network.vision_layers:
        tokens.append(block(tokens[-1]))
    cut = [tokens[-1 - depth] if depth else encoder.layer_norm(tokens[-1]) for depth in depths]
    if means:
        states = [encoder.layer_norm(tokens[-1]), *tokens[-2::-1]]
        cut.append(ops.stack([ops.mean(state, axis=1) for state in states], axis=1))
    return keras.Model(pixels, cut if len(cut) > 1 else cut[0], name="vision_prefix")


def text_prefix(network: Network, depths: Sequence[int], *, means: bool = False) -> keras.Model:
    """Words → hidden states, as `vision_prefix`; with no text block trained, only the [CLS] token: (batch, 1, d).

    Means are over words, padding left out.
    """
    token_ids = keras.Input((network.sequence_length,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((network.sequence_length,), dtype="int32", name="padding_mask")
    embedded = network.text.get_layer("token_and_position_embedding")(token_ids)
    hidden = [network.text.get_layer("embeddings_dropout")(network.text.get_layer("embeddings_layer_norm")(embedded))]
    for block in network.text_layers:
        hidden.append(block(hidden[-1], padding_mask=padding_mask))
    cut = [hidden[-1 - depth] if depth else hidden[-1][:, :1] for depth in depths]
    if means:
        shown = ops.cast(padding_mask, hidden[0].dtype)[:, :, None]
        sums = [ops.sum(state * shown, axis=1) for state in reversed(hidden)]
        cut.append(ops.stack(sums, axis=1) / ops.sum(shown, axis=1, keepdims=True))
    words = {"token_ids": token_ids, "padding_mask": padding_mask}
    return keras.Model(words, cut if len(cut) > 1 else cut[0], name="text_prefix")


def build_suffix(network: Network, plan: FreezePlan, *, watched: tuple[str, ...] = ()) -> keras.Model:
    """The trained part, on cached prefixes.

    Inputs (a batch of b pairs that show v distinct images and t distinct hypotheses):
    `a_image_rows` (b,) and `a_text_rows` (b,) say which row each pair uses of `image_tokens` (v, n_tokens, d),
    `hidden` (t, n_words or 1, d) and `padding_mask` (t, n_words). Output: (b, 1) logits.
    Distinct encodings pass through trained blocks once, whatever the number of pairs that share them. With `watched`
    the same graph has these states of `head_states` as outputs instead, by name.
    """
    plan.check(network)
    width_vision, width_text = network.vision.hidden_dim, network.text.hidden_dim
    inputs = {
        "a_image_rows": keras.Input((), dtype="int32", name="a_image_rows"),
        "a_text_rows": keras.Input((), dtype="int32", name="a_text_rows"),
        "image_tokens": keras.Input((network.n_image_tokens, width_vision), name="image_tokens"),
        "hidden": keras.Input((network.sequence_length if plan.text_blocks else 1, width_text), name="hidden"),
        "padding_mask": keras.Input((network.sequence_length,), dtype="int32", name="padding_mask"),
    }
    tokens, hidden = inputs["image_tokens"], inputs["hidden"]
    for block in network.vision_layers[len(network.vision_layers) - plan.vision_blocks :]:
        tokens = block(tokens)
    if plan.vision_blocks:
        tokens = network.vision.get_layer("vit_encoder").layer_norm(tokens)
    for block in network.text_layers[len(network.text_layers) - plan.text_blocks :]:
        hidden = block(hidden, padding_mask=inputs["padding_mask"])
    query = ops.take(hidden[:, :1], inputs["a_text_rows"], axis=0)
    states = head_states(network.head, query, ops.take(tokens, inputs["a_image_rows"], axis=0))
    return keras.Model(inputs, {name: states[name] for name in watched} if watched else states["logit"], name="suffix")
