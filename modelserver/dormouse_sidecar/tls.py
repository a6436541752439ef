"""Whom the control port lets in: a TLS context per set of trusted certificates, swapped as a whole.

Adding certificates to a live context keeps accepting the old ones (tried: FACTS, "TLS with uvicorn and
httpx"), so a change of trust makes a new context. Each connection is given the current one when it is
accepted, which also holds for clients that send no server name.

OpenSSL checks possession of the key and the dates. It would also accept a certificate that a trusted one
has *signed*, if that looks like a CA's, so `admits` compares the certificate itself.
"""

import ssl
from collections.abc import Iterable

from .identity import Identity
from .trust import Anchor


class Door:
    """Who is let in at this moment; at first nobody."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._context: ssl.SSLContext | None = None
        self._admitted: frozenset[bytes] = frozenset()

    @property
    def context(self) -> ssl.SSLContext | None:
        """For the next connection; None while nobody is trusted."""
        return self._context

    @property
    def admitted(self) -> frozenset[bytes]:
        return self._admitted

    def admit_only(self, anchors: Iterable[Anchor]) -> None:
        """From now on exactly these, for new connections and for those that are open."""
        admitted = frozenset(anchor.der for anchor in anchors)
        self._context = server_context(self._identity, admitted) if admitted else None
        self._admitted = admitted

    def admits(self, certificate: bytes | None) -> bool:
        """Whether the holder of this certificate (DER) is trusted now."""
        return certificate in self._admitted


def server_context(identity: Identity, admitted: Iterable[bytes]) -> ssl.SSLContext:
    """Lets in the holders of these certificates (DER), and whom they signed: see `Door.admits`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # A leaf counts as an anchor by itself, whether it is self-signed or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # No session may be resumed: it would skip the check of the certificate.
    context.num_tickets = 0
    identity.load_into(context)
    for der in admitted:
        context.load_verify_locations(cadata=der)
    return context
