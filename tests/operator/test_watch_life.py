"""How one watch is judged and begun anew, without a cluster: what it waits for, says, and when it counts as dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from dormouse_operator.cluster import watch as life
from dormouse_operator.cluster.census import Census
from dormouse_operator.cluster.collection import Collection, managed_models, pods
from dormouse_operator.cluster.watch import Signs, Watch
from dormouse_operator.errors import KubeError, KubeNotFound, KubeUnavailable

from tests.waiting import auntil

Show = Callable[[Signs], Awaitable[None]]
REFUSED = KubeError("GET /api/v1/pods: HTTP 403: forbidden", 403)
AWAY = KubeUnavailable("GET /api/v1/pods: no answer within 15 s", 0)
ABSENT = KubeNotFound("GET /api/v1/pods: HTTP 404: not found", 404)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(life, "DEAD_SECONDS", 0.1)
    monkeypatch.setattr(life, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(life, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(life, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(life, "PAUSE_SECONDS", 0.2)


class Cluster(Census):
    """An API server that lists, or says `error`; and what the watches show of it."""

    def __init__(self) -> None:
        self.error: KubeError | None = None
        self.lives = 0
        self.gone = 0
        self.show: Show = self.well

    async def look(self, collection: Collection) -> int:
        if self.error is not None:
            raise self.error
        return 0

    async def well(self, signs: Signs) -> None:
        signs.opened()
        while True:
            signs.alive()
            await asyncio.sleep(0.05)

    async def silent(self, signs: Signs) -> None:
        signs.alive()
        signs.opened()
        await asyncio.Event().wait()

    async def broken(self, signs: Signs) -> None:
        raise RuntimeError('pods is forbidden\nTraceback: "x"', {"kind": "Status"})

    def watch(self, collection: Collection | None = None, after: Watch | None = None) -> Watch:
        loop = asyncio.get_running_loop()

        async def show(signs: Signs) -> None:
            self.lives += 1
            await self.show(signs)

        def gone() -> None:
            self.gone += 1

        return Watch(
            collection or pods(), self, show, gone, after=after, clock=lambda: 1_800_000_000.0, monotonic=loop.time
        )


@pytest.fixture
async def running() -> AsyncIterator[Callable[[Watch], Watch]]:
    tasks: list[asyncio.Task[None]] = []

    def run(watch: Watch) -> Watch:
        tasks.append(asyncio.create_task(watch.run()))
        return watch

    yield run
    for task in tasks:
        assert not task.done(), "whatever happened, it goes on"
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


Run = Callable[[Watch], Watch]


async def test_a_watch_that_lives_is_left_alone(running: Run) -> None:
    cluster = Cluster()
    watch = running(cluster.watch())
    await auntil(watch.synced.is_set)
    began = asyncio.get_running_loop().time()
    await auntil(lambda: asyncio.get_running_loop().time() - began > 1)
    assert (cluster.lives, watch.problem) == (1, "")
    assert watch.unaccounted_seconds() < 0.5
    assert watch.last_alive == 1_800_000_000.0


async def test_one_that_shows_nothing_while_the_api_server_would_is_begun_anew(running: Run) -> None:
    cluster = Cluster()
    cluster.show = cluster.silent
    watch = running(cluster.watch())
    await auntil(lambda: cluster.lives == 3)
    cluster.show = cluster.well
    await auntil(lambda: watch.problem == "")


async def test_one_that_shows_nothing_while_the_api_server_is_away_waits_for_it(running: Run) -> None:
    cluster = Cluster()
    cluster.show = cluster.silent
    watch = running(cluster.watch())
    await auntil(watch.synced.is_set)
    cluster.error = AWAY
    await auntil(lambda: "no answer" in watch.problem)
    began = asyncio.get_running_loop().time()
    await auntil(lambda: asyncio.get_running_loop().time() - began > 1)
    assert cluster.lives == 1
    assert watch.unaccounted_seconds() < 0.5, "no reason to be restarted"


@pytest.mark.parametrize("error", [REFUSED, AWAY, ABSENT], ids=["refused", "away", "no such kind"])
async def test_it_begins_when_the_api_server_lists_the_collection(running: Run, error: KubeError) -> None:
    cluster = Cluster()
    cluster.error = error
    watch = running(cluster.watch())
    await auntil(lambda: str(error) in watch.problem)
    assert watch.refused == (error is not AWAY)
    assert cluster.lives == 0
    assert watch.unaccounted_seconds() < 0.5
    cluster.error = None
    await auntil(lambda: watch.synced.is_set() and not watch.problem)
    assert not watch.refused


async def test_what_there_was_of_a_kind_that_is_gone_is_forgotten_once(running: Run) -> None:
    cluster = Cluster()
    cluster.error = ABSENT
    running(cluster.watch())
    await auntil(lambda: cluster.gone == 1)
    cluster.error = None
    await auntil(lambda: cluster.lives == 1)
    assert cluster.gone == 1


async def test_one_that_ends_again_and_again_is_the_operators_own_trouble_and_said_once_a_minute(
    running: Run, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster()
    cluster.show = cluster.broken
    with caplog.at_level(logging.INFO):
        watch = running(cluster.watch(pods("speech")))
        await auntil(lambda: cluster.lives >= 5)
    assert watch.unaccounted_seconds() > 0.05
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith("The pods in speech are not watched: the watch ended: RuntimeError: pods is forbidden Trace")
    assert "\n" not in text
    assert not record.exc_info


async def test_one_that_comes_back_by_itself_says_so_once(running: Run, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    alive = asyncio.Event()

    async def show(signs: Signs) -> None:
        signs.alive()
        signs.opened()
        await alive.wait()
        await cluster.well(signs)

    cluster.show = show
    with caplog.at_level(logging.INFO):
        watch = running(cluster.watch())
        await auntil(watch.synced.is_set)
        cluster.error = AWAY
        await auntil(lambda: watch.problem != "")
        began = asyncio.get_running_loop().time()
        await auntil(lambda: asyncio.get_running_loop().time() - began > 0.3)
        assert watch.problem != ""
        alive.set()
        await auntil(lambda: watch.problem == "")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert cluster.lives == 1


async def test_one_that_is_cancelled_from_within_is_begun_anew(running: Run) -> None:
    cluster = Cluster()

    async def show(signs: Signs) -> None:
        raise asyncio.CancelledError

    cluster.show = show
    running(cluster.watch())
    await auntil(lambda: cluster.lives == 3)


async def test_one_that_ends_at_once_is_begun_less_and_less_often(running: Run) -> None:
    cluster = Cluster()
    cluster.show = cluster.broken
    running(cluster.watch())
    loop = asyncio.get_running_loop()
    began = loop.time()
    await auntil(lambda: loop.time() - began > 1.5)
    assert 5 < cluster.lives < 25


async def test_managed_models_wait_for_the_pods_of_their_place(running: Run) -> None:
    cluster = Cluster()
    cluster.error = REFUSED
    first = running(cluster.watch(pods("speech")))
    second = running(cluster.watch(managed_models("speech"), after=first))
    await auntil(lambda: second.refused)
    assert not second.synced.is_set()
    cluster.error = None
    await auntil(second.synced.is_set)
    assert first.synced.is_set()
