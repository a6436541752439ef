"""Bit-equality, and the tiers that a model is taken through between two answers."""

from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver import Model, Residency

# Where the weights go between two answers: each tier, more than once.
WAYS = (Residency.CPU, Residency.UNLOADED, Residency.CPU, Residency.CPU)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit-equal, shape and dtype included; a NaN equals nothing."""
    one, other = one.cpu(), other.cpu()
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


def answers_over(
    model: Model[Any], ask: Callable[[Any], torch.Tensor], ways: tuple[Residency, ...] = WAYS
) -> list[torch.Tensor]:
    """An answer before each move and after the last one."""
    answers = []
    for to in (*ways, None):
        with model.on_gpu() as held:
            answers.append(ask(held).cpu())
        if to is not None:
            model.move_to(to)
    return answers
