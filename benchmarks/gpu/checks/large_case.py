"""A model of tens of GB: made in memory, since a file of that size would take the whole run to write."""

from collections.abc import Callable
from typing import Any

import torch
from dormouse_modelserver.engine.device import DeviceBackend
from torch import nn

from benchmarks.engine.cases import Case
from benchmarks.engine.memcpy import Memcpy
from benchmarks.engine.rounds import restore_against_memcpy
from benchmarks.engine.samples import Samples
from benchmarks.engine.stack import WIDTH, build
from benchmarks.engine.subject import Subject

_ROUNDS = 4
# Beside the weights on the device: the context, the check's and an answer's memory.
_BESIDE_BYTES = 2 * 10**9
# At the peak of its load the mirror and what was not copied into it yet; then the source of the memcpy.
_HOST_SHARE = 1.3
_NOISE_ROWS = 1 << 16


def device_bytes_needed(case: Case) -> int:
    return case.nbytes + _BESIDE_BYTES


def host_bytes_needed(case: Case) -> int:
    return int(_HOST_SHARE * case.nbytes) + 6 * 10**9


def measure_large(case: Case, device: DeviceBackend, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures that `one_case` gives, without those of other ways to move so much. Raises `OtherAnswer`."""
    samples = Samples()
    subject = Subject(case, lambda: _filled(case), device, samples)
    say("load, pin, check")
    subject.reload()
    load_seconds = samples.figures()["reload_seconds"]
    memcpy = Memcpy(case.nbytes, device)
    restore_against_memcpy(subject, memcpy, samples, 1, lambda step: say(f"warm-up: {step}"))
    samples.forget()
    restore_against_memcpy(subject, memcpy, samples, _ROUNDS, say)
    memcpy.close()
    host_bytes = subject.host_bytes
    subject.unload()
    return {
        "case": case.name,
        "bytes": case.nbytes,
        "parameters": case.parameters,
        "frozen": case.frozen,
        "device": device.name,
        "rounds": _ROUNDS,
        "offload_bytes_copied": subject.most_bytes_copied,
        "host_bytes": host_bytes,
        "first_load_seconds": load_seconds,
        **samples.figures(),
    }


def _filled(case: Case) -> nn.Sequential:
    """Noise, shifted a little in each block, so that no two blocks are equal."""
    model = build(case).requires_grad_(False)
    generator = torch.Generator().manual_seed(case.parameters)
    noise = torch.empty(_NOISE_ROWS, WIDTH).uniform_(-0.1, 0.1, generator=generator)
    blocks = 0
    for weight in model.parameters():
        for part in weight.split(_NOISE_ROWS):  # type: ignore[no-untyped-call]
            torch.add(noise[: part.shape[0]], blocks * 1e-6, out=part)
            blocks += 1
    return model
