"""Runs one command and outlives nobody: a small process between us and each child.

Why not `PR_SET_PDEATHSIG` alone: the kernel sends it when the *thread* that forked ends, not when its process
does, so a child that was started from a worker thread would die in the middle of a test, and one whose parent
was killed during the fork would never hear of it. A pipe has no such gaps: whoever started us holds its other
end, and however that process ends, SIGKILL included, the kernel closes it.

What happens then: SIGTERM to the command's process group, a grace period, SIGKILL, and SIGKILL for every
descendant that had left the group (we are their subreaper, so they end up as our children). Should this
process itself be killed, PDEATHSIG takes the command along; here it is safe, since this process has one
thread.

Bytes that arrive on the pipe are signal numbers for the command, so that nobody outside ever signals a
process id that may have been given to somebody else in the meantime. The command's exit status, signals
included, becomes ours.

Run as a file with `python -I -S`, so it imports nothing of ours and starts in a few milliseconds:
    warden.py CONTROL_FD STATUS_FD GRACE_SECONDS COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PASSED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main() -> None:
    control, status, grace_seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    command = sys.argv[4:]
    # A terminal's Ctrl-C is for whoever started us: that one decides, and we follow through the pipe.
    for ignored in PASSED_BY:
        signal.signal(ignored, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    child = start(command)
    os.write(status, f"{child}\n".encode())
    os.close(status)
    exit_status = watch(child, control, woken, grace_seconds)
    kill_descendants()
    leave_as(exit_status)


def prctl(option: int, value: int) -> None:
    """Linux only. Elsewhere the pipe alone does the work, which leaves out only the warden's own SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def start(command: list[str]) -> int:
    warden = os.getpid()
    # A signal that comes before the child stopped ignoring it would be lost; a blocked one waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_BY)
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_BY)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(child, child)  # both sides set it, so that neither has to wait for the other
        return child
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:
            os._exit(127)
        signal.set_wakeup_fd(-1)
        # Ignored signals survive an exec, and Python ignores SIGPIPE and SIGXFSZ.
        for number in (*PASSED_BY, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_BY)
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def watch(child: int, control: int, woken: int, grace_seconds: float) -> int:
    """Wait for the child's end; pass signals on; stop it when the pipe closes. Returns its wait status."""
    deadline: float | None = None
    sources = [control, woken]
    while True:
        ended = reap(child)
        if ended is not None:
            return ended
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select(sources, [], [], timeout)
        if woken in readable:
            os.read(woken, 512)
        if control in readable:
            numbers = os.read(control, 64)
            if not numbers:
                sources.remove(control)
                deadline = time.monotonic() + grace_seconds
                signal_group(child, signal.SIGTERM)
                signal_group(child, signal.SIGCONT)  # a stopped process can't handle SIGTERM
            for number in numbers:
                signal_group(child, number)
        if deadline is not None and time.monotonic() >= deadline:
            signal_group(child, signal.SIGKILL)
            deadline = time.monotonic() + 1


def reap(child: int) -> int | None:
    """Collect whatever ended (adopted grandchildren too); the child's wait status when it was among them."""
    while True:
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return wait_status
        if pid == 0:
            return None


def signal_group(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def kill_descendants() -> None:
    """Whoever is left became our child when its parent died; killing one may hand us the next."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        children = listing.read_text().split() if listing.exists() else []
        for pid in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def leave_as(exit_status: int) -> None:
    """End as the command did, so that whoever started us reads its status as if we weren't there."""
    if os.WIFSIGNALED(exit_status):
        number = os.WTERMSIG(exit_status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(exit_status))


if __name__ == "__main__":
    main()
