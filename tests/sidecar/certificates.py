"""Certificates of all kinds, made for one test."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Credential:
    """A private key and a certificate for it, or a chain that ends with the issuer's."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    chain: bytes = b""

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def expires_at(self) -> float:
        return self.certificate.not_valid_after_utc.timestamp()

    def client_context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = anonymous_context(version)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with TemporaryDirectory() as folder:
            path = Path(folder) / "client.pem"
            path.write_bytes(key + self.pem + self.chain)
            context.load_cert_chain(path)
        return context


def anonymous_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client without a certificate. It does not check the sidecar's: see DESIGN, "Trust"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    return context


def make_credential(
    name: str = "operator",
    *,
    valid_for: timedelta = timedelta(days=1),
    issuer: Credential | None = None,
    is_ca: bool | None = False,
) -> Credential:
    """Self-signed without an issuer. `is_ca=None` leaves the basic constraints out altogether."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + valid_for)
    )
    if is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    signer = issuer.key if issuer else key
    certificate = builder.sign(signer, hashes.SHA256())
    return Credential(key, certificate, issuer.pem if issuer else b"")
