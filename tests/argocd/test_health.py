"""Argo CD's health script, run as Lua over statuses that our own code made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml
from dormouse_contract.idleness import IdleSignal
from dormouse_operator.orders import Outcome
from dormouse_operator.reporting.summary import summarize
from dormouse_operator.view import Contact, ReplicaMemory, View

from tests.operator.objects import NOW, fleet, managed_model, pod, signal, view_of

FOLDER = Path(__file__).parents[2] / "deploy" / "argocd"
OFFLOAD = {"offloadAfterSeconds": 50, "minResidentSeconds": 0}


def health(body: dict[str, Any]) -> tuple[str, str]:
    """As Argo CD runs it: the object is the global `obj`, the script returns a table."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(body, recursive=True)
    found = lua.execute((FOLDER / "health.lua").read_text())
    return found["status"], found["message"]


def seen(view: View) -> tuple[str, str]:
    body = managed_model()
    body["status"] = summarize(view, NOW).to_patch()
    return health(body)


def view(spec: dict[str, Any], found: IdleSignal | None = None, **known: Any) -> View:
    return view_of(fleet(managed_model(**spec), pod()), signal() if found is None else found, **known)


@pytest.mark.parametrize(
    ("looked", "expected"),
    [
        pytest.param(view({}), "Healthy", id="awake"),
        pytest.param(view({"policy": OFFLOAD}, signal(residency="CPU")), "Healthy", id="asleep"),
        pytest.param(view({"residency": "Unloaded"}, signal(residency="Unloaded")), "Healthy", id="unloaded"),
        pytest.param(view({"residency": "CPU"}, signal(in_flight=1, idle_since=0)), "Healthy", id="in use"),
        pytest.param(view({"mode": "Observe", "policy": OFFLOAD}), "Healthy", id="observing"),
        pytest.param(view({"mode": "Paused", "policy": OFFLOAD}), "Suspended", id="paused"),
        pytest.param(view({"policy": OFFLOAD}), "Progressing", id="on its way"),
        pytest.param(view({}, IdleSignal(), contact=Contact()), "Progressing", id="not yet contacted"),
        pytest.param(
            view({"residency": "GPU"}, signal(residency="CPU"), memory=ReplicaMemory(Outcome.CANNOT_NOW, "full")),
            "Degraded",
            id="no room",
        ),
        pytest.param(view({}, IdleSignal(failure="down")), "Degraded", id="no signal"),
        pytest.param(view({}, contact=Contact(Outcome.UNREACHABLE)), "Degraded", id="unreachable"),
        pytest.param(view({}, contact=Contact(Outcome.UNTRUSTED)), "Degraded", id="untrusted"),
        pytest.param(view({"model": "asr"}), "Degraded", id="unknown model"),
        pytest.param(view_of(fleet(managed_model()), IdleSignal()), "Degraded", id="no replicas"),
    ],
)
def test_health_is_what_a_person_would_say(looked: View, expected: str) -> None:
    status, message = seen(looked)
    assert status == expected
    assert ": " in message, "the reason and the message are shown"


def test_before_the_first_visit_and_after_an_edit_it_is_progressing() -> None:
    assert health(managed_model())[0] == "Progressing"
    body = managed_model()
    body["status"] = summarize(view({}), NOW).to_patch()
    body["metadata"]["generation"] = 2
    assert health(body) == ("Progressing", "The operator has not seen the last change yet.")


def test_the_config_map_has_the_script_word_for_word() -> None:
    body = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())
    script = body["data"]["resource.customizations.health.dormouse.dev_ManagedModel"]
    assert script == (FOLDER / "health.lua").read_text()
