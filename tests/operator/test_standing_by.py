"""What is sent depends on who leads at that very moment, and a new term takes nothing for lent."""

from __future__ import annotations

import json
import ssl

import httpx
from dormouse_operator.control_client import ControlClient
from dormouse_operator.loans import Terms, due_at
from dormouse_operator.orders import Fence
from dormouse_operator.replicas import Replicas
from dormouse_operator.telemetry import Telemetry
from dormouse_operator.workqueue.keys import LeasePolicy, OrderModel
from dormouse_operator.workqueue.queue import WorkQueue
from dormouse_operator.workqueue.result import Done
from prometheus_client import CollectorRegistry

from .fake_pod import FakeModel
from .objects import NOW, fleet, managed_model, pod, signal, view_of

TERMS = Terms(keep_alive_seconds=5.0, min_resident_seconds=0.0, wake_budget_seconds=30.0, pinned=False)


class Calls:
    """Replicas whose calls end here, under a fence that the test sets."""

    def __init__(self) -> None:
        self.fence: Fence | None = Fence("uid", 1)
        self.sent: list[dict[str, object]] = []
        client = ControlClient(
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), control_port=7443, transport=httpx.MockTransport(self._answer)
        )
        self.replicas = Replicas(
            client,
            lambda: self.fence,
            Telemetry(CollectorRegistry()),
            clock=lambda: NOW,
            settle_seconds=30,
            on_news=lambda pod: None,
        )
        view = view_of(fleet(managed_model(model="tts", policy={"offloadAfterSeconds": 60}), pod()), signal())
        self.owner, self.replica = view.owner, view.replicas[0]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(json.loads(request.content)["order"])
        return httpx.Response(200, json=FakeModel().snapshot("tts"))

    async def lend(self) -> None:
        await self.replicas.lend(self.owner, self.replica.pod, "tts", TERMS, 3600)

    @property
    def is_due(self) -> bool:
        pod = self.replica.pod
        lent = self.replicas.lent.get(LeasePolicy(pod.namespace, pod.uid, "tts", self.owner.uid))
        return due_at(TERMS, self.owner.uid, lent, "replica") <= NOW


async def test_an_order_that_waited_is_not_sent_by_who_no_longer_leads_and_is_due_at_once_for_who_does() -> None:
    calls, queue = Calls(), WorkQueue(monotonic=lambda: NOW)
    key = OrderModel("speech", "uid", "tts")
    calls.fence = None
    assert queue.add(key, None, lambda: calls.replicas.order(calls.owner, calls.replica))
    await queue.drain(5)
    await calls.lend()
    assert calls.sent == []
    calls.fence = Fence("uid", 7)
    assert queue.add(key, None, lambda: calls.replicas.order(calls.owner, calls.replica))
    await queue.drain(5)
    assert [(order["issuer"], order["term"]) for order in calls.sent] == [("uid", 7)]


async def test_a_loan_is_not_taken_back_while_standing_by_but_is_not_forgotten_either() -> None:
    calls = Calls()
    await calls.lend()
    key = next(iter(calls.replicas.lent))
    calls.fence = None
    await calls.replicas.withdraw(key, calls.replica.pod)
    assert len(calls.sent) == 1
    assert key in calls.replicas.lent
    calls.fence = Fence("uid", 2)
    await calls.replicas.withdraw(key, calls.replica.pod)
    assert calls.replicas.lent == {}


async def test_what_its_process_forgot_by_itself_is_not_taken_back() -> None:
    """The withdrawal waited for its turn while the model process began anew."""
    calls = Calls()
    await calls.lend()
    key = next(iter(calls.replicas.lent))
    calls.replicas.forget(calls.replica.pod, "tts")
    assert await calls.replicas.withdraw(key, calls.replica.pod) == Done()
    assert len(calls.sent) == 1


async def test_under_a_new_term_everything_is_lent_again() -> None:
    """Another may have lent something else, or taken it back, since."""
    calls = Calls()
    calls.replicas.lead_anew()
    await calls.lend()
    calls.replicas.lead_anew()
    assert not calls.is_due
    calls.fence = None
    calls.replicas.lead_anew()
    assert not calls.is_due
    calls.fence = Fence("uid", 3)
    calls.replicas.lead_anew()
    assert calls.is_due
