"""A fleet that is new: thousands of statuses are written soon, and delay nobody who has news."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from dormouse_contract.idleness import IdleSignal
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.cluster.kube import Kube
from dormouse_operator.errors import KubeUnavailable
from dormouse_operator.orders import Outcome
from dormouse_operator.reporting import first_statuses
from dormouse_operator.reporting.recorder import FIRST_CALL_SECONDS, Recorder
from dormouse_operator.view import Contact, View

from tests.waiting import auntil

from .objects import NOW, fleet, managed_model, pod, signal, view_of


class ApiServer(Kube):
    """`written` is what was asked, in that order. `refuse` None: everything is taken."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.written: list[str] = []
        self.under_way = 0
        self.bodies: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[], Exception | None] = lambda: None

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        name = path.split("/")[-2]
        self.written.append(name)
        self.under_way += 1
        try:
            await asyncio.sleep(self.seconds)
            if error := self.refuse():
                raise error
        finally:
            self.under_way -= 1
        assert body is not None
        written = copy.deepcopy(self.bodies[name]) | {"status": body["status"]}
        written["metadata"]["resourceVersion"] = "20"
        return written


class World:
    def __init__(self, seconds: float = 0.0) -> None:
        self.api = ApiServer(seconds)
        self.fleet = Fleet()
        self.now = 1000.0
        self.recorder = Recorder(
            self.api, self.fleet, clock=lambda: NOW, monotonic=lambda: self.now, instance="operator"
        )

    def view(self, name: str, namespace: str = "speech", *, asked: bool = True, old: bool = False) -> View:
        """Of a new ManagedModel without pods; `old` of one whose status says something else than is true now, and
        with `asked` false of one with a pod that was not called yet."""
        body = managed_model(name)
        body["metadata"]["namespace"] = namespace
        if old:
            body["status"] = {"conditions": [{"type": "Ready", "status": "True", "reason": "AsDesired"}]}
        self.api.bodies[name] = body
        self.fleet.observe_managed_model(body)
        seen = (
            view_of(fleet(managed_model(name)), IdleSignal(), name)
            if asked
            else view_of(fleet(managed_model(name), pod()), signal(), name, contact=Contact())
        )
        return replace(seen, owner=self.fleet.managed_models[namespace, name])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.recorder.queue.shut_down(0.0)


async def test_a_changed_condition_does_not_wait_behind_ten_thousand_first_statuses(world: World) -> None:
    world.api.seconds = 0.02
    for number in range(10_000):
        world.recorder.record(world.view(f"new-{number}"))
    await auntil(lambda: len(world.api.written) > 20)
    began, before = time.monotonic(), len(world.api.written)
    world.recorder.record(world.view("known", old=True))
    await auntil(lambda: "known" in world.api.written, within_seconds=10)
    took = time.monotonic() - began
    assert world.api.written.index("known") - before <= first_statuses.AT_ONCE
    assert took < 2.0


async def test_nor_behind_first_statuses_that_hang(world: World) -> None:
    world.api.seconds = 3600
    for number in range(100):
        world.recorder.record(world.view(f"new-{number}"))
    await auntil(lambda: world.api.under_way == first_statuses.AT_ONCE)
    world.recorder.record(world.view("known", old=True))
    await auntil(lambda: "known" in world.api.written)
    assert world.api.under_way == first_statuses.AT_ONCE + 1


async def test_the_namespaces_take_turns(world: World) -> None:
    for number in range(9000):
        world.recorder.record(world.view(f"noisy-{number}", "noisy"))
    for number in range(3):
        world.recorder.record(world.view(f"quiet-{number}", "quiet"))
    await auntil(lambda: "quiet-2" in world.api.written)
    assert world.api.written.index("quiet-2") < 10


async def test_each_is_written_once_and_as_it_was_last_seen(world: World) -> None:
    for number in range(50):
        world.recorder.record(world.view(f"new-{number}"))
        world.recorder.record(world.view(f"new-{number}"))
    await auntil(lambda: all(each.status.conditions for each in world.fleet.managed_models.values()))
    assert sorted(world.api.written) == sorted(f"new-{number}" for number in range(50))


async def test_an_api_server_that_refuses_is_left_alone_and_asked_again_later(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(first_statuses, "FIRST_REST_SECONDS", 0.2)
    monkeypatch.setattr(first_statuses, "LAST_REST_SECONDS", 0.4)
    world.api.refuse = lambda: KubeUnavailable("HTTP 429: too many requests", 429)
    views = [world.view(f"new-{number}") for number in range(200)]
    with caplog.at_level(logging.WARNING):
        for view in views:
            world.recorder.record(view)
        began = time.monotonic()
        await auntil(lambda: len(world.api.written) >= 4)
    # Without a rest these take 15 ms.
    assert time.monotonic() - began > 0.9
    assert len([each for each in caplog.records if "not written yet" in each.message]) == 1, "one cause, one line"
    world.api.refuse = lambda: None
    world.now += 120

    async def all_written() -> bool:
        for view in views:
            if not world.fleet.managed_models[view.owner.key].status.conditions:
                world.recorder.record(view)
        await asyncio.sleep(0.05)
        return all(each.status.conditions for each in world.fleet.managed_models.values())

    await auntil(all_written, within_seconds=30)


async def test_a_first_status_waits_for_the_first_call_but_not_for_long(world: World) -> None:
    view = world.view("tts", asked=False)
    assert not world.recorder.record(view), "it is looked at again"
    world.now += FIRST_CALL_SECONDS - 1
    world.recorder.record(view)
    assert world.api.written == []
    world.now += 2
    world.recorder.record(view)
    await auntil(lambda: world.api.written == ["tts"])


async def test_after_the_first_call_it_is_written_at_once(world: World) -> None:
    world.recorder.record(world.view("tts", asked=False))
    called = Contact(Outcome.UNREACHABLE, "no answer")
    body = world.api.bodies["tts"]
    world.recorder.record(view_of(fleet(body, pod()), signal(), contact=called))
    await auntil(lambda: world.api.written == ["tts"])


async def test_one_that_was_deleted_meanwhile_is_not_written(world: World) -> None:
    world.api.seconds = 0.01
    views = [world.view(f"new-{number}") for number in range(100)]
    for view in views:
        world.recorder.record(view)
    for view in views[50:]:
        world.fleet.forget_managed_model(view.owner)
    await auntil(lambda: all(each.status.conditions for each in world.fleet.managed_models.values()))
    assert len(world.api.written) == 50
