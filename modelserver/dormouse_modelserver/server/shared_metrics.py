"""One exposition for all who scrape this process: on each prefix, without one, and through the control socket.

The sidecar's port passes scrapes of anybody on to the control socket, so that one shares as well. Nothing is decided by
these figures alone: an order says for how long the model must have been idle, and the model looks at itself then.
"""

import threading
from weakref import WeakKeyDictionary, ref

from ..lifecycle.device import DeviceMemory
from ..lifecycle.forking import begins_anew
from ..lifecycle.registry import Registry
from .allowance import Allowance
from .exposition import render_metrics
from .memory_reading import MemoryReading

_of_each: "WeakKeyDictionary[Registry, SharedMetrics]" = WeakKeyDictionary()
_finding = threading.Lock()


def metrics_of(registry: Registry) -> "SharedMetrics":
    """The same for each caller with this registry."""
    with _finding:
        found = _of_each.get(registry)
        if found is None:
            found = _of_each[registry] = SharedMetrics(registry)
        return found


class SharedMetrics:
    """Thread-safe, for callers on any event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = ref(registry)  # it is kept as long as the registry, and must not keep it
        self._reading = MemoryReading(registry.device)
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Also in a forked child: its parent's figures are not its own."""
        self._allowance, self._lock = Allowance(), threading.Lock()
        self._latest: tuple[DeviceMemory | None, bytes] | None = None
        self._made = 0

    async def get(self) -> bytes:
        """Prometheus' text format, at most about a second old."""
        latest = self._latest
        if latest is not None and not self._allowance.take():
            return latest[1]
        made_before = self._made
        memory = await self._reading.now()
        registry = self._registry()
        with self._lock:
            latest = self._latest
            # Others asked the device at the same time, and the first of them has rendered its answer.
            if latest is not None and latest[0] is memory and self._made > made_before:
                return latest[1]
            made = render_metrics(registry, memory) if registry is not None else b""
            self._latest, self._made = (memory, made), self._made + 1
            return made
