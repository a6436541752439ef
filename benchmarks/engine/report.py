"""The figures as a file, and as a table for people: on the terminal and in docs/benchmarks.md alike."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .machine import Machine
from .running import Outcome
from .targets import Figures, Verdict, judge


@dataclass(frozen=True, slots=True)
class Layout:
    """A table of cases: heading and cell of each column. Durations in milliseconds."""

    title: str
    columns: tuple[tuple[str, Callable[[Figures], str]], ...]

    @property
    def headings(self) -> list[str]:
        return [heading for heading, _ in self.columns]

    def rows(self, figures: Iterable[Figures]) -> list[list[str]]:
        return [[cell(one) for _, cell in self.columns] for one in figures]


def _case(figures: Figures) -> str:
    return str(figures["case"])


def _milliseconds(name: str) -> Callable[[Figures], str]:
    def cell(figures: Figures) -> str:
        seconds = figures.get(f"{name}_seconds")
        return "–" if seconds is None else f"{seconds * 1e3:,.{1 if seconds < 0.1 else 0}f}"

    return cell


LAYOUTS = (
    Layout(
        "Moves (ms)",
        (
            ("case", _case),
            ("memcpy", _milliseconds("memcpy")),
            ("restore", _milliseconds("restore")),
            ("memcpy ÷ restore", lambda figures: f"{figures['memcpy_seconds'] / figures['restore_seconds']:.2f}"),
            ("check", _milliseconds("verify")),
            ("wake", _milliseconds("wake")),
            ("offload", _milliseconds("offload")),
            ("unload", _milliseconds("unload")),
            ("reload", _milliseconds("reload")),
            ("load average", lambda figures: f"{figures['load_average']:.1f}"),
        ),
    ),
    Layout(
        "Without Dormouse (ms)",
        (
            ("case", _case),
            (".to(device)", _milliseconds("to_device")),
            (".to(cpu)", _milliseconds("to_cpu")),
            ("load_file", _milliseconds("safetensors")),
            ("load_file(device)", _milliseconds("safetensors_to_device")),
            ("process restart", _milliseconds("process_restart")),
        ),
    ),
    Layout(
        "Answers (ms)",
        (
            ("case", _case),
            ("first after a wake", _milliseconds("first_inference")),
            ("second", _milliseconds("second_inference")),
            ("never moved", _milliseconds("never_moved_first_inference")),
            ("once more", _milliseconds("never_moved_second_inference")),
        ),
    ),
)


def verdicts(figures: Iterable[Figures]) -> list[Verdict]:
    return [verdict for one in figures for verdict in judge(one)]


def sentence(verdict: Verdict) -> str:
    sign = "≥" if verdict.at_least else "≤"
    return (
        f"{verdict.case}: {verdict.target} {verdict.value:.4g} {sign} {verdict.limit:.4g}: "
        f"{'met' if verdict.met else 'MISSED'}"
    )


def write_json(path: Path, machine: Machine, outcome: Outcome, more: dict[str, Any] | None = None) -> None:
    judged = [{**asdict(verdict), "met": verdict.met} for verdict in verdicts(outcome.figures)]
    skipped = [{"case": case, "reason": reason} for case, reason in outcome.skipped.items()]
    content = {"machine": asdict(machine), "cases": outcome.figures, "targets": judged, "skipped": skipped}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | (more or {}), indent=2) + "\n")
