"""Nobody's ManagedModel holds up another's: a visit that fails or takes too long is the matter of that one object."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from dormouse_contract.idleness import IdleSignal
from dormouse_contract.managed_model import ManagedModel
from dormouse_contract.wire import ModelReport, PolicyLoan, ResidencyOrder
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.cluster.kube import Kube
from dormouse_operator.control_client import ControlClient
from dormouse_operator.keys.trust import TrustPublisher
from dormouse_operator.orders import Answer, Fence, Outcome
from dormouse_operator.reconciler import PASS_SECONDS, Reconciler
from dormouse_operator.replicas import Replicas
from dormouse_operator.reporting.recorder import Recorder
from dormouse_operator.telemetry import Telemetry
from dormouse_operator.turn import OverBudget, Turn
from dormouse_operator.view import MAX_MODELS_PER_POD
from dormouse_operator.visit import Visited, Visits
from dormouse_operator.waiting_visits import WaitingVisits
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from .objects import NOW, managed_model, pod

Body = dict[str, Any]


class Client(ControlClient):
    """Every pod answers at once, with the models that `models` has for its address."""

    def __init__(self) -> None:
        self.models: dict[str, list[str]] = {}
        self.ordered: list[tuple[str, str]] = []

    async def list_models(self, ip: str) -> Answer:
        return Answer(Outcome.DONE, snapshots=tuple(ModelReport(name=each) for each in self.models.get(ip, ["tts"])))

    async def order(self, ip: str, model: str, order: ResidencyOrder) -> Answer:
        self.ordered.append((ip, model))
        return Answer(Outcome.UNDER_WAY)

    async def lend(self, ip: str, model: str, loan: PolicyLoan) -> Answer:
        return Answer(Outcome.DONE)


class ApiServer(Kube):
    """Takes every status."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], Body] = {}
        self.written: Counter[str] = Counter()

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **_: Any) -> Body:
        if not path.endswith("/status"):
            return {}
        _, _, _, _, _, namespace, _, name, _ = path.split("/")
        self.written[f"{namespace}/{name}"] += 1
        known = self.bodies[(namespace, name)]
        known["status"] = dict(body or {})["status"]
        known["metadata"]["resourceVersion"] = str(int(known["metadata"]["resourceVersion"]) + 1)
        return known


class Operator:
    """The loop on a clock that the test moves, with CPU that costs what `cpu` says."""

    def __init__(self) -> None:
        self.now = NOW
        self.cpu = 0.0
        self.fleet = Fleet()
        self.client = Client()
        self.api = ApiServer()
        self.registry = CollectorRegistry()
        telemetry = Telemetry(self.registry)
        self.recorder = Recorder(
            self.api, self.fleet, clock=self.clock, monotonic=self.clock, instance="i", settle_seconds=60
        )
        replicas = Replicas(
            self.client,
            lambda: Fence("issuer", 1),
            telemetry,
            clock=self.clock,
            settle_seconds=30,
            on_news=self.fleet.touch,
        )
        self.reconciler = Reconciler(
            self.fleet,
            replicas,
            self.recorder,
            TrustPublisher(self.api, "dormouse-system"),
            telemetry,
            self.signal,
            clock=self.clock,
            monotonic=self.clock,
            tick_seconds=15,
            scrape_interval_seconds=15,
            cpu=lambda: self.cpu,
        )

    def clock(self) -> float:
        return self.now

    async def signal(self) -> IdleSignal:
        return IdleSignal()

    def add(self, namespace: str, name: str, **spec: Any) -> None:
        body = managed_model(name, **{"selector": {"matchLabels": {"app": name}}, **spec})
        body["metadata"] |= {"namespace": namespace, "uid": f"{namespace}-{name}"}
        self.api.bodies[(namespace, name)] = body
        self.fleet.observe_managed_model(body)

    def add_pod(self, namespace: str, name: str, app: str, ip: str = "10.0.0.1") -> None:
        body = pod(name, app, podIP=ip)
        body["metadata"] |= {"namespace": namespace, "uid": f"{namespace}-{name}"}
        self.fleet.observe_pod(body)

    async def step(self, seconds: float = 15.0) -> None:
        self.now += seconds
        await self.reconciler.reconcile()
        await self.reconciler._queue.drain(5)
        await self.recorder.queue.drain(5)

    def ready(self, namespace: str, name: str) -> tuple[str, str]:
        status = self.fleet.managed_models[(namespace, name)].status
        ready = status.condition("Ready")
        return ("", "") if ready is None else (ready.reason, ready.message)

    @property
    def metrics(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
def operator() -> Operator:
    return Operator()


class Visiting:
    """Stands in for what a visit does to the ManagedModels of `bad`: `act` is called in each of theirs."""

    def __init__(self, operator: Operator, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
        self.order: list[str] = []
        visits: Visits = operator.reconciler._visits
        visit = visits.visit

        async def instead(owner: ManagedModel, signal: IdleSignal, turn: Turn) -> Visited:
            self.order.append(owner.namespace)
            if owner.namespace == "bad":
                await act(turn)
            return await visit(owner, signal, turn)

        monkeypatch.setattr(visits, "visit", instead)


async def test_what_breaks_one_visit_breaks_no_other_and_is_said(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(turn: Turn) -> None:
        raise OverflowError("cannot convert float infinity to integer\n\x1b[31mforged")

    for namespace in ("bad", "good"):
        for name in ("one", "two"):
            operator.add(namespace, name)
    visiting = Visiting(operator, monkeypatch, act)
    for _ in range(4):
        await operator.step()
    for name in ("one", "two"):
        assert operator.ready("good", name)[0] == "NoReplicas"
        reason, message = operator.ready("bad", name)
        assert reason == "VisitFailed"
        assert "OverflowError" in message
        assert message.isprintable()
        assert f'visit_failures_total{{name="{name}",namespace="bad",reason="VisitFailed"}}' in operator.metrics
    said = [record for record in caplog.records if "can't be looked at" in record.getMessage()]
    assert len(said) == 1, "once for a namespace and a fault, not for each object at each pass"
    tried = visiting.order.count("bad")
    assert tried == 2, "once each, and then not before a minute"
    operator.now += 60
    await operator.step()
    assert visiting.order.count("bad") == tried + 2


async def test_it_is_managed_again_when_what_was_wrong_is_mended(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    async def act(turn: Turn) -> None:
        if broken:
            raise ValueError("wrong")

    operator.add("bad", "one")
    Visiting(operator, monkeypatch, act)
    await operator.step()
    assert operator.ready("bad", "one")[0] == "VisitFailed"
    await operator.step()
    broken = False
    await operator.step()
    assert operator.ready("bad", "one")[0] == "VisitFailed", "nothing happened to it"
    operator.add_pod("bad", "p", "one")
    await operator.step()
    await operator.step()
    assert operator.ready("bad", "one")[0] not in ("VisitFailed", "")


async def test_one_that_takes_too_long_is_left_and_named_and_the_others_come_first(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(turn: Turn) -> None:
        for _ in range(1000):
            operator.cpu += 0.004
            await turn.pause()

    for number in range(20):
        operator.add("bad", f"m{number}")
        operator.add("good", f"m{number}")
    visiting = Visiting(operator, monkeypatch, act)
    await operator.step()
    assert operator.cpu < PASS_SECONDS + 0.3, "the pass has an end"
    assert set(visiting.order[2:]) == {"good", "bad"}
    first_good = visiting.order.index("good")
    assert visiting.order[first_good : first_good + 20] == ["good"] * 20, "by time: all of the cheap ones at once"
    for _ in range(12):
        await operator.step()
    for number in range(20):
        assert operator.ready("good", f"m{number}")[0] == "NoReplicas"
        assert operator.ready("bad", f"m{number}")[0] == "TooExpensive"
    assert 'reason="TooExpensive"' in operator.metrics


async def test_others_have_the_loop_while_somebody_is_looked_at(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Lease's renewal, a probe: whatever else runs on the loop."""
    longest = since = 0.0

    async def act(turn: Turn) -> None:
        for _ in range(30):
            operator.cpu += 0.004
            await turn.pause()

    async def other() -> None:
        nonlocal longest, since
        while True:
            longest, since = max(longest, operator.cpu - since), operator.cpu
            await asyncio.sleep(0)

    operator.add("bad", "one")
    Visiting(operator, monkeypatch, act)
    task = asyncio.create_task(other())
    await operator.step()
    task.cancel()
    assert 0 < longest <= 0.02


async def test_conditions_that_flap_are_written_at_a_pace_and_those_of_others_at_once(operator: Operator) -> None:
    for namespace in ("bad", "good"):
        operator.add(namespace, "one")
        operator.add_pod(namespace, "p", "one")
    for _ in range(3):
        await operator.step()
    before = operator.api.written["bad/one"]
    for number in range(100):
        # An older one comes, and goes: whoever is left is in conflict, and then it is not.
        older = ("bad", "older")
        if number % 2 == 0:
            operator.add(*older, created="2025-01-01T00:00:00Z", selector={"matchLabels": {"app": "one"}})
        else:
            operator.fleet.forget_managed_model(operator.fleet.managed_models[older])
        await operator.step(0.2)
    assert before + 3 <= operator.api.written["bad/one"] <= before + 10, "in 20 seconds"
    operator.add("good", "older", created="2025-01-01T00:00:00Z", selector={"matchLabels": {"app": "one"}})
    await operator.step(0.2)
    assert operator.ready("good", "one")[0] == "Conflict"


async def test_of_a_pod_with_far_too_many_models_the_first_are_managed_and_it_is_said(operator: Operator) -> None:
    names = [f"m{number:03d}" for number in range(300)]
    operator.client.models["10.0.0.1"] = names[::-1]
    operator.add("bad", "all", residency="CPU")
    operator.add("bad", "one", model="m299", selector={"matchLabels": {"app": "all"}})
    operator.add_pod("bad", "p", "all")
    for _ in range(4):
        await operator.step()
    reason, message = operator.ready("bad", "all")
    assert reason == "TooManyModels"
    assert "Pod p has more than 128 models" in message
    view = operator.reconciler._visits._views[("bad", "all")]
    assert [each.model for each in view.replicas] == names[:MAX_MODELS_PER_POD]


async def test_the_budget_counts_what_it_used_and_not_what_others_did_meanwhile() -> None:
    cpu = 0.0

    async def others() -> None:
        nonlocal cpu
        for _ in range(50):
            cpu += 1.0
            await asyncio.sleep(0)

    turn = Turn(0.1, lambda: cpu)
    task = asyncio.create_task(others())
    for _ in range(10):
        cpu += 0.009
        await turn.pause()
    assert turn.used_seconds == pytest.approx(0.09)
    cpu += 0.02
    with pytest.raises(OverBudget):
        await turn.pause()
    task.cancel()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans(), st.floats(0, 1)), max_size=60))
def test_each_that_waits_is_visited_once_and_the_cheap_ones_are_not_delayed(
    visits: list[tuple[str, int, bool, float]],
) -> None:
    waiting = WaitingVisits()
    costs = {(namespace, str(number)): cost for namespace, number, _, cost in visits}
    for namespace, number, routine, _ in visits:
        waiting.add([(namespace, str(number))], routine=routine)
    waiting.begin_pass()
    used = dict.fromkeys("abc", 0.0)
    seen = []
    while (name := waiting.next()) is not None:
        left = {other for other, _ in costs.keys() - set(seen)}
        assert used[name[0]] <= min(used[each] for each in left) + 1e-9
        seen.append(name)
        used[name[0]] += costs[name]
        waiting.took(name[0], costs[name])
    assert sorted(seen) == sorted(costs)
    assert not waiting


def test_what_happened_comes_before_the_routine_and_in_the_order_in_which_it_came() -> None:
    waiting = WaitingVisits()
    waiting.add([("a", "1"), ("a", "2"), ("a", "3")], routine=True)
    waiting.add([("a", "9"), ("a", "3")])
    waiting.add([("a", "9"), ("a", "2")], routine=True)
    waiting.begin_pass()
    order = []
    while (name := waiting.next()) is not None:
        order.append(name[1])
        waiting.took("a", 0.1)
    assert order == ["9", "3", "1", "2"]
