"""Processes of a run: started so that none outlives it, whatever ends it. Linux only. No torch."""

import ctypes
import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """Called in a child before it becomes its program: it is killed when the thread that started it is gone."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command: list[str], *, new_group: bool = False, **options: Any) -> "subprocess.Popen[str]":
    """A process that ends with this one. new_group: it and its own children can be ended together by `kill_group`."""
    return subprocess.Popen(
        command,
        text=True,
        start_new_session=new_group,
        preexec_fn=end_with_parent,
        **options,
    )


def kill_group(process: "subprocess.Popen[str]") -> None:
    """Kill a process that was started with `new_group`, and its children; waits for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
