"""What the page asks for, put together from the API server and Prometheus with the rights of who asks.

The order matters: the API server is asked first, as the caller, and Prometheus only about what that showed them to be
allowed to see. Prometheus has no rights of its own to check, so this is where they are checked.
"""

import time
from collections.abc import Awaitable, Mapping
from typing import Any

from dormouse_contract.managed_model import ManagedModel, managed_model
from dormouse_prometheus.together import together

from .errors import Refused
from .idleness import look
from .kube import Caller
from .managed import COLUMNS, PATH, details, event, pod, row
from .names import namespace_name, object_name
from .promql import Scope, seconds_of, step_of
from .replicas import as_json, belongs, runs
from .timeseries import NoFigures, Series, TimeSeries

# An object that was just written is a moment later in the API server's cache, which answers a list cheaply.
_FROM_CACHE = {"resourceVersion": "0"}
MOST_EVENTS = 20
# Pods that no longer have replicas.
_ENDED = ("Succeeded", "Failed", "Terminating")


async def fleet(caller: Caller, prometheus: TimeSeries, namespace: str | None) -> dict[str, Any]:
    """The table: rows in the order of `columns`, and since when each is idle, where that is known."""
    where = PATH if namespace is None else f"{PATH}/namespaces/{namespace_name(namespace)}"
    now = time.time()
    # Both at once, since a long list takes its time.
    listed, (idle, problem) = await together(
        caller.get(f"{where}/managedmodels", **_FROM_CACHE),
        _idle_if_allowed(caller, prometheus, Scope(namespace, prometheus.selector), now),
    )
    return {
        "now": now,
        "columns": COLUMNS,
        "rows": [row(managed_model(body)) for body in listed.get("items") or ()],
        "idle": idle,
        "problem": problem,
    }


async def savings(caller: Caller, prometheus: TimeSeries, namespace: str | None, chosen: str) -> dict[str, Any]:
    """Held and released over time, and what was saved in all. Fleet-wide only for who may list cluster-wide."""
    seconds, scope = seconds_of(chosen), Scope(namespace, prometheus.selector)
    await _must_list(caller, namespace)
    end, step = time.time(), step_of(seconds)
    start = end - seconds
    try:
        held, released, saved, devices = await together(
            prometheus.over_time(scope.held(), start, end, step),
            prometheus.over_time(scope.released(), start, end, step),
            prometheus.instant(scope.saved_byte_seconds(seconds), end),
            prometheus.instant(scope.simulated_replicas(), end),
        )
    except NoFigures as error:
        return {"problem": str(error)}
    kinds = {series.labels.get("device", "").startswith("sim") for series in devices}
    return {
        "problem": "",
        "start": start,
        "end": end,
        "step": step,
        "held": _points(held),
        "released": _points(released),
        "savedByteSeconds": _points(saved)[0][1] if _points(saved) else None,
        "simulated": kinds == {True},
        "leftOut": kinds == {True, False},
    }


async def model(caller: Caller, namespace: str, name: str) -> dict[str, Any]:
    """One model's page but for its past: conditions, policy, events, and what may be done to it."""
    namespace, name = namespace_name(namespace), object_name(name)
    body = await caller.get(f"{PATH}/namespaces/{namespace}/managedmodels/{name}")
    events, may_change = await together(
        _tolerated(
            caller.get(
                f"/api/v1/namespaces/{namespace}/events",
                fieldSelector=f"involvedObject.kind=ManagedModel,involvedObject.name={name}",
            )
        ),
        caller.may("patch", namespace, name=name),
    )
    told = [event(each) for each in events[0].get("items") or ()]
    told.sort(key=lambda each: each["time"] or 0.0, reverse=True)
    return {
        "now": time.time(),
        **details(body),
        "events": told[:MOST_EVENTS],
        "eventsProblem": events[1],
        "mayChange": may_change,
    }


async def replicas(caller: Caller, prometheus: TimeSeries, namespace: str, name: str, chosen: str) -> dict[str, Any]:
    """Its replicas now and over time: pods from the API server as the caller, figures from Prometheus."""
    namespace, name, seconds = namespace_name(namespace), object_name(name), seconds_of(chosen)
    body = await caller.get(f"{PATH}/namespaces/{namespace}/managedmodels/{name}")
    managed = managed_model(body)
    pods, pods_problem = await _pods(caller, managed)
    end, step = time.time(), step_of(seconds)
    answer: dict[str, Any] = {
        "now": end,
        "start": end - seconds,
        "end": end,
        "pods": pods,
        "podsProblem": pods_problem,
        "replicas": [],
        "timeline": [],
        "problem": "",
    }
    try:
        await _must_list(caller, namespace)
        scope = Scope(namespace, prometheus.selector)
        owners = await prometheus.instant(scope.owners(name, seconds), end)
        owned = {(s.labels.get("pod", ""), s.labels.get("model", "")) for s in owners}
        there = {each["name"] for each in pods if each["phase"] not in _ENDED}
        asked = sorted({pod_name for pod_name, _ in owned} | there)
        if not asked:
            return answer
        now, past = await together(
            look(prometheus, namespace, asked),
            prometheus.over_time(scope.tiers(asked), end - seconds, end, step),
        )
    except (NoFigures, Refused) as error:
        return {**answer, "problem": str(error)}

    def its(labels: Mapping[str, str]) -> bool:
        return belongs(labels, owned, there, managed.model)

    shown = {key for key in now.signal.readings if its({"pod": key[1], "model": key[2]})}
    # What the operator manages and Prometheus does not show is missing, not gone.
    shown |= {(namespace, *replica) for replica in owned if replica[0] in there}
    answer["replicas"] = [as_json(key, now, managed.policy, end) for key in sorted(shown)]
    answer["timeline"] = [
        {"pod": each.labels.get("pod"), "model": each.labels.get("model"), "runs": runs(each, step)}
        for each in sorted(past, key=lambda s: (s.labels.get("pod", ""), s.labels.get("model", "")))
        if its(each.labels)
    ]
    return answer


async def _pods(caller: Caller, managed: ManagedModel) -> tuple[list[dict[str, Any]], str]:
    """Those that it selects, none for a selector that is not understood; and why they can't be shown."""
    if not managed.selector:
        return [], ""
    listed, problem = await _tolerated(
        caller.get(
            f"/api/v1/namespaces/{managed.namespace}/pods",
            labelSelector=",".join(f"{key}={value}" for key, value in managed.selector),
        )
    )
    return [pod(each) for each in listed.get("items") or ()], problem


async def _idle_if_allowed(
    caller: Caller, prometheus: TimeSeries, scope: Scope, now: float
) -> tuple[dict[str, float], str]:
    """Who may not list them is told so by the list itself."""
    if not await caller.may("list", scope.namespace):
        return {}, ""
    try:
        return await _idle(prometheus, scope, now), ""
    except NoFigures as error:
        return {}, str(error)


async def _idle(prometheus: TimeSeries, scope: Scope, now: float) -> dict[str, float]:
    """By namespace/name: since when its most recently used replica is idle; 0 while one is in use.

    How old a sample is, only Prometheus' own clock says; so it answers for how long, and `now` makes a time of that.
    """
    found = await prometheus.instant(scope.idle_for())
    idle = {_key(each.labels): each.points[-1][1] for each in found if each.points}
    return {key: now - seconds if seconds else 0.0 for key, seconds in idle.items()}


def _key(labels: Mapping[str, str]) -> str:
    return f"{labels.get('namespace', '')}/{labels.get('name', '')}"


async def _must_list(caller: Caller, namespace: str | None) -> None:
    if not await caller.may("list", namespace):
        where = "in all namespaces" if namespace is None else f"in namespace {namespace}"
        raise Refused(403, "Not allowed", f"You may not list ManagedModels {where}, so their figures are not shown")


async def _tolerated(asked: Awaitable[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """What is refused here is a part of a page, which goes on without it and says so."""
    try:
        return await asked, ""
    except Refused as error:
        if error.status == 401:
            raise
        return {}, error.detail


def _points(found: list[Series]) -> list[tuple[float, float]]:
    return list(found[0].points) if found else []
