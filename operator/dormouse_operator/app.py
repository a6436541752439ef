"""Wires the parts together and runs them until a signal comes."""

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable

import httpx
import kopf
from kubernetes.aio.client import ApiClient
from prometheus_client import CollectorRegistry

from . import handlers
from .endpoints import Endpoints
from .fleet import Fleet
from .identity import anonymous_context
from .idle_signal import IdleSignal, read_idle_signal
from .initial_sync import wait_for_initial_sync
from .key_keeper import KeyKeeper
from .key_source import KeyFolder, OwnKeys
from .key_store import KeyStore
from .kube import Kube, kopf_connection, load_configuration
from .orders import ControlClient, Fence
from .prometheus_api import PrometheusApi
from .reconciler import Reconciler
from .recorder import Recorder
from .replicas import Replicas
from .rotation_news import RotationNews
from .settings import KeyOrigin, Settings
from .telemetry import Telemetry
from .trust import TrustPublisher
from .trust_reports import all_report, ordered_pods

STOP_SECONDS = 5.0
log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises KubeError when the API server refuses us from the start."""
    configuration = await load_configuration(settings.kubeconfig)
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    kube = Kube(ApiClient(configuration), on_answer=telemetry.answered)
    try:
        fleet = Fleet()
        # Until the key is there, sidecars refuse us and nothing else happens.
        client = ControlClient(anonymous_context(), control_port=settings.control_port)
        prometheus = httpx.AsyncClient(trust_env=False)
        telemetry.started()
        trust = TrustPublisher(kube, settings.operator_namespace)
        keeper = _key_keeper(settings, kube, fleet, client, prometheus, trust, telemetry)
        await keeper.start()
        reconciler = _reconciler(settings, kube, fleet, client, prometheus, trust, telemetry)
        endpoints = Endpoints(
            registry,
            seconds_since_progress=lambda: time.monotonic() - reconciler.last_finished,
            stalled_after_seconds=settings.stalled_after_seconds,
        )
        server = await endpoints.serve(settings.metrics_host, settings.metrics_port)
        loop = asyncio.create_task(_work(kube, fleet, reconciler, keeper, settings))
        try:
            await _watch(settings, fleet, lambda: kopf_connection(configuration), loop)
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
            await reconciler.stop(STOP_SECONDS)
            server.close()
            await client.close()
            await prometheus.aclose()
    finally:
        await kube.close()
    log.info("Stopped; models stay where they are and still wake on demand.")


def _reconciler(
    settings: Settings,
    kube: Kube,
    fleet: Fleet,
    client: ControlClient,
    prometheus: httpx.AsyncClient,
    trust: TrustPublisher,
    telemetry: Telemetry,
) -> Reconciler:
    api = PrometheusApi(prometheus, settings.prometheus_url)

    async def read() -> IdleSignal:
        signal = await read_idle_signal(api)
        telemetry.queried(ok=not signal.failure)
        return signal

    replicas = Replicas(
        client,
        # With a Lease these become its UID and its count of transitions.
        Fence(issuer=str(uuid.uuid4()), term=0),
        telemetry,
        clock=time.time,
        settle_seconds=settings.scrape_interval_seconds + settings.tick_seconds,
        on_news=fleet.changed.set,
    )
    return Reconciler(
        fleet,
        replicas,
        Recorder(kube, fleet, clock=time.time, monotonic=time.monotonic, instance=_instance()),
        trust,
        telemetry,
        read,
        clock=time.time,
        monotonic=time.monotonic,
        tick_seconds=settings.tick_seconds,
        scrape_interval_seconds=settings.scrape_interval_seconds,
    )


def _key_keeper(
    settings: Settings,
    kube: Kube,
    fleet: Fleet,
    client: ControlClient,
    prometheus: httpx.AsyncClient,
    trust: TrustPublisher,
    telemetry: Telemetry,
    leads: Callable[[], bool] = lambda: True,
) -> KeyKeeper:
    api = PrometheusApi(prometheus, settings.prometheus_url)
    key = settings.key

    def publish(certificates: str) -> None:
        if trust.want(certificates):
            fleet.changed.set()

    async def reported(expires_at: float) -> bool:
        return await all_report(api, ordered_pods(fleet).values(), expires_at)

    return KeyKeeper(
        KeyStore(kube, settings.operator_namespace),
        OwnKeys(key.lifetime_seconds) if key.source is KeyOrigin.OPERATOR else KeyFolder(key.folder),
        key.rules,
        RotationNews(kube, settings.operator_namespace, clock=time.time, instance=_instance()),
        telemetry,
        use=client.use,
        publish=publish,
        is_everywhere=lambda: trust.is_everywhere({namespace for namespace, _ in fleet.managed_models}),
        reported=reported,
        leads=leads,
        clock=time.time,
        monotonic=time.monotonic,
    )


def _instance() -> str:
    return os.environ.get("POD_NAME") or socket.gethostname()


async def _work(kube: Kube, fleet: Fleet, reconciler: Reconciler, keeper: KeyKeeper, settings: Settings) -> None:
    # An empty fleet would count as one that reports: keys change only after all of it is known.
    await wait_for_initial_sync(kube, fleet, settings.namespaces)
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(keeper.run())
        side_by_side.create_task(reconciler.run())


async def _watch(
    settings: Settings, fleet: Fleet, login: Callable[[], kopf.ConnectionInfo], loop: asyncio.Task[None]
) -> None:
    """kopf takes the signals. Should the loop ever end before it, nothing would be done any more: stop too."""
    stop = asyncio.Event()
    loop.add_done_callback(lambda _: stop.set())
    await kopf.operator(
        registry=handlers.registry(fleet, login),
        settings=handlers.settings(listed_namespaces=bool(settings.namespaces)),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=stop,
    )
    if loop.done() and not loop.cancelled():
        loop.result()
