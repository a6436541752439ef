"""Two operators that both act, as after a machine that stood still between looking and sending: nobody notices."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import httpx
import pytest
from dormouse_contract import Residency, Trigger

from examples.demo.stage import REPOSITORY
from localcluster import Process
from localcluster.ports import reserve_port

from .conftest import Loop, Users, eventually

ISSUER = "one-lease"
LADDER = {"offloadAfterSeconds": 3, "unloadAfterSeconds": 600, "minResidentSeconds": 1}


class Forced:
    """A real operator process that believes that it leads."""

    def __init__(self, loop: Loop, term: int) -> None:
        stage = loop.stage
        config = stage.cluster.control_plane.service_account_kubeconfig("dormouse-system", "dormouse-operator")
        self._port = reserve_port()
        flags = [
            *(f"--kubeconfig={config}", f"--prometheus-url={stage.cluster.prometheus.url}"),
            *("--scrape-interval=1", "--tick=1", "--operator-namespace=dormouse-system"),
            *("--metrics-host=127.0.0.1", f"--metrics-port={self._port}"),
        ]
        self.process = Process(
            f"forced-{term}",
            [sys.executable, "-m", "tests.loop.forced_leader", ISSUER, str(term), *flags],
            directory=REPOSITORY,
            log=stage.folder / f"forced-{term}.log",
        )

    def orders(self, outcome: str) -> float:
        """How many it has sent to CPU that ended so; 0 while it is not there yet."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=2, trust_env=False).text
        except httpx.HTTPError:
            return 0
        found = re.search(rf'dormouse_operator_orders_total{{desired="CPU",outcome="{outcome}"}} (\S+)', text)
        return float(found[1]) if found else 0

    @property
    def passes(self) -> float:
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=2, trust_env=False).text
        except httpx.HTTPError:
            return 0
        found = re.search(r"dormouse_operator_reconcile_duration_seconds_count (\S+)", text)
        return float(found[1]) if found else 0


@pytest.fixture
def older_and_newer(loop: Loop) -> Iterator[tuple[Forced, Forced]]:
    """Terms 1 and 2 of one Lease, both acting; the stage's own operator rests."""
    assert loop.stage.operator is not None
    loop.stage.operator.stop()
    older, newer = Forced(loop, 1), Forced(loop, 2)
    with older.process, newer.process:
        eventually("both pass over the fleet", lambda: older.passes and newer.passes)
        yield older, newer


def _transitions(loop: Loop, to: Residency) -> float:
    text = httpx.get(f"{loop.replica.metrics_url}/metrics", timeout=10, trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("dormouse_transitions_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'to="{to}"' in line and 'outcome="ok"' in line)


def test_two_that_act_make_one_transition_for_each_time_that_the_model_is_idle(
    loop: Loop, older_and_newer: tuple[Forced, Forced]
) -> None:
    older, newer = older_and_newer
    loop.apply("tiny", policy=LADDER)
    for _ in range(3):
        loop.ask()
        before, passes = _transitions(loop, Residency.CPU), (older.passes, newer.passes)
        slept = loop.until_on(Residency.CPU)
        assert slept.last_transition is not None
        assert slept.last_transition.trigger is Trigger.IDLE
        eventually(
            "both have looked again, often",
            lambda seen=passes: older.passes > seen[0] + 5 and newer.passes > seen[1] + 5,
        )
        assert _transitions(loop, Residency.CPU) == before + 1
        assert loop.snapshot().last_transition == slept.last_transition, "it does not flap"
    loop.kubectl("wait", "--for=condition=Ready", "dmm/tiny", "--timeout=20s")


def test_the_older_term_is_refused_once_the_newer_was_there_and_no_request_fails(
    loop: Loop, older_and_newer: tuple[Forced, Forced], users: Users
) -> None:
    older, newer = older_and_newer
    loop.apply("tiny", residency="CPU", policy={"minResidentSeconds": 0})
    eventually("the newer one's order was carried out", lambda: newer.orders("done") + newer.orders("under_way"))
    eventually("the older one's is refused", lambda: older.orders("stale_order"))
    users.until_asked(10)
    assert newer.orders("stale_order") == 0
    # The newer one has been there, so whatever moves from now on is by it alone.
    done = older.orders("done") + older.orders("under_way")
    refused = older.orders("stale_order")
    eventually("the older one is refused again", lambda: older.orders("stale_order") > refused)
    users.until_asked(10)
    assert older.orders("done") + older.orders("under_way") == done
