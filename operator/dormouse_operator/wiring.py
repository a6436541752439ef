"""The parts of the operator, made from its settings. What runs when is said in `app.py`."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable

from dormouse_contract.idleness import IdleSignal, fresh_for_seconds
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.errors import PrometheusUnavailable

from .cluster.fleet import Fleet
from .cluster.kube import Kube
from .control_client import ControlClient
from .idle_signal.direct import DirectReader
from .idle_signal.failure import failed
from .idle_signal.query import SignalReader
from .idle_signal.source import SignalSource
from .idle_signal.wanted import wanted
from .keys.keeper import KeyKeeper
from .keys.news import RotationNews
from .keys.reports import all_report, ordered_pods
from .keys.settings import KeyOrigin
from .keys.source import KeyFolder, OwnKeys
from .keys.store import KeyStore
from .keys.trust import TrustPublisher
from .leadership.election import Alone, Leadership, Leads
from .reconciler import Reconciler
from .replicas import Replicas
from .reporting.recorder import Recorder
from .settings import Settings
from .telemetry import Telemetry

log = logging.getLogger(__name__)


def who_leads(settings: Settings, kube: Kube, fleet: Fleet) -> Leads:
    if not settings.lease.enabled:
        return Alone()
    # A pod that is restarted keeps its name, and must not take itself for its predecessor.
    identity = f"{instance()}_{uuid.uuid4()}"
    return Leadership(kube, settings.lease, settings.operator_namespace, identity, on_change=fleet.changed.set)


def instance() -> str:
    return os.environ.get("POD_NAME") or socket.gethostname()


def wire_signal_source(
    settings: Settings, fleet: Fleet, connection: PrometheusConnection, direct: DirectReader, telemetry: Telemetry
) -> SignalSource:
    reader = SignalReader(
        selector=settings.prometheus.selector,
        look_seconds=2 * settings.prometheus.timeout_seconds,
        clock=time.time,
        monotonic=time.monotonic,
    )
    if settings.prometheus.risk:
        log.warning("%s", settings.prometheus.risk)

    async def ask() -> IdleSignal:
        try:
            api = await connection.api()
            signal = await reader.read(api, wanted(fleet))
        except PrometheusUnavailable as error:
            signal = failed(error)
        telemetry.queried(ok=not signal.failure)
        telemetry.too_large(signal.too_large)
        return signal

    return SignalSource(
        ask, direct.read, direct_after_seconds=settings.direct_reading_after_seconds, monotonic=time.monotonic
    )


def wire_reconciler(
    settings: Settings,
    kube: Kube,
    fleet: Fleet,
    client: ControlClient,
    source: SignalSource,
    trust: TrustPublisher,
    telemetry: Telemetry,
    leadership: Leads,
) -> Reconciler:
    telemetry.believes_for(fresh_for_seconds(settings.scrape_interval_seconds, settings.tick_seconds))
    replicas = Replicas(
        client,
        lambda: leadership.fence,
        telemetry,
        clock=time.time,
        settle_seconds=settings.order_settles_seconds,
        on_news=fleet.touch,
    )

    async def read_signal() -> IdleSignal:
        signal = await source.read()
        if signal.ignored:
            for namespace, models in signal.ignored.items():
                telemetry.ignored(namespace if namespace in fleet.namespaces else "", models)
        return signal

    return Reconciler(
        fleet,
        replicas,
        Recorder(
            kube,
            fleet,
            clock=time.time,
            monotonic=time.monotonic,
            instance=instance(),
            settle_seconds=settings.trouble_settles_seconds,
        ),
        trust,
        telemetry,
        read_signal,
        clock=time.time,
        monotonic=time.monotonic,
        tick_seconds=settings.tick_seconds,
        scrape_interval_seconds=settings.scrape_interval_seconds,
        leads=lambda: leadership.leads,
    )


def wire_key_keeper(
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
            api = await connection.api()
        except PrometheusUnavailable:
            return False
        return await all_report(api, ordered_pods(fleet).values(), expires_at, settings.prometheus.selector)

    return KeyKeeper(
        KeyStore(kube, settings.operator_namespace),
        OwnKeys(key.lifetime_seconds) if key.source is KeyOrigin.OPERATOR else KeyFolder(key.folder),
        key.rules,
        RotationNews(kube, settings.operator_namespace, clock=time.time, instance=instance()),
        telemetry,
        use=client.use,
        publish=publish,
        is_everywhere=lambda: trust.is_everywhere(fleet.namespaces),
        reported=reported,
        leads=leads,
        clock=time.time,
        monotonic=time.monotonic,
    )
