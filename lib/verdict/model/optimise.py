"""AdamW over the trained weights of a Keras model, with a schedule and a bound on the gradient's norm.

On torch one fused update serves all weights: Keras' own loop spends as long on bookkeeping as on arithmetic when
batches are as small as here (`make bench`). On tensorflow Keras' AdamW is traced once for batches of every size.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from verdict.base.params import FitParams
from verdict.model.backend import keras

# Scales and offsets are not pulled towards zero.
NOT_DECAYED = ("bias", "beta", "gamma")
WARM_SHARE = 1 / 20
LAST_RATE = 0.01
EPSILON = 1e-7

Batch = tuple[dict[str, np.ndarray], np.ndarray]


def rate(step: int, n_steps: int, params: FitParams) -> float:
    """Learning rate of a step, counted from 0: constant, or a linear rise over a twentieth and half a cosine down.

    Loshchilov and Hutter (2017), SGDR, eq. 5, one cycle; the end is 1 % of the largest rate.
    """
    if params.schedule == "constant":
        return params.learning_rate
    warm = max(1, int(n_steps * WARM_SHARE))
    if step < warm:
        return params.learning_rate * (step + 1) / warm
    done = min(1.0, (step - warm) / max(1, n_steps - warm))
    return params.learning_rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)


class _AdamW:
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) of a model with one logit a row; what both backends share.

    `n_steps` are those of all epochs, for the schedule; `global_clipnorm` bounds the norm of all gradients together.
    """

    def __init__(self, model: keras.Model, params: FitParams, *, n_steps: int, global_clipnorm: float):
        self.model, self.params, self.n_steps, self.clip = model, params, n_steps, global_clipnorm
        self.variables = model.trainable_variables
        self.step_number = 0
        self._build()

    def run(self, batches: Iterable[Batch]) -> float:
        """One pass over batches of inputs and targets (n, 1) in {0, 1}; the mean cross-entropy over rows."""
        losses, sizes = [], []
        for inputs, y_true in batches:
            losses.append(self.step(inputs, y_true))
            sizes.append(len(y_true))
        # Read once: a GPU would otherwise wait for the CPU after each step.
        read = keras.ops.convert_to_numpy(keras.ops.stack(losses))
        return float(np.average(read.astype(np.float64), weights=sizes))

    def step(self, inputs: dict[str, np.ndarray], y_true: np.ndarray) -> Any:
        """One step down the gradient of the mean cross-entropy; the loss before it."""
        loss = self._step(inputs, y_true, rate(self.step_number, self.n_steps, self.params))
        self.step_number += 1
        return loss

    def state(self) -> list[np.ndarray]:
        """The number of steps done, then both moments of every weight."""
        moments = (np.array(keras.ops.convert_to_numpy(moment)) for moment in self._moments())
        return [np.asarray([self.step_number]), *moments]

    def load(self, state: list[np.ndarray]) -> None:
        """Put back what `state` gave."""
        self.step_number, moments = int(state[0][0]), state[1:]
        if len(moments) != 2 * len(self.variables):
            raise ValueError(f"{len(moments)} stored moments do not fit {len(self.variables)} weights")
        self._put(moments)


class TorchAdamW(_AdamW):
    """torch's own, fused."""

    def _build(self) -> None:
        import torch

        self.weights = [variable.value for variable in self.variables]
        kept = [variable.path.endswith(NOT_DECAYED) for variable in self.variables]
        groups = [
            {"params": [w for w, k in zip(self.weights, kept, strict=True) if k == wanted], "weight_decay": decay}
            for wanted, decay in ((False, self.params.weight_decay), (True, 0.0))
        ]
        self.adamw = torch.optim.AdamW(groups, lr=self.params.learning_rate, eps=EPSILON, fused=True)

    def _step(self, inputs: dict[str, np.ndarray], y_true: np.ndarray, learning_rate: float) -> Any:
        import torch

        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        logit = self.model(inputs, training=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.as_tensor(y_true).to(logit))
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.adamw.step()
        return loss.detach()

    def _moments(self) -> list[Any]:
        moments = (self.adamw.state[w].get(name) for name in ("exp_avg", "exp_avg_sq") for w in self.weights)
        return [moment for moment in moments if moment is not None]

    def _put(self, moments: list[np.ndarray]) -> None:
        import torch

        for k, weight in enumerate(self.weights):
            self.adamw.state[weight] = {
                "step": torch.tensor(float(self.step_number), device=weight.device),
                "exp_avg": torch.as_tensor(moments[k]).to(weight),
                "exp_avg_sq": torch.as_tensor(moments[k + len(self.weights)]).to(weight),
            }


class KerasAdamW(_AdamW):
    """Keras' own; it adds epsilon before the correction of bias."""

    def _build(self) -> None:
        import tensorflow

        options = {"weight_decay": self.params.weight_decay, "global_clipnorm": self.clip, "epsilon": EPSILON}
        self.adamw = keras.optimizers.AdamW(self.params.learning_rate, **options)
        self.adamw.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        self.adamw.build(self.variables)
        inputs = {name: tensorflow.TensorSpec(given.shape, given.dtype) for name, given in self.model.input.items()}
        # Sizes of batches differ; a graph for any of them is traced once.
        signature = (inputs, tensorflow.TensorSpec((None, 1), "float32"))
        self.graph = tensorflow.function(self._traced, input_signature=signature)

    def _step(self, inputs: dict[str, np.ndarray], y_true: np.ndarray, learning_rate: float) -> Any:
        self.adamw.learning_rate = learning_rate
        given = {name: np.asarray(inputs[name], dtype=wanted.dtype) for name, wanted in self.model.input.items()}
        return self.graph(given, y_true)

    def _traced(self, inputs: Any, y_true: Any) -> Any:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            logit = self.model(inputs, training=True)
            loss = keras.ops.mean(keras.ops.binary_crossentropy(y_true, logit, from_logits=True))
        self.adamw.apply(tape.gradient(loss, [variable.value for variable in self.variables]), self.variables)
        return loss

    def _moments(self) -> list[Any]:
        return [*self.adamw._momentums, *self.adamw._velocities]

    def _put(self, moments: list[np.ndarray]) -> None:
        self.adamw.iterations.assign(self.step_number)
        for variable, moment in zip(self._moments(), moments, strict=True):
            variable.assign(moment)


Optimiser = {"torch": TorchAdamW, "tensorflow": KerasAdamW}[keras.backend.backend()]
