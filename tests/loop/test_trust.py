"""Only the operator changes residency through the network: real certificates, the real sidecar, the real Secret."""

from __future__ import annotations

import base64
import datetime
import itertools
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from dormouse_contract import Residency

from .conftest import Loop, eventually

SECRET = "dormouse-operator-key"


def operators_own(loop: Loop, folder: Path) -> Path:
    """The operator's key and certificate, out of its Secret, as only an admin can."""
    text = loop.stage.cluster.kubectl("get", "secret", SECRET, "-o", "json", namespace="dormouse-system")
    data = json.loads(text)["data"]
    file = folder / "operator.pem"
    file.write_bytes(base64.b64decode(data["current.key"]) + base64.b64decode(data["current.crt"]))
    return file


def somebody_elses(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dormouse-operator")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    file = folder / "foreign.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    return file


def order(loop: Loop, client_certificate: Path | None, **changes: Any) -> httpx.Response:
    """PUT residency CPU over 7443. Raises httpx.TransportError when the door stays shut."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if client_certificate is not None:
        tls.load_cert_chain(client_certificate)
    stamp = {"owner": "an-owner", "generation": 5, "issuer": "an-issuer", "term": 3} | changes.pop("order", {})
    body = {"desired": "CPU", "order": stamp, "podUID": loop.replica.uid} | changes
    url = f"https://{loop.replica.ip}:7443/dormouse/v1/models/tiny/residency"
    return httpx.put(url, json=body, verify=tls, timeout=10, trust_env=False)


@pytest.fixture
def awake(loop: Loop) -> Loop:
    """A model on the GPU whose sidecar trusts the operator, with no ManagedModel that orders anything."""
    loop.apply("trust", mode="Observe")
    eventually("the trust has arrived", lambda: list(loop.replica.trust_folder.glob("*.crt")))
    loop.ask()
    return loop


@pytest.mark.parametrize("who", ["nobody", "somebody else"])
def test_without_the_operators_key_no_order_is_taken(awake: Loop, tmp_path: Path, who: str) -> None:
    certificate = None if who == "nobody" else somebody_elses(tmp_path)
    with pytest.raises(httpx.TransportError):
        order(awake, certificate)
    assert awake.snapshot().residency is Residency.GPU
    assert httpx.get(f"{awake.replica.metrics_url}/healthz", trust_env=False).status_code == 200
    assert "dormouse_model_residency" in httpx.get(f"{awake.replica.metrics_url}/metrics", trust_env=False).text


def test_plain_http_is_refused_on_the_control_port(awake: Loop) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{awake.replica.ip}:7443/dormouse/v1/models", timeout=10, trust_env=False)


def test_the_metrics_and_app_ports_take_no_orders(awake: Loop) -> None:
    path = "/dormouse/v1/models/tiny/residency"
    for base in (awake.replica.metrics_url, awake.replica.url):
        answer = httpx.put(f"{base}{path}", json={"desired": "CPU"}, timeout=10, trust_env=False)
        assert answer.status_code in (403, 404, 405), (base, answer.text)
    assert awake.snapshot().residency is Residency.GPU


def test_orders_are_bound_to_the_pod_and_fenced(awake: Loop, tmp_path: Path) -> None:
    key = operators_own(awake, tmp_path)
    assert order(awake, key, podUID="another-pod").status_code == 421
    assert order(awake, key, podUID=None).status_code == 422
    assert awake.snapshot().residency is Residency.GPU
    assert order(awake, key).status_code == 200
    awake.ask()
    for older in ({"generation": 4}, {"owner": "new", "term": 2}):
        refused = order(awake, key, order=older)
        assert refused.status_code == 409
        assert refused.json()["reason"] == "StaleOrder"
        assert refused.headers["content-type"] == "application/problem+json"
    assert awake.snapshot().residency is Residency.GPU
    assert order(awake, key, order={"owner": "a-new-owner", "generation": 1}).status_code == 200
    # A new issuer starts its terms anew; the real operator is one.
    assert order(awake, key, order={"issuer": "a-new-issuer", "owner": "a-new-owner", "term": 0}).status_code == 200


def test_a_replaced_operator_certificate_is_refused_and_the_new_one_works(awake: Loop, tmp_path: Path) -> None:
    old = operators_own(awake, tmp_path)
    assert order(awake, old).status_code == 200
    operator = awake.stage.operator
    assert operator is not None
    operator.stop()
    awake.stage.cluster.kubectl("delete", "secret", SECRET, namespace="dormouse-system")
    operator.start()

    eventually("the old certificate is refused", lambda: is_refused(awake, old))
    awake.ask()
    awake.apply("trust", residency="CPU", policy={"minResidentSeconds": 0})
    awake.until_on(Residency.CPU)


def test_a_key_that_a_person_asks_for_takes_over_without_a_refused_order(awake: Loop, tmp_path: Path) -> None:
    old = operators_own(awake, tmp_path)
    before = old.read_bytes()
    awake.apply("trust", residency="GPU")
    eventually("the operator reaches it", lambda: awake.condition("trust", "ReplicasReachable")["status"] == "True")
    untrusted = refused_orders(awake)
    awake.stage.cluster.kubectl("annotate", "secret", SECRET, "dormouse.dev/rotate=now", namespace="dormouse-system")
    turns = itertools.cycle(["CPU", "GPU"])

    def rotated() -> bool:
        residency = next(turns)
        awake.apply("trust", residency=residency, policy={"minResidentSeconds": 0})
        awake.until_on(Residency[residency])
        return operators_own(awake, tmp_path).read_bytes() != before and published(awake) == 1

    eventually("the new key is in use and the old one withdrawn", rotated)
    old.write_bytes(before)
    eventually("the old key is refused", lambda: is_refused(awake, old))
    awake.apply("trust", residency="CPU", policy={"minResidentSeconds": 0})
    awake.until_on(Residency.CPU)
    assert refused_orders(awake) == untrusted
    text = awake.stage.cluster.kubectl("get", "secret", SECRET, "-o", "json", namespace="dormouse-system")
    assert sorted(json.loads(text)["data"]) == ["current.crt", "current.key"]


def published(loop: Loop) -> int:
    """How many certificates the pod's mounted folder has."""
    return sum(file.read_text().count("BEGIN CERTIFICATE") for file in loop.replica.trust_folder.glob("*.crt"))


def refused_orders(loop: Loop) -> float:
    """Of the operator, for want of trust, as its own metrics tell."""
    answer = loop.stage.cluster.prometheus.query(
        'sum(dormouse_operator_orders_total{outcome="untrusted"}) or vector(0)'
    )
    return answer[0].value


def is_refused(loop: Loop, client_certificate: Path) -> bool:
    try:
        order(loop, client_certificate)
    except httpx.TransportError:
        return True
    return False
