"""A process at its limit of threads: no request and no sleep is lost for good, and health and metrics say so."""

import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from dormouse_modelserver import Model, Residency, ResidencyManager, Safetensors, TransitionFailed
from dormouse_modelserver.engines.torch.checks import checksum as checksums
from dormouse_modelserver.lifecycle import background
from dormouse_modelserver.lifecycle.background import LongLived
from dormouse_modelserver.lifecycle.idle_timer import IdleTimer
from dormouse_modelserver.lifecycle.uses import finalizing
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.torch import save_file
from torch import nn

from tests.waiting import until

from .conftest import Manage, Stop, ask, load_doubler

GPU, CPU = Residency.GPU, Residency.CPU


class Limit:
    """While set, no thread whose name begins so can be started."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.error: BaseException = RuntimeError("can't start new thread")
        self.refused = 0

    def set(self, *names: str) -> None:
        self.names = names


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    limit, start = Limit(), threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith(limit.names or ("\0",)):
            limit.refused += 1
            raise limit.error
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    yield limit
    limit.set()
    background.problems()  # starts again what is missing


def counted(thread: str) -> int:
    return background.failures().get(thread, 0)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=["limit", "memory"])
def test_a_wake_that_can_not_start_is_told_and_the_next_use_tries_again(
    tts: Model[nn.Linear], limit: Limit, error: Exception
) -> None:
    limit.error = error
    limit.set("dormouse-tts")
    for _ in range(3):
        with pytest.raises(TransitionFailed, match="no thread can be started") as failed:
            tts.on_gpu().__enter__()
    assert failed.value.residency is Residency.UNLOADED
    now = tts.snapshot()
    assert (now.transition, now.waiting, now.in_flight) == (None, 0, 0)
    assert now.last_transition is not None
    assert now.last_transition.outcome == "failed"
    limit.set()
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3


def test_orders_by_hand_and_preloads_are_told_too(
    manager: ResidencyManager, tts: Model[nn.Linear], limit: Limit
) -> None:
    limit.set("dormouse-tts")
    with pytest.raises(TransitionFailed, match="no thread"):
        tts.move_to(GPU)
    with pytest.raises(TransitionFailed, match="no thread"):
        manager.preload()
    limit.set()
    manager.preload()
    assert tts.snapshot().residency is CPU


async def test_an_async_use_is_told_and_the_loop_goes_on(tts: Model[nn.Linear], limit: Limit) -> None:
    limit.set("dormouse-tts")
    with pytest.raises(TransitionFailed, match="no thread"):
        await tts.on_gpu().__aenter__()
    limit.set()
    async with tts.on_gpu() as model:
        assert ask(model, 1) == 3


def test_who_waits_through_a_demotion_hears_that_the_wake_could_not_start(
    changed: Model[nn.Linear], manager: ResidencyManager, limit: Limit
) -> None:
    stop = Stop()
    manager.device.faults.before_copy_out = stop  # type: ignore[attr-defined]
    moving = threading.Thread(target=lambda: changed.move_to(CPU))
    moving.start()
    assert stop.reached.wait(20)
    errors: list[BaseException] = []

    def ask_for_it() -> None:
        try:
            changed.on_gpu(timeout=20).__enter__()
        except TransitionFailed as error:
            errors.append(error)

    asking = threading.Thread(target=ask_for_it)
    asking.start()
    until(lambda: changed.snapshot().waiting == 1)
    limit.set("dormouse-tts")
    stop.go()
    asking.join(20)
    moving.join(20)
    assert len(errors) == 1
    limit.set()
    with changed.on_gpu() as model:
        assert ask(model, 1) == 4


def test_an_exception_out_of_nowhere_while_it_starts_leaves_no_move_that_never_ends(
    tts: Model[nn.Linear], limit: Limit
) -> None:
    limit.error = KeyboardInterrupt()
    limit.set("dormouse-tts")
    with pytest.raises(KeyboardInterrupt):
        tts.move_to(GPU)
    assert (tts.snapshot().transition, tts.snapshot().waiting) == (None, 0)
    limit.set()
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3


def test_an_exception_after_it_started_lets_the_move_go_on(
    tts: Model[nn.Linear], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "dormouse-tts":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tts.move_to(GPU)
    monkeypatch.undo()
    until(lambda: tts.snapshot().residency is GPU)
    assert tts.snapshot().transition is None


def test_a_demotion_that_can_not_start_is_tried_again(
    manage: Manage, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dormouse_modelserver.lifecycle.idle_timer._RETRY_FAILED_SECONDS", 0.2)
    tts = manage(idle_timeout=0.1).register("tts", load_doubler)
    with tts.on_gpu():
        limit.set("dormouse-tts")
    until(lambda: limit.refused > 1)
    assert tts.snapshot().residency is GPU
    limit.set()
    until(lambda: tts.snapshot().residency is CPU)


def test_a_timer_that_could_not_start_starts_at_the_next_need(manage: Manage, limit: Limit) -> None:
    limit.set("dormouse-idle-timer")
    before = counted("idle-timer")
    tts = manage(idle_timeout=0.1).register("tts", load_doubler)
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3, "no use fails for it"
    assert counted("idle-timer") > before
    assert any("idle-timer does not run" in problem for problem in background.problems())
    limit.set()
    assert not any("idle-timer" in problem for problem in background.problems()), "a look at the health was a need"
    until(lambda: tts.snapshot().residency is CPU)


def test_a_timer_survives_whatever_one_model_raises(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = manage(idle_timeout=0.1)
    broken, whole = (manager.register(name, load_doubler) for name in ("broken", "whole"))
    due = IdleTimer._due

    def raises(timer: IdleTimer, slot: Any) -> Any:
        if slot.name == "broken":
            raise ZeroDivisionError("a policy that nobody foresaw")
        return due(timer, slot)

    before = counted("idle-timer")
    monkeypatch.setattr(IdleTimer, "_due", raises)
    for model in (broken, whole):
        with model.on_gpu() as linear:
            assert ask(linear, 1) == 3, "the answer is right whatever the timer does"
    until(lambda: whole.snapshot().residency is CPU)
    assert counted("idle-timer") > before
    until(lambda: any("idle-timer failed" in problem for problem in background.problems()))
    monkeypatch.undo()
    until(lambda: broken.snapshot().residency is CPU)
    until(lambda: background.problems() == [])


def test_a_timer_whose_loop_raises_begins_again(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = manage(idle_timeout=0.3)
    tts = manager.register("tts", load_doubler)
    slots, failing = manager._idle_timer._slots, threading.Event()

    def raises() -> Any:
        if failing.is_set():
            failing.clear()
            raise MemoryError
        return slots()

    monkeypatch.setattr(manager._idle_timer, "_slots", raises)
    failing.set()
    with tts.on_gpu():
        pass
    until(lambda: not failing.is_set())
    until(lambda: tts.snapshot().residency is CPU)


def test_the_finalizer_begins_again_and_ends_what_comes_later() -> None:
    ended = threading.Event()
    finalizing.start()

    def raises() -> None:
        raise SystemExit

    before = counted("finalizer")
    finalizing.soon(raises)
    finalizing.soon(ended.set)
    assert ended.wait(20)
    assert counted("finalizer") == before + 1


def test_a_long_lived_thread_is_started_once_ends_when_its_work_does_and_says_what_fails() -> None:
    rounds, go = list[int](), threading.Event()

    def work() -> None:
        rounds.append(threading.get_ident())
        if len(rounds) < 4:
            raise ValueError("not yet")
        assert go.wait(20)

    thread = LongLived("for-this-test", work)
    for _ in range(3):
        thread.ensure()
    until(lambda: len(rounds) == 4)
    assert len(set(rounds)) == 1
    assert thread.problem is not None
    assert "failed 3 times in a row (ValueError: not yet)" in thread.problem
    go.set()
    until(lambda: not thread.runs)
    assert thread.problem is None, "its work is done"
    assert background.failures()["for-this-test"] == 3


@pytest.fixture
def visited(manager: ResidencyManager) -> Iterator[TestClient]:
    app = FastAPI()
    manager.install(app)
    with TestClient(app) as client:
        yield client


def test_health_and_metrics_tell_of_a_thread_that_does_not_run(
    visited: TestClient, manage: Manage, limit: Limit
) -> None:
    assert visited.get("/dormouse/healthz").status_code == 200
    limit.set("dormouse-idle-timer")
    tts = manage(idle_timeout=0.1).register("tts", load_doubler)
    answer = visited.get("/dormouse/healthz")
    assert answer.status_code == 503
    assert "idle-timer does not run (RuntimeError: can't start new thread)" in answer.json()["detail"]
    limit.set()
    scraped = visited.get("/dormouse/metrics").text
    assert 'dormouse_background_failures_total{thread="idle-timer"}' in scraped
    assert 'dormouse_background_failures_total{thread="finalizer"}' in scraped, "also before the first failure"
    assert visited.get("/dormouse/healthz").status_code == 200
    with tts.on_gpu():
        pass


@pytest.mark.parametrize("name", ["dormouse-memory", "dormouse-panel-read", "dormouse-panel"])
def test_pages_and_metrics_answer_without_a_thread_and_are_whole_again_with_one(
    visited: TestClient, limit: Limit, name: str
) -> None:
    limit.set(name)
    assert "dormouse_build_info" in visited.get("/dormouse/metrics").text
    assert visited.get("/dormouse/v1/panel").status_code in (200, 503)
    limit.set()
    assert visited.get("/dormouse/v1/panel").status_code == 200
    assert "dormouse_build_info" in visited.get("/dormouse/metrics").text


def test_a_preload_that_could_not_start_is_made_at_the_next_need(
    manager: ResidencyManager, tts: Model[nn.Linear], limit: Limit
) -> None:
    limit.set("dormouse-preload")
    manager.preload_in_background()
    assert manager.not_ready_because() is not None
    limit.set()
    assert background.problems() == []
    until(lambda: manager.not_ready_because() is None)
    assert tts.snapshot().residency is CPU


def test_the_control_socket_is_served_as_soon_as_its_thread_can_start(tmp_path: Path, limit: Limit) -> None:
    limit.set("dormouse-socket")
    manager = ResidencyManager("sim", socket=str(tmp_path / "control.sock"))
    try:
        limit.set()
        assert background.problems() == []
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "control.sock"))) as client:
            assert client.get("http://model/healthz", timeout=20).text == "ok\n"
    finally:
        manager.close()


def test_neighbours_are_answered_again_when_threads_can_start(manage: Manage, tmp_path: Path, limit: Limit) -> None:
    folder = tmp_path / "arbiter"
    device = f"sim:900@{tmp_path}/gpu"
    limit.set("dormouse-neighbour")  # the one that accepts, and those that answer
    one, other = (manage(device, gpu_arbiter=str(folder)) for _ in range(2))
    here, there = one.register("here", load_doubler), other.register("there", load_doubler)
    with there.on_gpu():
        pass

    def use() -> None:
        with here.on_gpu(timeout=30):
            pass

    asking = threading.Thread(target=use, daemon=True)
    asking.start()
    until(lambda: here.snapshot().waiting == 1)
    limit.set()
    background.start_missing()
    asking.join(30)
    assert not asking.is_alive()
    assert here.snapshot().residency is GPU


def test_sums_and_reads_are_made_in_this_thread_when_no_other_can_start(
    tmp_path: Path, limit: Limit, monkeypatch: pytest.MonkeyPatch, manage: Manage
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    data = torch.arange(8 << 20, dtype=torch.int64).view(torch.uint8)
    whole = checksums.checksum(data)
    limit.set("dormouse-checksum", "dormouse-read")
    assert checksums.checksum(data) == whole
    save_file({"weight": 2 * torch.eye(64), "bias": torch.ones(64)}, tmp_path / "model.safetensors")

    def build() -> nn.Linear:
        with torch.device("meta"):
            return nn.Linear(64, 64)

    model = manage().register("m", Safetensors(build, tmp_path))
    with model.on_gpu() as linear, torch.inference_mode():
        assert torch.equal(linear(torch.ones(1, 64)), torch.full((1, 64), 3.0))
    assert limit.refused > 0


_AT_THE_LIMIT = """
    import os, resource, sys, time
    import dormouse_modelserver as dm
    from dormouse_modelserver.lifecycle import background, idle_timer
    from torch import nn

    idle_timer._RETRY_FAILED_SECONDS = 0.5
    first = dm.ResidencyManager("sim:1MiB", socket="")
    with first.register("m", lambda: nn.Linear(4, 4)).on_gpu():
        pass  # whatever is imported late is imported now: Python itself may be readable for root alone
    first.close()
    if os.getuid() == 0:
        os.setgid(54321)
        os.setuid(54321)  # the limit does not count for root
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)

    def threads(allowed):
        resource.setrlimit(resource.RLIMIT_NPROC, (most if allowed else 0, most))

    def until(holds):
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.02)

    def refused():
        try:
            model.on_gpu(timeout=5).__enter__()
        except dm.TransitionFailed as error:
            assert "no thread can be started" in str(error), error
            return True
        return False

    threads(False)
    manager = dm.ResidencyManager("sim:1MiB", idle_timeout=0.2, socket="")
    model = manager.register("m", lambda: nn.Linear(4, 4))
    assert refused() and refused()
    assert background.problems(), "the timer does not run"
    threads(True)
    assert not background.problems()
    with model.on_gpu(timeout=20):
        threads(False)
    until(lambda: model.snapshot().last_transition.outcome == "failed")
    assert model.snapshot().residency is dm.Residency.GPU
    threads(True)
    until(lambda: model.snapshot().residency is dm.Residency.CPU)
    with model.on_gpu(timeout=20):
        pass
    until(lambda: model.snapshot().residency is dm.Residency.CPU)
    print("whole")
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_NPROC"), reason="no such limit here")
def test_with_the_systems_own_limit_nothing_is_lost_for_good(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_AT_THE_LIMIT)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.stdout.endswith("whole\n"), ran.stderr[-3000:]
