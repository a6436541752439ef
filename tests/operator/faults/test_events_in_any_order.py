"""Events lost, doubled, reordered and stale: after the next list the fleet is the truth."""

from __future__ import annotations

import copy
from typing import Any

from dormouse_operator.cluster.fleet import Fleet
from hypothesis import given, settings
from hypothesis import strategies as st

from ..objects import managed_model, pod

Body = dict[str, Any]
NAMES = ("one", "two", "three")


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[str, Body]], dict[str, Body]]:
    """What happened to a few objects, as a watch tells it, and what is there at the end."""
    told: list[tuple[str, Body]] = []
    there: dict[str, Body] = {}
    for version in range(11, 11 + draw(st.integers(5, 30))):
        name, kind = draw(st.sampled_from(NAMES)), draw(st.sampled_from(("pod", "model")))
        key = f"{kind}/{name}"
        if key in there and draw(st.booleans()):
            gone = copy.deepcopy(there.pop(key))
            gone["metadata"]["resourceVersion"] = str(version)
            told.append(("DELETED", gone))
            continue
        if key in there:
            body = copy.deepcopy(there[key])
        else:
            body = pod(name) if kind == "pod" else managed_model(name)
            body["metadata"]["uid"] = f"{key}@{version}"
        body["metadata"]["resourceVersion"] = str(version)
        if kind == "pod":
            body["metadata"]["labels"] = {"app": draw(st.sampled_from(("tts", "asr")))}
            body["status"]["podIP"] = f"10.0.0.{version}"
        else:
            body["metadata"]["generation"] = version
            body["spec"]["policy"] = {"offloadAfterSeconds": version}
        there[key] = body
        told.append(("MODIFIED", copy.deepcopy(body)))
    return told, there


def tell(fleet: Fleet, what: str, body: Body) -> None:
    observe = fleet.observe_managed_model if "selector" in body["spec"] else fleet.observe_pod
    observe(body, deleted=what == "DELETED")


@settings(max_examples=150)
@given(histories(), st.data())
def test_the_fleet_ends_as_the_truth(
    history: tuple[list[tuple[str, Body]], dict[str, Body]], data: st.DataObject
) -> None:
    """What was deleted unseen is found by a resync of its own; so here no word of a deletion gets lost."""
    told, there = history
    kept = [event for event in told if event[0] == "DELETED" or data.draw(st.integers(0, 3))]
    doubled = kept + data.draw(st.lists(st.sampled_from(kept), max_size=5)) if kept else []
    fleet = Fleet()
    for what, body in data.draw(st.permutations(doubled)):
        tell(fleet, what, body)
    for what, body in told:
        if what == "DELETED":
            tell(fleet, what, body)
    for body in there.values():
        tell(fleet, "ADDED", body)
    truth = Fleet()
    for body in there.values():
        tell(truth, "ADDED", body)
    assert dict(fleet.managed_models) == dict(truth.managed_models)
    assert dict(fleet.pods) == dict(truth.pods)
    for owner in truth.managed_models.values():
        assert fleet.select(owner) == truth.select(owner)
