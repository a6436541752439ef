"""Objects as the API server sends them, and views made of them, for tests without a cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from dormouse_contract.idleness import COLUMNS, IdleSignal, build
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.cluster.pods import Pod
from dormouse_operator.idle_signal.query import SignalReader
from dormouse_operator.idle_signal.wanted import Wanted
from dormouse_operator.orders import Outcome
from dormouse_operator.view import Contact, ReplicaMemory, View, known_models, look
from dormouse_prometheus.answers import Vector
from dormouse_prometheus.api import Prometheus

NOW = 1_800_000_000.0
QUERIES = tuple(each.name for each in COLUMNS)


def managed_model(name: str = "tts", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "10",
            "namespace": "speech",
            "name": name,
            "creationTimestamp": created,
        },
        "spec": {"selector": {"matchLabels": {"app": "tts"}}, **spec},
    }


def pod(name: str = "tts-0", app: str = "tts", *, sidecar: bool = True, **status: Any) -> dict[str, Any]:
    container = {"name": "dormouse-sidecar" if sidecar else "model"}
    return {
        "metadata": {"uid": f"uid-{name}", "namespace": "speech", "name": name, "labels": {"app": app, "x": "y"}},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", **status},
    }


def fleet(*bodies: dict[str, Any]) -> Fleet:
    made = Fleet()
    for body in bodies:
        if "selector" in body["spec"]:
            made.observe_managed_model(body)
        else:
            made.observe_pod(body)
    return made


def labels(pod_name: str, model: str, **more: str) -> dict[str, str]:
    return {"namespace": "speech", "pod": pod_name, "model": model, **more}


def signal(
    pod_name: str = "tts-0", model: str = "tts", residency: str = "GPU", age: float = 1.0, **values: float
) -> IdleSignal:
    """One replica, idle for 100 s and all right but for what `values` says."""
    given = {
        "in_flight": 0.0,
        "idle_since": NOW - 100,
        "sampled_at": NOW - age,
        "last_transition": 0.0,
        "released_bytes": 0.0,
        "gpu_memory_bytes": 1024.0**3,
    } | values
    answers = {
        name: Vector(NOW, ((labels(pod_name, model), given[name]),) if name in given else ()) for name in QUERIES
    }
    return build(Vector(NOW, ((labels(pod_name, model, residency=residency), 1.0),)), answers)


async def read_idle_signal(
    prometheus: Prometheus, *, namespaces: Sequence[str] = ("speech",), clock: Callable[[], float]
) -> IdleSignal:
    """The first look of an operator whose ManagedModels are in these namespaces."""
    reader = SignalReader(clock=clock, monotonic=time.monotonic)
    return await reader.read(prometheus, Wanted(dict.fromkeys(namespaces, 1)))


def view_of(
    made: Fleet,
    seen: IdleSignal,
    name: str = "tts",
    contact: Contact | None = None,
    memory: ReplicaMemory | None = None,
) -> View:
    reached = contact or Contact(Outcome.DONE, "", frozenset({"tts"}))

    def models_of(each: Pod) -> list[str]:
        return known_models(reached, seen.models_of(each.namespace, each.name))

    owner = made.managed_models[("speech", name)]
    return seen_by(
        look(
            owner,
            made.claims(owner, models_of),
            seen,
            NOW,
            fresh_for_seconds=30,
            contact_of=lambda _: reached,
            memory_of=lambda *_: memory or ReplicaMemory(),
        )
    )


def seen_by(steps: Generator[None, None, View]) -> View:
    """The view at the end of a look that nobody interrupts."""
    try:
        while True:
            next(steps)
    except StopIteration as finished:
        view: View = finished.value
        return view


nan = math.nan
