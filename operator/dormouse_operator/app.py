"""Wires the parts together and runs them until a signal comes."""

import asyncio
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import httpx
import kopf
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry

from . import handlers
from .endpoints import Endpoints
from .errors import KubeError, NotLeading
from .fleet import Fleet
from .identity import Identity, obtain_identity
from .idle_signal import IdleSignal, read_idle_signal
from .initial_sync import wait_for_initial_sync
from .kube import Kube, kopf_connection, load_configuration
from .leadership import Alone, Leadership, Leads
from .orders import ControlClient
from .prometheus_api import PrometheusApi
from .reconciler import Reconciler
from .recorder import Recorder
from .replicas import Replicas
from .settings import Settings
from .telemetry import Telemetry
from .trust import TrustPublisher

STOP_SECONDS = 5.0
IDENTITY_RETRY_SECONDS = 1.0
# A pod that starts is unreachable, unscraped and without trust for a while, which is no news: a minute by default.
TROUBLE_SETTLES_TICKS = 4
log = logging.getLogger(__name__)


async def run(settings: Settings, leadership: Leads | None = None) -> None:
    """Until SIGTERM or SIGINT. Raises KubeError when the API server refuses us from the start.

    `leadership` is by the settings; tests that need two leaders at once bring their own.
    """
    stop = asyncio.Event()
    _stop_on_signals(stop)
    configuration = await load_configuration(settings.kubeconfig)
    fleet = Fleet()
    # Of its own, so that a renewal never waits behind other requests that hang.
    lease_kube = Kube(ApiClient(configuration), settings.lease.call_timeout_seconds)
    leadership = leadership or _leadership(settings, lease_kube, fleet)
    election = asyncio.create_task(leadership.run())

    async def hand_over() -> None:
        """After the last thing that we did: from here on another may act."""
        election.cancel()
        await asyncio.gather(election, return_exceptions=True)
        await leadership.release()

    try:
        await _operate(settings, configuration, fleet, leadership, stop, hand_over)
    finally:
        await hand_over()
        await lease_kube.close()
    log.info("Stopped; models stay where they are and still wake on demand.")


async def _operate(
    settings: Settings,
    configuration: Configuration,
    fleet: Fleet,
    leadership: Leads,
    stop: asyncio.Event,
    hand_over: Callable[[], Awaitable[None]],
) -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    kube = Kube(ApiClient(configuration), may_write=lambda: leadership.leads, on_answer=telemetry.answered)
    try:
        identity = await _identity(kube, settings.operator_namespace, stop)
        if identity is None:
            return
        client = ControlClient(identity.client_context(), control_port=settings.control_port)
        prometheus = httpx.AsyncClient(trust_env=False)
        telemetry.started(identity.expires_at, lambda: leadership.leads)
        reconciler = _reconciler(settings, kube, fleet, client, prometheus, identity, telemetry, leadership)
        endpoints = Endpoints(
            registry,
            seconds_since_progress=lambda: time.monotonic() - reconciler.last_finished,
            stalled_after_seconds=settings.stalled_after_seconds,
        )
        server = await endpoints.serve(settings.metrics_host, settings.metrics_port)
        login = partial(kopf_connection, configuration)
        unwatch = asyncio.Event()
        tasks = [
            asyncio.create_task(_work(kube, fleet, reconciler, settings)),
            asyncio.create_task(_watch(settings, fleet, login, stop, unwatch)),
        ]
        for task in tasks:
            # Should one of them ever end, nothing would be done any more: stop too.
            task.add_done_callback(lambda _: stop.set())
        try:
            await stop.wait()
        finally:
            tasks[0].cancel()
            await reconciler.stop(STOP_SECONDS)
            await hand_over()
            # The slowest part, so it comes when the next operator acts already.
            unwatch.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            server.close()
            await client.close()
            await prometheus.aclose()
        for each in ended:
            if isinstance(each, Exception):
                raise each
    finally:
        await kube.close()


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Called again when kopf has taken the signals for itself: at each moment the end is ours."""
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)


def _leadership(settings: Settings, kube: Kube, fleet: Fleet) -> Leads:
    if not settings.lease.enabled:
        return Alone()
    # A pod that is restarted keeps its name, and must not take itself for its predecessor.
    identity = f"{_instance()}_{uuid.uuid4()}"
    return Leadership(kube, settings.lease, settings.operator_namespace, identity, on_change=fleet.changed.set)


def _instance() -> str:
    return os.environ.get("POD_NAME") or socket.gethostname()


def _reconciler(
    settings: Settings,
    kube: Kube,
    fleet: Fleet,
    client: ControlClient,
    prometheus: httpx.AsyncClient,
    identity: Identity,
    telemetry: Telemetry,
    leadership: Leads,
) -> Reconciler:
    api = PrometheusApi(prometheus, settings.prometheus_url)

    async def read() -> IdleSignal:
        signal = await read_idle_signal(api)
        telemetry.queried(ok=not signal.failure)
        return signal

    replicas = Replicas(
        client,
        lambda: leadership.fence,
        telemetry,
        clock=time.time,
        settle_seconds=settings.scrape_interval_seconds + settings.tick_seconds,
        on_news=fleet.changed.set,
    )
    return Reconciler(
        fleet,
        replicas,
        Recorder(
            kube,
            fleet,
            clock=time.time,
            monotonic=time.monotonic,
            instance=_instance(),
            settle_seconds=TROUBLE_SETTLES_TICKS * settings.tick_seconds,
        ),
        TrustPublisher(kube, settings.operator_namespace, identity.certificate_pem),
        telemetry,
        read,
        clock=time.time,
        monotonic=time.monotonic,
        tick_seconds=settings.tick_seconds,
        scrape_interval_seconds=settings.scrape_interval_seconds,
        leads=lambda: leadership.leads,
    )


async def _identity(kube: Kube, namespace: str, stop: asyncio.Event) -> Identity | None:
    """The API server may start after us, and only the leader makes a key; what is refused, will be refused again.

    None when we are told to stop meanwhile.
    """
    while not stop.is_set():
        try:
            return await obtain_identity(kube, namespace, time.time())
        except NotLeading:
            log.info("Waiting for the leader's key, or to become the leader.")
        except KubeError as error:
            if not error.retryable:
                raise
            log.warning("Waiting for the API server: %s", error)
        try:
            async with asyncio.timeout(IDENTITY_RETRY_SECONDS):
                await stop.wait()
        except TimeoutError:
            pass
    return None


async def _work(kube: Kube, fleet: Fleet, reconciler: Reconciler, settings: Settings) -> None:
    await wait_for_initial_sync(kube, fleet, settings.namespaces)
    await reconciler.run()


async def _watch(
    settings: Settings,
    fleet: Fleet,
    login: Callable[[], kopf.ConnectionInfo],
    stop: asyncio.Event,
    unwatch: asyncio.Event,
) -> None:
    """Until `unwatch`. kopf would end at a signal by itself, and cancel every call that is under way with it."""
    ours = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=handlers.registry(fleet, login),
        settings=handlers.settings(listed_namespaces=bool(settings.namespaces)),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=unwatch,
    )
    _stop_on_signals(stop)
    await kopf.run_tasks(tasks, ignored=ours)
