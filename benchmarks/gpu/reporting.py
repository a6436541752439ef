"""What a check says while it runs: a line of JSON for each finding, so that nothing is lost when it is cut off."""

import json
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_MOST_DETAIL = 600


class Report:
    """Given to a check. device: its name (`cuda:0`, `sim`). folder: for files of the check's own, removed afterwards.

    seconds: what the check should take; what it could do without goes by what is `left` of it.
    limit_seconds: when it will be ended; what it can't do without goes by that.
    """

    def __init__(self, channel: TextIO, device: str, seconds: float, limit_seconds: float, folder: Path) -> None:
        self.device, self.folder = device, folder
        self._channel, now = channel, time.monotonic()
        self._should_end, self._will_end = now + seconds, now + limit_seconds

    @property
    def simulated(self) -> bool:
        return not self.device.startswith("cuda")

    @property
    def left(self) -> float:
        """Seconds; negative when the check should be over."""
        return self._should_end - time.monotonic()

    @property
    def left_at_most(self) -> float:
        """Seconds until the check is ended."""
        return self._will_end - time.monotonic()

    def on_gpu_or_sim(self, on_gpu: int, on_sim: int) -> int:
        """An amount of work: the simulated device shows whether the check runs, and that takes little."""
        return on_sim if self.simulated else on_gpu

    def held(self, what: str, held: bool, detail: object = "") -> bool:
        """A finding; returns whether it held."""
        self._say(finding={"what": what, "held": bool(held), "detail": _one_line(detail)})
        return bool(held)

    def not_tried(self, what: str, why: str) -> None:
        """A finding that this machine or device can't give."""
        self._say(finding={"what": what, "held": None, "detail": _one_line(why)})

    def figures(self, name: str, figures: Mapping[str, Any] | float | int | str | None) -> None:
        """Measured, with units in the names: kept under `name`."""
        self._say(figures={name: figures})

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """A part of the check that may break off without taking the others along: a finding that did not hold."""
        try:
            yield
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            self.held(what, False, f"broke off at {place}: {type(error).__name__}: {error}")

    def step(self, text: str) -> None:
        """What is going on, for who watches."""
        self._say(step=text)

    def _say(self, **said: Any) -> None:
        self._channel.write(json.dumps(said) + "\n")
        self._channel.flush()


def _one_line(detail: object) -> str:
    """Findings are lines of a list, on the terminal and in gpu.md."""
    return " ".join(str(detail).split())[:_MOST_DETAIL]
