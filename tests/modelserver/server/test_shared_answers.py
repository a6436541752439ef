"""What needs no token is made about once a second for all who ask; and whoever looks twice sees what has changed."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from dormouse_modelserver import Residency, ResidencyManager
from dormouse_modelserver.lifecycle import registry
from dormouse_modelserver.server import openapi, shared_metrics
from dormouse_modelserver.server.allowance import Allowance
from dormouse_modelserver.server.panel import watch
from dormouse_modelserver.server.problems import Refusal
from dormouse_modelserver.server.shared_answer import SharedAnswer
from fastapi import FastAPI

from tests.modelserver.lifecycle.conftest import load_doubler

SECONDS = 1.5
# Five in a row and one each second; and those under way while it was counted.
MOST_MADE = 5 + SECONDS + 2


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_allowance_is_a_few_at_once_and_then_one_a_second() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    assert [allowance.take() for _ in range(7)] == [True] * 5 + [False] * 2
    for _ in range(5):
        clock.now += 0.25
        allowance.take()
    assert not allowance.take()
    clock.now += 1
    assert [allowance.take(), allowance.take()] == [True, False]
    clock.now += 1_000
    assert sum(allowance.take() for _ in range(20)) == 5, "no more than a few are saved up"


async def test_all_who_ask_while_it_is_made_share_it() -> None:
    may_end, made = threading.Event(), []

    def make() -> int:
        assert may_end.wait(10)
        made.append(1)
        return len(made)

    answer = SharedAnswer("test", make)
    asked = [asyncio.create_task(answer.get()) for _ in range(50)]
    asked[7].cancel()
    await asyncio.sleep(0)
    may_end.set()
    assert await asyncio.gather(*asked[:7], *asked[8:]) == [1] * 49
    assert await answer.get() == 2, "whoever comes later sees what is new"


async def test_an_answer_that_failed_is_made_anew() -> None:
    outcomes = iter([ValueError("once"), None])

    def make() -> str:
        error = next(outcomes)
        if error is not None:
            raise error
        return "made"

    answer = SharedAnswer("test", make)
    with pytest.raises(ValueError, match="once"):
        await answer.get()
    assert await answer.get() == "made"


async def test_a_thread_that_can_not_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SharedAnswer("test", lambda: "made")

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(Refusal):
            await answer.get()
    assert await answer.get() == "made"


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two apps of one manager, and its control socket: three ways in, two event loops."""
    socket = tmp_path / "model.sock"
    manager = ResidencyManager("sim:1MiB", socket=str(socket))
    tts = manager.register("tts", load=load_doubler)
    async with tts.on_gpu():
        pass
    app = FastAPI()
    manager.install(app)
    other = FastAPI()
    other.include_router(manager.router("/other"))
    async with AsyncExitStack() as stack:
        transports = (
            httpx.ASGITransport(app=app),
            httpx.ASGITransport(app=other),
            httpx.AsyncHTTPTransport(uds=str(socket)),
        )
        yield [
            await stack.enter_async_context(httpx.AsyncClient(transport=each, base_url="http://here", timeout=20))
            for each in transports
        ]
    manager.close()


def counted(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> list[int]:
    calls: list[int] = []
    real: Callable[..., Any] = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *args, **more: (calls.append(1), real(*args, **more))[1])
    return calls


async def _ask_all_the_time(client: httpx.AsyncClient, path: str) -> int:
    loop, count = asyncio.get_running_loop(), 0
    end = loop.time() + SECONDS
    while loop.time() < end:
        assert (await client.get(path)).status_code == 200
        count += 1
    return count


async def test_metrics_asked_for_all_the_time_by_three_ways_are_made_once_a_second(
    clients: list[httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = counted(monkeypatch, shared_metrics, "render_metrics")
    app, other, control = clients
    asked = await asyncio.gather(
        _ask_all_the_time(app, "/dormouse/metrics"),
        _ask_all_the_time(other, "/other/metrics"),
        _ask_all_the_time(control, "/metrics"),
        _ask_all_the_time(control, "/dormouse/metrics"),
    )
    assert sum(asked) > 5 * MOST_MADE
    assert 1 <= len(made) <= MOST_MADE


@pytest.mark.parametrize(
    ("path", "where", "name"),
    [
        ("/dormouse/v1/panel", watch, "read_state"),
        ("/dormouse/v1/gpu-memory", watch, "MemoryHistory"),
        ("/dormouse/v1/models", registry, "advise"),
        ("/dormouse/v1/openapi.json", openapi, "control_api"),
    ],
)
async def test_whatever_else_needs_no_token_is_made_once_a_second(
    clients: list[httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch, path: str, where: Any, name: str
) -> None:
    made = counted(monkeypatch, where, name)
    asked = await asyncio.gather(*(_ask_all_the_time(clients[0], path) for _ in range(3)))
    assert sum(asked) > MOST_MADE
    assert len(made) <= MOST_MADE


async def test_whoever_looks_changes_something_and_looks_again_sees_it(
    tmp_path: Path,
) -> None:
    socket = tmp_path / "model.sock"
    manager = ResidencyManager("sim:1MiB", socket=str(socket))
    manager.register("tts", load=load_doubler)
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://model", timeout=20) as control:
        for desired in (Residency.GPU, Residency.CPU, Residency.GPU, Residency.UNLOADED):
            await manager["tts"].amove_to(desired)
            text = (await control.get("/metrics")).text
            assert f'dormouse_model_residency{{model="tts",residency="{desired}"}} 1.0' in text
    manager.close()


async def test_the_exposition_does_not_keep_its_manager() -> None:
    manager = ResidencyManager("sim:1MiB", socket="")
    assert await shared_metrics.metrics_of(manager).get()
    gone = weakref.ref(manager)
    manager.close()
    del manager
    gc.collect()
    assert gone() is None
