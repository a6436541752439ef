"""What a run has found so far, as values: what goes into `gpu.json`, and what every page is made from. No torch."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check stands. Only `HELD` is good; a check that was not run has proved nothing."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    FAILED = "failed"
    CRASHED = "crashed"
    OUT_OF_TIME = "out of time"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement and whether it held. held: None where it could not be tried; `detail` then says why."""

    what: str
    held: bool | None
    detail: str = ""


@dataclass(slots=True)
class CheckOutcome:
    """seconds: how long it took. limit_seconds: how long it was allowed to take. ended: why it ended early, or ""."""

    check: str
    title: str
    status: Status = Status.WAITING
    seconds: float = 0.0
    limit_seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    ended: str = ""

    @property
    def held(self) -> bool:
        return self.status is Status.HELD

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.held is False]

    def verdict(self) -> Status:
        """Of a check that came to its end by itself."""
        return Status.FAILED if self.failed or not any(finding.held for finding in self.findings) else Status.HELD


@dataclass(slots=True)
class GpuRun:
    """head: what it ran on. cut_off: why the run ended before its last check, or ""."""

    head: dict[str, Any]
    checks: list[CheckOutcome]
    minutes: float
    seconds: float = 0.0
    cut_off: str = ""

    @property
    def simulated(self) -> bool:
        return bool(self.head.get("simulated"))

    @property
    def held(self) -> int:
        return sum(check.held for check in self.checks)

    @property
    def complete(self) -> bool:
        return not any(check.status in (Status.WAITING, Status.RUNNING) for check in self.checks)

    @property
    def verdict(self) -> str:
        """The last line of a run."""
        known = [finding for check in self.checks for finding in check.findings if finding.held is not None]
        holding = sum(bool(finding.held) for finding in known)
        whole = "everything held" if self.held == len(self.checks) else "NOT everything held"
        on = "simulated device" if self.simulated else self.head.get("device", "?")
        return f"{whole}: {self.held} of {len(self.checks)} checks, {holding} of {len(known)} findings, on {on}"
