"""A run as two files: `gpu.json` for machines, `gpu.md` for people. Both are whole at any moment. No torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .outcome import CheckOutcome, Finding, GpuRun, Status

# Figures with every least and most are in gpu.json only.
RAW = "raw "
_SIGNS = {True: "held", False: "**FAILED**", None: "not tried"}


def write(run: GpuRun, folder: Path) -> None:
    """Renamed into place: who reads, or a machine that stops now, has the one before or this one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("gpu.json", as_json(run)), ("gpu.md", as_page(run))):
        new = folder / f".{name}.new"
        new.write_text(text)
        new.replace(folder / name)


def as_json(run: GpuRun) -> str:
    content = {
        "head": run.head,
        "complete": run.complete,
        "verdict": run.verdict,
        "held": run.held,
        "minutes": run.minutes,
        "seconds": run.seconds,
        "cut_off": run.cut_off,
        "checks": [asdict(check) for check in run.checks],
    }
    return json.dumps(content, indent=2) + "\n"


def from_json(text: str) -> GpuRun:
    """What `as_json` wrote. Raises `ValueError` for anything else."""
    try:
        content = json.loads(text)
        checks = [
            CheckOutcome(
                **{
                    **check,
                    "status": Status(check["status"]),
                    "findings": [Finding(**finding) for finding in check["findings"]],
                }
            )
            for check in content["checks"]
        ]
        return GpuRun(content["head"], checks, content["minutes"], content["seconds"], content["cut_off"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no gpu.json of a run: {error!r}") from error


def as_page(run: GpuRun) -> str:
    lines = ["# Dormouse on a GPU" if not run.simulated else "# Dormouse on a simulated device, no GPU", ""]
    lines += [*head_lines(run), "", f"**{run.verdict}**", ""]
    if run.cut_off:
        lines += [f"The run was cut off: {run.cut_off}", ""]
    lines += [*summary(run), ""]
    for check in run.checks:
        lines += [*section(check), ""]
    return "\n".join(lines)


def head_lines(run: GpuRun) -> list[str]:
    """Device, driver, torch, link and date: without them no figure means anything."""
    head = run.head
    if not head:
        return ["The device did not answer: nothing is known of it."]
    link = "not known"
    if head.get("pcie_generation"):
        link = f"generation {head['pcie_generation']} × {head['pcie_width']} (at most {head['pcie_generation_max']})"
    numa = "not known" if head.get("numa_node") is None else f"node {head['numa_node']} of {head['numa_nodes']}"
    device = f"{head['device']}, {_gib(head['device_memory_bytes'])}"
    return [
        f"- device: {device}" + (" (simulated: no figure here is a GPU's)" if run.simulated else ""),
        f"- driver {head.get('driver') or 'not known'}, CUDA {head.get('cuda') or 'none'}, torch {head['torch']}, "
        f"Python {head['python']}",
        f"- PCIe {link}; NUMA {numa}",
        f"- host: {head['cpu']}, {head['cores']} cores, {_gib(head['memory_bytes'])}, load {head['load_average']:.1f}",
        f"- date: {head['date']}; took {run.seconds:.0f} s of at most {run.minutes:g} minutes",
    ]


def summary(run: GpuRun) -> Iterator[str]:
    yield from ("| check | how it ended | findings held | seconds |", "| --- | --- | ---: | ---: |")
    for check in run.checks:
        known = [finding for finding in check.findings if finding.held is not None]
        holding = sum(bool(finding.held) for finding in known)
        yield f"| {check.title} | {check.status} | {holding} of {len(known)} | {check.seconds:.0f} |"


def section(check: CheckOutcome) -> Iterator[str]:
    yield from (f"## {check.title}", "")
    yield f"`{check.check}`: {check.status} in {check.seconds:.0f} s."
    if check.ended:
        yield from ("", "```", *check.ended.splitlines(), "```")
    if check.findings:
        yield ""
    for finding in check.findings:
        yield f"- {_SIGNS[finding.held]}: {finding.what}" + (f" ({finding.detail})" if finding.detail else "")
    for name, figures in check.figures.items():
        if name.startswith(RAW):
            continue
        yield from ("", f"**{name}**", "", *table(figures))


def table(figures: Any) -> Iterator[str]:
    """A mapping of mappings has a column each; a flat one has a row each; a lone figure stands for itself."""
    if not isinstance(figures, Mapping):
        yield _cell(figures)
        return
    rows = {key: value if isinstance(value, Mapping) else {"": value} for key, value in figures.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    yield "| | " + " | ".join(columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for key, row in rows.items():
        yield f"| {key} | " + " | ".join(_cell(row.get(column)) for column in columns) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB"
