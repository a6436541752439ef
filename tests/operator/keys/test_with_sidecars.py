"""A whole rotation with real sidecars, the real API server and Prometheus, under a stream of orders."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from dormouse_contract import Residency
from dormouse_contract.wire import OrderStamp, ResidencyOrder
from dormouse_operator.cluster.kube import Kube, load_configuration
from dormouse_operator.cluster.pods import Pod
from dormouse_operator.control_client import ControlClient
from dormouse_operator.keys.identity import anonymous_context
from dormouse_operator.keys.keeper import KeyKeeper
from dormouse_operator.keys.news import RotationNews
from dormouse_operator.keys.reports import all_report
from dormouse_operator.keys.rotation import Rules
from dormouse_operator.keys.source import OwnKeys
from dormouse_operator.keys.store import ROTATE_ANNOTATION, SECRET_NAME, KeyStore
from dormouse_operator.keys.trust import CONFIG_MAP_NAME, TrustPublisher
from dormouse_operator.orders import Answer, Outcome
from dormouse_operator.telemetry import Telemetry
from dormouse_prometheus.api import PrometheusApi
from dormouse_sidecar import Settings, Sidecar
from kubernetes.aio.client import ApiClient
from prometheus_client import CollectorRegistry

from localcluster.configmap_mount import ConfigMapMount
from localcluster.controlplane import ControlPlane
from localcluster.prometheus import Prometheus, Target
from tests.sidecar.clients import POD_UID
from tests.sidecar.model_process import ModelProcess
from tests.waiting import auntil

from ..world import OPERATOR_NAMESPACE

LIFETIME_SECONDS = 86400.0
# The stand-in model process answers that it is on its way.
ORDER = ResidencyOrder(
    desired=Residency.CPU,
    pod_uid=POD_UID,
    order=OrderStamp(owner="owner", generation=1, issuer="issuer", term=0),
)


@dataclass
class Fleet:
    """Three sidecars that mount the trust of one namespace."""

    namespace: str
    kube: Kube
    client: ControlClient
    trust: TrustPublisher
    keeper: KeyKeeper
    pods: list[Pod]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def order_all_the_time(self, ip: str) -> None:
        """Until `enough`: a call that is cancelled may leave a connection to the collector."""
        while not self.enough.is_set():
            answer = await self.client.order(ip, "tts", ORDER)
            self.outcomes[answer.outcome] += 1
            await asyncio.sleep(0.02)

    async def look(self) -> None:
        await self.keeper.look()
        self.trust.keep({self.namespace})
        await self.trust.queue.drain(10)


@pytest.fixture
async def fleet(
    control_plane: ControlPlane, namespace: str, prometheus: Prometheus, kubeconfig: Path, tmp_path: Path
) -> AsyncIterator[Fleet]:
    pods = [
        Pod(POD_UID, namespace, f"tts-{number}", (), f"127.77.{secrets.randbelow(250)}.{number + 2}", True, True)
        for number in range(3)
    ]
    targets = [Target(f"{pod.ip}:9743", {"namespace": namespace, "pod": pod.name}) for pod in pods]
    with contextlib.suppress(Exception):
        control_plane.kubectl("delete", "secret", SECRET_NAME, namespace=OPERATOR_NAMESPACE)
    async with contextlib.AsyncExitStack() as stack:
        for pod in pods:
            assert pod.ip is not None
            folder = tmp_path / pod.name
            mount = ConfigMapMount(control_plane, namespace=namespace, name=CONFIG_MAP_NAME, folder=folder / "trust")
            stack.enter_context(mount)
            process = ModelProcess(folder / "model.sock")
            await stack.enter_async_context(process.running())
            settings = Settings(
                pod_uid=POD_UID,
                socket_path=folder / "model.sock",
                trust_dir=folder / "trust",
                control_host=pod.ip,
                plain_host=pod.ip,
                trust_poll_seconds=0.1,
            )
            await stack.enter_async_context(Sidecar(settings))
        prometheus.set_targets(namespace, targets)
        stack.callback(prometheus.set_targets, namespace, [])
        kube = Kube(ApiClient(await load_configuration(kubeconfig)))
        stack.push_async_callback(kube.close)
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        api = PrometheusApi(http, prometheus.url)
        client = ControlClient(anonymous_context(), control_port=7443)
        stack.push_async_callback(client.close)
        trust = TrustPublisher(kube, OPERATOR_NAMESPACE)

        async def reported(expires_at: float) -> bool:
            return await all_report(api, pods, expires_at)

        keeper = KeyKeeper(
            KeyStore(kube, OPERATOR_NAMESPACE),
            OwnKeys(LIFETIME_SECONDS),
            Rules(LIFETIME_SECONDS, 600),
            RotationNews(kube, OPERATOR_NAMESPACE, clock=time.time, instance="test"),
            Telemetry(CollectorRegistry()),
            use=client.use,
            publish=trust.want,
            is_everywhere=lambda: trust.is_everywhere({namespace}),
            reported=reported,
            clock=time.time,
            monotonic=time.monotonic,
        )
        yield Fleet(namespace, kube, client, trust, keeper, pods)
    with contextlib.suppress(Exception):
        control_plane.kubectl("delete", "secret", SECRET_NAME, namespace=OPERATOR_NAMESPACE)


async def until_all_say(fleet: Fleet, client: ControlClient, outcome: Outcome) -> None:
    last: list[Answer] = []

    async def all_say() -> bool:
        last[:] = [await client.order(pod.ip or "", "tts", ORDER) for pod in fleet.pods]
        return {answer.outcome for answer in last} == {outcome}

    try:
        await auntil(all_say, 20)
    except AssertionError as error:
        raise AssertionError(f"{error}; last: {last}") from error


async def test_no_order_is_refused_during_a_rotation_and_the_old_key_is_refused_after_it(
    fleet: Fleet, control_plane: ControlPlane
) -> None:
    await fleet.look()
    await until_all_say(fleet, fleet.client, Outcome.UNDER_WAY)
    first = (await KeyStore(fleet.kube, OPERATOR_NAMESPACE).read()).keyring.current
    assert first is not None
    old = ControlClient(first.client_context(), control_port=7443)
    streams = [asyncio.create_task(fleet.order_all_the_time(pod.ip or "")) for pod in fleet.pods]
    # Sidecars can't tell two leaves apart that end in the same second; time alone would decide then, in ten minutes.
    await auntil(lambda: time.time() + LIFETIME_SECONDS >= first.leaf.expires_at + 1)
    control_plane.kubectl("annotate", "secret", SECRET_NAME, f"{ROTATE_ANNOTATION}=1", namespace=OPERATOR_NAMESPACE)
    store = KeyStore(fleet.kube, OPERATOR_NAMESPACE)
    await fleet.look()
    assert not (await store.read()).keyring.is_at_rest

    async def at_rest() -> bool:
        await fleet.look()
        return (await store.read()).keyring.is_at_rest

    await auntil(at_rest, 120)
    # Beyond the moment at which the sidecars drop the old leaf.
    await until_all_say(fleet, old, Outcome.UNTRUSTED)
    sent = fleet.outcomes.total()

    async def more() -> bool:
        return fleet.outcomes.total() >= sent + 30

    await auntil(more, 20)
    fleet.enough.set()
    await asyncio.gather(*streams)
    await old.close()
    assert set(fleet.outcomes) == {Outcome.UNDER_WAY}, fleet.outcomes
    assert sent > 100
    last = (await store.read()).keyring
    assert last.current is not None
    assert last.current != first
    events = control_plane.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}", namespace=OPERATOR_NAMESPACE)
    assert {"KeyRotationBegan", "KeyPublished", "KeySwitched", "KeyRotationEnded"} <= set(events.split())


async def test_a_deleted_secret_locks_the_old_key_out_and_orders_come_back_by_themselves(
    fleet: Fleet, control_plane: ControlPlane
) -> None:
    await fleet.look()
    await until_all_say(fleet, fleet.client, Outcome.UNDER_WAY)
    first = (await KeyStore(fleet.kube, OPERATOR_NAMESPACE).read()).keyring.current
    assert first is not None
    control_plane.kubectl("delete", "secret", SECRET_NAME, namespace=OPERATOR_NAMESPACE)
    await fleet.look()
    await until_all_say(fleet, fleet.client, Outcome.UNDER_WAY)
    old = ControlClient(first.client_context(), control_port=7443)
    await until_all_say(fleet, old, Outcome.UNTRUSTED)
    await old.close()
