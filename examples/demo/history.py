"""What the replicas went through, read off them while the demo runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from dormouse_contract.wire import LastTransitionSnapshot, ModelSnapshot

from examples.demo.stage import Replica

# Transitions follow each other by seconds; a tenth of one misses none.
LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Transition:
    """One finished move of one replica, with the words of the replica itself."""

    replica: str
    event: LastTransitionSnapshot

    def line(self) -> str:
        event = self.event
        released = f" · released {event.released_bytes / 2**20:.0f} MiB" if event.released_bytes else ""
        return (
            f"{self.replica}: {event.from_} → {event.to} in {event.seconds:.2f} s "
            f"({event.trigger}: {event.reason}){released}"
        )

    def as_json(self) -> dict[str, object]:
        event = self.event
        return {
            "model": self.replica,
            "from": event.from_,
            "to": event.to,
            "trigger": event.trigger,
            "seconds": round(event.seconds, 6),
            "released_bytes": event.released_bytes,
        }


class Historian(threading.Thread):
    """Follows the replicas' snapshots; `tell` is called once per transition, from this thread."""

    def __init__(self, replicas: list[Replica], tell: Callable[[Transition], None]) -> None:
        super().__init__(name="historian", daemon=True)
        self.transitions: list[Transition] = []
        self.snapshots: dict[str, ModelSnapshot] = {}
        self._replicas, self._tell = replicas, tell
        self._stopped = threading.Event()

    def run(self) -> None:
        seen: dict[str, float] = {}
        with httpx.Client(timeout=5, trust_env=False) as http:
            while not self._stopped.wait(LOOK_EVERY_SECONDS):
                for replica in self._replicas:
                    self._look(http, replica, seen)

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _look(self, http: httpx.Client, replica: Replica, seen: dict[str, float]) -> None:
        try:
            snapshot = replica.snapshot(http)
        except httpx.HTTPError:
            return
        self.snapshots[replica.name] = snapshot
        event = snapshot.last_transition
        if event is not None and event.time != seen.get(replica.name):
            seen[replica.name] = event.time
            transition = Transition(replica.name, event)
            self.transitions.append(transition)
            self._tell(transition)
