"""The model that is measured: a plain stack of modules with one parameter each, so that the counts are exact.

An answer reads every weight, as an answer of a real model does, and is compared bit by bit wherever the
model has been: figures of a model that came back wrong would be worth nothing.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from .cases import ROW_BYTES, Case

WIDTH = ROW_BYTES // torch.float32.itemsize
_NOISE_ROWS = 1 << 16


class Layer(nn.Module):
    """`weight` has `rows` × WIDTH values; a vector goes through it there and back, and keeps its length."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there = nn.functional.linear(x, self.weight)
        return nn.functional.normalize(x + nn.functional.linear(there, self.weight.t()), dim=-1)


def build(case: Case) -> nn.Sequential:
    """Without values: what `torch.empty` gives, or nothing at all under `torch.device("meta")`."""
    rows, more = divmod(case.nbytes // ROW_BYTES, case.parameters)
    return nn.Sequential(*(Layer(rows + (number < more)) for number in range(case.parameters)))


def build_on_meta(case: Case) -> nn.Sequential:
    with torch.device("meta"):
        return build(case)


def write_weights(case: Case, path: Path) -> None:
    """Random, and the same each time, in a safetensors file."""
    generator = torch.Generator().manual_seed(case.parameters)
    model = build(case)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.1, 0.1, generator=generator)
    save_file(model.state_dict(), path)


def in_memory(case: Case, seed: int) -> nn.Sequential:
    """Made without a file, fast for tens of GB too: one block of noise, shifted a little for each block of rows, so
    that no two blocks are equal.
    """
    model = build(case).requires_grad_(False)
    noise = torch.empty(_NOISE_ROWS, WIDTH).uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(seed))
    parts = (part for weight in model.parameters() for part in weight.split(_NOISE_ROWS))  # type: ignore[no-untyped-call]
    for number, part in enumerate(parts):
        torch.add(noise[: part.shape[0]], number * 1e-6, out=part)
    return model


def ask(model: nn.Module, device: torch.device) -> torch.Tensor:
    """One question, answered; the answer is in host RAM when this returns."""
    with torch.inference_mode():
        return model(torch.ones(1, WIDTH, device=device)).cpu()  # type: ignore[no-any-return]
