"""What the page is given: the rung that `plan()` itself will take, holders of a shared device, bounded histories."""

import dataclasses
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from dormouse_contract import Action, Observation, Policy, Residency, plan
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.lifecycle.device import program_of
from dormouse_modelserver.lifecycle.history.history import RECENT_TRANSITIONS
from dormouse_modelserver.server.authority import anyone
from dormouse_modelserver.server.panel.reading import next_move, read_state
from dormouse_modelserver.server.panel.routes import panel_router
from dormouse_modelserver.server.panel.watch import Watch
from dormouse_webkit.language import preferred
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from tests.modelserver.lifecycle.conftest import load_doubler
from tests.waiting import until

Manage = Callable[..., ResidencyManager]
NOW = 1_800_000_000.0
ON_GPU = Observation(Residency.GPU, 0, idle_since=NOW - 100, resident_since=NOW - 100)
LADDER = Policy(offload_after_seconds=600, unload_after_seconds=7200, min_resident_seconds=0)


@pytest.fixture
def manage() -> Iterator[Manage]:
    managers: list[ResidencyManager] = []

    def manage(device: str = "sim:1MiB", **settings: Any) -> ResidencyManager:
        managers.append(ResidencyManager(device, socket="", **settings))
        return managers[-1]

    yield manage
    for manager in managers:
        manager.close()


@pytest.mark.parametrize(
    ("policy", "seen", "expected"),
    [
        pytest.param(LADDER, ON_GPU, (Residency.CPU, 500), id="the first rung"),
        pytest.param(
            LADDER, dataclasses.replace(ON_GPU, residency=Residency.CPU), (Residency.UNLOADED, 7100), id="the second"
        ),
        pytest.param(
            dataclasses.replace(LADDER, min_resident_seconds=3600), ON_GPU, (Residency.CPU, 3500), id="woken recently"
        ),
        pytest.param(dataclasses.replace(LADDER, offload_after_seconds=50), ON_GPU, (Residency.CPU, -100), id="due"),
        pytest.param(LADDER, dataclasses.replace(ON_GPU, in_flight=1), None, id="in use"),
        pytest.param(LADDER, dataclasses.replace(ON_GPU, residency=Residency.UNLOADED), None, id="nothing below"),
        pytest.param(
            LADDER,
            dataclasses.replace(ON_GPU, residency=Residency.CPU, unload_refused=True),
            None,
            id="changed weights",
        ),
        pytest.param(Policy(), ON_GPU, None, id="never"),
    ],
)
def test_the_countdown_is_to_the_next_rung(
    policy: Policy, seen: Observation, expected: tuple[Residency, float] | None
) -> None:
    move = next_move(policy, seen, NOW)
    assert (None if move is None else (move.to, move.at - NOW)) == expected


@given(
    offload=st.none() | st.integers(0, 5000),
    more=st.none() | st.integers(1, 5000),
    guard=st.integers(0, 5000),
    idle=st.integers(0, 5000),
    resident=st.integers(0, 5000),
    at=st.sampled_from(Residency),
)
def test_the_countdown_ends_when_plan_acts(
    offload: int | None, more: int | None, guard: int, idle: int, resident: int, at: Residency
) -> None:
    """Whole seconds, walked one breakpoint after the other: plan() holds until the shown moment and orders then."""
    policy = Policy(
        offload_after_seconds=offload,
        unload_after_seconds=None if more is None else (offload or 0) + more,
        min_resident_seconds=guard,
    )
    seen = Observation(at, 0, idle_since=NOW - idle, resident_since=NOW - resident)
    move = next_move(policy, seen, NOW)
    end = move.at if move is not None else math.inf
    for moment in range(int(NOW), int(min(end, NOW + 20_000)), 97):
        assert plan(policy, seen, moment).action is Action.HOLD
    if move is not None:
        decision = plan(policy, seen, max(NOW, end))
        assert (decision.action, decision.desired) == (Action.ORDER, move.to)


def _hold(path: str, connection: Connection) -> None:
    device = SimDevice("other", 1 << 20, path)
    arena = device.allocate(300)
    connection.send(os.getpid())
    connection.recv()
    arena.close()


def test_a_shared_device_names_each_holder(tmp_path: Path, manage: Manage) -> None:
    path = str(tmp_path / "gpu")
    manager = manage(f"sim:1MiB@{path}")
    manager.register("tts", load=load_doubler).move_to(Residency.GPU)
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=_hold, args=(path, there))
    other.start()
    try:
        assert here.poll(60)
        pid = here.recv()
        seen = manager.device.occupancy()
        assert seen.holders is not None
        assert [(h.pid, h.nbytes, h.this_process) for h in seen.holders] == [
            (os.getpid(), 512, True),
            (pid, 300, False),
        ]
        state = read_state(manager, anyone.access, NOW, NOW).device
        assert (state.used_bytes, state.process_bytes, state.weights_bytes, state.rest_bytes) == (812, 512, 512, 0)
        assert state.simulated
    finally:
        here.send("go")
        other.join(30)
    assert manager.device.occupancy().used == 512


def test_a_process_is_named_by_its_program_and_never_by_its_arguments() -> None:
    name = program_of(os.getpid())
    assert name
    assert "/" not in name
    assert " " not in name
    assert program_of(2**22 + 1) is None


def test_the_history_is_bounded_and_newest_first(manage: Manage) -> None:
    tts = manage().register("tts", load=load_doubler)
    for _ in range(RECENT_TRANSITIONS):
        tts.move_to(Residency.GPU)
        tts.move_to(Residency.CPU)
    recent = tts._slot.view.recent_transitions()
    assert len(recent) == RECENT_TRANSITIONS
    assert recent[0] == tts.snapshot().last_transition
    assert [ended.time for ended in recent] == sorted((ended.time for ended in recent), reverse=True)


def test_a_pin_by_hand_stops_the_ladder_and_lets_it_go_on(manage: Manage) -> None:
    manager = manage(idle_timeout=0.05)
    tts, slot = manager.register("tts", load=load_doubler), manager.slot("tts")
    slot.pin_by_hand(True)
    tts.move_to(Residency.GPU)
    policy, seen, _ = slot.view.outlook()
    assert next_move(policy, seen, seen.idle_since or 0) is None
    until(lambda: tts.snapshot().idle_seconds > 0.5)
    assert tts.snapshot().residency is Residency.GPU
    slot.pin_by_hand(False)
    until(lambda: tts.snapshot().residency is Residency.CPU)


@pytest.mark.parametrize("body", [b"{}", b'{"pinned": "true"}', b'{"pinned": 1}', b'{"pinned": true, "by": "me"}'])
async def test_a_bad_pin_is_refused(manage: Manage, body: bytes) -> None:
    manager = manage()
    manager.register("tts", load=load_doubler)
    watch = Watch(manager, anyone.access)
    app = FastAPI()
    app.include_router(panel_router(manager, "/dormouse", anyone, watch))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
        response = await client.put("/dormouse/v1/models/tts/pin", content=body)
        assert (response.status_code, response.json()["reason"]) == (422, "BadBody")
        assert (await client.put("/dormouse/v1/models/nosuch/pin", json={"pinned": True})).status_code == 404
    assert not manager.slot("tts").view.pinned_by_hand
    watch.close()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("zh", "zh-CN"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.5, ZH-Hans;q=0.9", "zh-CN"),
        ("de-DE,de;q=0.9,zh;q=0.2", "zh-CN"),
        ("fr", "en"),
        ("*", "en"),
        ("en, zh", "en"),
        ("zh, en", "zh-CN"),
        ("zh;q=0", "en"),
        ("zh;q=much,;;,en", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_would_rather_read(header: str, language: str) -> None:
    assert preferred(header) == language


def test_what_is_not_moved_and_what_has_changed_is_there(manage: Manage) -> None:
    def load() -> SimpleNamespace:
        codec = SimpleNamespace(codebook=torch.ones(4))
        return SimpleNamespace(model=torch.nn.Linear(8, 8), codec=codec)

    manager = manage()
    tts = manager.register("tts", load)
    with tts.on_gpu() as app:
        app.model.bias.data += 1
    tts.move_to(Residency.CPU)
    (model,) = read_state(manager, anyone.access, NOW, NOW).models
    assert (model.dirty, model.changed) == (True, "'model.bias' (other values)")
    assert [line.partition(": ")[0] for line in model.moved_apart] == ["codec.codebook"]
    assert model.moved_apart == list(tts.moved_apart)
