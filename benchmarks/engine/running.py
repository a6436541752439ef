"""Runs one case after the other, each in a process of its own, and passes on what each says of its progress."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dormouse_modelserver.lifecycle.room.host_memory import read_host_memory

from .cases import Case


class CaseFailed(RuntimeError):
    """A case ended without figures; what its process wrote is in the message."""


@dataclass(slots=True)
class Outcome:
    """figures: of the cases that were measured, in order. skipped: by case, why it was not."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """folder: where the weights are written for a while, as many bytes as the largest case has."""

    device: str
    rounds: int
    folder: Path

    def all(self, cases: Iterable[Case], begin: Callable[[Case], None], say: Callable[[str], None]) -> Outcome:
        outcome = Outcome()
        for case in cases:
            begin(case)
            lack = no_room(case, read_host_memory().room)
            if lack is not None:
                outcome.skipped[case.name] = lack
            else:
                outcome.figures.append(self.one(case, say))
        return outcome

    def one(self, case: Case, say: Callable[[str], None]) -> dict[str, Any]:
        """Its figures. Raises `CaseFailed`; the process is gone then, and its files too."""
        command = [sys.executable, "-m", "benchmarks.engine.one_case", case.name, self.device, str(self.rounds)]
        figures: dict[str, Any] | None = None
        with (
            tempfile.TemporaryDirectory(prefix="weights-", dir=self.folder) as folder,
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen([*command, folder], stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            try:
                for line in process.stdout or ():
                    said = json.loads(line)
                    figures = said.get("figures", figures)
                    say(said.get("step", "done"))
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            errors.seek(0)
            if status or figures is None:
                raise CaseFailed(f"case {case.name} ended with status {status}:\n{errors.read()[-2000:]}")
        return figures


def no_room(case: Case, free_bytes: int) -> str | None:
    """Why the case can't be measured now; None when it can. A machine that swaps measures its disk."""
    if free_bytes >= case.host_bytes_needed:
        return None
    return f"needs {case.host_bytes_needed / 1e9:.1f} GB of free host RAM, and {free_bytes / 1e9:.1f} GB are free"
