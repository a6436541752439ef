"""Wires the parts together and runs them until a signal comes."""

import asyncio
import gc
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry

from . import handlers
from .census import Census
from .direct_reading import DirectReader
from .endpoints import Endpoints
from .errors import SignalUnavailable
from .fleet import Fleet
from .identity import anonymous_context
from .idle_signal import IdleSignal, failed, read_idle_signal
from .initial_sync import wait_for_initial_sync
from .key_keeper import KeyKeeper
from .key_source import KeyFolder, OwnKeys
from .key_store import KeyStore
from .kube import Kube, kopf_connection, load_configuration
from .leadership import Alone, Leadership, Leads
from .orders import ControlClient
from .prometheus_api import PrometheusApi
from .prometheus_connection import PrometheusConnection
from .reconciler import Reconciler
from .recorder import Recorder
from .replicas import Replicas
from .resync import Resync
from .rotation_news import RotationNews
from .settings import KeyOrigin, Scope, Settings
from .signal_source import SignalSource
from .telemetry import Telemetry
from .trust import TrustPublisher
from .trust_reports import all_report, ordered_pods

STOP_SECONDS = 5.0
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
        # Until the key is there, sidecars refuse us and nothing else happens.
        client = ControlClient(anonymous_context(), control_port=settings.control_port)
        prometheus = PrometheusConnection(settings.prometheus)
        direct = DirectReader(fleet.pods.values, clock=time.time, monotonic=time.monotonic)
        telemetry.started(lambda: leadership.leads)
        trust = TrustPublisher(kube, settings.operator_namespace)
        keeper = _key_keeper(settings, kube, fleet, client, prometheus, trust, telemetry, lambda: leadership.leads)
        await keeper.start(stop)
        if stop.is_set():
            return
        source = _signal_source(settings, prometheus, direct, telemetry)
        reconciler = _reconciler(settings, kube, fleet, client, source, trust, telemetry, leadership)
        endpoints = Endpoints(
            registry,
            seconds_since_progress=lambda: time.monotonic() - reconciler.last_finished,
            stalled_after_seconds=settings.stalled_after_seconds,
        )
        census = Census(kube, settings.scope)
        resync = Resync(fleet, census)
        server = await endpoints.serve(settings.metrics_host, settings.metrics_port)
        login = partial(kopf_connection, configuration)
        unwatch = asyncio.Event()
        tasks = [
            asyncio.create_task(_work(census, fleet, reconciler, keeper, resync)),
            asyncio.create_task(_watch(settings.scope, handlers.registry(fleet, login, resync.listed), stop, unwatch)),
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
            await prometheus.close()
            await direct.close()
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


async def _prometheus(settings: Settings, connection: PrometheusConnection) -> PrometheusApi:
    """With the credentials as they are now. Raises SignalUnavailable for those that can't be read."""
    return PrometheusApi(await connection.client(), settings.prometheus.url, settings.prometheus.timeout_seconds)


def _signal_source(
    settings: Settings, connection: PrometheusConnection, direct: DirectReader, telemetry: Telemetry
) -> SignalSource:
    if settings.prometheus.risk:
        log.warning("%s", settings.prometheus.risk)

    async def ask() -> IdleSignal:
        try:
            api = await _prometheus(settings, connection)
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
    trust: TrustPublisher,
    telemetry: Telemetry,
    leadership: Leads,
) -> Reconciler:
    replicas = Replicas(
        client,
        lambda: leadership.fence,
        telemetry,
        clock=time.time,
        settle_seconds=settings.scrape_interval_seconds + settings.tick_seconds,
        on_news=fleet.touch,
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
        trust,
        telemetry,
        source.read,
        clock=time.time,
        monotonic=time.monotonic,
        tick_seconds=settings.tick_seconds,
        scrape_interval_seconds=settings.scrape_interval_seconds,
        leads=lambda: leadership.leads,
    )


def _key_keeper(
    settings: Settings,
    kube: Kube,
    fleet: Fleet,
    client: ControlClient,
    connection: PrometheusConnection,
    trust: TrustPublisher,
    telemetry: Telemetry,
    leads: Callable[[], bool],
) -> KeyKeeper:
    key = settings.key

    def publish(certificates: str) -> None:
        if trust.want(certificates):
            fleet.changed.set()

    async def reported(expires_at: float) -> bool:
        try:
            api = await _prometheus(settings, connection)
        except SignalUnavailable:
            return False
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


async def _work(census: Census, fleet: Fleet, reconciler: Reconciler, keeper: KeyKeeper, resync: Resync) -> None:
    # An empty fleet would count as one that reports: keys change only after all of it is known.
    await wait_for_initial_sync(census, fleet)
    # What is there now stays for long; the collector need not look at it each time.
    gc.collect()
    gc.freeze()
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(keeper.run())
        side_by_side.create_task(resync.run())
        side_by_side.create_task(reconciler.run())


async def _watch(scope: Scope, registry: kopf.OperatorRegistry, stop: asyncio.Event, unwatch: asyncio.Event) -> None:
    """Until `unwatch`. kopf would end at a signal by itself, and cancel every call that is under way with it."""
    ours = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=handlers.settings(scope),
        standalone=True,
        # Left out, kopf asks for the user's name, and in a container the user is a number without one.
        identity=_instance(),  # type: ignore[arg-type]  # a NewType of str that kopf does not export
        clusterwide=not scope.namespaces,
        namespaces=scope.namespaces,
        stop_flag=unwatch,
    )
    _stop_on_signals(stop)
    await kopf.run_tasks(tasks, ignored=ours)
