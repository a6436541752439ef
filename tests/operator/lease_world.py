"""A Lease in an API server of a few lines, on a clock that the test moves; it can hang, refuse and lose answers."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

from dormouse_operator.errors import KubeConflict, KubeError, KubeNotFound, KubeUnavailable
from dormouse_operator.leadership.election import Leadership
from dormouse_operator.leadership.settings import LeaseSettings

SETTINGS = LeaseSettings(enabled=True)


class Clock:
    """Monotonic for everybody; each operator's wall clock may be anywhere."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class LeaseServer:
    """Optimistic concurrency as the API server has it, for one Lease."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self._version = 0
        self._created = 0

    def write(self, body: Mapping[str, Any]) -> dict[str, Any]:
        metadata = body["metadata"]
        if self.lease is None:
            raise KubeNotFound("no such Lease", 404)
        current = self.lease["metadata"]
        if (metadata["resourceVersion"], metadata["uid"]) != (current["resourceVersion"], current["uid"]):
            raise KubeConflict("changed in between", 409)
        return self._store(body, current["uid"])

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.lease is not None:
            raise KubeConflict("exists", 409)
        self._created += 1
        return self._store(body, f"uid-{self._created}")

    def edit(self, **spec: Any) -> None:
        """As a person does with kubectl."""
        assert self.lease is not None
        self._store(self.lease | {"spec": self.lease["spec"] | spec}, self.lease["metadata"]["uid"])

    def annotate(self) -> None:
        assert self.lease is not None
        self._store(self.lease, self.lease["metadata"]["uid"])

    def delete(self) -> None:
        self.lease = None

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec

    def _store(self, body: Mapping[str, Any], uid: str) -> dict[str, Any]:
        self._version += 1
        self.lease = copy.deepcopy(dict(body))
        self.lease["metadata"] = {**body["metadata"], "uid": uid, "resourceVersion": str(self._version)}
        return copy.deepcopy(self.lease)


class Line:
    """One operator's way to the server. `fault` is what happens to its calls."""

    def __init__(self, server: LeaseServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self.fault: KubeError | str | None = None
        self.calls: list[tuple[str, float]] = []
        self.hanging = asyncio.Event()

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        assert path.startswith("/apis/coordination.k8s.io/v1/namespaces/dormouse-system/leases")
        self.calls.append((method, self._clock.now))
        if isinstance(self.fault, KubeError):
            raise self.fault
        if self.fault == "times out":
            self._clock.now += SETTINGS.call_timeout_seconds
            raise KubeUnavailable(f"{method}: no answer in time", 0)
        if self.fault == "hangs":
            self.hanging.set()
            await asyncio.Event().wait()
        answer = self._do(method, body)
        if self.fault == "loses the answer" and method != "GET":
            self._clock.now += SETTINGS.call_timeout_seconds
            raise KubeUnavailable(f"{method}: no answer in time", 0)
        return answer

    def _do(self, method: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        if method == "POST":
            return self._server.create(body or {})
        if method == "PUT":
            return self._server.write(body or {})
        if self._server.lease is None:
            raise KubeNotFound("no such Lease", 404)
        return copy.deepcopy(self._server.lease)


class Operators:
    """Any number of them over one server and one clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.server = LeaseServer()
        self.lines: dict[str, Line] = {}
        self.changes: list[str] = []

    def add(self, name: str, wall_clock: float = 1.8e9, settings: LeaseSettings = SETTINGS) -> Leadership:
        line = self.lines[name] = Line(self.server, self.clock)
        return Leadership(
            line,  # type: ignore[arg-type]
            settings,
            "dormouse-system",
            name,
            on_change=lambda: self.changes.append(name),
            clock=lambda: wall_clock + self.clock.now,
            monotonic=self.clock,
        )

    async def until_leads(self, one: Leadership, within_seconds: float) -> float:
        """It alone goes on, as its own loop would; returns when it leads."""
        deadline = self.clock.now + within_seconds
        while True:
            rest = await one.attempt()
            if one.leads:
                return self.clock.now
            self.clock.now += rest
            assert self.clock.now <= deadline, "nobody leads in time"

    async def side_by_side(self, seconds: float, *operators: Leadership) -> None:
        """All go on, and never do two lead at once."""
        due = dict.fromkeys(operators, self.clock.now)
        end = self.clock.now + seconds
        while (nearest := min(due, key=lambda each: due[each])) is not None and due[nearest] < end:
            self.clock.now = max(self.clock.now, due[nearest])
            rest = await nearest.attempt()
            due[nearest] = self.clock.now + rest
            assert sum(each.leads for each in operators) <= 1
        self.clock.now = max(self.clock.now, end)
