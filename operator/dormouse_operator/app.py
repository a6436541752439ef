"""Wires the parts together and runs them until a signal comes."""

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable

import kopf
from kubernetes.aio.client import ApiClient
from prometheus_client import CollectorRegistry

from . import handlers
from .direct_reading import DirectReader
from .endpoints import Endpoints
from .errors import KubeError, SignalUnavailable
from .fleet import Fleet
from .identity import Identity, obtain_identity
from .idle_signal import IdleSignal, failed, read_idle_signal
from .initial_sync import wait_for_initial_sync
from .kube import Kube, kopf_connection, load_configuration
from .orders import ControlClient, Fence
from .prometheus_api import PrometheusApi
from .prometheus_connection import PrometheusConnection
from .reconciler import Reconciler
from .recorder import Recorder
from .replicas import Replicas
from .settings import Settings
from .signal_source import SignalSource
from .telemetry import Telemetry
from .trust import TrustPublisher

STOP_SECONDS = 5.0
log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises KubeError when the API server refuses us from the start."""
    configuration = await load_configuration(settings.kubeconfig)
    kube = Kube(ApiClient(configuration))
    try:
        identity = await _identity(kube, settings.operator_namespace)
        fleet = Fleet()
        client = ControlClient(identity.client_context(), control_port=settings.control_port)
        prometheus = PrometheusConnection(settings.prometheus)
        direct = DirectReader(fleet.pods.values, clock=time.time, monotonic=time.monotonic)
        registry = CollectorRegistry()
        telemetry = Telemetry(registry)
        telemetry.started(identity.expires_at)
        source = _signal_source(settings, prometheus, direct, telemetry)
        reconciler = _reconciler(settings, kube, fleet, client, source, identity, telemetry)
        endpoints = Endpoints(
            registry,
            seconds_since_progress=lambda: time.monotonic() - reconciler.last_finished,
            stalled_after_seconds=settings.stalled_after_seconds,
        )
        server = await endpoints.serve(settings.metrics_host, settings.metrics_port)
        loop = asyncio.create_task(_work(kube, fleet, reconciler, settings))
        try:
            await _watch(settings, fleet, lambda: kopf_connection(configuration), loop)
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
            await reconciler.stop(STOP_SECONDS)
            server.close()
            await client.close()
            await prometheus.close()
            await direct.close()
    finally:
        await kube.close()
    log.info("Stopped; models stay where they are and still wake on demand.")


def _signal_source(
    settings: Settings, connection: PrometheusConnection, direct: DirectReader, telemetry: Telemetry
) -> SignalSource:
    if settings.prometheus.risk:
        log.warning("%s", settings.prometheus.risk)

    async def ask() -> IdleSignal:
        try:
            api = PrometheusApi(await connection.client(), settings.prometheus.url, settings.prometheus.timeout_seconds)
            signal = await read_idle_signal(api, namespaces=settings.namespaces, clock=time.time)
        except SignalUnavailable as error:
            signal = failed(error)
        telemetry.queried(ok=not signal.failure)
        return signal

    return SignalSource(
        ask, direct.read, direct_after_seconds=settings.direct_reading_after_seconds, monotonic=time.monotonic
    )


def _reconciler(
    settings: Settings,
    kube: Kube,
    fleet: Fleet,
    client: ControlClient,
    source: SignalSource,
    identity: Identity,
    telemetry: Telemetry,
) -> Reconciler:
    replicas = Replicas(
        client,
        # With a Lease these become its UID and its count of transitions.
        Fence(issuer=str(uuid.uuid4()), term=0),
        telemetry,
        clock=time.time,
        settle_seconds=settings.scrape_interval_seconds + settings.tick_seconds,
        on_news=fleet.touch,
    )
    instance = os.environ.get("POD_NAME") or socket.gethostname()
    return Reconciler(
        fleet,
        replicas,
        Recorder(kube, fleet, clock=time.time, monotonic=time.monotonic, instance=instance),
        TrustPublisher(kube, settings.operator_namespace, identity.certificate_pem),
        telemetry,
        source.read,
        clock=time.time,
        monotonic=time.monotonic,
        tick_seconds=settings.tick_seconds,
        scrape_interval_seconds=settings.scrape_interval_seconds,
    )


async def _identity(kube: Kube, namespace: str) -> Identity:
    """The API server may start after us; what it refuses, it will refuse again."""
    while True:
        try:
            return await obtain_identity(kube, namespace, time.time())
        except KubeError as error:
            if not error.retryable:
                raise
            log.warning("Waiting for the API server: %s", error)
            await asyncio.sleep(2)


async def _work(kube: Kube, fleet: Fleet, reconciler: Reconciler, settings: Settings) -> None:
    await wait_for_initial_sync(kube, fleet, settings.namespaces)
    await reconciler.run()


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
