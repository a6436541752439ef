"""The keys that the operator's Secret holds, as one value, and what each step of a rotation makes of it.

All sources keep what they order with here, not only the one that makes keys: a file that changed says
nothing of the key that it held before, and after a restart that older one is still what sidecars trust.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dormouse_contract.timestamps import from_rfc3339_or_none, to_rfc3339_micro

from .identity import Identity, leaf_of
from .rotation import Leaf, Step

PUBLISHED_AT, SWITCHED_AT = "next.published-at", "previous.switched-at"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Orders go out with `current`; `published` is what sidecars are to trust. Times are Unix seconds.

    Of `previous` the key is gone already, only its certificate is still published.
    """

    current: Identity | None = None
    next: Identity | None = None
    published_at: float | None = None
    previous_pem: bytes | None = None
    switched_at: float = 0.0

    @property
    def published(self) -> str:
        """At most two leaves as PEM, current first; empty while there is no key at all."""
        leaves = [each.certificate_pem for each in (self.current, self.next) if each is not None]
        if self.previous_pem is not None:
            leaves.append(self.previous_pem)
        return "".join(leaf.decode().strip() + "\n" for leaf in leaves)

    @property
    def previous(self) -> Leaf | None:
        return leaf_of(self.previous_pem) if self.previous_pem is not None else None

    @property
    def is_at_rest(self) -> bool:
        return self.next is None and self.previous_pem is None

    def after(self, step: Step, now: float, new: Identity | None) -> "Keyring":
        """`new` is what the source gave; REPLACE and PREPARE without it change nothing."""
        match step:
            case Step.REPLACE if new is not None:
                return Keyring(current=new)
            case Step.PREPARE if new is not None:
                return replace(self, next=new, published_at=None)
            case Step.STAMP:
                return replace(self, published_at=now)
            case Step.WITHDRAW:
                return replace(self, next=None, published_at=None)
            case Step.SWITCH:
                # What has expired need not be published any longer.
                stays = self.current is not None and self.current.leaf.expires_at > now
                old = self.current.certificate_pem if self.current is not None and stays else None
                return Keyring(current=self.next, previous_pem=old, switched_at=now if stays else 0.0)
            case Step.RETIRE:
                return replace(self, previous_pem=None, switched_at=0.0)
            case _:
                return self

    def to_data(self) -> dict[str, bytes]:
        """The Secret's data."""
        data: dict[str, bytes] = {}
        for name, identity in (("current", self.current), ("next", self.next)):
            if identity is not None:
                data[f"{name}.key"], data[f"{name}.crt"] = identity.key_pem, identity.certificate_pem
        if self.next is not None and self.published_at is not None:
            data[PUBLISHED_AT] = to_rfc3339_micro(self.published_at).encode()
        if self.previous_pem is not None:
            data["previous.crt"] = self.previous_pem
            data[SWITCHED_AT] = to_rfc3339_micro(self.switched_at).encode()
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, bytes]) -> "Keyring":
        """Whatever somebody wrote there: what can't be used counts as absent."""
        coming = _identity(data, "next")
        previous = data.get("previous.crt")
        if previous is not None and not _is_certificate(previous):
            previous = None
        return cls(
            current=_identity(data, "current"),
            next=coming,
            published_at=_time(data, PUBLISHED_AT) if coming is not None else None,
            previous_pem=previous,
            switched_at=(_time(data, SWITCHED_AT) or 0.0) if previous is not None else 0.0,
        )


def _identity(data: Mapping[str, bytes], name: str) -> Identity | None:
    try:
        found = Identity(data[f"{name}.key"], data[f"{name}.crt"])
        found.client_context()
    except (KeyError, ValueError, ssl.SSLError):
        return None
    return found if _is_certificate(found.certificate_pem) else None


def _is_certificate(pem: bytes) -> bool:
    try:
        leaf_of(pem)
        pem.decode("ascii")
    except ValueError:
        return False
    return True


def _time(data: Mapping[str, bytes], name: str) -> float | None:
    return from_rfc3339_or_none(data.get(name, b"").decode(errors="replace"))
