"""Keeps the operator's key: reads the Secret, carries out the one next step of a rotation, tells who uses it.

Level-based: a look begins with what the Secret says, so it does not matter who took the step before, or
where that one was killed. Whoever leads writes; the others only follow, so that each of them has the right
key when it takes over.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..errors import KubeConflict, KubeError
from .identity import Identity
from .keyring import Keyring
from .rotation import Leaf, RotationState, Rules, Step, plan_rotation
from .source import KeySource, Offer
from .store import KeyStore, Stored

# While nothing rotates; a change of the Secret or the files is seen that late.
REST_SECONDS = 10.0
# While a rotation is under way.
BUSY_SECONDS = 1.0
START_RETRY_SECONDS = 1.0
log = logging.getLogger(__name__)


class Told(Protocol):
    """What the keeper reports to: telemetry."""

    def certificate(self, expires_at: float) -> None: ...

    def key_source(self, usable: bool) -> None: ...


class News(Protocol):
    async def stepped(self, step: Step, keyring: Keyring) -> None: ...

    async def source_unusable(self, fault: str, has_key: bool) -> None: ...


class KeyKeeper:
    """`use` gets the TLS context for orders, `publish` the leaves that sidecars are to trust.

    reported: whether all sidecars have a leaf that expires then. is_everywhere: whether each ConfigMap has what
    `publish` was given last. leads: whether we may write.
    """

    def __init__(
        self,
        store: KeyStore,
        source: KeySource,
        rules: Rules,
        news: News,
        telemetry: Told,
        *,
        use: Callable[[ssl.SSLContext], Awaitable[None]],
        publish: Callable[[str], object],
        is_everywhere: Callable[[], bool],
        reported: Callable[[float], Awaitable[bool]],
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._source = source
        self._rules = rules
        self._news = news
        self._telemetry = telemetry
        self._use = use
        self._publish = publish
        self._is_everywhere = is_everywhere
        self._reported = reported
        self._leads = leads
        self._clock = clock
        self._monotonic = monotonic
        self._keyring = Keyring()
        self._fault = ""

    async def start(self, stop: asyncio.Event) -> None:
        """Until the Secret has been read once, or `stop`. Raises KubeError for what will be refused again."""
        self._telemetry.certificate(0)
        while not stop.is_set():
            try:
                await self.look(knows_fleet=False)
                return
            except KubeConflict:
                # Somebody else made the key; there is nothing to wait for.
                continue
            except KubeError as error:
                if not error.retryable:
                    raise
                log.warning("Waiting for the API server: %s", error)
            try:
                async with asyncio.timeout(START_RETRY_SECONDS):
                    await stop.wait()
            except TimeoutError:
                pass

    async def run(self) -> None:
        """Until cancelled. A look that fails is repeated; orders go on with the key as it was."""
        led, failed = self._leads(), False
        looked_at = self._monotonic()
        while True:
            await asyncio.sleep(BUSY_SECONDS)
            leads = self._leads()
            rest = REST_SECONDS if self._keyring.is_at_rest or failed else BUSY_SECONDS
            if leads == led and self._monotonic() - looked_at < rest:
                continue
            led, looked_at = leads, self._monotonic()
            try:
                await self.look()
                failed = False
            except KubeConflict:
                # Somebody else took this step; what comes next is seen at the next look.
                failed = False
            except KubeError as error:
                failed = True
                log.warning("The operator's key can't be looked at; orders go on with it as it was: %s", error)
            except Exception:
                failed = True
                log.exception("The look at the operator's key failed; orders go on with it as it was.")

    async def look(self, knows_fleet: bool = True) -> None:
        """Takes over what the Secret says and, when we lead, takes one step. Raises KubeError.

        Before the fleet is known, nobody could be asked, and nobody would count as everybody.
        """
        stored = await self._store.read()
        offer = self._source.offer(self._clock())
        if stored.keyring.current is not None or not self._leads():
            await self._adopt(stored.keyring)
        await self._heed(offer)
        if not self._leads():
            return
        state = self._state(stored, offer, knows_fleet)
        reported = knows_fleet and await self._is_reported(stored.keyring)
        now = self._clock()
        step = plan_rotation(state, now, reported, self._rules)
        new = self._source.new(now, offer) if step in (Step.REPLACE, Step.PREPARE) else None
        after = stored.keyring.after(step, now, new)
        # Leadership may have ended while Prometheus was asked; and a write that changes nothing is none.
        if after == stored.keyring or not self._leads():
            return
        await self._store.write(stored, after, answered=step in (Step.REPLACE, Step.PREPARE))
        await self._adopt(after)
        await self._news.stepped(step, after)

    async def _adopt(self, keyring: Keyring) -> None:
        before, self._keyring = self._keyring, keyring
        if keyring.current is not None:
            if keyring.current != before.current:
                await self._use(keyring.current.client_context())
            self._telemetry.certificate(keyring.current.leaf.expires_at)
        if keyring.published:
            self._publish(keyring.published)

    async def _heed(self, offer: Offer) -> None:
        self._telemetry.key_source(not offer.fault)
        if offer.fault == self._fault:
            return
        self._fault = offer.fault
        if offer.fault:
            await self._news.source_unusable(offer.fault, self._keyring.current is not None)
        else:
            log.info("The source of the operator's key has one that can be used.")

    def _state(self, stored: Stored, offer: Offer, knows_fleet: bool) -> RotationState:
        ring = stored.keyring
        return RotationState(
            current=_leaf(ring.current),
            next=_leaf(ring.next),
            published_at=ring.published_at,
            previous=ring.previous,
            switched_at=ring.switched_at,
            everywhere=knows_fleet and self._is_everywhere(),
            offered=_leaf(offer.identity),
            makes_keys=self._source.makes_keys,
            wanted=stored.rotation_wanted,
        )

    async def _is_reported(self, ring: Keyring) -> bool:
        """Sidecars tell of the latest end only, so they can't tell two leaves with the same end apart."""
        if ring.next is None or ring.published_at is None or ring.current is None:
            return False
        end = ring.next.leaf.expires_at
        return end != ring.current.leaf.expires_at and await self._reported(end)


def _leaf(identity: Identity | None) -> Leaf | None:
    return identity.leaf if identity is not None else None
