"""The sidecar's own key and certificate: made at start, in memory, gone with the process.

Nobody authenticates a sidecar by it (a pod can always lie about itself), so it needs no Secret and no
volume. TLS wants one, and the pod's UID as its name helps whoever looks at a connection.
"""

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A private key and its self-signed certificate, as PEM."""

    _pem: bytes

    @classmethod
    def make(cls, pod_uid: str) -> Self:
        """ECDSA P-256; the pod's UID is the subject alternative name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dormouse-sidecar")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # A day back for clocks that differ; ten years on, since only a restart renews it.
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(pod_uid)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(key_pem + certificate.public_bytes(Encoding.PEM))

    def load_into(self, context: ssl.SSLContext) -> None:
        """`load_cert_chain` takes only files: this one lives in memory and is gone on return."""
        descriptor = os.memfd_create("dormouse-sidecar-identity", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._pem)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
