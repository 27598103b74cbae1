"""What teaching either encoder has in common: weights, schedule, one step, and a line for who waits."""

from __future__ import annotations

import sys

import torch

from verdict.backend import keras


def weights(model: keras.Model) -> list[torch.nn.Parameter]:
    """The trainable weights of a Keras model as torch sees them.

    `model.parameters()` is empty until a first call in training.
    """
    return [variable.value for variable in model.trainable_variables]


def one_cycle(
    parameters: list[torch.nn.Parameter], learning_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, its rate rising for 15 % of the steps and falling afterwards."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=0.15)
    return optimizer, schedule


def step_down(
    loss: torch.Tensor,
    parameters: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """One step down the gradient, whose norm is held at 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()


def tell(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)
