"""What a bad pod says: series and answers that are right but for what an attack makes wrong, and ways to say them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dormouse_contract import metrics

from tests.operator.fake_pod import FakeModel

from .listener import Handle, Request, answer, read_request, response

Reply = Callable[[Request], bytes]
LONG_AGO_SECONDS = 10_000.0


def series(model: str, values: Mapping[str, str] = {}, *, residency: str = "GPU") -> list[str]:
    """A model that is idle since long, on the lines of an exposition. `values`: by metric, as they are written."""
    given = {
        metrics.IN_FLIGHT.name: "0",
        metrics.IDLE_SINCE.name: repr(time.time() - LONG_AGO_SECONDS),
        metrics.LAST_TRANSITION.name: "0",
        metrics.TRANSITION_START.name: "0",
        metrics.RELEASED.name: "0",
        metrics.GPU_MEMORY.name: "536870912",
        **values,
    }
    label = f'model="{escaped(model)}"'
    lines = [f"{name}{{{label}}} {value}" for name, value in given.items()]
    tiers = {residency, "GPU", "CPU", "Unloaded"}
    return lines + [
        f'{metrics.RESIDENCY.name}{{{label},residency="{escaped(tier)}"}} {int(tier == residency)}' for tier in tiers
    ]


def escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def exposition(lines: Iterable[str]) -> bytes:
    return "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def models_of(names: Iterable[str]) -> Callable[[], bytes]:
    """Metrics of models that are all idle since long."""
    kept = list(names)
    return lambda: exposition(line for name in kept for line in series(name))


def snapshot(model: str, **changed: Any) -> dict[str, Any]:
    return FakeModel(idle_since=time.time() - LONG_AGO_SECONDS).snapshot(model) | changed


def model_list(names: Iterable[str]) -> bytes:
    return json.dumps({"models": [snapshot(name) for name in names]}).encode()


def moved(**changed: Any) -> dict[str, Any]:
    """A `lastTransition`, later than whatever is made now: what was before a ManagedModel is none of its story."""
    model = FakeModel()
    model.move("CPU", "Idle", "idle")
    return (model.last_transition or {}) | {"time": time.time() + 30} | changed


def problem(detail: str, *, status: int = 503, reason: str = "CannotNow") -> bytes:
    body = {"title": detail, "status": status, "detail": detail, "reason": reason}
    return response(json.dumps(body).encode(), f"{status} Refused", "application/problem+json")


def replying(reply: Reply) -> Handle:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer, reply(await read_request(reader)))

    return handle


def polite(names: Iterable[str], then: Handle | None = None) -> Handle:
    """Tells its models when it is asked, so that it counts as reached; whatever is ordered goes to `then`."""
    listed = response(model_list(names))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request.method == "GET":
            await answer(writer, listed)
        elif then is not None:
            await then(reader, writer)
        else:
            name = request.path.split("/")[4]
            await answer(writer, response(json.dumps(snapshot(name)).encode()))

    return handle


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """For ever, or until the other side has had enough."""
    await asyncio.Event().wait()
