"""What a replica may decide by itself, lent for an hour: short timers, budgets and the pin.

A timer below two scrape intervals can't be kept from Prometheus, so the replica keeps it on its own exact
clock. What was lent is remembered in memory only: after a restart it is lent again, which changes nothing, and
what an operator before may have lent for someone who lends no more is taken back at first contact.
"""

import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass

from dormouse_contract import Mode, Policy, Residency
from dormouse_contract.managed_model import ManagedModel
from dormouse_contract.wire import OrderStamp, PolicyLoan

from .cluster.pods import Pod
from .view import View
from .workqueue.keys import LeasePolicy

VALID_FOR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Terms:
    """A loan without its times. None is the server's own setting."""

    keep_alive_seconds: float | None
    min_resident_seconds: float
    wake_budget_seconds: float
    pinned: bool


@dataclass(frozen=True, slots=True)
class Lent:
    """`owner` is the UID of the ManagedModel; only it can take the loan back. `at` is Unix seconds."""

    terms: Terms
    owner: str
    generation: int
    at: float
    valid_for_seconds: float


def terms_for(policy: Policy, scrape_interval_seconds: float, now: float) -> Terms | None:
    """None when nothing may be lent: Observe and Paused decide nothing for the replica."""
    if policy.mode is not Mode.ACTIVE:
        return None
    offload = policy.offload_after_seconds
    manual = policy.residency is not None and not _over(policy, now)
    local = offload is not None and offload < 2 * scrape_interval_seconds
    # In a window that holds it on the GPU, the replica's own timer would send it away as often as we wake it.
    held = any(each.residency is Residency.GPU and each.open_until(now) is not None for each in policy.schedule)
    return Terms(
        keep_alive_seconds=offload if local and not held else None,
        min_resident_seconds=policy.min_resident_seconds,
        wake_budget_seconds=policy.wake_budget_seconds,
        pinned=manual and policy.residency is Residency.GPU,
    )


def lease_of(owner: ManagedModel, pod: Pod, model: str) -> LeasePolicy:
    return LeasePolicy(pod.namespace, pod.uid, model, owner.uid)


def valid_for(policy: Policy, now: float) -> float:
    """An hour, or less where the manual residency ends sooner: a pin must not outlive it."""
    if policy.residency is None or policy.residency_until is None or _over(policy, now):
        return VALID_FOR_SECONDS
    return min(VALID_FOR_SECONDS, max(1.0, policy.residency_until - now))


def due_at(terms: Terms, owner: str, lent: Lent | None, replica: str) -> float:
    """When to lend (Unix seconds; 0 is at once): new, changed, or at half of its time.

    Spread by replica, so that a fleet doesn't refresh at once.
    """
    if lent is None or lent.terms != terms or lent.owner != owner:
        return 0.0
    share = 0.4 + 0.1 * (zlib.crc32(replica.encode()) % 1000) / 1000
    return lent.at + lent.valid_for_seconds * share


def loan(terms: Terms, valid_for_seconds: float, stamp: OrderStamp, pod_uid: str) -> PolicyLoan:
    return PolicyLoan(
        keep_alive_seconds=terms.keep_alive_seconds,
        min_resident_seconds=terms.min_resident_seconds,
        wake_budget_seconds=terms.wake_budget_seconds,
        pinned=terms.pinned,
        valid_for_seconds=valid_for_seconds,
        order=stamp,
        pod_uid=pod_uid,
    )


def withdrawal(stamp: OrderStamp, pod_uid: str) -> PolicyLoan:
    return PolicyLoan(valid_for_seconds=0, order=stamp, pod_uid=pod_uid)


class Inherited:
    """What an operator before us may have lent: asked once for each owner and replica that lend nothing now.

    Nobody can have lent for an object that no operator ever visited, nor for one whose spec is still the first
    and says Observe or Paused; those get no call. A ManagedModel that was deleted meanwhile is known to nobody:
    its loan ends by itself within the hour.
    """

    def __init__(self) -> None:
        self._visited: dict[str, bool] = {}
        self._met: set[LeasePolicy] = set()

    def suspects(self, view: View, wanted: Container[LeasePolicy]) -> Iterator[tuple[LeasePolicy, Lent]]:
        owner = view.owner
        visited = self._visited.setdefault(owner.uid, owner.status.observed_generation is not None)
        lost = [lease_of(owner, each.pod, each.model) for each in view.lost if each.model is not None]
        held = [lease_of(owner, each.pod, each.model) for each in view.replicas]
        for key in [*held, *lost]:
            if key in self._met:
                continue
            self._met.add(key)
            if visited and key not in wanted and (key in lost or owner.generation > 1):
                yield key, Lent(_UNKNOWN_TERMS, owner.uid, owner.generation, 0.0, VALID_FOR_SECONDS)

    def forget_all_but(self, pod_uids: Container[str], owner_uids: Container[str]) -> None:
        self._met = {key for key in self._met if key.pod_uid in pod_uids and key.owner_uid in owner_uids}
        self._visited = {uid: visited for uid, visited in self._visited.items() if uid in owner_uids}


_UNKNOWN_TERMS = Terms(None, 0.0, 0.0, pinned=False)


def _over(policy: Policy, now: float) -> bool:
    return policy.residency_until is not None and now >= policy.residency_until
