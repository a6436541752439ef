"""Weights that come back to where they were: a captured CUDA graph and compiled code go on working over 20 sleeps.

A graph and compiled code hold raw addresses. With ordinary arenas the weights come back elsewhere; that is shown too.
"""

from typing import Any

import torch
from dormouse_modelserver import DeviceFull, Model, Residency, ResidencyManager

from benchmarks.engine.stack import WIDTH

from ..reporting import Report
from . import compiled
from .comparing import same
from .models import ask, manager, plain, ready, sleep

_SLEEPS = 20
# What driver and allocator may keep for themselves between two readings; far below the weights.
_SLACK_BYTES = 64 << 20


def run(report: Report) -> None:
    ready(report.device)
    nbytes = report.on_gpu_or_sim(512 << 20, 8 << 20)
    with manager(report) as residency:
        stable = residency.register("stable", plain(nbytes, layers=8), stable_addresses=True)
        ordinary = residency.register("ordinary", plain(nbytes, layers=8))
        with report.part("wakes have one address"):
            _addresses(report, residency, stable, nbytes)
        if report.simulated:
            report.not_tried("a captured CUDA graph", "there are no graphs on the simulated device")
        else:
            with report.part("a captured CUDA graph replays"):
                _graph(report, residency, stable, nbytes)
        with report.part("ordinary arenas"):
            _elsewhere(report, residency, ordinary, nbytes)
        with report.part("a mapping that is refused"):
            _roll_back(report, residency)
    with report.part("compiled code"):
        compiled.run(report, nbytes, _SLEEPS)


def _addresses(report: Report, residency: ResidencyManager, model: Model[Any], nbytes: int) -> None:
    with model.on_gpu() as held:
        right, addresses = ask(held), {_address(held)}
    equal = 0
    for _ in range(_SLEEPS):
        sleep(residency, model, nbytes)
        with model.on_gpu() as held:
            addresses.add(_address(held))
            equal += same(ask(held), right)
    report.held(f"{_SLEEPS} wakes have one address", len(addresses) == 1, f"{len(addresses)} addresses")
    report.held(f"{_SLEEPS} wakes: equal answers", equal == _SLEEPS, f"{equal} of {_SLEEPS}")


def _address(model: torch.nn.Module) -> int:
    return next(model.parameters()).data_ptr()


def _graph(report: Report, residency: ResidencyManager, model: Model[Any], nbytes: int) -> None:
    device = residency.device.torch_device
    x = torch.linspace(-1, 1, 4 * WIDTH, device=device).reshape(4, WIDTH)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with model.on_gpu() as held, torch.inference_mode():
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            held(x)  # cuBLAS makes its workspace outside of the capture
        side.synchronize()
        with torch.cuda.graph(graph):
            y = held(x)
        graph.replay()
        right = y.clone()
    equal = 0
    for _ in range(_SLEEPS):
        sleep(residency, model, nbytes)
        with model.on_gpu(), torch.inference_mode():
            y.zero_()
            graph.replay()
            equal += same(y, right)
    report.held(f"a captured CUDA graph replays over {_SLEEPS} sleeps", equal == _SLEEPS, f"{equal} equal bit for bit")


def _elsewhere(report: Report, residency: ResidencyManager, model: Model[Any], nbytes: int) -> None:
    """Without stable addresses. A graph is not replayed here: it would read memory that is not the model's."""
    addresses = set()
    for _ in range(_SLEEPS):
        with model.on_gpu() as held:
            addresses.add(_address(held))
        model.move_to(Residency.CPU)
        other = residency.device.allocate(nbytes)  # another model has come meanwhile
        with model.on_gpu() as held:
            addresses.add(_address(held))
        model.move_to(Residency.CPU)
        other.close()
    came = f"the weights came back to {len(addresses)} addresses in {2 * _SLEEPS} wakes"
    why = f"it can't: {came}; register with stable_addresses"
    report.not_tried("a captured CUDA graph over sleeps with ordinary arenas", why)


def _roll_back(report: Report, residency: ResidencyManager) -> None:
    """More than the device has: the last piece finds it full, and the pieces before it are given back."""
    device = residency.device
    before = device.memory()
    too_large = device.reserve(before.total - before.used + (1 << 30))
    try:
        too_large.allocate()
        report.held("more than the device has is refused", False, "it was mapped")
    except DeviceFull as full:
        report.held("more than the device has is refused", full.need_bytes > full.room_bytes, full)
    lost = device.memory().used - before.used
    report.held("a refused mapping leaves nothing behind", lost < _SLACK_BYTES, f"{lost:,} bytes")
    too_large.close()
    small = device.reserve(1 << 20)
    arena = small.allocate()
    total = int(arena.bytes.fill_(7).sum(dtype=torch.int64))
    report.held("the next mapping works", total == 7 << 20, total)
    arena.close()
    small.close()
