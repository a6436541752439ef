"""A process that forks (gunicorn --preload, multiprocessing): the child begins anew, whatever its parent was doing."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dormouse_modelserver import ConfigurationError, ForkedProcess, Model, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from fastapi import FastAPI
from fastapi.testclient import TestClient
from torch import nn

from tests.waiting import until

from .conftest import Loads, Manage, Stop, ask, load_doubler

TTS = Model[nn.Linear]
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def in_child(work: Callable[[], Any], within_seconds: float = 20.0) -> Any:
    """What `work` gives in a forked child, as JSON. Fails when the child breaks, or hangs for so long."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(f"broke: {type(error).__name__}: {error}").encode())
        finally:
            os._exit(0)
    os.close(writing)
    killer = threading.Timer(within_seconds, os.kill, (pid, signal.SIGKILL))
    killer.start()
    try:
        with os.fdopen(reading) as answer:
            text = answer.read()
    finally:
        killer.cancel()
        killer.join()
        os.waitpid(pid, 0)
    assert text, f"the child hung for {within_seconds} s"
    return json.loads(text)


def use_and_sleep(tts: TTS) -> list[Any]:
    """A whole life: an answer while held, and the sleep that an idle timeout brings."""
    before = tts.snapshot()
    with tts.on_gpu(timeout=10) as model:
        answer, held = ask(model, 2), tts.snapshot().in_flight
    until(lambda: tts.snapshot().residency is Residency.CPU)
    return [before.residency, before.in_flight, answer, held, tts.snapshot().in_flight]


A_LIFE = ["Unloaded", 0, 5.0, 1, 0]


@pytest.fixture
def sleepy(manage: Manage) -> TTS:
    return manage(idle_timeout=0.1, min_resident=0.0).register("tts", load=load_doubler)


@pytest.fixture
def held(sleepy: TTS) -> Iterator[TTS]:
    """In use by another thread of this process."""
    entered, over = threading.Event(), threading.Event()

    def hold() -> None:
        with sleepy.on_gpu():
            entered.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(20)
    yield sleepy
    over.set()
    thread.join(20)
    until(lambda: sleepy.snapshot().in_flight == 0)


def test_a_child_of_a_model_that_was_never_used_uses_it_and_lets_it_sleep(sleepy: TTS) -> None:
    assert in_child(lambda: use_and_sleep(sleepy)) == A_LIFE


def test_uses_of_the_parents_other_threads_do_not_count_in_the_child(held: TTS) -> None:
    assert in_child(lambda: use_and_sleep(held)) == A_LIFE
    assert held.snapshot().in_flight == 1, "the parent's own is untouched"


def test_a_fork_in_the_middle_of_a_use_ends_nothing_in_the_parent_and_counts_nothing_in_the_child(sleepy: TTS) -> None:
    def leave_and_live() -> Any:
        hold.__exit__(None, None, None)
        return use_and_sleep(sleepy)

    hold = sleepy.on_gpu()
    hold.__enter__()
    assert in_child(leave_and_live) == A_LIFE
    assert sleepy.snapshot().in_flight == 1
    hold.__exit__(None, None, None)
    assert sleepy.snapshot().in_flight == 0


@pytest.mark.parametrize("to", [Residency.GPU, Residency.CPU], ids=["wake", "offload"])
def test_a_transition_of_the_parent_is_none_of_the_child(manage: Manage, to: Residency) -> None:
    manager = manage(idle_timeout=0.1, min_resident=0.0)
    tts = manager.register("tts", load=load_doubler, idle_timeout=3600)
    assert isinstance(manager.device, SimDevice)
    with tts.on_gpu() as model:
        model.bias.data += 1  # so that an offload copies
    if to is Residency.GPU:
        tts.move_to(Residency.CPU)
    stop = Stop()
    if to is Residency.GPU:
        manager.device.faults.before_copy_in = stop
    else:
        manager.device.faults.before_copy_out = stop
    moving = threading.Thread(target=tts.move_to, args=(to,))
    moving.start()
    assert stop.reached.wait(20)

    def live() -> list[Any]:
        before = tts.snapshot()
        with tts.on_gpu(timeout=10) as model:
            answer = ask(model, 2)
        tts.move_to(Residency.CPU)
        return [before.residency, before.transition, answer, tts.snapshot().in_flight]

    assert in_child(live) == ["Unloaded", None, 5.0, 0]
    stop.go()
    moving.join(20)
    assert tts.snapshot().residency is to


def test_locks_that_other_threads_held_are_free_in_the_child(sleepy: TTS, manage: Manage) -> None:
    """Uses that begin and end all the time, and readers: some fork meets each lock while it is held."""
    manager, over = sleepy, threading.Event()

    def busy() -> None:
        while not over.is_set():
            with manager.on_gpu():
                pass
            manager.snapshot()

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            assert in_child(lambda: use_and_sleep(sleepy)) == A_LIFE
    finally:
        over.set()
        for thread in threads:
            thread.join(20)


def test_a_load_in_the_background_of_the_parent_does_not_keep_the_child_from_being_ready(
    manage: Manage, loads: Loads
) -> None:
    manager = manage()
    manager.register("tts", load=loads)
    loads.may_go_on.clear()
    manager.preload_in_background()
    assert loads.began.wait(20)
    assert in_child(lambda: manager.not_ready_because()) is None
    loads.may_go_on.set()
    until(lambda: manager.not_ready_because() is None)


def test_a_child_of_a_child_begins_anew_as_well(sleepy: TTS) -> None:
    def fork_again() -> Any:
        return [use_and_sleep(sleepy), in_child(lambda: use_and_sleep(sleepy))]

    assert in_child(fork_again, 40) == [A_LIFE, A_LIFE]


def test_a_shared_account_counts_parent_and_child_each_with_its_own(manage: Manage, tmp_path: Path) -> None:
    manager = manage(f"sim:1MiB@{tmp_path}/gpu", idle_timeout=60)
    tts = manager.register("tts", load=load_doubler)
    with tts.on_gpu():
        mine = manager.device.memory().used_by_this_process

    def child() -> list[Any]:
        before = manager.device.memory()
        with tts.on_gpu():
            during = manager.device.memory()
        tts.move_to(Residency.CPU)
        after = manager.device.memory()
        return [[m.used, m.used_by_this_process] for m in (before, during, after)]

    assert in_child(child) == [[mine, 0], [2 * (mine or 0), mine], [mine, 0]]
    assert manager.device.memory().used == manager.device.memory().used_by_this_process == mine


ROUTES = ("metrics", "v1/panel", "v1/gpu-memory", "v1/models", "healthz", "readyz")


def test_what_the_parents_routes_were_making_keeps_no_one_waiting_in_the_child(manager: ResidencyManager) -> None:
    app, asked, may_answer = FastAPI(), threading.Semaphore(0), threading.Event()
    manager.register("tts", load=load_doubler)
    manager.install(app)

    def answers() -> list[int]:
        client = TestClient(app)
        return [client.get(f"/dormouse/{route}").status_code for route in ROUTES]

    def hangs() -> None:
        asked.release()
        assert may_answer.wait(60)

    device: Any = manager.device
    works = {name: getattr(device, name) for name in ("memory", "occupancy")}
    for name, work in works.items():
        setattr(device, name, lambda work=work: (hangs(), work())[1])
    asking = [threading.Thread(target=TestClient(app).get, args=(f"/dormouse/{route}",)) for route in ROUTES[:3]]
    for thread in asking:
        thread.start()
    for _ in asking:
        assert asked.acquire(timeout=20)

    def child() -> list[int]:
        vars(device).update(works)
        return answers()

    try:
        assert in_child(child) == [200] * len(ROUTES)
    finally:
        may_answer.set()
        for thread in asking:
            thread.join(20)


# What only the parent can have --------------------------------------------------------------------


def test_behind_a_control_socket_the_child_is_refused_with_a_sentence_and_the_parent_goes_on_serving(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.sock"
    manager = ResidencyManager("sim:1MiB", socket=str(path))
    tts = manager.register("tts", load=load_doubler)

    def child() -> list[str]:
        said = []
        try:
            with tts.on_gpu():
                pass
        except ForkedProcess as refusal:
            said.append(str(refusal))
        try:
            ResidencyManager("sim:1MiB", socket=str(path))
        except ConfigurationError as refusal:
            said.append(str(refusal))
        manager.close()
        return said

    try:
        use, second = in_child(child)
        assert "serves the control socket" in use
        assert "without --preload" in use
        assert "another model process serves" in second
        assert path.is_socket(), "closing the child's copy left the parent's socket alone"
        with tts.on_gpu() as model:
            assert ask(model, 1) == 3
    finally:
        manager.close()


def test_on_a_real_device_the_child_is_told_to_spawn(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = manage()
    tts = manager.register("tts", load=load_doubler)
    monkeypatch.setattr(manager.device, "simulated", False)

    def child() -> list[str]:
        said = []
        for attempt in (tts.on_gpu().__enter__, lambda: tts.move_to(Residency.GPU)):
            try:
                attempt()
            except ForkedProcess as refusal:
                said.append(str(refusal))
        return said

    said = in_child(child)
    assert len(said) == 2
    assert all("start workers with spawn, or gunicorn without --preload" in one for one in said)
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3
