"""Two operators as real processes on the real API server: killed, stopped, cut off. One acts at every moment."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from localcluster.controlplane import ControlPlane
from localcluster.prometheus import Prometheus
from tests.waiting import eventually

from .api_proxy import ApiProxy, Mode
from .fake_pod import FakeModel, FakePod
from .world import OPERATOR_NAMESPACE, OperatorProcess, World, always

SLEEPY = {"offloadAfterSeconds": 4, "minResidentSeconds": 0}
LEASE = "dormouse-operator"
LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/{LEASE}"


Measured = Callable[[str, float], None]


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Shown with `pytest -s`, and kept in the report."""

    def show(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 1))
        sys.stdout.write(f"\n{what} {seconds:.1f} s")

    return show


class Observer:
    """Asks both all the time who leads, and wakes the model so that there is always something to order."""

    def __init__(self, operators: dict[str, OperatorProcess], model: FakeModel) -> None:
        self.seen: list[tuple[float, frozenset[str]]] = []
        self._operators = operators
        self._model = model
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def leaders(self) -> frozenset[str]:
        return self.seen[-1][1] if self.seen else frozenset()

    def first(self, name: str, since: float) -> float:
        """When it was first seen leading."""
        return next(at for at, leaders in self.seen if at >= since and name in leaders)

    def last(self, name: str) -> float:
        return max(at for at, leaders in self.seen if name in leaders)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        with httpx.Client(timeout=2, trust_env=False) as http:
            while not self._stopped.wait(0.05):
                found = frozenset(name for name, each in self._operators.items() if _leads(http, each))
                self.seen.append((time.monotonic(), found))
                if self._model.residency == "CPU":
                    self._model.move("GPU", "Demand", "")
                    self._model.idle_since = time.time() - 100


def _leads(http: httpx.Client, operator: OperatorProcess) -> bool:
    try:
        text = http.get(f"http://127.0.0.1:{operator.metrics_port}/metrics").text
    except httpx.HTTPError:
        return False
    return "dormouse_operator_leader 1.0" in text


class Pair:
    """Operator `a` by way of a proxy, `b` directly; one model that is ordered off the GPU again and again."""

    def __init__(self, world: World, operators: dict[str, OperatorProcess], proxy: ApiProxy, pod: FakePod) -> None:
        self.world, self.operators, self.proxy, self.pod = world, operators, proxy, pod
        self.observer = Observer(operators, pod.models["tts"])

    def start_both(self) -> None:
        self.operators["a"].start()
        eventually("a leads", lambda: self.observer.leaders == {"a"})
        self.operators["b"].start()
        eventually("b is there", lambda: self.healthy("b"))
        self.world.trust()
        eventually("a orders", lambda: self.pod.orders)

    def healthy(self, name: str) -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.operators[name].metrics_port}/healthz", trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success

    @property
    def terms(self) -> list[int]:
        return [int(call.body["order"]["term"]) for call in self.pod.orders]

    def until_b_orders(self) -> None:
        eventually("b orders", lambda: self.terms and self.terms[-1] == 1, deadline_seconds=40)

    def check_one_at_a_time(self) -> None:
        assert max(len(leaders) for _, leaders in self.observer.seen) == 1
        assert self.terms == sorted(self.terms), "no order of an older term came after one of a newer"
        issuers = {call.body["order"]["issuer"] for call in self.pod.orders}
        assert issuers == {self.lease()["metadata"]["uid"]}

    def lease(self) -> dict[str, Any]:
        found = self.world.get(LEASE_PATH)
        assert found is not None
        return found


@pytest.fixture
def pair(
    control_plane: ControlPlane, namespace: str, prometheus: Prometheus, kubeconfig: Path, tmp_path: Path
) -> Iterator[Pair]:
    if control_plane.api.request("GET", LEASE_PATH.rpartition("/")[0])["items"]:
        control_plane.api.request("DELETE", LEASE_PATH)
    proxy = ApiProxy(control_plane)
    made = {
        name: OperatorProcess(config, prometheus.url, tmp_path / f"{name}.log", namespace, ["--lease=on"])
        for name, config in {"a": proxy.kubeconfig(kubeconfig, tmp_path / "a.kubeconfig"), "b": kubeconfig}.items()
    }
    world = World(control_plane, namespace, prometheus, made["b"])
    pod = world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    pair = Pair(world, made, proxy, pod)
    try:
        yield pair
    finally:
        pair.observer.close()
        made["a"].kill()
        world.close()
        proxy.close()


def test_a_killed_leader_is_followed_within_twenty_seconds(pair: Pair, measured: Measured) -> None:
    pair.start_both()
    pair.operators["a"].kill()
    killed = time.monotonic()
    eventually("b leads", lambda: pair.observer.leaders == {"b"}, deadline_seconds=20)
    took = pair.observer.first("b", killed) - killed
    measured("kill -9: the other leads after", took)
    assert took <= 20
    pair.until_b_orders()
    measured("kill -9: the other has ordered after", time.monotonic() - killed)
    pair.check_one_at_a_time()
    assert pair.lease()["spec"]["leaseTransitions"] == 1


def test_a_stopped_leader_hands_over_at_once_and_ends_with_0(pair: Pair, measured: Measured) -> None:
    pair.start_both()
    asked = time.monotonic()
    assert pair.operators["a"].terminate() == 0
    ended = time.monotonic() - asked
    eventually("b leads", lambda: pair.observer.leaders == {"b"}, deadline_seconds=20)
    took = pair.observer.first("b", asked) - asked
    measured("SIGTERM: the leader's process ended after", ended)
    measured("SIGTERM: the other leads after", took)
    assert took <= 5
    pair.until_b_orders()
    pair.check_one_at_a_time()
    # The last one leaves the Lease free, so that the next to start need not wait.
    assert pair.operators["b"].terminate() == 0
    assert pair.lease()["spec"]["holderIdentity"] == ""


@pytest.mark.parametrize("mode", ["stall", "403", "500", "close"])
def test_a_leader_that_is_cut_off_from_the_api_server_stops_before_the_other_begins(
    pair: Pair, mode: Mode, measured: Measured
) -> None:
    pair.start_both()
    pair.proxy.mode = mode
    cut = time.monotonic()
    eventually("b leads", lambda: pair.observer.leaders == {"b"}, deadline_seconds=25)
    stopped, began = pair.observer.last("a") - cut, pair.observer.first("b", cut) - cut
    measured(f"{mode}: the leader stopped after", stopped)
    measured(f"{mode}: the other began after", began)
    assert stopped <= 10.5
    assert began - stopped >= 2
    pair.until_b_orders()
    assert pair.healthy("a"), "it goes on as a standby"
    pair.proxy.mode = "forward"
    always("it stays one", lambda: pair.observer.leaders == {"b"}, for_seconds=6)
    pair.check_one_at_a_time()
    assert "Standing by" in pair.operators["a"].log or "standing by" in pair.operators["a"].log
    # And it is as good as before: the other leaves, and it leads again.
    assert pair.operators["b"].terminate() == 0
    eventually("a leads again", lambda: pair.observer.leaders == {"a"}, deadline_seconds=20)
    eventually("a orders again", lambda: pair.terms[-1] == 2, deadline_seconds=40)


def test_an_operator_that_stands_by_changes_nothing_and_is_alive(pair: Pair) -> None:
    """Its leader is only a name in the Lease, which a test keeps renewed; there is not even a key yet or a trust."""
    pair.operators["b"].start()
    eventually("b has published its trust", lambda: pair.world.certificate())
    assert pair.operators["b"].terminate() == 0
    world, lease = pair.world, pair.lease()
    for path in (f"/api/v1/namespaces/{world.namespace}/configmaps/dormouse-operator-trust",):
        world.control_plane.api.request("DELETE", path)
    before = world.managed_model("tts")["metadata"]["resourceVersion"]
    events = f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events"
    told = len((world.get(events) or {})["items"])
    lease["spec"] |= {"holderIdentity": "somebody", "leaseDurationSeconds": 60}
    world.control_plane.api.request("PUT", LEASE_PATH, lease)
    pair.operators["b"].start()
    eventually("b passes over the fleet", lambda: pair.healthy("b"))
    world.apply("nothing")
    always(
        "nothing is written",
        lambda: (
            world.get(f"/api/v1/namespaces/{world.namespace}/configmaps/dormouse-operator-trust") is None
            and world.managed_model("tts")["metadata"]["resourceVersion"] == before
            and not world.status("nothing")
            and len((world.get(events) or {})["items"]) == told
        ),
        for_seconds=6,
    )
    assert pair.healthy("b")
    assert not pair.pod.orders
    assert not pair.pod.loans
    assert pair.observer.leaders == set()
