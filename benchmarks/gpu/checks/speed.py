"""Restore, offload and check beside a plain pinned copy of as many bytes, and beside what one does without Dormouse."""

from collections.abc import Mapping
from typing import Any

from dormouse_modelserver.engines.torch.checks.checksum import checksum
from dormouse_modelserver.engines.torch.open_device import open_device
from dormouse_modelserver.lifecycle.room.host_memory import read_host_memory

from benchmarks.engine.cases import Case, parse, parse_all
from benchmarks.engine.running import CaseFailed, Run, no_room
from benchmarks.engine.samples import Samples

from ..goals import judge
from ..prediction import predict
from ..reporting import Report
from .large_case import device_bytes_needed, host_bytes_needed, measure_large
from .models import ready

_CASES = parse_all(("1GB-300", "4GB-3000", "1GB-3000-frozen", "100MB-3000", "1GB-3000", "4GB-300"))
_LARGE = parse("40GB-300")
_SIM_CASES = parse_all(("2MB-10", "16MB-100"))
_ROUNDS, _SIM_ROUNDS = 7, 2
# From earlier runs: writing, loading and restarting a case takes about so long, and a GB of it so much more.
_CASE_SECONDS, _SECONDS_PER_GB = 12.0, 6.0
_RESTARTS_SECONDS = 20.0
_LARGE_SECONDS = 75.0
_COLUMNS = {
    "memcpy": "memcpy",
    "restore": "restore",
    "check": "verify",
    "wake": "wake",
    "offload": "offload",
    "first load": "first_load",
    "reload": "reload",
    ".to(device)": "to_device",
    ".to(cpu)": "to_cpu",
    "load_file(device)": "safetensors_to_device",
    "process restart": "process_restart",
}


def run(report: Report) -> None:
    ready(report.device)
    measured: dict[str, dict[str, Any]] = {}
    cases = _SIM_CASES if report.simulated else _CASES
    _one(report, cases[0], measured)
    if not report.simulated:
        with report.part(f"{_LARGE.name}: measured"):
            _large(report, measured)
    with report.part("the checksum alone, pinning alone"):
        _parts(report)
    for case in cases[1:]:
        _one(report, case, measured)


def _one(report: Report, case: Case, measured: dict[str, dict[str, Any]]) -> None:
    expected = 0.0 if report.simulated else _CASE_SECONDS + _SECONDS_PER_GB * case.nbytes / 1e9
    expected += _RESTARTS_SECONDS if case.parameters == 300 else 0
    lack = no_room(case, read_host_memory().room)
    if lack is not None or report.left < expected:
        why = f"it {lack}" if lack else f"{report.left:.0f} s are left, and it takes about {expected:.0f}"
        report.not_tried(f"{case.name}: measured", why)
        return
    rounds = _SIM_ROUNDS if report.simulated else _ROUNDS
    device = "sim" if report.simulated else report.device
    try:
        figures = Run(device, rounds, report.folder).one(case, lambda step: report.step(f"{case.name}: {step}"))
    except CaseFailed as failed:
        report.held(f"{case.name}: measured", False, failed)
        return
    _add(report, figures, measured)


def _add(report: Report, figures: dict[str, Any], measured: dict[str, dict[str, Any]]) -> None:
    report.figures(f"raw {figures['case']}", figures)
    measured[figures["case"]] = row(figures, simulated=report.simulated)
    report.figures("cases (medians in ms)", measured)
    for verdict in judge(figures, simulated=report.simulated):
        sign = "≥" if verdict.at_least else "≤"
        detail = f"{verdict.value:.4g}, asked for {sign} {verdict.limit:.4g}"
        report.held(f"{verdict.case}: {verdict.target}", verdict.met, detail)


def row(figures: Mapping[str, Any], *, simulated: bool) -> dict[str, float | None]:
    """The case's line of the table: medians in milliseconds. On a GPU what was predicted stands beside the restore."""
    found = {name: _milliseconds(figures, key) for name, key in _COLUMNS.items()}
    found["memcpy ÷ restore"] = figures["memcpy_seconds"] / figures["restore_seconds"]
    if not simulated:
        predicted = predict(figures)
        found["predicted restore"] = predicted.predicted_seconds * 1e3
        found["memcpy GB/s"] = predicted.bandwidth_bytes_per_second / 1e9
    return found


def _milliseconds(figures: Mapping[str, Any], key: str) -> float | None:
    seconds = figures.get(f"{key}_seconds")
    return None if seconds is None else seconds * 1e3


def _large(report: Report, measured: dict[str, dict[str, Any]]) -> None:
    device = open_device(report.device)
    memory, host = device.memory(), read_host_memory().room
    lack = ""
    if memory.total - memory.used < device_bytes_needed(_LARGE):
        lack = f"{(memory.total - memory.used) / 1e9:.0f} GB of the device are free"
    elif host < host_bytes_needed(_LARGE):
        lack = f"{host / 1e9:.0f} GB of host RAM are free, and it needs {host_bytes_needed(_LARGE) / 1e9:.0f}"
    elif report.left_at_most < _LARGE_SECONDS:
        lack = f"{report.left_at_most:.0f} s are left, and it takes about {_LARGE_SECONDS:.0f}"
    if lack:
        report.not_tried(f"{_LARGE.name}: measured", lack)
        return
    _add(report, measure_large(_LARGE, device, lambda step: report.step(f"{_LARGE.name}: {step}")), measured)


def _parts(report: Report) -> None:
    """The check alone on the device, and pinning alone, which the first load pays once."""
    device, samples = open_device(report.device), Samples()
    nbytes = report.on_gpu_or_sim(4 << 30, 64 << 20)
    report.step("the checksum alone, pinning alone")
    arena = device.allocate(nbytes)
    arena.bytes.random_(0, 256)
    checksum(arena.bytes)  # once unmeasured: kernels are loaded at their first call
    for _ in range(5):
        device.synchronize()
        with samples.timing("checksum"):
            checksum(arena.bytes)
    arena.close()
    if not report.simulated:
        buffer = device.host_buffer(nbytes, pinned=False)
        buffer.bytes.fill_(1)
        with samples.timing("pinning"):
            buffer.pin()
        buffer.close()
    parts = {
        name: {"bytes": nbytes, "seconds": seconds, "GB per second": nbytes / 1e9 / seconds}
        for name in ("checksum", "pinning")
        if (seconds := samples.figures().get(f"{name}_seconds"))
    }
    report.figures("parts", parts)
