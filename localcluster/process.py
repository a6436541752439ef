"""A child process with its own directory and log, that is never left running.

`Process` is what the control plane and Prometheus run on, and what a demo or a test should run its own
servers on: leaving the `with` block, an exception, Ctrl-C and even SIGKILL of this very process all stop the
child (`warden.py` says how). Nothing here looks for processes by name; only what was started is stopped.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from localcluster.errors import ChildDied, NotReadyInTime

WARDEN = Path(__file__).with_name("warden.py")
POLL_SECONDS = 0.05


class Process:
    """One command under a warden. Starts with `start()` or `with`; may be started again after `stop()`.

    `environment` is added to ours; a value of None takes a variable away. `directory` becomes the working
    directory, `log` (default: `directory/NAME.log`) gets what it prints, appended over restarts.
    `grace_seconds` is how long it may take after SIGTERM before SIGKILL.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        directory: Path,
        environment: Mapping[str, str | None] | None = None,
        log: Path | None = None,
        grace_seconds: float = 10.0,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.directory = directory
        self.log = log if log is not None else directory / f"{name}.log"
        self._environment = dict(environment or {})
        self._grace_seconds = grace_seconds
        self._warden: subprocess.Popen[bytes] | None = None
        self._control: int | None = None
        self._pid: int | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The command's own process id (not the warden's)."""
        if self._pid is None:
            raise ChildDied(f"{self.name} was never started; call start() first.")
        return self._pid

    @property
    def running(self) -> bool:
        return self._warden is not None and self._warden.poll() is None

    @property
    def returncode(self) -> int | None:
        """As of subprocess: None while it runs, negative for a signal."""
        return None if self._warden is None else self._warden.poll()

    def start(self) -> Self:
        """Start it and return at once; `wait_until` says when it is ready. Harmless when it runs."""
        with self._lock:
            if self.running:
                return self
            self._close_control()
            self.directory.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            environment = os.environ | {k: v for k, v in self._environment.items() if v is not None}
            for gone in (name for name, value in self._environment.items() if value is None):
                environment.pop(gone, None)
            control_read, control_write = os.pipe()
            status_read, status_write = os.pipe()
            try:
                with self.log.open("ab") as log:
                    self._warden = subprocess.Popen(
                        [
                            sys.executable, "-I", "-S", str(WARDEN),
                            str(control_read), str(status_write), str(self._grace_seconds), *self.command,
                        ],
                        cwd=self.directory, env=environment,
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                        pass_fds=(control_read, status_write),
                        start_new_session=True,
                    )  # fmt: skip
            except BaseException:
                os.close(control_write)
                os.close(status_read)
                raise
            finally:
                os.close(control_read)
                os.close(status_write)
            self._control = control_write
            with os.fdopen(status_read) as status:
                first_line = status.readline()
            self._pid = int(first_line) if first_line.strip() else None
            return self

    def wait_until(self, ready: Callable[[], bool], *, deadline_seconds: float = 30.0, what: str = "ready") -> None:
        """Return when `ready()` is true. Raises ChildDied or NotReadyInTime with the log's last lines."""
        deadline = time.monotonic() + deadline_seconds
        while not ready():
            if not self.running:
                raise ChildDied(self._account(f"{self.name} ended with status {self.returncode} before it was {what}"))
            if time.monotonic() >= deadline:
                raise NotReadyInTime(self._account(f"{self.name} was not {what} within {deadline_seconds:g} s"))
            time.sleep(POLL_SECONDS)

    def wait(self, *, deadline_seconds: float) -> int:
        """Wait for its own end and return its status."""
        if self._warden is None:
            raise ChildDied(f"{self.name} was never started; call start() first.")
        try:
            return self._warden.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            message = self._account(f"{self.name} had not ended after {deadline_seconds:g} s")
            raise NotReadyInTime(message) from None

    def pause(self) -> None:
        """Sleep for one polling interval or until its end, for callers that show progress meanwhile."""
        with suppress(subprocess.TimeoutExpired):
            if self._warden is not None:
                self._warden.wait(POLL_SECONDS * 2)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal its process group, for fault tests (SIGSTOP and SIGCONT too). Harmless after its end."""
        if self._control is not None:
            with suppress(BrokenPipeError):
                os.write(self._control, bytes([number]))

    def kill(self) -> None:
        """SIGKILL without any grace: what a crash or the OOM killer does. Returns when it is gone."""
        self.send_signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> int | None:
        """SIGTERM, grace, SIGKILL; returns the status when everything is gone. Safe to call twice."""
        with self._lock:
            self._close_control()
            if self._warden is None:
                return None
            try:
                return self._warden.wait(self._grace_seconds + 5)
            except subprocess.TimeoutExpired:
                self._warden.kill()  # PDEATHSIG takes the command along
                return self._warden.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _close_control(self) -> None:
        if self._control is not None:
            os.close(self._control)
            self._control = None

    def _account(self, what_happened: str) -> str:
        tail = self.log_tail() or "(it printed nothing)"
        return (
            f"{what_happened}.\nIts command: {shlex.join(self.command)}\n"
            f"The last lines of {self.log}:\n{tail}\n"
            "Nothing else was harmed. Look at the lines above for the cause."
        )
