"""The operator's key and certificate: what makes an order the operator's.

Made once and kept in one Secret in the operator's own namespace, which is mounted nowhere and readable by
nobody else. The public half is what sidecars trust (`trust.py`); they pin this very leaf, so no CA is
involved and the certificate can sign nothing. The data keys begin with `current` because a rotation will
keep a `next` beside it.
"""

import base64
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import KubeConflict, KubeError, KubeNotFound
from .kube import Kube

SECRET_NAME = "dormouse-operator-key"  # noqa: S105 - a name, not a secret
KEY_FIELD, CERTIFICATE_FIELD = "current.key", "current.crt"
LIFETIME = timedelta(days=365)
# Clocks of nodes differ; a certificate from the future would be refused.
BACKDATED = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM both. The key never leaves this process but for the Secret."""

    key_pem: bytes
    certificate_pem: bytes

    @property
    def expires_at(self) -> float:
        """Unix seconds."""
        return x509.load_pem_x509_certificate(self.certificate_pem).not_valid_after_utc.timestamp()

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 with our certificate; the server's is not verified, and that is the design.

        A sidecar makes its key in memory at each start, so there is nothing to check it against. A pod
        can lie only about itself, which it could do in its metrics as well; and an order that reaches a
        stranger behind a recycled address does nothing there, since it names the pod's UID.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # ssl reads keys from files only; this one is ours alone (0600) and gone at once.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(self.key_pem + self.certificate_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def make_identity(now: float) -> Identity:
    """ECDSA P-256, a leaf that may only be a TLS client."""
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
        .not_valid_after(start + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
    )


async def obtain_identity(kube: Kube, namespace: str, now: float) -> Identity:
    """The identity in the Secret, made and stored first when there is none that still holds.

    Two operators that start at once end with the same one: only one create succeeds, and the other reads.
    Raises KubeError, for example when the namespace is missing.
    """
    path = f"/api/v1/namespaces/{namespace}/secrets"
    for _ in range(3):
        try:
            stored = await kube.request("GET", f"{path}/{SECRET_NAME}")
        except KubeNotFound:
            stored = None
        found = _from_secret(stored) if stored is not None else None
        if found is not None and found.expires_at > now:
            return found
        made = make_identity(now)
        secret = _to_secret(made)
        try:
            if stored is None:
                await kube.request("POST", path, secret)
            else:
                # The resourceVersion makes this fail when another operator has just renewed it.
                secret["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
                await kube.request("PUT", f"{path}/{SECRET_NAME}", secret)
        except KubeConflict:
            continue
        return made
    raise KubeError(
        f"the Secret {namespace}/{SECRET_NAME} was changed by somebody else three times in a row; "
        "models stay as they are. See who writes it besides the operator.",
        409,
    )


def _from_secret(body: dict[str, Any]) -> Identity | None:
    data = body.get("data") or {}
    try:
        found = Identity(base64.b64decode(data[KEY_FIELD]), base64.b64decode(data[CERTIFICATE_FIELD]))
        found.client_context()
    except (KeyError, ValueError, ssl.SSLError):
        return None
    return found


def _to_secret(made: Identity) -> dict[str, Any]:
    fields = {KEY_FIELD: made.key_pem, CERTIFICATE_FIELD: made.certificate_pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET_NAME, "labels": {"app.kubernetes.io/part-of": "dormouse"}},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in fields.items()},
    }
