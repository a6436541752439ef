"""The device fails in a use: what do that request, the next ones and the page get? Each fault has a process to itself.

A failed kernel breaks the whole process's context for good, so the right end is a restart, and that it is asked for.
"""

import json
import subprocess
import sys
from typing import Any

from ..processes import start
from ..reporting import Report

_SECONDS = 60.0


def run(report: Report) -> None:
    for fault, judge in (("out-of-memory", _judge_memory), ("failed-kernel", _judge_kernel)):
        with report.part(fault):
            said = _serve(report, fault)
            report.figures(fault, {step: answer["said"] for step, answer in said.items()})
            judge(report, said)


def _serve(report: Report, fault: str) -> dict[str, dict[str, Any]]:
    """By step, the status and the words that a client got."""
    command = [sys.executable, "-m", f"{__package__}.faulty_server", fault, report.device]
    child = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said, errors = child.communicate(timeout=min(_SECONDS, max(5.0, report.left_at_most - 2)))
    except subprocess.TimeoutExpired:
        child.kill()
        said, errors = child.communicate()
        report.held(f"{fault}: every request is answered in time", False, f"then it hung: {said[-400:]}")
        return {}
    if child.returncode:
        raise RuntimeError(f"the server ended with status {child.returncode}: {errors[-1500:]}")
    return {line["step"]: line for line in map(json.loads, said.splitlines())}


def _judge_memory(report: Report, said: dict[str, dict[str, Any]]) -> None:
    if not said:
        return
    report.held(
        "out of memory in a use: that request fails with the app's own error",
        said["fault"]["status"] == 500,
        said["fault"]["said"],
    )
    right = said["next"]["status"] == 200 and said["next"]["right"]
    report.held("out of memory in a use: the next request is answered as before", right, said["next"]["said"])
    asleep = said["sleep"]["status"] == 200
    report.held("out of memory in a use: the model sleeps and wakes as before", asleep and said["again"]["right"])
    report.held("out of memory in a use: the process is well", said["health"]["status"] == 200)


def _judge_kernel(report: Report, said: dict[str, dict[str, Any]]) -> None:
    if not said:
        return
    report.held("a failed kernel: that request fails", said["fault"]["status"] >= 500, said["fault"]["said"])
    plain = said["next"]["status"] == 503 and "restart" in said["next"]["said"].lower()
    report.held(
        "a failed kernel: the next request is refused, and its answer asks for a restart", plain, said["next"]["said"]
    )
    report.held("a failed kernel: nobody moves the weights", said["sleep"]["status"] == 503, said["sleep"]["said"])
    report.held("a failed kernel: /healthz asks for a restart", said["health"]["status"] == 503, said["health"]["said"])
    for step in ("models", "metrics", "page"):
        report.held(f"a failed kernel: {step} still answers", said[step]["status"] == 200, said[step]["said"])
