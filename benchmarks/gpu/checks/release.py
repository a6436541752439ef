"""What the driver shows before and after each transition: the memory that an offload gives back is given back.

Two witnesses that Dormouse does not compute: NVML's figure of this process, and what `mem_get_info` says of the device.
"""

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dormouse_modelserver import Model, Residency, ResidencyManager

from ..reporting import Report
from .models import ask, manager, plain, ready

# What driver and allocator may keep for themselves between two readings; far below the weights.
_SLACK_BYTES = 48 << 20
_SIM_SLACK_BYTES = 1 << 20
# Host RAM of a process is no account: a thread that first allocates late gets an arena of some MiB from the C library.
# What leaks once in a cycle would be far more over 44 cycles.
_LEAST_RSS_SLACK_BYTES = 16 << 20
# After so many cycles caches and pools are as they stay.
_SETTLED_CYCLE = 5


@dataclass(frozen=True, slots=True)
class _Reading:
    """Bytes: on the whole device, of this process there (None where the driver does not say), in host RAM."""

    device_used: int
    process: int | None
    host_rss: int

    def row(self, snapshot_bytes: int) -> dict[str, int | None]:
        return {
            "device used, bytes": self.device_used,
            "this process by NVML, bytes": self.process,
            "host RSS, bytes": self.host_rss,
            "Dormouse says on the GPU, bytes": snapshot_bytes,
        }


def run(report: Report) -> None:
    nbytes = report.on_gpu_or_sim(2 << 30, 32 << 20)
    slack = report.on_gpu_or_sim(_SLACK_BYTES, _SIM_SLACK_BYTES)
    ready(report.device)
    with manager(report) as residency:
        model = residency.register("it", plain(nbytes))
        for what, part in (
            ("transitions", _transitions),
            ("cycles", _cycles),
            ("a view that the app keeps", _kept_view),
        ):
            with report.part(what):
                part(report, residency, model, slack)


def _read(residency: ResidencyManager) -> _Reading:
    gc.collect()
    memory = residency.device.memory()
    return _Reading(memory.used, memory.used_by_this_process, _host_rss())


def _host_rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _transitions(report: Report, residency: ResidencyManager, model: Model[Any], slack: int) -> None:
    rows: dict[str, dict[str, int | None]] = {}
    before = _read(residency)
    rows["only the context"] = before.row(0)
    with model.on_gpu() as held:
        first = ask(held)
    nbytes = model.snapshot().gpu_memory_bytes
    for name, move in _moves(model):
        move()
        reading, snapshot = _read(residency), model.snapshot()
        rows[name] = reading.row(snapshot.gpu_memory_bytes)
        awake = snapshot.residency is Residency.GPU
        expected = nbytes if awake else 0
        for witness, now, at_first in (
            ("mem_get_info" if not report.simulated else "the account", reading.device_used, before.device_used),
            ("NVML" if not report.simulated else "the account of this process", reading.process, before.process),
        ):
            what = f"{name}: by {witness}, {'the weights are there' if awake else 'nothing stays but the context'}"
            if now is None or at_first is None:
                report.not_tried(what, "the driver does not say what this process holds")
                continue
            report.held(
                what, abs(now - at_first - expected) <= slack, f"{now - at_first:,} bytes, {expected:,} expected"
            )
        if not awake and snapshot.gpu_memory_released_bytes:
            off = abs(snapshot.gpu_memory_released_bytes - nbytes)
            method = snapshot.released_method
            report.held(f"{name}: released as measured", off <= slack, f"{off:,} bytes off, by {method}")
    with model.on_gpu() as held:
        report.held("the answer is the one of before", bool((ask(held) == first).all()))
    report.figures("what is held after each transition", rows)


def _moves(model: Model[Any]) -> tuple[tuple[str, Callable[[], None]], ...]:
    def to(residency: Residency) -> Callable[[], None]:
        return lambda: model.move_to(residency)

    return (
        ("loaded → GPU", to(Residency.GPU)),
        ("GPU → CPU", to(Residency.CPU)),
        ("CPU → GPU", to(Residency.GPU)),
        ("GPU → Unloaded", to(Residency.UNLOADED)),
        ("Unloaded → GPU", to(Residency.GPU)),
        ("GPU → CPU again", to(Residency.CPU)),
    )


def _cycles(report: Report, residency: ResidencyManager, model: Model[Any], slack: int) -> None:
    cycles, settled, first = 50, None, None
    done = 0
    for number in range(cycles):
        with model.on_gpu() as held:
            answer = ask(held)
        first = answer if first is None else first
        if not bool((answer == first).all()):
            report.held(f"{cycles} cycles: equal answers", False, f"cycle {number} differs")
            return
        model.move_to(Residency.CPU)
        done = number + 1
        if number == _SETTLED_CYCLE:
            settled = _read(residency)
        if report.left_at_most < 5:
            break
    last = _read(residency)
    if settled is None:
        report.not_tried(f"{cycles} cycles: flat", f"only {done} in the time there was")
        return
    grown = {
        "device": last.device_used - settled.device_used,
        "process by NVML": None if last.process is None or settled.process is None else last.process - settled.process,
        "host RSS": last.host_rss - settled.host_rss,
    }
    report.figures("grown from cycle 5 to the last, bytes", grown)
    allowed = {"host RSS": max(slack, _LEAST_RSS_SLACK_BYTES)}
    flat = all(more is None or more <= allowed.get(name, slack) for name, more in grown.items())
    report.held(f"{cycles} cycles: flat", flat and done == cycles, f"{done} cycles; grown {grown}")


def _kept_view(report: Report, residency: ResidencyManager, model: Model[Any], slack: int) -> None:
    """Something of the app's holds a view of a weight across an offload: the memory stays, and that is said."""
    what = "a view that the app keeps is reported as residual, and goes with it"
    if report.simulated:
        report.not_tried(what, "the simulated device counts what is taken and given back, not who still looks at it")
        return
    asleep = _read(residency)
    with model.on_gpu() as held:
        view = next(held.parameters()).detach()[:1]
    model.move_to(Residency.CPU)
    kept = _read(residency)
    said = residency.slot(model.name).view.figures().residual_bytes
    stays = kept.device_used - asleep.device_used
    del view
    with model.on_gpu():
        pass
    model.move_to(Residency.CPU)
    left = _read(residency).device_used - asleep.device_used
    right = stays > slack and abs(said - stays) <= slack and left <= slack
    report.held(what, right, f"{stays:,} bytes stay, {said:,} reported; {left:,} after the view and one more cycle")
