"""Runs the parts of the operator (`wiring.py`) until a signal comes, and ends them in the right order."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version

from dormouse_prometheus.connection import PrometheusConnection
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry

from .cluster.census import Census, check_selector
from .cluster.collection import collections
from .cluster.fleet import Fleet
from .cluster.kube import Kube, kopf_connection, load_configuration
from .cluster.mirror import Mirror
from .cluster.resync import Resync
from .cluster.rivals import Rivals, field_manager
from .cluster.watches import Watches, wire_watches
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
    manager = field_manager(settings.operator_namespace, settings.lease.name if settings.lease.enabled else "")
    api = ApiClient(configuration)
    # What comes before the slash is whom the API server names as the writer of a status.
    api.user_agent = f"{manager}/{version('dormouse')}"
    kube = Kube(api, may_write=lambda: leadership.leads, on_answer=telemetry.answered)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(kube.close)
        census = Census(kube)
        rivals = Rivals(manager, monotonic=time.monotonic)
        mirrors = [Mirror(fleet, collection, rivals) for collection in collections(settings.scope)]
        await check_selector(census, mirrors[-1].collection)
        # Until the key is there, sidecars refuse us and nothing else happens.
        client = ControlClient(anonymous_context(), control_port=settings.control_port)
        stack.push_async_callback(client.close)
        prometheus = PrometheusConnection(settings.prometheus)
        stack.push_async_callback(prometheus.close)
        direct = DirectReader(fleet.pods.values, clock=time.time, monotonic=time.monotonic)
        stack.push_async_callback(direct.close)
        telemetry.started(lambda: leadership.leads)
        trust = TrustPublisher(
            kube, settings.operator_namespace, monotonic=time.monotonic, on_news=fleet.touch_namespace
        )
        keeper = wire_key_keeper(settings, kube, fleet, client, prometheus, trust, telemetry, lambda: leadership.leads)
        source = wire_signal_source(settings, fleet, prometheus, direct, telemetry)
        reconciler = wire_reconciler(settings, kube, fleet, client, source, trust, telemetry, leadership)
        resync = Resync(mirrors, census)
        watches = wire_watches(
            mirrors,
            fleet,
            census,
            partial(kopf_connection, configuration),
            resync.listed,
            identity=instance(),
            spawned=partial(_stop_on_signals, stop),
            clock=time.time,
            monotonic=time.monotonic,
        )
        telemetry.watches(watches.last_alive)
        telemetry.trust(trust.problems)
        telemetry.shared(rivals.shared)
        endpoints = Endpoints(
            registry,
            # Before the fleet is known there is no pass: only the watches are judged then.
            seconds_since_progress=lambda: time.monotonic() - reconciler.last_finished if watches.synced else 0.0,
            dead_watches=watches.dead,
            stalled_after_seconds=settings.stalled_after_seconds,
        )
        server = await endpoints.serve(settings.metrics_host, settings.metrics_port)
        stack.callback(server.close)
        await keeper.start(stop)
        if stop.is_set():
            return
        tasks = [
            asyncio.create_task(_work(watches, reconciler, keeper, resync)),
            asyncio.create_task(watches.run()),
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
            tasks[1].cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Called again when kopf has taken the signals for itself: at each moment the end is ours."""
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)


async def _work(watches: Watches, reconciler: Reconciler, keeper: KeyKeeper, resync: Resync) -> None:
    # An empty fleet would count as one that reports: keys change only after all of it is known.
    await watches.wait_for_initial_sync()
    reconciler.last_finished = time.monotonic()
    # What is there now stays for long; the collector need not look at it each time.
    gc.collect()
    gc.freeze()
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(keeper.run())
        side_by_side.create_task(resync.run())
        side_by_side.create_task(reconciler.run())
