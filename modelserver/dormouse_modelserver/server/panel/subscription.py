"""One open page's place at the watch: hands events from its thread to the event loop of the page's connection."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence

# The last event of a page whose place another one got; it asks every few seconds from then on.
REPLACED = "replaced"


class Subscription:
    """One page's place. What it has not fetched yet is replaced by what is newer; None is the end.

    client: where the page is, so that none takes every place.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, client: str = "") -> None:
        self.client = client
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
        self._something.clear()
        waiting, self._waiting = self._waiting, {}
        return None if self._ended and not waiting else waiting

    def offer(self, event: str, data: str) -> None:
        """From any thread."""
        self._call(self._take, event, data)

    def end(self, event: str | None = None) -> None:
        """From any thread: after this event, if any, nothing comes."""
        self._call(self._take_last, event)

    def _call(self, take: Callable[..., None], *what: str | None) -> None:
        try:
            self._loop.call_soon_threadsafe(take, *what)
        except RuntimeError:  # its loop is closed: nobody is there any more
            self._ended = True

    def _take(self, event: str, data: str) -> None:
        if not self._ended:
            self._waiting[event] = data
            self._something.set()

    def _take_last(self, event: str | None) -> None:
        self._waiting = {} if event is None else {event: "{}"}
        self._ended = True
        self._something.set()


def client_of(address: str | None) -> str:
    """Who has this address; of IPv6 the network, since one machine has as many addresses there as it likes."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def to_replace(pages: Sequence[Subscription], newest: str) -> Subscription:
    """Which of the pages, the oldest first, ends for one more of the client `newest`.

    The oldest of the client that has the most, the new one included, and of the new one's own where that has as many
    as any: so one client only ever displaces itself, and whoever has none gets a place.
    """
    held = Counter(page.client for page in pages)
    held[newest] += 1
    most = max(held.values())
    if most == 1:
        return pages[0]
    greedy = newest if held[newest] == most else max(held, key=lambda client: held[client])
    return next(page for page in pages if page.client == greedy)
