"""Where the operator's key comes from: made by itself, or read from a mounted folder.

A folder and not the API: a Secret that somebody else makes is then the kubelet's business, and the operator
needs no right to read it. cert-manager and a Secret made by hand look alike there (`tls.crt`, `tls.key`);
of a chain only the first certificate counts, since sidecars pin the leaf and ask no CA.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from .identity import Identity, make_identity

CERTIFICATE_FILE, KEY_FILE = "tls.crt", "tls.key"
MIN_RSA_BITS = 2048
# A chain is some kilobytes; a Secret holds at most 1 MiB.
MAX_FILE_BYTES = 1 << 20
_ATTEMPTS = 3
_STRONG = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# OpenSSL lets a sidecar accept no other purpose.
_CLIENT_PURPOSES = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


@dataclass(frozen=True, slots=True)
class Offer:
    """What the source has now: an identity of its own, or why not. `fault` is a sentence for the log."""

    identity: Identity | None = None
    fault: str = ""


class KeySource(Protocol):
    makes_keys: bool
    """Whether `new` gives a fresh pair each time, rather than what is offered."""

    def offer(self, now: float) -> Offer: ...

    def new(self, now: float, offer: Offer) -> Identity | None: ...


class OwnKeys:
    """`operator`: a new pair whenever one is needed."""

    makes_keys = True

    def __init__(self, lifetime_seconds: float) -> None:
        self._lifetime_seconds = lifetime_seconds

    def offer(self, now: float) -> Offer:
        return Offer()

    def new(self, now: float, offer: Offer) -> Identity | None:
        return make_identity(now, self._lifetime_seconds)


class KeyFolder:
    """`existingSecret` and `certManager`: whatever the mounted Secret has."""

    makes_keys = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def offer(self, now: float) -> Offer:
        try:
            certificates, key = _read(self._folder)
            return Offer(_checked(certificates, key, now))
        except _Unusable as error:
            return Offer(fault=str(error))

    def new(self, now: float, offer: Offer) -> Identity | None:
        return offer.identity


class _Unusable(Exception):
    """The text says what is wrong and what to do."""


def _read(folder: Path) -> tuple[bytes, bytes]:
    """Both files of one generation: the kubelet swaps them together behind `..data`."""
    for _ in range(_ATTEMPTS - 1):
        try:
            base = (folder / "..data").resolve(strict=True)
            return _read_file(base, CERTIFICATE_FILE), _read_file(base, KEY_FILE)
        except (OSError, _Unusable):
            # No mounted Secret at all, or swapped in this moment.
            continue
    return _read_file(folder, CERTIFICATE_FILE), _read_file(folder, KEY_FILE)


def _read_file(folder: Path, name: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _Unusable(f"{folder / name} can't be read ({error.strerror}); is the Secret mounted there?") from error
    if not data.strip():
        raise _Unusable(f"{folder / name} is empty; put a PEM file there")
    if len(data) > MAX_FILE_BYTES:
        raise _Unusable(f"{folder / name} is larger than {MAX_FILE_BYTES} bytes; put a PEM file there")
    return data


def _checked(certificates: bytes, key_pem: bytes, now: float) -> Identity:
    """Everything for which a sidecar would refuse it, found out before it is published."""
    try:
        leaf = x509.load_pem_x509_certificates(certificates)[0]
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Unusable(f"{CERTIFICATE_FILE} holds no certificate that can be read ({error})") from error
    try:
        key = load_pem_private_key(key_pem, password=None)
    except TypeError as error:
        raise _Unusable(f"{KEY_FILE} is protected by a passphrase; store it without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Unusable(f"{KEY_FILE} holds no private key that can be read") from error
    _check_strength(leaf, public)
    if _public_bytes(key.public_key()) != _public_bytes(public):
        raise _Unusable(f"{KEY_FILE} is not the key of the first certificate in {CERTIFICATE_FILE}")
    _check_dates(leaf, now)
    _check_purpose(leaf)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    identity = Identity(pem, leaf.public_bytes(Encoding.PEM))
    try:
        identity.client_context()
    except (ssl.SSLError, ValueError) as error:
        raise _Unusable(f"OpenSSL does not take {CERTIFICATE_FILE} and {KEY_FILE} ({error})") from error
    return identity


def _check_strength(leaf: x509.Certificate, public: object) -> None:
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < MIN_RSA_BITS:
            raise _Unusable(f"the RSA key has {public.key_size} bits; use {MIN_RSA_BITS} or more, or ECDSA P-256")
    elif isinstance(public, ec.EllipticCurvePublicKey):
        if not isinstance(public.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            raise _Unusable(f"the key is on the curve {public.curve.name}; use P-256, P-384 or P-521")
    elif not isinstance(public, ed25519.Ed25519PublicKey):
        raise _Unusable("the key is of a kind that is not taken; use ECDSA P-256, Ed25519 or RSA of 2048 bits or more")
    try:
        signed_with = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise _Unusable("the certificate is signed in a way that is not known; use SHA-256") from error
    if signed_with is not None and not isinstance(signed_with, _STRONG):
        raise _Unusable(f"the certificate is signed with {signed_with.name}; use SHA-256")


def _check_dates(leaf: x509.Certificate, now: float) -> None:
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if ends.timestamp() <= now:
        raise _Unusable(f"the certificate expired at {ends:%Y-%m-%d %H:%M} UTC; renew it")
    if begins.timestamp() > now:
        raise _Unusable(f"the certificate is valid only from {begins:%Y-%m-%d %H:%M} UTC; is a clock wrong?")


def _check_purpose(leaf: x509.Certificate) -> None:
    try:
        extensions = leaf.extensions
    except ValueError as error:
        raise _Unusable(f"the certificate's extensions can't be read ({error})") from error
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage) and not _CLIENT_PURPOSES & set(value):
            raise _Unusable('the certificate may not be a TLS client; add the usage "client auth"')
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise _Unusable('the certificate may not sign a handshake; add the usage "digital signature"')


def _public_bytes(key: object) -> bytes:
    data: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return data
