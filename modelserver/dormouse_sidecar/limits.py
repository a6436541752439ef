"""What one connection, and all of them together, may cost.

Both ports are reachable by every pod of the cluster, and the certificate is known only after a
handshake, so each connection is limited from the moment it is accepted: in time, in bytes and in number.
A connection carries one request and ends with its answer; there is no keep-alive. That makes the first
two limits below the oldest age of a connection, and no connection outlives a change of trust.
"""

from dataclasses import dataclass

from dormouse_contract.wire import MAX_BODY_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one port.

    request_seconds: from the accept to the last byte of the request, TLS handshake included. An honest
        client needs milliseconds; half a request is cut off after it.
    answer_seconds: from then to the last byte of the answer, the model process' own time included.
    goodbye_seconds: for a client that is still sending when it is answered (a body that is too large):
        reading on lets it see the answer instead of a reset.
    max_connections: above it, the one that has waited longest for its request makes room, so that whoever
        holds connections open can't keep out a probe, which needs milliseconds. When all are being
        answered, the new one is closed.
    max_connections_per_peer: of one address; more are closed as soon as they are accepted.
    max_header_bytes: request line and headers together. Looked at between reads, so up to one read (8 KiB)
        more may pass.
    max_body_bytes: more is refused before it is read.
    """

    request_seconds: float = 5.0
    answer_seconds: float = 15.0
    goodbye_seconds: float = 1.0
    max_connections: int = 64
    max_connections_per_peer: int = 16
    max_header_bytes: int = 16 * 1024
    max_body_bytes: int = MAX_BODY_BYTES
