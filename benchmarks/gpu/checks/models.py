"""What several checks need: a manager on the device, models of a chosen size, and answers that read every weight."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from dormouse_modelserver import Model, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.checks.checksum import checksum
from torch import nn

from benchmarks.engine import stack
from benchmarks.engine.cases import ROW_BYTES, Case
from benchmarks.engine.stack import in_memory

from ..reporting import Report


@contextmanager
def manager(report: Report, **settings: object) -> Iterator[ResidencyManager]:
    """On the report's device, unseen by other processes; closed afterwards."""
    made = ResidencyManager(report.device, socket="", **{"gpu_arbiter": "", **settings})  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def plain_case(nbytes: int, layers: int = 16) -> Case:
    """A stack of as many layers, of about `nbytes`."""
    return Case(nbytes // ROW_BYTES * ROW_BYTES, layers)


def plain(nbytes: int, layers: int = 16, seed: int = 0) -> Callable[[], nn.Sequential]:
    """A loader of about `nbytes`, of the same weights each time."""
    return lambda: in_memory(plain_case(nbytes, layers), seed)


def ask(model: nn.Module) -> torch.Tensor:
    """One answer that reads every weight, in host RAM; the same bits for the same weights on the same device."""
    return stack.ask(model, next(model.parameters()).device)


def ready(device: str) -> None:
    """Make the CUDA context, load the kernels of an answer and of the check, and their workspaces: what is read later
    is of models alone.
    """
    if device.startswith("cuda"):
        ask(plain(1 << 20, layers=2)().to(device))
        checksum(torch.zeros(1 << 22, dtype=torch.uint8, device=device))
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def sleep(residency: ResidencyManager, model: Model[Any], nbytes: int) -> None:
    """Off the device; what the weights left there is overwritten, and something else takes their place for a moment."""
    model.move_to(Residency.CPU)
    scribble = residency.device.allocate(nbytes)
    scribble.bytes.fill_(255)
    residency.device.synchronize()
    scribble.close()
