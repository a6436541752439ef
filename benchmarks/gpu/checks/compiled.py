"""`torch.compile(mode="reduce-overhead")`, which captures graphs by itself: are they captured anew after a sleep?"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from dormouse_modelserver import DormouseError, ResidencyManager

from benchmarks.engine.stack import WIDTH

from ..reporting import Report
from .comparing import same
from .models import manager, plain, sleep

_WARM_UP_CALLS = 4
# Compiling takes so long, once per model.
_COMPILE_SECONDS = 15.0


def run(report: Report, nbytes: int, sleeps: int) -> None:
    if report.simulated:
        report.not_tried("torch.compile(mode='reduce-overhead')", "it captures CUDA graphs, and there is no GPU")
        return
    for stable in (True, False):
        name = "stable addresses" if stable else "ordinary arenas"
        if report.left < _COMPILE_SECONDS:
            report.not_tried(f"compiled code, {name}", f"{report.left:.0f} s are left")
            continue
        try:
            with manager(report) as residency:
                _sleeping(report, residency, nbytes, sleeps, stable, name)
        except DormouseError as error:
            report.held(f"compiled code, {name}: equal answers", False, error)
        except (RuntimeError, ImportError) as error:
            report.not_tried(f"compiled code, {name}", f"torch can't compile here: {str(error)[:300]}")


def _sleeping(report: Report, residency: ResidencyManager, nbytes: int, sleeps: int, stable: bool, name: str) -> None:
    model = residency.register("it", plain(nbytes, layers=8), stable_addresses=stable)
    x = torch.linspace(-1, 1, 4 * WIDTH, device=residency.device.torch_device).reshape(4, WIDTH)
    report.step(f"compiling ({name})")
    with _captures() as captures, torch.inference_mode():
        with model.on_gpu() as held:
            compiled = torch.compile(held, mode="reduce-overhead")
            for _ in range(_WARM_UP_CALLS):
                right = _ask(compiled, x)
        at_first, equal = len(captures), 0
        for _ in range(sleeps):
            sleep(residency, model, nbytes)
            with model.on_gpu():
                equal += same(_ask(compiled, x), right)
    anew = len(captures) - at_first
    report.held(f"compiled code, {name}: equal answers", equal == sleeps, f"{equal} of {sleeps}")
    if stable:
        detail = f"{at_first} captures at first, {anew} more in {sleeps} sleeps"
        report.held(f"compiled code, {name}: no new capture", at_first > 0 and anew == 0, detail)
    else:
        report.figures("compiled code with ordinary arenas", {"captures at first": at_first, "captured anew": anew})


def _ask(compiled: Any, x: torch.Tensor) -> torch.Tensor:
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    return torch.as_tensor(compiled(x)).cpu()


@contextmanager
def _captures() -> Iterator[list[object]]:
    """A list that grows by one at each capture of a CUDA graph."""
    seen: list[object] = []
    begin = torch.cuda.CUDAGraph.capture_begin

    @functools.wraps(begin)
    def counted(graph: torch.cuda.CUDAGraph, *arguments: Any, **options: Any) -> None:
        seen.append(None)
        begin(graph, *arguments, **options)

    torch.cuda.CUDAGraph.capture_begin = counted  # type: ignore[assignment,method-assign]
    try:
        yield seen
    finally:
        torch.cuda.CUDAGraph.capture_begin = begin  # type: ignore[method-assign]
