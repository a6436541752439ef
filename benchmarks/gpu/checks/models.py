"""What several checks need: a manager on the device, models of a chosen size, and answers that read every weight."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.engine.checksum import checksum
from torch import nn

from ..reporting import Report

WIDTH = 2048
# Of a model's bytes: float32 rows of WIDTH columns.
_ROW_BYTES = 4 * WIDTH


@contextmanager
def manager(report: Report, **settings: object) -> Iterator[ResidencyManager]:
    """On the report's device, unseen by other processes; closed afterwards."""
    made = ResidencyManager(report.device, socket="", **{"gpu_arbiter": "", **settings})  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


class Plain(nn.Module):
    """`layers` matrices of one size; an answer goes through all of them."""

    def __init__(self, nbytes: int, layers: int) -> None:
        super().__init__()
        rows = max(1, nbytes // _ROW_BYTES // layers)
        self.layers = nn.ParameterList(torch.empty(rows, WIDTH) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.layers:
            there = nn.functional.linear(x, weight)
            x = nn.functional.normalize(x + nn.functional.linear(there, weight.t()), dim=-1)
        return x


def plain(nbytes: int, layers: int = 16, seed: int = 0) -> Callable[[], Plain]:
    """A loader of about `nbytes`; fast for tens of GB too: one block of noise, shifted for each row block."""

    def load() -> Plain:
        model = Plain(nbytes, layers).requires_grad_(False).eval()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.empty(4096, WIDTH).uniform_(-0.05, 0.05, generator=generator)
        for number, weight in enumerate(model.layers):
            for start in range(0, weight.shape[0], 4096):
                part = weight[start : start + 4096]
                torch.add(noise[: part.shape[0]], (number * 31 + start // 4096) * 1e-6, out=part)
        return model

    return load


def ask(model: nn.Module) -> torch.Tensor:
    """One answer, in host RAM; the same bits for the same weights on the same device."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        return torch.as_tensor(model(torch.linspace(-1, 1, WIDTH, device=device).unsqueeze(0))).cpu()


def ready(device: str) -> None:
    """Make the CUDA context, load the kernels of an answer and of the check, and their workspaces: what is read later
    is of models alone.
    """
    if device.startswith("cuda"):
        ask(plain(1 << 20, layers=2)().to(device))
        checksum(torch.zeros(1 << 22, dtype=torch.uint8, device=device))
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
