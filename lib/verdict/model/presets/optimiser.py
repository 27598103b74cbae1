"""What teaching any encoder has in common: weights, optimiser and schedule."""

import time
from collections.abc import Callable

import numpy as np
import torch

from verdict.model.backend import keras
from verdict.workflow.start import tell


def weights(model: keras.Model) -> list[torch.nn.Parameter]:
    """The trainable weights of a Keras model as torch sees them.

    `model.parameters()` is empty until a first call in training.
    """
    return [variable.value for variable in model.trainable_variables]


def descend(
    name: str,
    parameters: list[torch.nn.Parameter],
    step_loss: Callable[[], tuple[torch.Tensor, float]],
    *,
    steps: int,
    learning_rate: float,
    every: int = 100,
    progress: Callable[[str], None] = tell,
) -> list[float]:
    """AdamW, its rate rising for 15 % of the steps and falling afterwards, the gradient's norm held at 1.

    `step_loss` draws a batch and gives its loss, and the loss that is reported, of which a list is returned; a line of
    progress tells the mean over `every` steps.
    """
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=0.15)
    losses, started = [], time.perf_counter()
    for step in range(1, steps + 1):
        loss, shown = step_loss()
        losses.append(shown)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % every == 0:
            mean, elapsed_s = np.mean(losses[-every:]), time.perf_counter() - started
            progress(f"{name}  step {step}/{steps}  loss {mean:.3f}  {elapsed_s:.0f} s")
    return losses
