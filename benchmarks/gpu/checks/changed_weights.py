"""What the app writes into its model while it holds it is there after a sleep: buffers, a LoRA, writes still queued."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver import ModelChanged, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from torch import nn

from tests.modelserver.zoo import seeded

from ..reporting import Report
from .comparing import same
from .models import manager
from .twins import twin_on

# About a tenth of a second on a GPU of some GHz: the kernel is still queued when the use ends.
_LATE_CYCLES = 200_000_000


class _Speech(nn.Module):
    """A layer with a LoRA beside it, running statistics, and a cache kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)
        self.down, self.up = nn.Parameter(torch.randn(4, 64)), nn.Parameter(torch.randn(64, 4))
        self.cache: torch.Tensor
        self.register_buffer("cache", torch.zeros(64), persistent=False)

    def merge(self, sign: int) -> None:
        self.layer.weight.data += sign * (self.up.data @ self.down.data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.norm(self.layer(x)) + self.cache)


_load = seeded(_Speech)


def run(report: Report) -> None:
    changes: tuple[tuple[str, Callable[[_Speech, torch.Tensor], Any]], ...] = (
        ("running statistics", lambda model, x: (model.train(), model(x), model.eval())),
        ("a cache kept as a buffer", lambda model, x: model.cache.copy_(x[0])),
        ("a merged LoRA", lambda model, x: model.merge(+1)),
        ("the same LoRA unmerged", lambda model, x: model.merge(-1)),
    )
    with manager(report) as residency:
        device = residency.device.torch_device
        x = torch.linspace(-1, 1, 8 * 64, device=device).reshape(8, 64)
        model, (twin, _) = residency.register("it", _load), twin_on(device, _load)
        for what, change in changes:
            with model.on_gpu() as held, torch.no_grad():
                change(held, x)
                change(twin, x)
            equal = []
            for _ in range(3):
                model.move_to(Residency.CPU)
                with model.on_gpu() as held, torch.no_grad():
                    equal.append(same(held(x), twin(x)))
            report.held(f"{what}: in force after each of 3 sleeps", all(equal), equal)
        try:
            model.move_to(Residency.UNLOADED)
            report.held("changed weights are not unloaded", False, "they were")
        except ModelChanged as refused:
            report.held("changed weights are not unloaded", True, str(refused)[:80])
        _queued(report, residency, x)


def _queued(report: Report, residency: ResidencyManager, x: torch.Tensor) -> None:
    """A write on a stream of the app's own is still queued when the use ends; the model is sent to sleep at once."""
    model = residency.register("late", _load, unload_changes="discard")
    with model.on_gpu() as held:
        late = _queue_late(residency, held.layer.bias.data)
    was_queued = not late()
    model.move_to(Residency.CPU)
    arrived = late()
    with model.on_gpu() as held:
        written = bool((held.layer.bias == 7).all())
    detail = "it was queued when the use ended" if was_queued else "it was over before the use ended: proves little"
    report.held("a write still queued on the app's own stream is waited for and kept", arrived and written, detail)


def _queue_late(residency: ResidencyManager, bias: torch.Tensor) -> Callable[[], bool]:
    """Queue a slow write of sevens; returns a function that says whether it is done."""
    if isinstance(residency.device, SimDevice):
        done = threading.Event()
        wait = threading.Event()
        residency.device.run_late(lambda: wait.wait(0.2), aside=True)
        residency.device.run_late(lambda: bias.fill_(7), aside=True)
        residency.device.run_late(done.set, aside=True)
        return done.is_set
    stream = torch.cuda.Stream(residency.device.torch_device)  # type: ignore[no-untyped-call]
    torch.zeros(1, device=bias.device).fill_(7)  # the first launch of a kernel waits for what is queued
    torch.cuda.synchronize(bias.device)
    with torch.cuda.stream(stream), torch.no_grad():
        torch.cuda._sleep(_LATE_CYCLES)  # type: ignore[no-untyped-call]
        bias.fill_(7)
    event = stream.record_event()
    return lambda: bool(event.query())
