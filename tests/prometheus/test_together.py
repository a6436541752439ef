"""Questions side by side: the first that fails ends the others before anybody goes on."""

import asyncio

import pytest
from dormouse_prometheus.api import at_one_instant
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.errors import PrometheusUnavailable
from dormouse_prometheus.settings import PrometheusSettings
from dormouse_prometheus.together import together


async def result(of: str) -> str:
    await asyncio.sleep(0)
    return of


class Slow:
    """Its end takes a while."""

    def __init__(self) -> None:
        self.ended = False

    async def ask(self) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True
        return ""


async def refused() -> str:
    await asyncio.sleep(0)
    raise ValueError("no")


async def test_results_come_in_the_order_of_the_questions() -> None:
    assert await together(*map(result, "abc")) == ("a", "b", "c")
    assert await together() == ()


async def test_the_first_error_comes_when_the_others_have_ended() -> None:
    slow = Slow()
    with pytest.raises(ValueError, match="no"):
        await together(slow.ask(), refused())
    assert slow.ended


async def test_one_that_fails_at_once_lets_no_other_begin_unheard() -> None:
    """A coroutine that nobody ever awaits is a warning, and warnings are errors here."""

    async def at_once() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together(at_once(), result("b"), result("c"))


async def test_who_gives_up_waits_for_their_end() -> None:
    slow = [Slow(), Slow()]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await together(*(each.ask() for each in slow))
    assert all(each.ended for each in slow)


async def test_no_connection_outlives_the_query_that_failed_beside_it() -> None:
    """Else it would be opened, and left open, after the client was closed."""
    open_now, ended = 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"query=bad" in asked:
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await reader.read()  # until the client closes it
        writer.close()
        open_now -= 1
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    prometheus = PrometheusConnection(PrometheusSettings(f"http://127.0.0.1:{port}"))
    before = asyncio.all_tasks()
    with pytest.raises(PrometheusUnavailable):
        await at_one_instant(prometheus, {"hangs": "up", "fails": "bad", "too": "down"}, 1.0)
    ours = {task for task in asyncio.all_tasks() - before if getattr(task.get_coro(), "__name__", "") != "answer"}
    assert ours == set()
    await prometheus.close()
    async with asyncio.timeout(10):
        while open_now:
            ended.clear()
            await ended.wait()
    server.close()
    await server.wait_closed()
