"""Who of several operators acts: the one that holds the Lease, and only while it can be sure of it.

The official client's election goes on acting while its API calls hang, so the loop is ours. The one rule:
**what we were granted ends on our own clock before anybody else may take it.** A renewal counts from the
moment *before* it was sent; `leads` compares that with a clock that keeps running through a suspended
machine, and asks nobody. So a call that hangs, a loop that is blocked or an API server that refuses can only
make us stop too early. Likewise another's Lease has run out when *we* have seen no renewal for its whole
duration; no wall clock is compared with another.

    standing by ──the Lease is free, or ran out──► leading ──not renewed in time, taken, or deleted──► standing by

Two that lead all the same (a machine stopped between looking and sending) are told apart by the replicas:
each order has the Lease's UID and the count of its transitions, and an older count is refused.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from ..cluster.kube import Kube
from ..errors import KubeConflict, KubeError, KubeNotFound
from ..orders import Fence
from . import lease as leases
from .lease import Lease
from .settings import LeaseSettings

# A trouble that stays is told again this rarely.
REPEAT_TROUBLE_SECONDS = 60.0
SHORTEST_REST_SECONDS = 0.05
log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds since boot, the time that the machine was suspended included where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Leads(Protocol):
    """What the rest asks, each time anew and right before it acts. `fence` is None while standing by."""

    @property
    def leads(self) -> bool: ...
    @property
    def fence(self) -> Fence | None: ...
    async def run(self) -> None: ...
    async def release(self) -> None: ...


class Alone:
    """Without a Lease whoever runs, acts; a new process is a new issuer."""

    leads = True

    def __init__(self) -> None:
        self.fence = Fence(issuer=str(uuid.uuid4()), term=0)

    async def run(self) -> None:
        pass

    async def release(self) -> None:
        pass


class Leadership:
    """`identity` must be of this process alone. `kube` must give up within `settings.call_timeout_seconds`."""

    def __init__(
        self,
        kube: Kube,
        settings: LeaseSettings,
        namespace: str,
        identity: str,
        *,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = boot_clock,
    ) -> None:
        """`clock` is what people read in the Lease; every decision is by `monotonic`."""
        self._kube = kube
        self._settings = settings
        self._identity = identity
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._on_change = on_change
        self._clock = clock
        self._monotonic = monotonic
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._fence: Fence | None = None
        self._until = float("-inf")
        self._trouble, self._told_at = "", float("-inf")

    @property
    def leads(self) -> bool:
        return self._fence is not None and self._monotonic() < self._until

    @property
    def fence(self) -> Fence | None:
        """UID and transitions of the Lease under which we lead now."""
        return self._fence if self.leads else None

    async def run(self) -> None:
        """Until cancelled."""
        rest = 0.0
        while True:
            await asyncio.sleep(rest)
            rest = await self.attempt()

    async def attempt(self) -> float:
        """One renewal, or one look at another's Lease. Returns the seconds to rest. Raises nothing."""
        started = self._monotonic()
        try:
            await (self._renew() if self.leads else self._compete())
            self._trouble = ""
        except KubeConflict:
            # Somebody wrote in between: the next look shows who.
            return self._settings.retry_seconds / 4
        except KubeError as error:
            self._tell(error)
        except Exception:
            log.exception("The Lease could not be looked at in an unforeseen way; it is tried again.")
        if self._fence is not None and not self.leads:
            self._step_down(f"the Lease was not renewed within {self._settings.renew_deadline_seconds:g} s")
        rest = self._settings.retry_seconds - (self._monotonic() - started)
        if not self.leads and self._seen is not None and self._seen.holder:
            left = self._runs_out_at(self._seen) - self._monotonic()
            rest = min(rest, left) if left > 0 else rest
        return max(SHORTEST_REST_SECONDS, rest)

    async def release(self) -> None:
        """For the end, when `run` and every action has ended: the next one need not wait. Raises nothing."""
        fence, self._fence = self._fence, None
        if fence is None or self._seen is None:
            return
        for _ in range(2):
            try:
                await self._put(leases.released(self._seen, self._clock(), fence.term))
                log.info("Released the Lease, so that the next operator acts at once.")
                return
            except KubeConflict:
                # A last renewal was cut off and yet written, or it is another's by now.
                if not await self._is_still_ours(fence):
                    return
            except KubeError as error:
                log.warning("The Lease is not released; the next operator waits until it runs out: %s", error)
                return

    async def _renew(self) -> None:
        fence, seen = self._fence, self._seen
        if fence is None or seen is None:
            return
        try:
            began = self._monotonic()
            duration = self._settings.duration_seconds
            self._observe(await self._put(leases.renewed(seen, self._identity, duration, self._clock(), fence.term)))
            self._until = began + self._settings.renew_deadline_seconds
        except KubeConflict:
            found = await self._get()
            if self._is_foreign(found, fence):
                self._step_down(f"{found.holder or 'nobody'} has the Lease now")
            raise
        except KubeNotFound:
            # Whoever creates it next is another issuer, so there is nothing left to hold on to.
            self._step_down("the Lease was deleted")

    async def _compete(self) -> None:
        try:
            seen = await self._get()
        except KubeNotFound:
            began = self._monotonic()
            body = leases.created(self._settings.name, self._identity, self._settings.duration_seconds, self._clock())
            self._lead(leases.read(await self._kube.request("POST", self._path, body)), began)
            return
        if not seen.holder or self._monotonic() >= self._runs_out_at(seen):
            began = self._monotonic()
            body = leases.claimed(seen, self._identity, self._settings.duration_seconds, self._clock())
            self._lead(await self._put(body), began)

    def _lead(self, lease: Lease, since: float) -> None:
        self._observe(lease)
        self._fence = Fence(lease.uid, lease.transitions)
        self._until = since + self._settings.renew_deadline_seconds
        log.info("Leading under term %d of Lease %s", lease.transitions, lease.uid)
        self._on_change()

    def _step_down(self, why: str) -> None:
        self._fence = None
        log.warning("No longer leading: %s. Models stay as they are; standing by.", why)
        self._on_change()

    def _is_foreign(self, lease: Lease, fence: Fence) -> bool:
        return lease.uid != fence.issuer or lease.holder != self._identity

    async def _is_still_ours(self, fence: Fence) -> bool:
        try:
            return not self._is_foreign(await self._get(), fence)
        except KubeError:
            return False

    def _runs_out_at(self, seen: Lease) -> float:
        """What has our name and we don't lead, was written by us without hearing of it. Others go first then:
        where only answers are lost, we would else keep the Lease for ever and never lead."""
        grace = 2 * self._settings.retry_seconds if seen.holder == self._identity else 0.0
        return self._seen_at + (seen.duration_seconds or self._settings.duration_seconds) + grace

    async def _get(self) -> Lease:
        found = leases.read(await self._kube.request("GET", f"{self._path}/{self._settings.name}"))
        self._observe(found)
        return found

    async def _put(self, body: dict[str, object]) -> Lease:
        return leases.read(await self._kube.request("PUT", f"{self._path}/{self._settings.name}", body))

    def _observe(self, lease: Lease) -> None:
        if not lease.is_same_renewal(self._seen):
            self._seen_at = self._monotonic()
        self._seen = lease

    def _tell(self, error: KubeError) -> None:
        now, text = self._monotonic(), str(error)
        if text != self._trouble or now - self._told_at >= REPEAT_TROUBLE_SECONDS:
            self._trouble, self._told_at = text, now
            role = "Leading until it runs out here" if self.leads else "Standing by"
            log.warning("The Lease can't be read or written. %s. %s", role, error)
