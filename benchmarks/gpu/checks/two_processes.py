"""Two processes on one device that holds one of their models only: they swap through the arbiter, under requests."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any

from ..processes import start
from ..reporting import Report
from .models import ready

_SWAPS = 100
# On a GPU a ballast leaves this much for the two models, so that a swap takes what it takes and 100 fit in the time.
_ROOM_BYTES = 8 << 30
_SIM_ROOM_BYTES = 24 << 20
# Of the room, for each of the two: more than half, so that never both are there. The rest is for checksum and answers.
_SHARE = 0.6


def run(report: Report) -> None:
    room = report.on_gpu_or_sim(_ROOM_BYTES, _SIM_ROOM_BYTES)
    device = report.device if not report.simulated else f"sim:{room}@{report.folder}/gpu"
    nbytes, arbiter = int(room * _SHARE), report.folder / "arbiter"
    command = [sys.executable, "-m", f"{__package__}.swapping_process", device, str(arbiter), str(nbytes)]
    processes = [start([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for n in range(2)]
    try:
        report.step("two processes load a model each")
        for process in processes:
            _read(process)
        with _ballast(report, room):
            report.step(f"swaps, until there were {_SWAPS}")
            _swap(report, processes, room, nbytes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _swap(report: Report, processes: list["subprocess.Popen[str]"], room: int, nbytes: int) -> None:
    started = time.monotonic()
    for process in processes:
        _write(process, "go")
    swaps = 0
    while swaps < _SWAPS and report.left_at_most > 5 and all(process.poll() is None for process in processes):
        time.sleep(0.2)
        for process in processes:
            _write(process, "count")
        swaps = sum(_read(process)["wakes"] for process in processes)
    seconds = time.monotonic() - started
    for process in processes:
        _write(process, "stop")
    ended = [_read(process) for process in processes]
    swaps = sum(one["wakes"] for one in ended)
    waits = sorted(wait for one in ended for wait in one["waits"])
    cuts = quantiles(waits, n=100) if len(waits) > 1 else [0.0] * 99
    figures = {
        "room, bytes": room,
        "each model, bytes": nbytes,
        "swaps": swaps,
        "seconds": seconds,
        "requests": len(waits),
        "wait p50, seconds": cuts[49],
        "wait p99, seconds": cuts[98],
        "a swap, seconds": seconds / swaps if swaps else None,
    }
    report.figures("two processes on one device", figures)
    failed = [problem for one in ended for problem in one["failed"]]
    wrong = sum(one["wrong"] for one in ended)
    report.held("no request failed", not failed, f"{len(waits)} requests; {failed[:3]}")
    report.held("no answer was wrong", wrong == 0 and bool(waits), f"{wrong} wrong")
    detail = f"{swaps} in {seconds:.1f} s"
    if 0 < swaps < _SWAPS and all(process.poll() is None for process in processes):
        report.not_tried(f"{_SWAPS} swaps", f"{detail}, and the time was used up")
    else:
        report.held(f"{_SWAPS} swaps", swaps >= _SWAPS, detail)


@contextmanager
def _ballast(report: Report, room: int) -> Iterator[None]:
    """What the device has beyond `room` is taken, so that models of some GB fill it."""
    if report.simulated:
        yield
        return
    import torch

    ready(report.device)
    free = torch.cuda.mem_get_info(report.device)[0]
    taken = torch.empty(max(0, free - room), dtype=torch.uint8, device=report.device)
    yield
    del taken


def _write(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdin is not None  # noqa: S101
    process.stdin.write(word + "\n")
    process.stdin.flush()


def _read(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the two ended with status {process.wait()}; its words are above")
    return dict(json.loads(line))
