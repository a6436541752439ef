"""What an order carries and what became of a call: the facts, without the wire (`control_client.py`)."""

from dataclasses import dataclass
from enum import StrEnum

from dormouse_contract.wire import ModelReport, OrderStamp


class Outcome(StrEnum):
    """What became of a call. The values are the metric's label."""

    DONE = "done"  # 200
    UNDER_WAY = "under_way"  # 202
    NO_SUCH_MODEL = "no_such_model"  # 404
    IN_USE = "in_use"  # 409: it was used a moment ago, so the order no longer holds
    STALE_ORDER = "stale_order"  # 409: the replica knows a newer generation or term
    DIRTY = "dirty"  # 409: unloading would lose changed weights
    WRONG_POD = "wrong_pod"  # 421: the address belongs to another pod by now
    BAD_BODY = "bad_body"  # 422: the sidecar does not know this order; versions too far apart
    CANNOT_NOW = "cannot_now"  # 503
    UNTRUSTED = "untrusted"  # the sidecar is alive and does not take our certificate (yet)
    UNREACHABLE = "unreachable"  # nobody there
    UNEXPECTED = "unexpected"  # an answer that the contract does not know

    @property
    def accepted(self) -> bool:
        return self in (Outcome.DONE, Outcome.UNDER_WAY)

    @property
    def reached(self) -> bool:
        """Whether the pod itself answered."""
        return self not in (Outcome.UNTRUSTED, Outcome.UNREACHABLE, Outcome.WRONG_POD)


@dataclass(frozen=True, slots=True)
class Fence:
    """Who orders: a UUID of this process and 0; with a Lease its UID and `leaseTransitions`."""

    issuer: str
    term: int

    def stamp(self, owner: str, generation: int) -> OrderStamp:
        return OrderStamp(owner=owner, generation=generation, issuer=self.issuer, term=self.term)


@dataclass(frozen=True, slots=True)
class Answer:
    """`detail` is for people; `snapshots` are the models as the replica last told; `ignored` had no name of a model."""

    outcome: Outcome
    detail: str = ""
    snapshots: tuple[ModelReport, ...] = ()
    retry_after_seconds: float | None = None
    ignored: int = 0
