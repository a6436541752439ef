"""Sixteen live streams at a time: one client can't have them all, and whoever has none gets one."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.server.authority import anyone
from dormouse_modelserver.server.panel.subscription import REPLACED, Subscription, client_of, to_replace
from dormouse_modelserver.server.panel.watch import MAX_STREAMS, Watch
from hypothesis import given
from hypothesis import strategies as st

from tests.modelserver.lifecycle.conftest import load_doubler
from tests.modelserver.server.serving_process import Serving


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    manager = ResidencyManager("sim:1MiB", socket="")
    manager.register("tts", load=load_doubler)
    watch = Watch(manager, anyone.access)
    yield watch
    watch.close()
    manager.close()


def taken(watch: Watch, client: str) -> Subscription:
    page = watch.subscribe(client)
    assert page is not None
    return page


async def last_words(page: Subscription) -> list[str]:
    """The events up to the end."""
    heard: list[str] = []
    while (waiting := await page.next(10)) is not None:
        assert waiting, "it comes to an end"
        heard += waiting
    return heard


async def hears_the_state(page: Subscription) -> None:
    """Its place is its own: it is not ended before it has heard it."""
    while "state" not in (waiting := await page.next(10) or {}):
        assert waiting, "nothing came, or the end"
        assert REPLACED not in waiting


async def test_a_client_with_every_place_gives_up_its_own_oldest_for_its_newest(watch: Watch) -> None:
    pages = [taken(watch, "greedy") for _ in range(MAX_STREAMS + 3)]
    for page in pages[:3]:
        assert (await last_words(page))[-1] == REPLACED
    for page in pages[3:]:
        await hears_the_state(page)


async def test_whoever_has_none_gets_a_place_and_keeps_it(watch: Watch) -> None:
    for _ in range(MAX_STREAMS):
        taken(watch, "greedy")
    others = [taken(watch, f"other {n}") for n in range(MAX_STREAMS - 1)]
    for _ in range(3 * MAX_STREAMS):
        taken(watch, "greedy")
    for other in others:
        await hears_the_state(other)


async def test_with_a_place_each_the_oldest_goes(watch: Watch) -> None:
    pages = [taken(watch, f"client {n}") for n in range(MAX_STREAMS + 1)]
    assert (await last_words(pages[0]))[-1] == REPLACED
    assert await pages[1].next(10)


@given(st.lists(st.integers(0, 20).map(str), min_size=1, max_size=120))
def test_whoever_comes_none_has_more_than_one_place_more_than_who_was_ended_for_it(clients: list[str]) -> None:
    """Places as the watch gives them, without the watch."""
    loop = asyncio.new_event_loop()
    pages: list[Subscription] = []
    for client in clients:
        if len(pages) == MAX_STREAMS:
            held = Counter(page.client for page in pages)
            held[client] += 1
            ended = to_replace(pages, client)
            assert held[ended.client] == max(held.values())
            assert ended.client == client or held[client] < max(held.values()) or max(held.values()) == 1
            pages.remove(ended)
        pages.append(Subscription(loop, client))
    loop.close()
    assert pages[-1].client == clients[-1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        (None, "testclient", True),
    ],
)
def test_a_network_of_ipv6_is_one_client(one: str | None, other: str, same: bool) -> None:
    assert (client_of(one) == client_of(other)) is same


async def test_who_comes_and_goes_all_the_time_makes_no_work(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    real = watch._read_state
    monkeypatch.setattr(watch, "_read_state", lambda: (next(looks), real())[1])
    stays = taken(watch, "stays")
    assert await stays.next(10)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 1:
        watch.unsubscribe(taken(watch, "restless"))
        await asyncio.sleep(0)
    assert next(looks) < 15


def test_the_stream_of_one_client_with_too_many_says_so_and_ends(server: Serving) -> None:
    events = f"{server.url}/dormouse/v1/events"
    with contextlib.ExitStack() as held:
        first = held.enter_context(httpx.stream("GET", events, timeout=30))
        assert first.status_code == 200
        for _ in range(MAX_STREAMS):
            assert held.enter_context(httpx.stream("GET", events, timeout=30)).status_code == 200
        lines = [line for line in first.iter_lines() if line]
    assert lines[-3:] == ["retry: 30000", f"event: {REPLACED}", "data: {}"]
