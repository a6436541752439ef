"""The bodies as they travel: the contract's field names, nothing unknown, no figure that isn't one."""

import json
from typing import Any

import pytest
from dormouse_contract import Residency, TransitionOutcome, Trigger
from dormouse_contract.printable import printable
from dormouse_contract.wire import (
    LastTransitionSnapshot,
    ModelList,
    ModelSnapshot,
    OrderStamp,
    PolicyLoan,
    ResidencyOrder,
    TransitionSnapshot,
    Wire,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError


def can_be_shown(text: str) -> bool:
    return printable(text, len(text)) == text


STAMP = {"owner": "uid-1", "generation": 3, "issuer": "lease-1", "term": 2}
ORDER = {
    "desired": "CPU",
    "trigger": "Idle",
    "reason": "idle 612 s",
    "ifIdleForSeconds": 600.0,
    "order": STAMP,
    "podUID": "pod-1",
}
LOAN = {
    "keepAliveSeconds": 0.0,
    "minResidentSeconds": 60.0,
    "wakeBudgetSeconds": 30.0,
    "pinned": True,
    "validForSeconds": 3600.0,
    "order": STAMP,
    "podUID": "pod-1",
}
SNAPSHOT = ModelSnapshot(
    name="tts",
    residency=Residency.CPU,
    in_flight=0,
    waiting=1,
    idle_seconds=2.5,
    last_request_end=1.8e9,
    gpu_memory_bytes=0,
    host_memory_bytes=256,
    gpu_memory_released_bytes=256,
    released_method="sim",
    device="sim",
    dirty=False,
    pinned=False,
    restore_estimate_seconds=None,
    transition=TransitionSnapshot(from_=Residency.CPU, to=Residency.GPU, trigger=Trigger.DEMAND, started_at=1.8e9),
    last_transition=LastTransitionSnapshot(
        from_=Residency.GPU,
        to=Residency.CPU,
        trigger=Trigger.IDLE,
        reason="idle",
        time=1.8e9,
        seconds=0.5,
        released_bytes=256,
        outcome=TransitionOutcome.OK,
    ),
)


@pytest.mark.parametrize(("kind", "body"), [(ResidencyOrder, ORDER), (PolicyLoan, LOAN), (OrderStamp, STAMP)])
def test_a_body_comes_back_as_it_was_sent(kind: type[BaseModel], body: dict[str, Any]) -> None:
    read = kind.model_validate_json(json.dumps(body))
    assert json.loads(read.model_dump_json(by_alias=True)) == body


def test_the_pods_uid_is_written_as_kubernetes_writes_it() -> None:
    order = ResidencyOrder(desired=Residency.GPU, pod_uid="pod-1")
    assert json.loads(order.to_json())["podUID"] == "pod-1"
    with pytest.raises(ValidationError, match="podUid"):
        ResidencyOrder.model_validate_json('{"desired": "GPU", "podUid": "pod-1"}')


@pytest.mark.parametrize(
    ("kind", "body", "change"),
    [
        pytest.param(ResidencyOrder, ORDER, {"force": True}, id="unknown field"),
        pytest.param(ResidencyOrder, ORDER, {"order": {**STAMP, "force": True}}, id="unknown field inside"),
        pytest.param(ResidencyOrder, ORDER, {"desired": "gpu"}, id="wrong case"),
        pytest.param(ResidencyOrder, ORDER, {"desired": "Auto"}, id="no tier"),
        pytest.param(ResidencyOrder, ORDER, {"trigger": "Because"}, id="unknown trigger"),
        pytest.param(ResidencyOrder, ORDER, {"reason": "x" * 1025}, id="too long"),
        pytest.param(ResidencyOrder, ORDER, {"order": {**STAMP, "generation": -1}}, id="negative generation"),
        pytest.param(ResidencyOrder, ORDER, {"order": {**STAMP, "owner": ""}}, id="nobody's order"),
        pytest.param(ResidencyOrder, ORDER, {"podUID": ""}, id="no pod"),
        pytest.param(PolicyLoan, LOAN, {"validForSeconds": None}, id="valid for how long"),
        pytest.param(PolicyLoan, LOAN, {"unloadAfterSeconds": 5}, id="no field of a loan"),
    ],
)
def test_a_body_that_is_not_the_contracts_is_refused(
    kind: type[BaseModel], body: dict[str, Any], change: dict[str, Any]
) -> None:
    kind.model_validate_json(json.dumps(body))
    with pytest.raises(ValidationError):
        kind.model_validate_json(json.dumps({**body, **change}))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(PolicyLoan, {**LOAN, "validForSeconds": "3"}, id="a number as text"),
        pytest.param(PolicyLoan, {**LOAN, "pinned": "true"}, id="a truth as text"),
        pytest.param(PolicyLoan, {**LOAN, "pinned": 1}, id="a truth as a number"),
        pytest.param(ResidencyOrder, {**ORDER, "order": {**STAMP, "generation": "3"}}, id="a generation as text"),
        pytest.param(ResidencyOrder, {**ORDER, "order": {**STAMP, "term": 1.5}}, id="half a term"),
        pytest.param(ResidencyOrder, {**ORDER, "reason": 3}, id="a text as a number"),
        pytest.param(PolicyLoan, {"valid_for_seconds": 3}, id="Python's name"),
        pytest.param(ResidencyOrder, {"desired": "CPU", "if_idle_for_seconds": 3}, id="Python's name of an option"),
        pytest.param(ResidencyOrder, {"desired": "CPU", "pod_uid": "pod-1"}, id="Python's name of an alias"),
    ],
)
def test_what_comes_over_the_wire_is_taken_by_its_types_and_names(kind: type[Wire], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.from_json(json.dumps(body))


def test_an_integer_of_json_may_be_written_with_a_point() -> None:
    assert OrderStamp.from_json(json.dumps({**STAMP, "generation": 3.0})).generation == 3


@pytest.mark.parametrize(("kind", "body"), [(ResidencyOrder, ORDER), (PolicyLoan, LOAN), (OrderStamp, STAMP)])
def test_what_is_written_can_be_read(kind: type[Wire], body: dict[str, Any]) -> None:
    read = kind.from_json(json.dumps(body))
    assert kind.from_json(read.to_json()) == read
    assert ModelList.from_json(ModelList(models=[SNAPSHOT]).to_json()) == ModelList(models=[SNAPSHOT])


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "-1", "-0.001", "1e300", '"soon"'])
@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (ResidencyOrder, ORDER, "ifIdleForSeconds"),
        (PolicyLoan, LOAN, "keepAliveSeconds"),
        (PolicyLoan, LOAN, "minResidentSeconds"),
        (PolicyLoan, LOAN, "wakeBudgetSeconds"),
        (PolicyLoan, LOAN, "validForSeconds"),
    ],
)
def test_seconds_that_are_no_length_of_time_are_refused(
    kind: type[BaseModel], body: dict[str, Any], field: str, bad: str
) -> None:
    text = json.dumps({**body, field: "HERE"}).replace('"HERE"', bad)
    with pytest.raises(ValidationError, match=field):
        kind.model_validate_json(text)


def test_a_loan_that_says_nothing_of_turns_can_be_read_by_a_library_that_knows_none() -> None:
    assert "turnSeconds" not in json.loads(PolicyLoan(valid_for_seconds=60).to_json())
    assert json.loads(PolicyLoan(turn_seconds=5, valid_for_seconds=60).to_json())["turnSeconds"] == 5


@pytest.mark.parametrize("turn", [0, -1, "10"])
def test_a_turn_takes_time(turn: object) -> None:
    with pytest.raises(ValidationError, match="turnSeconds"):
        PolicyLoan.from_json(json.dumps({"validForSeconds": 60, "turnSeconds": turn}))


def test_a_snapshot_has_exactly_the_contracts_fields() -> None:
    sent = json.loads(SNAPSHOT.to_json())
    assert list(sent) == [
        "name",
        "residency",
        "inFlight",
        "waiting",
        "idleSeconds",
        "lastRequestEnd",
        "gpuMemoryBytes",
        "hostMemoryBytes",
        "gpuMemoryReleasedBytes",
        "releasedMethod",
        "device",
        "dirty",
        "pinned",
        "restoreEstimateSeconds",
        "turnSeconds",
        "oldestUseSeconds",
        "transition",
        "lastTransition",
    ]
    assert list(sent["transition"]) == ["from", "to", "trigger", "startedAt"]
    expected = ["from", "to", "trigger", "reason", "time", "seconds", "releasedBytes", "outcome"]
    assert list(sent["lastTransition"]) == expected
    assert json.loads(ModelList(models=[SNAPSHOT]).to_json()) == {"models": [sent]}
    assert ModelSnapshot.model_validate_json(SNAPSHOT.to_json()) == SNAPSHOT


@given(st.text(min_size=1, max_size=253).filter(can_be_shown), st.integers(0, 2**53), st.text(max_size=1024))
def test_what_can_be_shown_survives_the_way(owner: str, generation: int, reason: str) -> None:
    stamp = OrderStamp(owner=owner, generation=generation, issuer="i", term=0)
    order = ResidencyOrder(desired=Residency.GPU, reason=reason, order=stamp)
    assert order.reason == printable(reason, 1024)
    assert ResidencyOrder.from_json(order.to_json()) == order


def test_bodies_can_not_be_changed_on_the_way() -> None:
    order = ResidencyOrder(desired=Residency.GPU)
    with pytest.raises(ValidationError, match="frozen"):
        order.desired = Residency.CPU  # type: ignore[misc]
