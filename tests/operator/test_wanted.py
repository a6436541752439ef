"""Only namespaces that have ManagedModels of this operator are asked for, and of a flooded one the pods they select."""

from __future__ import annotations

from typing import Any

from dormouse_operator.idle_signal.wanted import wanted

from .objects import fleet, managed_model, pod


def elsewhere(body: dict[str, Any], namespace: str) -> dict[str, Any]:
    body["metadata"] |= {"namespace": namespace, "uid": f"{namespace}-{body['metadata']['uid']}"}
    return body


def test_a_namespace_is_asked_for_while_it_has_a_managed_model() -> None:
    first, only = managed_model("a"), elsewhere(managed_model("b"), "vision")
    made = fleet(pod("tts-0"), elsewhere(pod("tts-0"), "strangers"))
    assert not wanted(made).pods_in
    made.observe_managed_model(first)
    made.observe_managed_model(only)
    assert wanted(made).pods_in == {"speech": 1, "vision": 0}
    made.observe_managed_model(only, deleted=True)
    assert wanted(made).pods_in == {"speech": 1}


def test_pods_that_export_nothing_give_a_namespace_no_larger_share() -> None:
    made = fleet(
        managed_model("a"),
        pod("tts-0"),
        pod("no-sidecar", sidecar=False),
        pod("ended", phase="Succeeded"),
        pod("not-selected", app="other"),
    )
    assert wanted(made).pods_in == {"speech": 2}
    assert set(wanted(made).selected("speech")) == {"tts-0"}
