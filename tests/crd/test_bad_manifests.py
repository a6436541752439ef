"""What is wrong is refused when it is applied, at the right field, in words that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localcluster import ControlPlane
from localcluster.errors import KubectlFailed
from tests.crd.test_good_manifests import SELECTOR, WINDOW, with_policy, with_window

LABEL_KEY = "a label's key is a name of at most 63 letters"
CRON = "cron needs five fields, minute hour day-of-month month day-of-week, for example 0 8 * * 1-5"
ZONE = "timeZone must be an IANA zone name, for example Asia/Shanghai"
MODEL = "write it as the server registered it (GET /dormouse/v1/models), or leave it out"
LATER = "raise unloadAfterSeconds, or leave one of the two out (absent means never)"


def with_labels(labels: dict[str, str]) -> dict[str, Any]:
    return {"selector": {"matchLabels": labels}}


def without(name: str) -> dict[str, Any]:
    return with_policy(schedule=[{key: value for key, value in WINDOW.items() if key != name}])


# what is wrong: (spec, the field that the message names, what the message says)
BAD: dict[str, tuple[dict[str, Any] | None, str, str]] = {
    "no spec": (None, "spec", "Required value"),
    "no selector": ({}, "spec.selector", "Required value"),
    "no matchLabels": ({"selector": {}}, "spec.selector.matchLabels", "Required value"),
    "no label": (with_labels({}), "spec.selector.matchLabels", "give at least one label, for example app:"),
    "17 labels": (
        with_labels({f"l{n}": "x" for n in range(17)}),
        "spec.selector.matchLabels",
        "must have at most 16",
    ),
    "a key with a blank": (with_labels({"a b": "x"}), "spec.selector.matchLabels", LABEL_KEY),
    "a key of 64": (with_labels({"k" * 64: "x"}), "spec.selector.matchLabels", LABEL_KEY),
    "a key with two domains": (with_labels({"a/b/c": "x"}), "spec.selector.matchLabels", LABEL_KEY),
    "a key without a name": (with_labels({"a.io/": "x"}), "spec.selector.matchLabels", LABEL_KEY),
    "an empty key": (with_labels({"": "x"}), "spec.selector.matchLabels", LABEL_KEY),
    "a value with a blank": (
        with_labels({"app": "x y"}),
        "spec.selector.matchLabels[app]",
        "copy it from the pod's metadata.labels",
    ),
    "a value of 64": (with_labels({"app": "x" * 64}), "spec.selector.matchLabels.app", "more than 63"),
    "a number as value": (
        {"selector": {"matchLabels": {"app": 1}}},
        "spec.selector.matchLabels.app",
        "must be of type string",
    ),
    "a model in capitals": ({**SELECTOR, "model": "TTS"}, "spec.model", MODEL),
    "a model with a dot": ({**SELECTOR, "model": "tts.v2"}, "spec.model", MODEL),
    "a model ending in a dash": ({**SELECTOR, "model": "tts-"}, "spec.model", MODEL),
    "an empty model": ({**SELECTOR, "model": ""}, "spec.model", MODEL),
    "a model of 64": ({**SELECTOR, "model": "x" * 64}, "spec.model", "may not be more than 63"),
    "an unknown mode": (
        {**SELECTOR, "mode": "Dry"},
        "spec.mode",
        'supported values: "Active", "Observe", "Paused"',
    ),
    "an unknown residency": (
        {**SELECTOR, "residency": "Mixed"},
        "spec.residency",
        'supported values: "Auto", "GPU", "CPU", "Unloaded"',
    ),
    "a residency in small letters": (
        {**SELECTOR, "residency": "gpu"},
        "spec.residency",
        'supported values: "Auto", "GPU", "CPU", "Unloaded"',
    ),
    "a moment in words": (
        {**SELECTOR, "residencyUntil": "tomorrow"},
        "spec.residencyUntil",
        "must be of type date-time",
    ),
    "a negative offload": (
        with_policy(offloadAfterSeconds=-1),
        "spec.policy.offloadAfterSeconds",
        "greater than or equal to 0",
    ),
    "an offload above a year": (
        with_policy(offloadAfterSeconds=31536001),
        "spec.policy.offloadAfterSeconds",
        "less than or equal to 31536000",
    ),
    "an offload with a unit": (
        with_policy(offloadAfterSeconds="10m"),
        "spec.policy.offloadAfterSeconds",
        "must be of type integer",
    ),
    "half a second": (
        with_policy(offloadAfterSeconds=0.5),
        "spec.policy.offloadAfterSeconds",
        "must be of type integer",
    ),
    "an unload of 0": (
        with_policy(unloadAfterSeconds=0),
        "spec.policy.unloadAfterSeconds",
        "greater than or equal to 1",
    ),
    "an unload above a year": (
        with_policy(unloadAfterSeconds=31536001),
        "spec.policy.unloadAfterSeconds",
        "less than or equal to 31536000",
    ),
    "unload together with offload": (
        with_policy(offloadAfterSeconds=600, unloadAfterSeconds=600),
        "spec.policy.unloadAfterSeconds",
        LATER,
    ),
    "unload before offload": (
        with_policy(offloadAfterSeconds=600, unloadAfterSeconds=60),
        "spec.policy.unloadAfterSeconds",
        LATER,
    ),
    "a negative minimum": (
        with_policy(minResidentSeconds=-1),
        "spec.policy.minResidentSeconds",
        "greater than or equal to 0",
    ),
    "a minimum above a day": (
        with_policy(minResidentSeconds=86401),
        "spec.policy.minResidentSeconds",
        "less than or equal to 86400",
    ),
    "a negative budget": (
        with_policy(wakeBudgetSeconds=-1),
        "spec.policy.wakeBudgetSeconds",
        "greater than or equal to 0",
    ),
    "a budget above an hour": (
        with_policy(wakeBudgetSeconds=3601),
        "spec.policy.wakeBudgetSeconds",
        "less than or equal to 3600",
    ),
    "33 windows": (with_policy(schedule=[WINDOW] * 33), "spec.policy.schedule", "must have at most 32 items"),
    "a window without cron": (without("cron"), "spec.policy.schedule[0].cron", "Required value"),
    "a window without a zone": (without("timeZone"), "spec.policy.schedule[0].timeZone", "Required value"),
    "a window without an end": (
        without("durationSeconds"),
        "spec.policy.schedule[0].durationSeconds",
        "Required value",
    ),
    "a window without residency": (
        without("residency"),
        "spec.policy.schedule[0].residency",
        "Required value",
    ),
    "cron with four fields": (with_window(cron="0 8 * *"), "spec.policy.schedule[0].cron", CRON),
    "cron with six fields": (with_window(cron="0 0 8 * * 1"), "spec.policy.schedule[0].cron", CRON),
    "cron shorthand": (with_window(cron="@daily"), "spec.policy.schedule[0].cron", CRON),
    "an empty cron": (with_window(cron=""), "spec.policy.schedule[0].cron", CRON),
    "a cron of 129": (
        with_window(cron="0 8 * * " + "1" * 121),
        "spec.policy.schedule[0].cron",
        "more than 128",
    ),
    "an offset as zone": (with_window(timeZone="+08:00"), "spec.policy.schedule[0].timeZone", ZONE),
    "an empty zone": (with_window(timeZone=""), "spec.policy.schedule[0].timeZone", ZONE),
    "the server's own zone": (with_window(timeZone="Local"), "spec.policy.schedule[0].timeZone", ZONE),
    "a zone that doesn't exist": (
        with_window(timeZone="Mars/Olympus"),
        "spec.policy.schedule[0].timeZone",
        "check its spelling",
    ),
    "a zone of 65": (with_window(timeZone="A" * 65), "spec.policy.schedule[0].timeZone", "more than 64"),
    "a window of no length": (
        with_window(durationSeconds=0),
        "spec.policy.schedule[0].durationSeconds",
        "greater than or equal to 1",
    ),
    "a window above a week": (
        with_window(durationSeconds=604801),
        "spec.policy.schedule[0].durationSeconds",
        "less than or equal to 604800",
    ),
    "a window that unloads": (
        with_window(residency="Unloaded"),
        "spec.policy.schedule[0].residency",
        'supported values: "GPU", "CPU"',
    ),
    "a misspelt field of spec": ({**SELECTOR, "modell": "tts"}, "spec.modell", "unknown field"),
    "a misspelt field of policy": (with_policy(offloadAfter=1), "spec.policy.offloadAfter", "unknown field"),
    "a misspelt field of a window": (
        with_window(timezone="UTC"),
        "spec.policy.schedule[0].timezone",
        "unknown field",
    ),
    "matchExpressions": (
        {"selector": {"matchLabels": {"app": "a"}, "matchExpressions": []}},
        "spec.selector.matchExpressions",
        "unknown field",
    ),
}


@pytest.mark.parametrize(("spec", "field", "says"), BAD.values(), ids=BAD.keys())
def test_is_refused_with_advice(apply: Callable[..., str], spec: dict[str, Any] | None, field: str, says: str) -> None:
    with pytest.raises(KubectlFailed) as refusal:
        apply(spec)
    assert field in refusal.value.stderr
    assert says in refusal.value.stderr


SELECTOR_FIXED = "selector can't be changed: delete this ManagedModel (its pods go on running) and create it"
MODEL_FIXED = "model can't be changed, added or removed: delete this ManagedModel (its pods go on running)"

FORBIDDEN_CHANGES = {
    "another label value": (SELECTOR, with_labels({"app": "other"}), "spec.selector", SELECTOR_FIXED),
    "one more label": (SELECTOR, with_labels({"app": "tts", "b": "c"}), "spec.selector", SELECTOR_FIXED),
    "another model": ({**SELECTOR, "model": "a"}, {**SELECTOR, "model": "b"}, "spec.model", MODEL_FIXED),
    "a model added": (SELECTOR, {**SELECTOR, "model": "b"}, "spec.model", MODEL_FIXED),
    "the model removed": ({**SELECTOR, "model": "a"}, SELECTOR, "spec.model", MODEL_FIXED),
}


@pytest.mark.parametrize(("before", "after", "field", "says"), FORBIDDEN_CHANGES.values(), ids=FORBIDDEN_CHANGES.keys())
def test_identity_can_not_be_changed(
    apply: Callable[..., str], before: dict[str, Any], after: dict[str, Any], field: str, says: str
) -> None:
    apply(before)
    with pytest.raises(KubectlFailed) as refusal:
        apply(after)
    assert field in refusal.value.stderr
    assert says in refusal.value.stderr


def test_an_object_that_was_refused_is_not_stored(
    apply: Callable[..., str], control_plane: ControlPlane, namespace: str
) -> None:
    with pytest.raises(KubectlFailed):
        apply(with_labels({}))
    assert control_plane.kubectl("get", "dmm", "-o", "name", namespace=namespace) == ""
