"""What happened, and what should not have: DESIGN, "What may never happen", as far as a day can show it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from .virtual_time import MIDNIGHT, unix_now

TRACE_LINES = 60


@dataclass
class Judge:
    """`violations` end a day; the trace before the first of them is what one reads."""

    trace: deque[str] = field(default_factory=lambda: deque(maxlen=TRACE_LINES))
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, text: str) -> None:
        if not self.violations:
            self.trace.append(f"{_clock(unix_now())} {text}")

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def violated(self, text: str) -> None:
        self.note(f"VIOLATION {text}")
        self.violations.append(f"{_clock(unix_now())} {text}")

    def report(self, seed: int) -> str:
        head = f"{len(self.violations)} violations in the day of seed {seed}; the first: {self.violations[0]}"
        again = f"again: DORMOUSE_SIMULATION_SEEDS={seed} pytest tests/simulation"
        return "\n".join([head, again, f"what came before it: {dict(self.counts)}", *self.trace])


def _clock(unix: float) -> str:
    seconds = unix - MIDNIGHT
    return f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f}"
