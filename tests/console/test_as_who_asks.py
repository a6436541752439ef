"""Each read and each change is done with the caller's own rights, whatever the console itself could reach."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from dormouse_contract import Residency

from tests.waiting import eventually

from .conftest import MODEL, NAMESPACE, OTHER, World
from .conversation import Conversation
from .people import Person

CHANGES = ["wake", "offload", "unload", "auto", "pause", "resume", "pin"]


def soon(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def order(asked: Conversation, change: str, namespace: str = NAMESPACE) -> httpx.Response:
    return asked.change(namespace, MODEL, change, soon(hours=2) if change == "pin" else None)


def column(fleet: dict[str, Any], name: str, column: str) -> Any:
    row = next(row for row in fleet["rows"] if row[1] == name)
    return row[fleet["columns"].index(column)]


def test_who_may_change_wakes_offloads_and_unloads_and_the_replica_obeys(world: World, permitted: Person) -> None:
    world.reset()
    with Conversation(world.url, permitted) as anna:
        for change, residency in (
            ("offload", Residency.CPU),
            ("unload", Residency.UNLOADED),
            ("wake", Residency.GPU),
        ):
            order(anna, change).raise_for_status()
            eventually(f"{change} is carried out", lambda wanted=residency: world.residency() is wanted)


def test_by_hand_lasts_two_minutes_and_a_pin_as_long_as_was_said(world: World, permitted: Person) -> None:
    with Conversation(world.url, permitted) as anna:
        order(anna, "wake").raise_for_status()
        held = datetime.fromisoformat(world.spec()["residencyUntil"]) - datetime.now(UTC)
        assert timedelta(seconds=90) < held <= timedelta(seconds=120)
        until = soon(hours=2)
        anna.change(NAMESPACE, MODEL, "pin", until).raise_for_status()
        assert (world.spec()["residency"], world.spec()["residencyUntil"]) == ("GPU", until)
        order(anna, "auto").raise_for_status()
        assert world.spec()["residency"] == "Auto"
        assert "residencyUntil" not in world.spec()


def test_pause_and_resume_change_the_mode_and_say_what_follows(world: World, permitted: Person) -> None:
    world.reset()
    with Conversation(world.url, permitted) as anna:
        assert order(anna, "pause").json()["mode"] == "Paused"
        assert "Paused" in order(anna, "wake").json()["noEffectBecause"]
        assert order(anna, "resume").json()["mode"] == "Active"
        assert order(anna, "auto").json()["noEffectBecause"] == ""


def test_a_change_names_who_made_it_in_the_managed_fields(world: World, permitted: Person) -> None:
    with Conversation(world.url, permitted) as anna:
        order(anna, "auto").raise_for_status()
    found = json.loads(
        world.stage.cluster.kubectl("get", "dmm", MODEL, "-o", "json", "--show-managed-fields", namespace=NAMESPACE)
    )
    assert "dormouse-console" in {entry["manager"] for entry in found["metadata"]["managedFields"]}


@pytest.mark.parametrize("change", CHANGES)
def test_who_may_only_read_is_refused_in_the_api_servers_words_and_nothing_changes(
    world: World, reader: Person, change: str
) -> None:
    before = world.spec()
    with Conversation(world.url, reader) as ravi:
        refused = order(ravi, change)
    assert refused.status_code == 403
    assert f'User "{reader.user}" cannot patch resource "managedmodels"' in refused.json()["detail"]
    assert world.spec() == before


@pytest.mark.parametrize("change", CHANGES)
def test_rights_in_one_namespace_are_none_in_another(world: World, stranger: Person, change: str) -> None:
    before = world.spec()
    with Conversation(world.url, stranger) as sam:
        assert order(sam, change).status_code == 403
        assert sam.change(OTHER, "ocr", "auto").status_code == 200
    assert world.spec() == before


@pytest.mark.parametrize(
    "path",
    [
        "fleet",
        f"fleet?namespace={NAMESPACE}",
        "savings",
        f"savings?namespace={NAMESPACE}",
        f"models/{NAMESPACE}/{MODEL}",
        f"models/{NAMESPACE}/{MODEL}/replicas",
    ],
)
def test_a_stranger_reads_nothing_of_a_namespace_or_of_all(world: World, stranger: Person, path: str) -> None:
    with Conversation(world.url, stranger) as sam:
        refused = sam.get(path)
    assert refused.status_code == 403
    assert MODEL not in refused.text.replace(path, "").replace(f'managedmodels.dormouse.dev \\"{MODEL}\\"', "")
    assert "rows" not in refused.json()


def test_who_may_list_one_namespace_sees_that_one_and_its_figures(world: World, reader: Person) -> None:
    with Conversation(world.url, reader) as ravi:
        assert ravi.get("session").json()["user"] == reader.user
        fleet = ravi.get("fleet", namespace=NAMESPACE).json()
        assert [row[:2] for row in fleet["rows"]] == [[NAMESPACE, MODEL]]
        assert fleet["problem"] == ""
        assert list(fleet["idle"]) == [f"{NAMESPACE}/{MODEL}"]
        savings = ravi.get("savings", namespace=NAMESPACE, range="15m").json()
        assert savings["simulated"] is True
        assert savings["held"]
        replicas = ravi.get(f"models/{NAMESPACE}/{MODEL}/replicas", range="15m").json()
        assert [pod["name"] for pod in replicas["pods"]] == [f"{MODEL}-0"]
        assert replicas["replicas"][0]["device"].startswith("sim")
        assert replicas["timeline"][0]["runs"]
        model = ravi.get(f"models/{NAMESPACE}/{MODEL}").json()
        assert model["mayChange"] is False
        assert {condition["type"] for condition in model["conditions"]} >= {"Ready", "ReplicasReachable"}


def test_who_may_list_everywhere_sees_all_of_it(world: World, everywhere: Person) -> None:
    with Conversation(world.url, everywhere) as eve:
        fleet = eve.get("fleet").json()
        assert {row[0] for row in fleet["rows"]} == {NAMESPACE, OTHER}
        eventually("the operator's word is there", lambda: column(eve.get("fleet").json(), MODEL, "ready") == "True")
        assert eve.get("savings").json()["held"]


def test_events_are_read_as_the_caller_too(world: World, permitted: Person) -> None:
    world.reset()
    with Conversation(world.url, permitted) as anna:
        order(anna, "offload").raise_for_status()
        order(anna, "wake").raise_for_status()

        def told() -> list[str]:
            return [event["reason"] for event in anna.get(f"models/{NAMESPACE}/{MODEL}").json()["events"]]

        eventually("an Event tells of it", told)


def test_without_a_token_nothing_is_asked_and_one_learns_what_to_type(world: World) -> None:
    with Conversation(world.url, None) as nobody:
        for answer in (nobody.get("fleet"), nobody.get("session"), nobody.change(NAMESPACE, MODEL, "wake")):
            assert answer.status_code == 401
            assert "kubectl create token" in answer.json()["hint"]


def test_an_expired_or_invented_token_is_refused(world: World, permitted: Person) -> None:
    header, payload, signature = permitted.token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["exp"] = claims["iat"] = 1_600_000_000
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    for token in (f"{header}.{forged}.{signature}", "made-up", "with blanks", "a\u00e9"):
        headers = {"Authorization": f"Bearer {token}".encode()}
        answer = httpx.get(f"{world.url}/api/fleet", headers=headers, trust_env=False)
        assert answer.status_code == 401, token


def test_a_token_that_expires_ends_the_session(world: World) -> None:
    """The shortest that the API server gives is ten minutes: it is told that the time has come by a revoked account."""
    plane = world.stage.cluster.control_plane
    token = plane.api.service_account_token("people", "leaver", 600)
    with Conversation(world.url, Person("leaver", token)) as leaver:
        assert leaver.get("session").status_code == 200
        plane.api.request("DELETE", "/api/v1/namespaces/people/serviceaccounts/leaver")
        refused = eventually(
            "the token is no longer taken",
            lambda: answer if (answer := leaver.get("session")).status_code == 401 else None,
            30,
        )
    assert "expired" in refused.json()["detail"]


@pytest.mark.parametrize(
    "namespace", [".*", '"} or vector(1) or {x="', "speech|vision", "vision/../speech", "a" * 64, "", "%2e%2e"]
)
def test_a_namespace_can_not_carry_a_query_or_a_path(world: World, stranger: Person, namespace: str) -> None:
    with Conversation(world.url, stranger) as sam:
        for path in ("fleet", "savings"):
            answer = sam.get(path, namespace=namespace)
            assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("name", ["ocr.*", 'ocr"}', "..", "OCR", "ocr%2fstatus"])
def test_a_name_can_not_carry_a_query_or_a_path(world: World, stranger: Person, name: str) -> None:
    with Conversation(world.url, stranger) as sam:
        for path in (f"models/{OTHER}/{name}", f"models/{OTHER}/{name}/replicas"):
            assert sam.get(path).status_code in (404, 422)
        assert sam.change(OTHER, name, "wake").status_code in (404, 405, 422)


def test_what_makes_no_sense_is_refused_before_anything_is_written(world: World, permitted: Person) -> None:
    before = world.spec()
    path = f"models/{NAMESPACE}/{MODEL}/change"
    with Conversation(world.url, permitted) as anna:
        assert anna.change(NAMESPACE, MODEL, "destroy").status_code == 422
        assert anna.change(NAMESPACE, MODEL, "wake", soon(hours=1)).status_code == 422
        assert anna.change(NAMESPACE, MODEL, "pin").status_code == 422
        assert anna.change(NAMESPACE, MODEL, "pin", "tomorrow").status_code == 422
        assert anna.change(NAMESPACE, MODEL, "pin", soon(hours=-1)).status_code == 422
        assert anna.post(path, json={"change": "wake", "spec": {"mode": "Paused"}}).status_code == 422
        assert anna.post(path, content=b'{"change": "wake"}').status_code == 422
        assert anna.post(path, data={"change": "wake"}).status_code == 422
        assert anna.post(path, json={"change": "wake" + " " * 5000}).status_code == 422
    assert world.spec() == before


def test_what_is_not_there_is_said_to_be_not_there(world: World, permitted: Person) -> None:
    with Conversation(world.url, permitted) as anna:
        assert anna.get(f"models/{NAMESPACE}/absent").status_code == 404
        assert anna.change(NAMESPACE, "absent", "wake").status_code == 404
        assert anna.get("nothing").status_code == 404


def test_a_caller_can_not_ask_as_somebody_else(world: World, reader: Person) -> None:
    """Headers besides the token do not travel on."""
    headers = {"Impersonate-User": "system:admin", "Impersonate-Group": "system:masters"}
    with Conversation(world.url, reader, **headers) as ravi:
        assert ravi.get("session").json()["user"] == reader.user
        assert order(ravi, "wake").status_code == 403
