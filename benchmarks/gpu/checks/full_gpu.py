"""A full device: a wake waits, rolls back to a whole tier, and succeeds when there is room; host RAM may lack too."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from dormouse_modelserver import DeviceFull, Model, NoRoom, Residency, ResidencyManager

from ..processes import start
from ..reporting import Report
from .comparing import same
from .models import ask, manager, plain, ready

_WAIT_SECONDS = 1.0
_LOAD_SECONDS, _SIM_LOAD_SECONDS = 8, 2
# Rounding of allocations, and what the driver takes for itself.
_SLACK_BYTES = 64 << 20


def run(report: Report) -> None:
    ready(report.device)
    nbytes = report.on_gpu_or_sim(1 << 30, 16 << 20)
    with manager(report) as residency:
        model = residency.register("it", plain(nbytes, seed=1))
        with model.on_gpu() as held:
            right = ask(held)
        for tier in (Residency.UNLOADED, Residency.CPU):
            with report.part(f"full, from {tier}"):
                model.move_to(tier)
                _refused(report, residency, model, nbytes, tier)
        with report.part("full, moved by hand"):
            _by_hand(report, residency, model, nbytes)
        with report.part("a request that waits"):
            _waits(report, residency, model, nbytes, right)
    _little_host_ram(report, "ulimit", "a small `ulimit -l`")
    _little_host_ram(report, "cgroup", "a cgroup with little memory")


@contextmanager
def _ballast(residency: ResidencyManager, leave_bytes: int) -> Iterator[None]:
    """Take the device's memory, all but `leave_bytes`."""
    memory = residency.device.memory()
    arena = residency.device.allocate(memory.total - memory.used - leave_bytes)
    try:
        yield
    finally:
        arena.close()


def _refused(report: Report, residency: ResidencyManager, model: Model[Any], nbytes: int, tier: Residency) -> None:
    what = f"full, from {tier}: NoRoom after its wait"
    # Unloaded it is loaded first, and lacks room only after that.
    wait = _WAIT_SECONDS if tier is Residency.CPU else report.on_gpu_or_sim(_LOAD_SECONDS, _SIM_LOAD_SECONDS)
    with _ballast(residency, nbytes // 2):
        before, started = residency.device.memory(), time.monotonic()
        full: NoRoom | None = None
        try:
            with model.on_gpu(timeout=wait):
                pass
        except NoRoom as error:
            full = error
        took, after = time.monotonic() - started, residency.device.memory()
        if full is None:
            report.held(what, False, f"it came to the device although only {before.total - before.used:,} were free")
            return
        _until_settled(model)
        where = model.snapshot()
        report.held(what, took < wait + 2, f"{took:.2f} s: {full}")
        free = before.total - before.used
        true = abs(full.room_bytes - free) <= _SLACK_BYTES and abs(full.need_bytes - nbytes) <= _SLACK_BYTES
        detail = f"need {full.need_bytes:,} of {nbytes:,}; room {full.room_bytes:,}, free {free:,}"
        report.held(f"full, from {tier}: the figures are true", true, detail)
        report.held(f"full, from {tier}: in a whole tier", where.residency is not Residency.GPU, where.residency)
        back = after.used - before.used
        report.held(f"full, from {tier}: the memory is where it was", abs(back) <= _SLACK_BYTES, f"{back:,} bytes more")


def _by_hand(report: Report, residency: ResidencyManager, model: Model[Any], nbytes: int) -> None:
    with _ballast(residency, nbytes // 2):
        started = time.monotonic()
        try:
            model.move_to(Residency.GPU)
            report.held("full, moved by hand: DeviceFull", False, "it went")
        except DeviceFull as full:
            seconds = time.monotonic() - started
            report.held(
                "full, moved by hand: DeviceFull", full.need_bytes > full.room_bytes, f"{seconds:.2f} s: {full}"
            )


def _waits(report: Report, residency: ResidencyManager, model: Model[Any], nbytes: int, right: torch.Tensor) -> None:
    """The ballast leaves while a request waits."""
    answers: list[torch.Tensor] = []

    def request() -> None:
        with model.on_gpu(timeout=30) as held:
            answers.append(ask(held))

    waiting = threading.Thread(target=request)
    with _ballast(residency, nbytes // 2):
        waiting.start()
        deadline = time.monotonic() + 10
        while model.snapshot().waiting == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        waited = model.snapshot().waiting == 1
    left = time.monotonic()
    waiting.join(30)
    seconds = time.monotonic() - left
    good = waited and len(answers) == 1 and same(answers[0], right)
    report.held("a request that waits is answered when the ballast leaves", good, f"{seconds:.2f} s after it left")


def _until_settled(model: Model[Any]) -> None:
    deadline = time.monotonic() + 10
    while model.snapshot().transition is not None and time.monotonic() < deadline:
        time.sleep(0.01)


def _little_host_ram(report: Report, how: str, words: str) -> None:
    """In a separate process, since a limit can't be taken back."""
    if report.simulated and how == "ulimit":
        report.not_tried(f"{words}: pinning is refused in a sentence, or works all the same", "sim pins nothing")
        return
    command = [sys.executable, "-m", f"{__package__}.little_host_ram", how, report.device, str(report.folder)]
    child = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said, errors = child.communicate(timeout=max(5.0, report.left_at_most - 2))
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        report.held(f"{words}: refused or done without", False, "no answer in the time there was")
        return
    if child.returncode:
        report.held(f"{words}: refused or done without", False, f"status {child.returncode}: {errors[-500:]}")
        return
    for line in said.splitlines():
        finding = json.loads(line)
        if finding["held"] is None:
            report.not_tried(f"{words}: {finding['what']}", finding["detail"])
        else:
            report.held(f"{words}: {finding['what']}", finding["held"], finding["detail"])
