"""What is told, when, and that it is told once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dormouse_contract.managed_model import Condition, Status
from dormouse_contract.wire import LastTransitionSnapshot
from dormouse_operator.errors import KubeNotFound
from dormouse_operator.reporting.announcer import SERIES_SECONDS, SERIES_WRITTEN_EVERY_SECONDS, Announcer
from dormouse_operator.reporting.events import troubles
from dormouse_operator.reporting.summary import summarize
from dormouse_operator.view import ReplicaMemory, View
from dormouse_operator.workqueue.queue import WorkQueue

from .objects import NOW, fleet, managed_model, pod, signal, view_of

SETTLE = 60.0


def status(**reasons: str) -> Status:
    return Status(tuple(Condition(kind, "False", reason, "why", 1) for kind, reason in reasons.items()))


def moved(time: float = NOW, to: str = "CPU", **changes: Any) -> LastTransitionSnapshot:
    body = {
        "from": "GPU" if to == "CPU" else "CPU",
        "to": to,
        "trigger": "AfterTask" if to == "CPU" else "Demand",
        "reason": "",
        "time": time,
        "seconds": 0.1,
        "releasedBytes": 0,
        "outcome": "ok",
    }
    return LastTransitionSnapshot.model_validate(body | changes)


class Teller:
    """An announcer on a clock that the test moves, and an API server that only remembers."""

    def __init__(self) -> None:
        self.now = NOW
        self.requests: list[tuple[str, Mapping[str, Any]]] = []
        self.missing = False
        self._queue = WorkQueue(monotonic=lambda: self.now)
        self.restart()

    def restart(self) -> None:
        self._announcer = Announcer(
            self,  # type: ignore[arg-type]
            self._queue,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            instance="me",
            settle_seconds=SETTLE,
        )

    async def request(self, method: str, path: str, body: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        self.requests.append((method, body))
        if method == "PATCH" and self.missing:
            raise KubeNotFound("gone", 404)
        return {}

    async def see(self, view: View, after_seconds: float = 0.0) -> None:
        self.now += after_seconds
        self._announcer.announce(view, summarize(view, self.now))
        await self._queue.drain(5)

    @property
    def told(self) -> list[str]:
        return [body["reason"] for method, body in self.requests if method == "POST"]

    @property
    def counts(self) -> list[int]:
        return [body["series"]["count"] for method, body in self.requests if method == "PATCH"]


def after(transition: LastTransitionSnapshot, **spec: Any) -> View:
    return view_of(fleet(managed_model(**spec), pod()), signal(), memory=ReplicaMemory(last_transition=transition))


def test_one_cause_that_turns_two_conditions_is_one_trouble() -> None:
    assert list(troubles(status(Ready="Untrusted", ReplicasReachable="Untrusted"))) == ["Untrusted"]


def test_what_is_normal_is_no_trouble() -> None:
    assert troubles(status(Ready="Transitioning")) == {}


async def test_trouble_is_told_once_and_only_when_it_lasts() -> None:
    teller, lonely = Teller(), view_of(fleet(managed_model()), signal())
    await teller.see(lonely)
    await teller.see(lonely, SETTLE - 1)
    assert teller.told == []
    await teller.see(lonely, 2)
    await teller.see(lonely, SETTLE)
    assert teller.told == ["NoReplicas"]


async def test_trouble_that_passes_while_a_pod_starts_is_not_told() -> None:
    teller = Teller()
    await teller.see(view_of(fleet(managed_model()), signal()))
    await teller.see(view_of(fleet(managed_model(), pod()), signal()), SETTLE / 2)
    await teller.see(view_of(fleet(managed_model()), signal()), SETTLE / 2 + 1)
    assert teller.told == []


async def test_after_a_restart_what_was_told_is_not_told_again_and_what_was_not_is() -> None:
    body = managed_model()
    body["status"] = summarize(view_of(fleet(body), signal()), NOW).to_patch()
    view = view_of(fleet(body), signal())
    late, early = Teller(), Teller()
    await late.see(view, SETTLE + 1)
    await late.see(view, SETTLE + 1)
    assert late.told == []
    await early.see(view, 1)
    await early.see(view, SETTLE + 1)
    assert early.told == ["NoReplicas"]


async def test_the_same_news_has_the_same_name_whoever_tells_it() -> None:
    names = []
    for _ in range(2):
        teller = Teller()
        await teller.see(after(moved()))
        names.append(teller.requests[0][1]["metadata"]["name"])
    assert names[0] == names[1]
    assert names[0].startswith("tts.")


async def test_a_model_that_moves_twice_for_each_request_writes_a_count_once_a_minute() -> None:
    teller = Teller()
    for second in range(0, 600, 5):
        await teller.see(after(moved(NOW + second, "GPU" if second % 2 else "CPU")), 5)
    assert teller.told == ["Offloaded", "Woken"]
    assert len(teller.counts) <= 2 * 600 / SERIES_WRITTEN_EVERY_SECONDS
    assert max(teller.counts) > 50


async def test_the_last_count_is_written_though_nothing_moves_any_more() -> None:
    teller = Teller()
    await teller.see(after(moved(NOW)))
    await teller.see(after(moved(NOW + 1)), 1)
    assert teller.counts == []
    await teller.see(after(moved(NOW + 1)), SERIES_WRITTEN_EVERY_SECONDS)
    await teller.see(after(moved(NOW + 1)), SERIES_WRITTEN_EVERY_SECONDS)
    assert teller.counts == [2]


async def test_a_move_long_after_the_last_and_one_whose_event_is_gone_are_told_anew() -> None:
    teller = Teller()
    await teller.see(after(moved(NOW)))
    await teller.see(after(moved(NOW + SERIES_SECONDS)), SERIES_SECONDS)
    assert teller.told == ["Offloaded", "Offloaded"]
    teller.missing = True
    await teller.see(after(moved(NOW + SERIES_SECONDS + 1)), SERIES_WRITTEN_EVERY_SECONDS)
    await teller.see(after(moved(NOW + SERIES_SECONDS + 90)), 90)
    assert len(teller.told) == 3


async def test_what_a_replica_did_before_the_object_was_is_neither_told_nor_shown() -> None:
    teller, view = Teller(), after(moved(NOW - 10))
    younger = replace(view, owner=replace(view.owner, created=NOW - 5))
    await teller.see(younger)
    assert teller.told == []
    assert summarize(younger, NOW).last_transition is None
    assert summarize(view, NOW).last_transition is not None


async def test_observe_tells_with_the_reason_what_it_would_order_once() -> None:
    teller = Teller()
    view = view_of(fleet(managed_model(mode="Observe", policy={"offloadAfterSeconds": 50}), pod()), signal())
    await teller.see(view)
    await teller.see(view, 100)
    assert teller.told == ["WouldOrder"]
    note = teller.requests[0][1]["note"]
    assert "GPU → CPU: idle 100 s ≥ 50 s; signal 1 s old; in flight 0." in note
    assert "Nothing is sent" in note
