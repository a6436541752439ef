"""However the one who started a cluster ends, every process of it ends as well. Real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localcluster import Process
from localcluster.errors import NotReadyInTime
from tests.localcluster.processes import alive, running_in
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


@contextmanager
def cluster_in_another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m localcluster up`, as soon as it has said where its parts are."""
    owner = subprocess.Popen(
        [sys.executable, "-m", "localcluster", "up", "--directory", directory],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert owner.stdout is not None
        for line in owner.stdout:
            if line.startswith("Ctrl-C"):
                break
        yield owner
    finally:
        if owner.poll() is None:
            owner.kill()
        owner.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_of_a_cluster_whose_owner_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    with cluster_in_another_process(tmp_path) as owner:
        parts = running_in(tmp_path) - {owner.pid}
        assert len(parts) == 6, "etcd, kube-apiserver and prometheus, each with its warden"
        owner.send_signal(number)
        owner.wait(30)
        eventually(f"everything gone after {number.name}", lambda: not running_in(tmp_path), 30)
    assert owner.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_of_a_cluster_when_ctrl_c_reaches_the_whole_terminal(tmp_path: Path) -> None:
    """A terminal sends SIGINT to its whole foreground group: the children must not stop before their owner says."""
    with cluster_in_another_process(tmp_path) as owner:
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.wait(30) == 0
        assert not running_in(tmp_path)


def test_of_a_cluster_that_is_left_by_an_exception(tmp_path: Path) -> None:
    def start_and_fail() -> None:
        with Process("sleeper", ["sleep", "600"], directory=tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_and_fail()
    assert not running_in(tmp_path)


def test_of_a_child_that_ignores_sigterm(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    stubborn = Process("stubborn", ["sh", "-c", script], directory=tmp_path, grace_seconds=0.3)
    with stubborn:
        stubborn.wait_until(lambda: "ready" in stubborn.log_tail())
    assert stubborn.returncode == -signal.SIGKILL
    assert not running_in(tmp_path)


def test_of_a_child_that_is_stopped_by_a_signal(tmp_path: Path) -> None:
    with Process("sleeper", ["sleep", "600"], directory=tmp_path) as sleeper:
        sleeper.send_signal(signal.SIGSTOP)
    assert not running_in(tmp_path)


def test_of_grandchildren_that_left_the_process_group(tmp_path: Path) -> None:
    """A daemon that detaches itself is still ours."""
    script = "setsid sleep 600 & echo detached $!; exec sleep 600"
    parent = Process("parent", ["sh", "-c", script], directory=tmp_path)
    with parent:
        parent.wait_until(lambda: "detached" in parent.log_tail())
        eventually("warden, parent and the detached one", lambda: len(running_in(tmp_path)) == 3, 5)
    assert not running_in(tmp_path)


def test_of_grandchildren_of_a_child_that_ended_by_itself(tmp_path: Path) -> None:
    parent = Process("parent", ["sh", "-c", "setsid sleep 600 & exit 3"], directory=tmp_path)
    assert parent.start().wait(deadline_seconds=10) == 3
    assert not running_in(tmp_path)
    parent.stop()


def test_of_a_child_whose_warden_is_killed(tmp_path: Path) -> None:
    with Process("sleeper", ["sleep", "600"], directory=tmp_path) as sleeper:
        (warden,) = running_in(tmp_path) - {sleeper.pid}
        os.kill(warden, signal.SIGKILL)
        eventually("the command dies with its warden", lambda: not alive(sleeper.pid), 5)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """What PR_SET_PDEATHSIG on the child alone gets wrong."""
    sleeper = Process("sleeper", ["sleep", "600"], directory=tmp_path)
    starter = threading.Thread(target=sleeper.start)
    starter.start()
    starter.join()
    with pytest.raises(NotReadyInTime):
        sleeper.wait(deadline_seconds=0.3)
    sleeper.stop()
    assert not running_in(tmp_path)
