"""The certificate reaches every namespace that lets it in; one that keeps it out harms itself, and is told why."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from dormouse_operator.errors import KubeError, KubeNotFound, KubeUnavailable, NotLeading
from dormouse_operator.keys.trust import CONFIG_MAP_NAME, TrustPublisher

from tests.waiting import auntil, eventually

from ..fake_pod import FakeModel
from ..world import OPERATOR_NAMESPACE, World

FIELD = f"{OPERATOR_NAMESPACE}.crt"
SLEEPY = {"offloadAfterSeconds": 4, "minResidentSeconds": 0}
KEPT_OUT = "dormouse_operator_trust_not_published"


class Api:
    """An API server in memory: each namespace has a ConfigMap, or an error that it answers with, or hangs."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, str]] = {}
        self.errors: dict[str, KubeError] = {}
        self.hangs: set[str] = set()
        self.calls: list[str] = []

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **_: object
    ) -> dict[str, Any]:
        namespace = path.split("/")[4]
        self.calls.append(namespace)
        if namespace in self.hangs:
            await asyncio.Event().wait()
        if namespace in self.errors:
            raise self.errors[namespace]
        if method == "GET" and namespace not in self.maps:
            raise KubeNotFound("GET: HTTP 404", 404)
        if body is not None:
            self.maps.setdefault(namespace, {}).update(body["data"])
        return {"data": self.maps[namespace]}


class Publishing:
    """A publisher that wants "one" and looks only when `look` is called, each time after any back-off."""

    def __init__(self) -> None:
        self.api = Api()
        self.now = 0.0
        self.news: list[str] = []
        self.trust = TrustPublisher(
            self.api,  # type: ignore[arg-type]
            "system",
            monotonic=lambda: self.now,
            on_news=self.news.append,
        )
        self.trust.want("one")

    async def look(self, *namespaces: str, seconds: float = 100.0) -> None:
        self.now += seconds
        self.trust.keep(set(namespaces))
        fast = {each for each in namespaces if each not in self.api.hangs}
        await asyncio.wait_for(self._drained(fast), 5)

    async def _drained(self, namespaces: set[str]) -> None:
        calls = len(self.api.calls)
        await asyncio.sleep(0)
        if not self.api.hangs:
            await self.trust.queue.drain(5)
        else:
            await auntil(lambda: namespaces <= set(self.api.calls[calls:]) or not namespaces)


@pytest.fixture
def publishing() -> Publishing:
    return Publishing()


async def test_it_is_written_once_and_put_right_within_a_minute(publishing: Publishing) -> None:
    await publishing.look("speech")
    assert publishing.api.maps == {"speech": {"system.crt": "one"}}
    publishing.api.maps["speech"] = {"system.crt": "somebody else's", "other.crt": "stays"}
    await publishing.look("speech", seconds=1)
    assert publishing.api.maps["speech"]["system.crt"] == "somebody else's", "not looked at yet"
    await publishing.look("speech", seconds=60)
    assert publishing.api.maps["speech"] == {"system.crt": "one", "other.crt": "stays"}
    assert publishing.news == []


async def test_a_namespace_that_hangs_keeps_no_other_waiting(publishing: Publishing) -> None:
    publishing.api.hangs = {"slow"}
    publishing.trust.keep({"slow", "fine", "too"})
    await auntil(lambda: set(publishing.api.maps) == {"fine", "too"})
    assert publishing.trust.problem("fine") == ""
    await publishing.trust.queue.shut_down(0)


async def test_one_that_refuses_is_tried_later_and_later_and_logged_once_a_minute(
    publishing: Publishing, caplog: pytest.LogCaptureFixture
) -> None:
    publishing.api.errors["evil"] = KubeError("PATCH: HTTP 422: immutable\nERROR root: \x1b[31mforged", 422)
    with caplog.at_level(logging.WARNING):
        for _ in range(600):
            await publishing.look("evil", seconds=0.1)
    assert len(publishing.api.calls) <= 10
    (record,) = caplog.records
    assert "in evil" in record.getMessage()
    assert record.getMessage().isprintable()
    assert publishing.trust.problem("evil") == "PATCH: HTTP 422: immutable ERROR root: �[31mforged"
    assert list(publishing.trust.problems()) == ["evil"]
    assert publishing.news == ["evil"], "said once"


async def test_what_it_says_is_bounded(publishing: Publishing) -> None:
    publishing.api.errors["evil"] = KubeError("x" * 100_000, 422)
    await publishing.look("evil")
    assert len(publishing.trust.problem("evil")) <= 300


async def test_one_that_lets_it_in_again_has_no_problem_any_more(publishing: Publishing) -> None:
    publishing.api.errors["evil"] = KubeError("PATCH: HTTP 422: immutable", 422)
    await publishing.look("evil")
    del publishing.api.errors["evil"]
    await publishing.look("evil")
    assert publishing.trust.problem("evil") == ""
    assert publishing.news == ["evil", "evil"]


async def test_a_rotation_waits_for_all_but_those_that_keep_it_out(publishing: Publishing) -> None:
    publishing.api.errors["refuses"] = KubeError("PATCH: HTTP 403: quota", 403)
    publishing.api.errors["away"] = KubeUnavailable("PATCH: no answer within 15 s", 0)
    names = ("refuses", "away", "fine")
    for number in (1, 2):
        await publishing.look(*names)
        assert not publishing.trust.is_everywhere(names), f"away may only be slow after {number} tries"
        assert publishing.trust.problem("away") == ""
    await publishing.look(*names)
    assert publishing.trust.is_everywhere(names)
    assert "no answer" in publishing.trust.problem("away")
    publishing.trust.want("two")
    assert not publishing.trust.is_everywhere(names), "each is tried with the next one, too"
    assert "no answer" in publishing.trust.problem("away"), "and has its problem until then"


async def test_a_standby_has_no_problem_of_its_own(publishing: Publishing) -> None:
    publishing.api.errors["speech"] = NotLeading("PATCH: not sent", 0)
    for _ in range(5):
        await publishing.look("speech")
    assert publishing.trust.problem("speech") == ""


async def test_a_namespace_without_managed_models_is_forgotten(publishing: Publishing) -> None:
    publishing.api.errors["evil"] = KubeError("PATCH: HTTP 422: immutable", 422)
    await publishing.look("evil", "fine")
    await publishing.look("fine")
    assert publishing.trust.problem("evil") == ""
    assert not publishing.trust.problems()


OBSTACLES = {
    "immutable": {"immutable": True, "data": {"mine": "x"}},
    "immutable with another certificate under the name": {"immutable": True, "data": {FIELD: "another"}},
    "full": {"data": {"junk": "x" * (1024 * 1024 - 10)}},
    "the name taken by binary data": {"binaryData": {FIELD: base64.b64encode(b"x").decode()}},
}


def obstruct(world: World, config_map: dict[str, Any]) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps"
    world.control_plane.api.request("POST", path, {"metadata": {"name": CONFIG_MAP_NAME}, **config_map})


def is_published(world: World) -> bool:
    found = world.get(f"/api/v1/namespaces/{world.namespace}/configmaps/{CONFIG_MAP_NAME}") or {}
    return "BEGIN CERTIFICATE" in found.get("data", {}).get(FIELD, "")


def kept_out(world: World) -> set[str]:
    url = f"http://127.0.0.1:{world.operator.metrics_port}/metrics"
    lines = httpx.get(url, trust_env=False, timeout=10).text.splitlines()
    return {line.partition(" ")[0] for line in lines if line.startswith(KEPT_OUT + "{")}


@pytest.mark.parametrize("config_map", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_a_config_map_made_beforehand_is_said_with_what_to_do_and_harms_nobody_else(
    world: World, config_map: dict[str, Any]
) -> None:
    honest = World(world.control_plane, f"{world.namespace}-honest", world.prometheus, world.operator)
    world.control_plane.api.create_namespace(honest.namespace)
    try:
        obstruct(world, config_map)
        for each in (world, honest):
            each.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
            each.apply("tts", model="tts", policy=SLEEPY)
        world.operator.start()
        world.wait_for("tts", "Ready", "False", "TrustNotPublished")
        ready = next(each for each in world.status("tts")["conditions"] if each["type"] == "Ready")
        assert "HTTP 422" in ready["message"]
        assert f"Delete the ConfigMap {CONFIG_MAP_NAME}" in ready["message"]
        assert "\n" not in ready["message"]
        honest.trust()
        honest.wait_for("tts", "Ready", "True", "AsDesired")
        assert kept_out(world) == {f'{KEPT_OUT}{{namespace="{world.namespace}"}}'}
        warning = f"is not published in {world.namespace}, "
        assert world.operator.log.count(warning) == 1
        path = f"/api/v1/namespaces/{world.namespace}/configmaps/{CONFIG_MAP_NAME}"
        world.control_plane.api.request("DELETE", path)
        eventually("it is published", lambda: is_published(world), deadline_seconds=90)
        world.trust()
        world.wait_for("tts", "Ready", "True", "AsDesired", deadline_seconds=70)
        assert kept_out(world) == set()
    finally:
        for pod in honest.pods.values():
            pod.close()
        honest.prometheus.set_targets(honest.namespace, [])
        world.control_plane.api.remove_namespace(honest.namespace)


def test_a_quota_that_refuses_it_is_said_in_the_api_servers_words(world: World) -> None:
    quotas = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/configmaps": "0"}}}
    world.control_plane.api.request("POST", quotas, quota)
    # What the controller manager does, which is not there.
    status = {"hard": quota["spec"]["hard"], "used": quota["spec"]["hard"]}
    merge = "application/merge-patch+json"
    world.control_plane.api.request("PATCH", f"{quotas}/none/status", {"status": status}, content_type=merge)
    world.add_pod("tts-0", {"tts": FakeModel()}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.wait_for("tts", "Ready", "False", "TrustNotPublished")
    assert "quota" in json.dumps(world.status("tts"))
    world.control_plane.api.request("DELETE", f"{quotas}/none")
    eventually("it is published", lambda: is_published(world), deadline_seconds=90)


def test_one_that_is_being_deleted_has_it_as_long_as_it_is_there(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps"
    metadata = {"name": CONFIG_MAP_NAME, "finalizers": ["example.com/stays"]}
    world.control_plane.api.request("POST", path, {"metadata": metadata})
    world.control_plane.api.request("DELETE", f"{path}/{CONFIG_MAP_NAME}")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    eventually("it is published", lambda: is_published(world))
    patch = {"metadata": {"finalizers": None}}
    merge = "application/merge-patch+json"
    world.control_plane.api.request("PATCH", f"{path}/{CONFIG_MAP_NAME}", patch, content_type=merge)
