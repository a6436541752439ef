"""Two processes on one (simulated) GPU for one model: each gets its turn, and an older neighbour is understood."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dormouse_modelserver import Model, NoRoom, Residency, ResidencyManager
from torch import nn

from tests.waiting import until

from .conftest import Manage, ask, load_doubler
from .test_taking_turns import always_in_use, swaps, use

GPU, CPU = Residency.GPU, Residency.CPU


@pytest.fixture
def processes(manage: Manage, tmp_path: Path) -> tuple[ResidencyManager, ResidencyManager]:
    """Two managers that know each other by the folder alone, as two processes do."""
    settings = {"gpu_arbiter": str(tmp_path / "arbiter"), "turn": 0.5}
    return manage(f"sim:900@{tmp_path}/gpu", **settings), manage(f"sim:900@{tmp_path}/gpu", **settings)


def pair(processes: tuple[ResidencyManager, ResidencyManager]) -> tuple[Model[nn.Linear], Model[nn.Linear]]:
    here, there = processes
    return here.register("here", load_doubler), there.register("there", load_doubler)


def test_a_neighbour_that_is_never_at_rest_gives_others_their_turn(
    processes: tuple[ResidencyManager, ResidencyManager],
) -> None:
    here, there = pair(processes)
    with always_in_use(here) as answered:
        until(lambda: len(answered) > 5)
        use(there)
        before = len(answered)
        until(lambda: len(answered) > before + 5, within_seconds=20)
    assert swaps(here) == 1


def test_a_storm_on_both_loses_nothing(processes: tuple[ResidencyManager, ResidencyManager]) -> None:
    here, there = pair(processes)
    began = time.monotonic()
    with always_in_use(here, there) as answered:
        until(lambda: min(answered.count(name) for name in ("here", "there")) > 50, within_seconds=100)
        seconds = time.monotonic() - began
    assert swaps(here, there) <= 4 * seconds + 2, "no thrashing"


def test_a_neighbour_that_is_pinned_is_neither_sent_away_nor_drained(
    processes: tuple[ResidencyManager, ResidencyManager],
) -> None:
    here, there = pair(processes)
    processes[0].slot("here").pin_by_hand(True)
    with here.on_gpu() as linear:
        with pytest.raises(NoRoom):
            use(there, 1.5)
        assert ask(linear, 1) == 3
    assert here.snapshot().residency is GPU


def test_a_claimant_that_is_killed_keeps_nobody_waiting(manage: Manage, tmp_path: Path) -> None:
    device, folder = f"sim:900@{tmp_path}/gpu", str(tmp_path / "arbiter")
    here = manage(device, gpu_arbiter=folder, wake_budget=300).register("here", load_doubler)
    program = f"""
        import dormouse_modelserver as dm
        from torch import nn
        manager = dm.ResidencyManager({device!r}, gpu_arbiter={folder!r}, socket="", turn=0.2)
        with manager.register("there", lambda: nn.Linear(4, 4)).on_gpu(timeout=300):
            pass
    """
    with here.on_gpu():
        claimant = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
        try:
            until(lambda: here._slot._state.drain.under_way, within_seconds=60)
        finally:
            claimant.kill()
            claimant.wait()
        ended: list[float] = []
        asking = threading.Thread(target=lambda: (use(here), ended.append(1)))
        asking.start()
        asking.join(30)
        assert ended == [1]


class OldNeighbour:
    """Answers as the version before did: it knows `idle` and `leave` alone."""

    def __init__(self, folder: Path, idle: list[str]) -> None:
        self.idle, self.asked = idle, list[dict[str, Any]]()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / f"{os.getpid()}-old.sock"))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                question = json.loads(connection.recv(4096))
                self.asked.append(question)
                connection.sendall(json.dumps(self._answer(question)).encode() + b"\n")

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["ask"] == "idle":
            return {"idle": [{"model": name, "idleSeconds": 3.0} for name in self.idle]}
        left = question["ask"] == "leave" and question["model"] in self.idle
        if left:
            self.leaves(question["model"])
        return {"left": left}

    def leaves(self, model: str) -> None:
        self.idle.remove(model)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def old_neighbour(folder: Path, idle: list[str]) -> Iterator[OldNeighbour]:
    neighbour = OldNeighbour(folder, idle)
    try:
        yield neighbour
    finally:
        neighbour.close()


def test_an_older_neighbours_idle_models_leave_and_its_busy_ones_are_waited_for(manage: Manage, tmp_path: Path) -> None:
    device, folder = f"sim:900@{tmp_path}/gpu", tmp_path / "arbiter"
    here = manage(device, gpu_arbiter=str(folder), turn=0.1).register("here", load_doubler)
    theirs = manage(device).register("theirs", load_doubler)  # on the device, and not in the folder
    with theirs.on_gpu():
        pass
    with old_neighbour(folder, []) as neighbour:
        with pytest.raises(NoRoom):
            use(here, 0.6)
        neighbour.idle = ["theirs"]
        neighbour.leaves = lambda model: (neighbour.idle.remove(model), theirs.move_to(CPU))  # type: ignore[method-assign, assignment, func-returns-value]
        use(here)
        assert {question["ask"] for question in neighbour.asked} >= {"models", "idle", "leave"}


def test_an_older_neighbours_questions_are_answered_as_before(manage: Manage, tmp_path: Path) -> None:
    folder = tmp_path / "arbiter"
    manager = manage(f"sim:900@{tmp_path}/gpu", gpu_arbiter=str(folder))
    here = manager.register("here", load_doubler)
    with here.on_gpu():
        pass
    (path,) = folder.glob("*.sock")

    def answer(question: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(json.dumps({"gpu": manager.device.gpu_uuid, **question}).encode() + b"\n")
            return json.loads(connection.makefile().readline())

    (idle,) = answer({"ask": "idle"})["idle"]
    assert (idle["model"], set(idle)) == ("here", {"model", "idleSeconds"})
    assert answer({"ask": "something new"}) == {"left": False}
    assert answer({"ask": "leave", "model": "here", "reason": "there needs 512"}) == {"left": True}
    assert here.snapshot().residency is CPU
