"""The operator's key and certificate: what makes an order the operator's.

The public half is what sidecars trust (`trust.py`); they pin this very leaf, so no CA is involved and the
certificate can sign nothing. Where it is kept: `store.py`; where it comes from: `source.py`; when it
changes: `rotation.py`.
"""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .rotation import Leaf

LIFETIME = timedelta(days=365)
# Clocks of nodes differ; a certificate from the future would be refused.
BACKDATED = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM both; the certificate is the leaf alone. The key never leaves this process but for the Secret."""

    key_pem: bytes
    certificate_pem: bytes

    @property
    def leaf(self) -> Leaf:
        return leaf_of(self.certificate_pem)

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 with our certificate. Raises ssl.SSLError when key and certificate are no pair."""
        context = anonymous_context()
        # ssl reads keys from files only; this one is ours alone (0600) and gone at once.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(self.key_pem.rstrip() + b"\n" + self.certificate_pem)
            file.flush()
            # A key that asks for a passphrase must not stop at a prompt.
            context.load_cert_chain(file.name, password="")
        return context


def anonymous_context() -> ssl.SSLContext:
    """TLS 1.3 without a certificate, so that every sidecar refuses it; the server's is not verified, on purpose.

    A sidecar makes its key in memory at each start, so there is nothing to check it against. A pod can lie
    only about itself, which it could do in its metrics as well; and an order that reaches a stranger behind
    a recycled address does nothing there, since it names the pod's UID.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def leaf_of(certificate_pem: bytes) -> Leaf:
    """Raises ValueError for what is no certificate."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return Leaf(certificate.fingerprint(hashes.SHA256()).hex(), certificate.not_valid_after_utc.timestamp())


def make_identity(now: float, lifetime_seconds: float = LIFETIME.total_seconds()) -> Identity:
    """ECDSA P-256, a leaf that may only be a TLS client. It holds for `lifetime_seconds` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dormouse-operator")])
    start = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + timedelta(seconds=lifetime_seconds))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
    )
