"""A model of tens of GB: made in memory, since a file of that size would take the whole run to write."""

from collections.abc import Callable
from typing import Any

from dormouse_modelserver.engines.torch.device import DeviceBackend

from benchmarks.engine.cases import Case
from benchmarks.engine.memcpy import Memcpy
from benchmarks.engine.rounds import restore_against_memcpy
from benchmarks.engine.samples import Samples
from benchmarks.engine.stack import in_memory
from benchmarks.engine.subject import Subject

_ROUNDS = 4
# Beside the weights on the device: the context, the check's and an answer's memory.
_BESIDE_BYTES = 2 * 10**9
# At the peak of its load the mirror and what was not copied into it yet; then the source of the memcpy.
_HOST_SHARE = 1.3


def device_bytes_needed(case: Case) -> int:
    return case.nbytes + _BESIDE_BYTES


def host_bytes_needed(case: Case) -> int:
    return int(_HOST_SHARE * case.nbytes) + 6 * 10**9


def measure_large(case: Case, device: DeviceBackend, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures that `one_case` gives, without those of other ways to move so much. Raises `OtherAnswer`."""
    samples = Samples()
    subject = Subject(case, lambda: in_memory(case, seed=0), device, samples)
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
