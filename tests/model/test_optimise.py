"""The optimiser: rates by hand, a step against Keras' own, decay, the bound on gradients, and its stored state."""

import numpy as np
import pytest

from verdict.base.params import FitParams
from verdict.model.backend import keras
from verdict.model.optimise import Optimiser, rate

PARAMS = FitParams(learning_rate=0.02, weight_decay=0.3, dropout=0.0, epochs=1, patience=1, schedule="cosine")
CONSTANT = PARAMS.model_copy(update={"schedule": "constant"})


def network(seed=3):
    keras.utils.set_random_seed(seed)
    inputs = {"x": keras.Input((5,), name="x")}
    hidden = keras.layers.Dense(7, name="hidden")(keras.layers.LayerNormalization(name="norm")(inputs["x"]))
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(hidden))


def batches(n=4, seed=11):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        x = rng.normal(size=(13, 5)).astype(np.float32)
        yield {"x": x}, (x[:, :1] > 0).astype(np.float32)


def test_rates_by_hand():
    assert rate(37, 40, CONSTANT) == 0.02
    # Of forty steps two are warm.
    assert [rate(k, 40, PARAMS) for k in (0, 1)] == pytest.approx([0.01, 0.02])
    assert rate(2, 40, PARAMS) == pytest.approx(0.02)
    assert rate(2 + 19, 40, PARAMS) == pytest.approx(0.02 * (0.01 + 0.99 / 2))
    assert rate(40, 40, PARAMS) == rate(99, 40, PARAMS) == pytest.approx(0.02 * 0.01)


def test_the_loss_is_the_mean_over_rows():
    model = network()
    (inputs, y_true), *_ = batches(1)
    before = keras.ops.convert_to_numpy(model(inputs)).astype(np.float64)
    by_hand = np.log1p(np.exp(-np.where(y_true == 1, before, -before))).mean()
    still = CONSTANT.model_copy(update={"learning_rate": 1e-12})
    parts = [({"x": inputs["x"][:10]}, y_true[:10]), ({"x": inputs["x"][10:]}, y_true[10:])]
    assert Optimiser(model, still, n_steps=2, global_clipnorm=1.0).run(parts) == pytest.approx(by_hand, rel=1e-5)


def test_steps_equal_those_of_keras():
    """Keras 3.15 AdamW; it adds epsilon before the correction of bias, which tells where gradients are small."""
    ours, theirs = network(), network()
    optimiser = Optimiser(ours, CONSTANT, n_steps=4, global_clipnorm=0.7)
    reference = keras.optimizers.AdamW(0.02, weight_decay=0.3, global_clipnorm=0.7, epsilon=1e-7)
    reference.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    theirs.compile(optimizer=reference, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    for inputs, y_true in batches():
        optimiser.step(inputs, y_true)
        theirs.train_on_batch(inputs, y_true)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_only_matrices_decay():
    """One step with decay and one without, from weights of one."""
    after = []
    for params in (CONSTANT, CONSTANT.model_copy(update={"weight_decay": 0.0})):
        model = network()
        for variable in model.trainable_variables:
            variable.assign(np.ones(variable.shape))
        Optimiser(model, params, n_steps=1, global_clipnorm=1.0).run(batches(1))
        after.append({variable.path: keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables})
    assert any(path.endswith("gamma") for path in after[0])
    for path, plain in after[1].items():
        assert plain - after[0][path] == pytest.approx(0.02 * 0.3 * path.endswith("kernel"), abs=1e-6), path


def test_a_stored_state_goes_on_to_the_same_bits():
    whole, first, second = network(), network(), network()
    straight = Optimiser(whole, PARAMS, n_steps=4, global_clipnorm=1.0)
    straight.run(batches())
    half = list(batches())
    before = Optimiser(first, PARAMS, n_steps=4, global_clipnorm=1.0)
    before.run(half[:2])
    second.set_weights(first.get_weights())
    after = Optimiser(second, PARAMS, n_steps=4, global_clipnorm=1.0)
    after.load(before.state())
    after.run(half[2:])
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), second.get_weights(), strict=True))


def test_a_state_of_another_model_is_refused():
    optimiser = Optimiser(network(), PARAMS, n_steps=4, global_clipnorm=1.0)
    optimiser.run(batches(1))
    with pytest.raises(ValueError, match="11 stored moments do not fit 6 weights"):
        Optimiser(network(), PARAMS, n_steps=4, global_clipnorm=1.0).load(optimiser.state()[:-1])
