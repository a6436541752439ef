"""One open page's place at the watch: hands events from its thread to the event loop of the page's connection."""

import asyncio


class Subscription:
    """One page's place. What it has not fetched yet is replaced by what is newer; None is the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, str] = {}
        self._something = asyncio.Event()
        self._ended = False

    async def next(self, within_seconds: float) -> dict[str, str] | None:
        """Event names and data, empty when nothing came in time."""
        if not self._ended:
            try:
                await asyncio.wait_for(self._something.wait(), within_seconds)
            except TimeoutError:
                return {}
        if self._ended:
            return None
        self._something.clear()
        waiting, self._waiting = self._waiting, {}
        return waiting

    def offer(self, event: str, data: str | None) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._take, event, data)
        except RuntimeError:  # its loop is closed: nobody is there any more
            self._ended = True

    def _take(self, event: str, data: str | None) -> None:
        if data is None:
            self._ended = True
        else:
            self._waiting[event] = data
        self._something.set()
