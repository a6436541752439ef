"""What a mounted folder may hold, and that whatever a sidecar would refuse is found out before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from dormouse_operator.keys.source import KeyFolder

from ..objects import NOW


def certificate(
    key: Any,
    *,
    begins: float = NOW - 100,
    ends: float = NOW + 100,
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "from-elsewhere")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


def pem(key: Any, passphrase: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return data


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is to be refused
STRONG = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def folder(path: Path, crt: bytes | None, key: bytes | None) -> KeyFolder:
    for name, data in (("tls.crt", crt), ("tls.key", key)):
        if data is not None:
            (path / name).write_bytes(data)
    return KeyFolder(path)


@pytest.mark.parametrize(
    ("key", "purposes"),
    [
        pytest.param(KEY, (ExtendedKeyUsageOID.CLIENT_AUTH,), id="ECDSA"),
        pytest.param(KEY, (), id="any purpose"),
        pytest.param(STRONG, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), id="RSA"),
        pytest.param(EDWARDS, (), id="Ed25519"),
    ],
)
def test_a_good_pair_is_offered_as_its_leaf_alone(
    tmp_path: Path, key: Any, purposes: Sequence[x509.ObjectIdentifier]
) -> None:
    leaf = certificate(key, purposes=purposes)
    offer = folder(tmp_path, leaf + certificate(OTHER), pem(key)).offer(NOW)
    assert offer.fault == ""
    assert offer.identity is not None
    assert offer.identity.certificate_pem == leaf, "the rest of the chain is left out"


@pytest.mark.parametrize(
    ("crt", "key", "says"),
    [
        pytest.param(None, None, "can't be read", id="nothing mounted"),
        pytest.param(certificate(KEY), b"", "tls.key is empty", id="empty key"),
        pytest.param(b"  \n", pem(KEY), "tls.crt is empty", id="empty certificate"),
        pytest.param(b"hello", pem(KEY), "holds no certificate", id="no certificate"),
        pytest.param(certificate(KEY), b"hello", "holds no private key", id="no key"),
        pytest.param(certificate(KEY), pem(OTHER), "is not the key of", id="another key"),
        pytest.param(certificate(KEY), pem(KEY, b"secret"), "passphrase", id="passphrase"),
        pytest.param(certificate(KEY, ends=NOW - 1), pem(KEY), "expired at", id="expired"),
        pytest.param(certificate(KEY, begins=NOW + 50), pem(KEY), "valid only from", id="not yet valid"),
        pytest.param(certificate(WEAK), pem(WEAK), "1024 bits", id="weak RSA"),
        pytest.param(
            certificate(KEY, purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), pem(KEY), "client auth", id="server only"
        ),
        pytest.param(b"x" * (1 << 21), pem(KEY), "larger than", id="huge"),
    ],
)
def test_a_pair_that_is_no_use_is_refused_with_what_to_do(
    tmp_path: Path, crt: bytes | None, key: bytes | None, says: str
) -> None:
    offer = folder(tmp_path, crt, key).offer(NOW)
    assert offer.identity is None
    assert says in offer.fault
    assert "secret" not in offer.fault


def test_both_files_are_of_one_generation(tmp_path: Path) -> None:
    for number, key in enumerate((KEY, OTHER)):
        generation = tmp_path / f"..{number}"
        generation.mkdir()
        folder(generation, certificate(key), pem(key))
    link = tmp_path / "..data"
    link.symlink_to("..0")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    source = KeyFolder(tmp_path)
    before = source.offer(NOW)
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("..1")
    fresh.rename(link)
    after = source.offer(NOW)
    assert before.fault == after.fault == ""
    assert before != after
