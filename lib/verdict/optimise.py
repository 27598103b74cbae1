"""AdamW over the trained weights of a Keras model, on the torch backend: one fused update for all of them.

Keras' own loop spends as long on bookkeeping as on arithmetic when batches are as small as here (`make bench`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from verdict.backend import keras
from verdict.params import FitParams

# Scales and offsets are not pulled towards zero.
NOT_DECAYED = ("bias", "beta", "gamma")
WARM_SHARE = 1 / 20
LAST_RATE = 0.01
EPSILON = 1e-7


def rate(step: int, n_steps: int, params: FitParams) -> float:
    """Learning rate of a step, counted from 0: constant, or a linear rise over a twentieth and half a cosine down.

    References
    ----------
    Loshchilov and Hutter (2017), SGDR, eq. 5, one cycle; the end is 1 % of the largest rate.
    """
    if params.schedule == "constant":
        return params.learning_rate
    warm = max(1, int(n_steps * WARM_SHARE))
    if step < warm:
        return params.learning_rate * (step + 1) / warm
    done = min(1.0, (step - warm) / max(1, n_steps - warm))
    return params.learning_rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)


class Optimiser:
    """AdamW with a schedule and a bound on the gradient's norm; its state can be stored and put back.

    Parameters
    ----------
    model : keras.Model
        One logit a row; its trainable variables are trained, in their order.
    params : FitParams
        Rate, decay, schedule.
    n_steps : int
        Of all epochs, for the schedule.
    global_clipnorm : float, > 0
        Bound on the norm of all gradients together.

    References
    ----------
    Loshchilov and Hutter (2019), Decoupled weight decay regularization, algorithm 2.
    """

    def __init__(self, model: keras.Model, params: FitParams, *, n_steps: int, global_clipnorm: float):
        self.model, self.params, self.n_steps, self.clip = model, params, n_steps, global_clipnorm
        self.weights = [variable.value for variable in model.trainable_variables]
        kept = [variable.path.endswith(NOT_DECAYED) for variable in model.trainable_variables]
        groups = [
            {"params": [w for w, k in zip(self.weights, kept, strict=True) if k == wanted], "weight_decay": decay}
            for wanted, decay in ((False, params.weight_decay), (True, 0.0))
        ]
        self.adamw = torch.optim.AdamW(groups, lr=params.learning_rate, eps=EPSILON, fused=True)
        self.step_number = 0

    def run(self, batches: Iterable[tuple[dict[str, np.ndarray], np.ndarray]]) -> float:
        """One pass over batches of inputs and targets (n, 1) in {0, 1}; the mean cross-entropy over rows."""
        losses, sizes = [], []
        for inputs, y_true in batches:
            losses.append(self.step(inputs, y_true))
            sizes.append(len(y_true))
        # Read once: a GPU would otherwise wait for the CPU after each step.
        return float(np.average(torch.stack(losses).cpu().numpy().astype(np.float64), weights=sizes))

    def step(self, inputs: dict[str, np.ndarray], y_true: np.ndarray) -> torch.Tensor:
        """One step down the gradient of the mean cross-entropy; the loss before it."""
        for group in self.adamw.param_groups:
            group["lr"] = rate(self.step_number, self.n_steps, self.params)
        logit = self.model(inputs, training=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.as_tensor(y_true).to(logit))
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.adamw.step()
        self.step_number += 1
        return loss.detach()

    def state(self) -> list[np.ndarray]:
        """The number of steps done, then both moments of every weight."""
        moments = [self.adamw.state[w].get(name) for name in ("exp_avg", "exp_avg_sq") for w in self.weights]
        known = [moment for moment in moments if moment is not None]
        return [np.asarray([self.step_number]), *(moment.cpu().numpy().copy() for moment in known)]

    def load(self, state: list[np.ndarray]) -> None:
        """Put back what `state` gave.

        Raises
        ------
        ValueError
            If the numbers of moments and weights disagree.
        """
        self.step_number = int(state[0][0])
        moments = state[1:]
        if len(moments) != 2 * len(self.weights):
            raise ValueError(f"{len(moments)} stored moments do not fit {len(self.weights)} weights")
        for k, weight in enumerate(self.weights):
            self.adamw.state[weight] = {
                "step": torch.tensor(float(self.step_number), device=weight.device),
                "exp_avg": torch.as_tensor(moments[k]).to(weight),
                "exp_avg_sq": torch.as_tensor(moments[k + len(self.weights)]).to(weight),
            }
