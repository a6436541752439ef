"""What a slot remembers of loads that failed, so that one that never works is not tried by each request.

The first failure is worth another try: the next request makes it. From the second in a row on, and at once where
waiting can't help, requests get the remembered error until the time has come, which doubles with each failure. A wake
or a load by hand always tries.
"""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from dormouse_contract import Residency

from ..errors import LoadFailed

_FIRST_SECONDS = 1.0
_MOST_SECONDS = 60.0
# For what only a person can mend.
_HOPELESS_SECONDS = 300.0

# The same code, run again, raises these again: until it is mended, or something is put where it looks.
_MENDED_BY_A_PERSON = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    NotImplementedError,
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Words alone: the error itself may hold half a model alive. missing: the path that was not there."""

    message: str
    kind: tuple[object, ...]
    hopeless: bool
    again_at: float
    missing: Path | None


class LoadFailures:
    """Of one model; under the slot's lock. Times in seconds of the slot's clock."""

    def __init__(self) -> None:
        self._last: _Failure | None = None
        self._in_a_row = 0

    def worked(self) -> None:
        self._last, self._in_a_row = None, 0

    def failed(self, error: LoadFailed, now: float) -> bool:
        """Remember it, and put into `error` what helps and when. True when it is another failure than the last."""
        self._in_a_row += 1
        hopeless, missing = not _waiting_may_help(error), _missing_path(error)
        if not hopeless:
            pause = _backed_off(self._in_a_row - 1)
        elif missing is None and isinstance(error.__cause__, FileNotFoundError):
            # Nobody can look whether it has come: safetensors does not say which file, a hub that is away has none.
            pause = _backed_off(self._in_a_row)
        else:
            pause = _HOPELESS_SECONDS
        before = self._last
        self._last = _Failure(str(error.args[0]), _kind(error), hopeless, now + pause, missing)
        self._advise(error, self._last, now)
        return before is None or before.kind != self._last.kind

    def refusal(self, now: float, residency: Residency) -> LoadFailed | None:
        """The remembered error while it is too early for another try; None when the load may be tried."""
        last = self._last
        if last is None or now >= last.again_at or (last.missing is not None and _is_there(last.missing)):
            return None
        error = LoadFailed(last.message)
        error.residency = residency
        self._advise(error, last, now)
        return error

    def _advise(self, error: LoadFailed, failure: _Failure, now: float) -> None:
        left = max(1.0, failure.again_at - now)
        error.retry_after_seconds, error.retryable = left, not failure.hopeless
        if failure.hopeless:
            error.advice = (
                "Waiting does not help: mend it, then restart, or wake the model by hand. "
                f"A request tries it again in {left:.0f} s"
            )
        elif self._in_a_row > 1:
            error.advice = f"It failed {self._in_a_row} times in a row; a request tries it again in {left:.0f} s"


def _waiting_may_help(error: LoadFailed) -> bool:
    """Without a cause it is our own finding: what `load` gave can't be moved, and will be the same next time."""
    cause = error.__cause__
    return type(error) is not LoadFailed if cause is None else not isinstance(cause, _MENDED_BY_A_PERSON)


def _backed_off(times: int) -> float:
    return min(_FIRST_SECONDS * 2.0 ** min(times - 1, 30), _MOST_SECONDS) if times > 0 else 0.0


def _kind(error: LoadFailed) -> tuple[object, ...]:
    """Not the message: there may be an address or a time in it. The same type at the same line is the same failure."""
    cause = error.__cause__ or error
    frames = traceback.extract_tb(cause.__traceback__)
    return (type(cause), *((frames[-1].filename, frames[-1].lineno) if frames else ()))


def _missing_path(error: LoadFailed) -> Path | None:
    """A rename names the path that is there first, when the other one is not."""
    name = error.__cause__.filename if isinstance(error.__cause__, FileNotFoundError) else None
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    return None if path is None or _is_there(path) else path


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # nobody may look
        return False
