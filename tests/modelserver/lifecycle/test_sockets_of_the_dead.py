"""A process that crashed leaves its socket in the arbiter's folder: the next one removes it, and nothing else."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from dormouse_modelserver.lifecycle.room.neighbours import Neighbours

from tests.waiting import until

DEAD = "41-00c0ffee.sock"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "arbiter"
    made.mkdir(mode=0o700)
    return made


@contextmanager
def neighbours(folder: Path) -> Iterator[Neighbours]:
    made = Neighbours(str(folder), "gpu-0", lambda question: {"models": []})
    try:
        yield made
    finally:
        made.close()


def dead_socket(folder: Path, name: str = DEAD) -> Path:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(folder / name))
    return folder / name


def sockets(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.sock")}


def test_who_starts_removes_the_sockets_of_the_dead(folder: Path) -> None:
    for number in range(50):
        dead_socket(folder, f"{number}-{number:08x}.sock")
    with neighbours(folder):
        assert len(sockets(folder)) == 1
    assert sockets(folder) == set()


def test_who_asks_removes_the_socket_of_one_that_died_since(folder: Path) -> None:
    with neighbours(folder) as one:
        dead = dead_socket(folder)
        one.look()
        assert not dead.exists()
        assert len(sockets(folder)) == 1


def test_the_living_stay_also_when_they_have_no_time(folder: Path) -> None:
    with neighbours(folder), socket.socket(socket.AF_UNIX) as busy, ExitStack() as waiting:
        busy.bind(str(folder / DEAD))
        busy.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(folder / DEAD))
        with neighbours(folder):
            assert len(sockets(folder)) == 3


@pytest.mark.parametrize("what", ["a file", "a folder", "a link to a socket", "a socket of another name"])
def test_nothing_is_removed_that_is_no_socket_of_ours(folder: Path, tmp_path: Path, what: str) -> None:
    elsewhere = dead_socket(tmp_path, "elsewhere.sock")
    kept = folder / DEAD
    match what:
        case "a file":
            kept.write_text("mine")
        case "a folder":
            kept.mkdir()
        case "a link to a socket":
            kept.symlink_to(elsewhere)
        case _:
            kept = dead_socket(folder, "docker.sock")
    with neighbours(folder) as one:
        one.look()
    assert os.path.lexists(kept)
    assert elsewhere.exists()


def test_one_that_is_only_just_starting_is_not_taken_for_dead(folder: Path) -> None:
    """It has its socket and does not listen yet: the folder is locked for so long."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    starting = dead_socket(folder)
    found: list[set[str]] = []

    def start() -> None:
        with neighbours(folder):
            found.append(sockets(folder))

    thread = threading.Thread(target=start)
    thread.start()
    with socket.socket(socket.AF_UNIX) as listener:
        starting.unlink()
        listener.bind(str(starting))
        listener.listen()
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
        thread.join(20)
    assert starting.name in found[0]


def test_one_that_hangs_with_the_lock_keeps_nobody_from_starting(folder: Path) -> None:
    dead = dead_socket(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with neighbours(folder):
            assert dead.exists()
            assert len(sockets(folder)) == 2
    finally:
        os.close(descriptor)
    with neighbours(folder):
        assert not dead.exists()


def test_many_that_start_at_once_all_find_each_other(folder: Path) -> None:
    for number in range(20):
        dead_socket(folder, f"{number}-{number:08x}.sock")
    go, started, may_end = threading.Barrier(8), [], threading.Event()

    def live() -> None:
        go.wait(20)
        with neighbours(folder) as one:
            started.append(one)
            may_end.wait(20)

    threads = [threading.Thread(target=live) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(started) == 8)
        assert len(sockets(folder)) == 8
        assert {len(one.look()) for one in started} == {7}
    finally:
        may_end.set()
        for thread in threads:
            thread.join(20)
    assert sockets(folder) == set()
