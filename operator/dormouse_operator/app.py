"""Runs the parts of the operator (`wiring.py`) until a signal comes, and ends them in the right order."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial

import kopf
from dormouse_prometheus.connection import PrometheusConnection
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry

from .cluster import handlers
from .cluster.census import Census
from .cluster.fleet import Fleet
from .cluster.initial_sync import wait_for_initial_sync
from .cluster.kube import Kube, kopf_connection, load_configuration
from .cluster.resync import Resync
from .cluster.scope import Scope
from .control_client import ControlClient
from .endpoints import Endpoints
from .idle_signal.direct import DirectReader
from .keys.identity import anonymous_context
from .keys.keeper import KeyKeeper
from .keys.trust import TrustPublisher
from .leadership.election import Leads
from .reconciler import Reconciler
from .settings import Settings
from .telemetry import Telemetry
from .wiring import instance, who_leads, wire_key_keeper, wire_reconciler, wire_signal_source

STOP_SECONDS = 5.0
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
    leadership = leadership or who_leads(settings, lease_kube, fleet)
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
        census = Census(kube, settings.scope)
        await census.check_selector()
        # Until the key is there, sidecars refuse us and nothing else happens.
        client = ControlClient(anonymous_context(), control_port=settings.control_port)
        prometheus = PrometheusConnection(settings.prometheus)
        direct = DirectReader(fleet.pods.values, clock=time.time, monotonic=time.monotonic)
        telemetry.started(lambda: leadership.leads)
        trust = TrustPublisher(kube, settings.operator_namespace)
        keeper = wire_key_keeper(settings, kube, fleet, client, prometheus, trust, telemetry, lambda: leadership.leads)
        await keeper.start(stop)
        if stop.is_set():
            return
        source = wire_signal_source(settings, fleet, prometheus, direct, telemetry)
        reconciler = wire_reconciler(settings, kube, fleet, client, source, trust, telemetry, leadership)
        endpoints = Endpoints(
            registry,
            seconds_since_progress=lambda: time.monotonic() - reconciler.last_finished,
            stalled_after_seconds=settings.stalled_after_seconds,
        )
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
        identity=instance(),  # type: ignore[arg-type]  # a NewType of str that kopf does not export
        clusterwide=not scope.namespaces,
        namespaces=scope.namespaces,
        stop_flag=unwatch,
    )
    _stop_on_signals(stop)
    await kopf.run_tasks(tasks, ignored=ours)
