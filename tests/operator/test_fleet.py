"""Which pods belong to whom, from events in any order."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from dormouse_contract import Residency
from dormouse_contract.managed_model import managed_model as typed
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.cluster.managers import Lost
from dormouse_operator.cluster.pods import has_sidecar

from .objects import fleet, managed_model, pod


def test_selects_the_living_pods_that_carry_all_labels() -> None:
    made = fleet(
        managed_model(selector={"matchLabels": {"app": "tts", "x": "y"}}),
        pod("b"),
        pod("a"),
        pod("other", app="asr"),
        pod("done", phase="Succeeded"),
    )
    owner = made.managed_models[("speech", "tts")]
    assert [each.name for each in made.select(owner)] == ["a", "b"]


def test_a_pod_that_changes_its_labels_or_is_deleted_is_selected_no_more() -> None:
    made = fleet(managed_model(), pod("a"), pod("b"), pod("c"))
    owner = made.managed_models[("speech", "tts")]
    made.observe_pod(pod("a", app="asr"))
    made.observe_pod(pod("b"), deleted=True)
    terminating = pod("c")
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    made.observe_pod(terminating)
    assert made.select(owner) == ()


def test_a_late_word_about_an_object_that_was_created_again_is_ignored() -> None:
    made = fleet(managed_model())
    again = copy.deepcopy(managed_model())
    again["metadata"]["uid"] = "uid-new"
    made.observe_managed_model(again)
    made.observe_managed_model(managed_model(), deleted=True)
    assert made.managed_models[("speech", "tts")].uid == "uid-new"


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    newer = managed_model(model="tts")
    newer["metadata"]["resourceVersion"] = "11"
    made = fleet(newer, managed_model(model="old"))
    assert made.managed_models[("speech", "tts")].model == "tts"


def test_our_own_status_writes_wake_nobody() -> None:
    made = fleet(managed_model())
    made.changed.clear()
    written = managed_model() | {"status": {"observedGeneration": 1}}
    written["metadata"]["resourceVersion"] = "12"
    made.observe_managed_model(written)
    assert not made.changed.is_set()
    assert made.managed_models[("speech", "tts")].status.observed_generation == 1


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        pytest.param({"model": "tts", "created": NEW}, {"created": OLD}, "first", id="named beats whole"),
        pytest.param({"model": "tts", "created": OLD}, {"model": "tts", "created": NEW}, "first", id="older"),
        pytest.param({"created": NEW}, {"created": OLD}, "second", id="older of two whole pods"),
        pytest.param({"created": OLD}, {"created": OLD}, "first", id="same second: by name"),
    ],
)
def test_one_manages_and_the_other_knows_who(first: dict[str, str], second: dict[str, str], winner: str) -> None:
    made = fleet(managed_model("first", **first), managed_model("second", **second), pod())
    held, lost = managed(made, "tts")
    loser = "second" if winner == "first" else "first"
    assert (held[winner], lost[winner]) == (["tts"], [])
    assert held[loser] == []
    assert {each.winner for each in lost[loser]} == {winner}


def test_the_whole_pod_keeps_the_models_that_nobody_names() -> None:
    made = fleet(managed_model("whole"), managed_model("named", model="tts"), pod())
    held, lost = managed(made, "tts", "asr")
    assert held["whole"] == ["asr"]
    assert [each.model for each in lost["whole"]] == ["tts"]


def managed(made: Fleet, *models: str) -> tuple[dict[str, list[str]], dict[str, list[Lost]]]:
    """The models that each ManagedModel has, and what it lost, when each pod has `models`."""
    claims = {owner.name: list(made.claims(owner, lambda _: models)) for owner in made.managed_models.values()}
    return (
        {name: [model for claim in each for model in claim.held] for name, each in claims.items()},
        {name: [lost for claim in each for lost in claim.lost] for name, each in claims.items()},
    )


LABELLED = {"app": "tts", "dormouse.dev/sidecar": "true"}
LISTENS = {"name": "x", "ports": [{"containerPort": 7443}]}


@pytest.mark.parametrize(
    ("labels", "spec", "expected"),
    [
        pytest.param({}, {"containers": [{"name": "dormouse-sidecar"}]}, True, id="by name"),
        pytest.param({}, {"initContainers": [{"name": "dormouse-sidecar"}], "containers": []}, True, id="native"),
        pytest.param(LABELLED, {"containers": [LISTENS]}, True, id="renamed, by label and port"),
        pytest.param(LABELLED, {"containers": [], "initContainers": [LISTENS]}, True, id="renamed native"),
        pytest.param({}, {"containers": [LISTENS]}, False, id="somebody's HTTPS server"),
        pytest.param(
            LABELLED | {"dormouse.dev/sidecar": "false"}, {"containers": [LISTENS]}, False, id="label says no"
        ),
        pytest.param(LABELLED, {"containers": [{"name": "x", "ports": [{"containerPort": 80}]}]}, False, id="no port"),
        pytest.param(LABELLED, {"containers": [{"name": "x"}]}, False, id="a label alone"),
        pytest.param(None, {}, False, id="nothing"),
    ],
)
def test_knows_a_sidecar(labels: dict[str, str] | None, spec: dict[str, object], expected: bool) -> None:
    assert has_sidecar({"metadata": {"labels": labels}, "spec": spec}) is expected


def test_a_bad_window_is_kept_as_words_and_the_rest_of_the_policy_holds() -> None:
    window = {"cron": "0 8 * * 1-5", "timeZone": "Asia/Shanghai", "durationSeconds": 60, "residency": "GPU"}
    bad = window | {"cron": "0 0 31 2 *"}
    read = typed(managed_model(policy={"offloadAfterSeconds": 5, "schedule": [bad, window]}))
    assert read.policy.offload_after_seconds == 5
    assert [each.residency for each in read.policy.schedule] == [Residency.GPU]
    assert read.problems[0].message.startswith("policy.schedule[0]: cron")


def test_residency_since_is_the_latest_time_of_an_owner_of_the_field() -> None:
    body = managed_model(residency="CPU")
    owns, other = {"f:spec": {"f:residency": {}}}, {"f:spec": {"f:mode": {}}}
    body["metadata"]["managedFields"] = [
        {"time": "2026-01-01T00:00:00Z", "fieldsV1": owns},
        {"time": "2026-01-02T00:00:00Z", "fieldsV1": owns},
        {"time": "2026-01-03T00:00:00Z", "fieldsV1": other},
    ]
    assert typed(body).policy.residency_since == 1767312000.0
    assert typed(managed_model()).policy.residency_since is None


def test_our_own_status_is_no_news_whichever_way_it_comes_first_and_another_s_is() -> None:
    made = fleet(managed_model("tts"))
    made.take_touched()

    def written(version: int, reason: str) -> dict[str, Any]:
        body = managed_model("tts")
        body["metadata"]["resourceVersion"] = str(version)
        body["status"] = {"conditions": [{"type": "Ready", "status": "True", "reason": reason, "message": ""}]}
        return body

    def reason() -> str:
        return made.managed_models[("speech", "tts")].status.conditions[0].reason

    made.observe_managed_model(written(20, "AsDesired"), ours=True)
    made.observe_managed_model(written(20, "AsDesired"))
    assert (made.take_touched(), reason()) == (set(), "AsDesired")
    made.observe_managed_model(written(21, "Forged"))
    assert (made.take_touched(), reason()) == ({("speech", "tts")}, "Forged")
    made.observe_managed_model(written(19, "Late"))
    assert (made.take_touched(), reason()) == (set(), "Forged")


@pytest.mark.parametrize("ours", [True, False], ids=["the answer to what we wrote", "a late event"])
def test_a_late_word_of_an_object_is_not_about_the_one_that_was_created_in_its_place(ours: bool) -> None:
    def body(uid: str, version: int) -> dict[str, Any]:
        made = managed_model("tts")
        made["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
        return made

    made = fleet(body("first", 10))
    made.observe_managed_model(body("first", 12), deleted=True)
    made.observe_managed_model(body("first", 11), ours=True)
    assert not made.managed_models, "it is gone"
    made.observe_managed_model(body("second", 13))
    made.take_touched()
    made.observe_managed_model(body("first", 11), ours=ours)
    made.observe_managed_model(body("first", 12), deleted=True)
    assert [each.uid for each in made.managed_models.values()] == ["second"]
    assert not made.take_touched()


def test_very_many_changes_in_a_namespace_touch_all_that_it_has_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dormouse_operator.cluster.fleet.PAIRS_COMPARED", 20)
    made = fleet(*(managed_model(f"m{number}") for number in range(30)))
    elsewhere = managed_model("quiet")
    elsewhere["metadata"]["namespace"] = "vision"
    made.observe_managed_model(elsewhere)
    made.take_touched()
    made.observe_pod(pod())
    assert made.take_touched() == {("speech", f"m{number}") for number in range(30)}
