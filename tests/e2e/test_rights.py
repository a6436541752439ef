"""Who may do what: each service account's rights as a table, Pod Security, and a stranger at the control port."""

from __future__ import annotations

import json
import subprocess

import pytest

from images.on_this_machine import reference

from . import manifests
from .conftest import MONITORING, SYSTEM
from .stage import Stage
from .traffic import ask

OPERATOR = f"{SYSTEM}:dormouse"
MODEL_POD = "speech:default"
PROMETHEUS = f"{MONITORING}:prometheus"
# service account, verb, resource, namespace ("" is all of them), allowed
TABLE = [
    (OPERATOR, "list", "managedmodels.dormouse.dev", "", True),
    (OPERATOR, "patch", "managedmodels.dormouse.dev --subresource=status", "speech", True),
    (OPERATOR, "update", "managedmodels.dormouse.dev", "speech", False),
    (OPERATOR, "delete", "managedmodels.dormouse.dev", "speech", False),
    (OPERATOR, "watch", "pods", "", True),
    (OPERATOR, "create", "pods", "speech", False),
    (OPERATOR, "delete", "pods", "speech", False),
    (OPERATOR, "create", "pods --subresource=exec", "speech", False),
    (OPERATOR, "patch", "configmaps/dormouse-operator-trust", "speech", True),
    (OPERATOR, "get", "configmaps/another", "speech", False),
    (OPERATOR, "get", f"secrets/dormouse-operator-key -n {SYSTEM}", SYSTEM, True),
    (OPERATOR, "get", f"secrets/another -n {SYSTEM}", SYSTEM, False),
    (OPERATOR, "list", "secrets", SYSTEM, False),
    (OPERATOR, "get", "secrets", "speech", False),
    (OPERATOR, "list", "secrets", "", False),
    (OPERATOR, "create", "secrets", "speech", False),
    (OPERATOR, "create", "serviceaccounts --subresource=token", SYSTEM, False),
    (OPERATOR, "escalate", "clusterroles.rbac.authorization.k8s.io", "", False),
    (OPERATOR, "bind", "clusterroles.rbac.authorization.k8s.io", "", False),
    (OPERATOR, "impersonate", "users", "", False),
    (OPERATOR, "*", "*", "", False),
    (MODEL_POD, "get", "secrets", "speech", False),
    (MODEL_POD, "list", "pods", "speech", False),
    (MODEL_POD, "patch", "managedmodels.dormouse.dev", "speech", False),
    (PROMETHEUS, "get", "secrets", "", False),
    (PROMETHEUS, "list", "managedmodels.dormouse.dev", "", False),
]
# Typed into a pod elsewhere: reach the port, then try every way in without the operator's key.
STRANGER = """
import json, socket, ssl, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
import datetime, http.client
pod, uid = sys.argv[1:]
body = json.dumps({"desired": "Unloaded", "trigger": "Manual", "podUID": uid,
    "order": {"owner": "stranger", "generation": 9, "issuer": "stranger", "term": 9}})
found = {}
socket.create_connection((pod, 7443), 5).close()
found["reached"] = True
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dormouse-operator")])
now = datetime.datetime.now(datetime.UTC)
own = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
own = own.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
with open("/tmp/own.pem", "wb") as file:
    file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()) + own.public_bytes(serialization.Encoding.PEM))
def order(tls, port):
    try:
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        connection = kind(pod, port, timeout=10, **({"context": tls} if tls else {}))
        connection.request("PUT", "/dormouse/v1/models/minilm/residency", body, {"content-type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
for title, certificate in (("no certificate", None), ("a certificate of its own", "/tmp/own.pem")):
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if certificate:
        tls.load_cert_chain(certificate)
    found[title] = order(tls, 7443)
found["plain HTTP"] = order(None, 7443)
found["the metrics port"] = order(None, 9743)
found["the app's port"] = order(None, 7860)
print(json.dumps(found))
"""


def allowed(stage: Stage, account: str, verb: str, resource: str, namespace: str) -> bool:
    """kubectl's own answer."""
    scope = ["--namespace", namespace] if namespace else ["--all-namespaces"]
    asked = resource.partition(" -n ")[0].split()
    command = ["auth", "can-i", verb, *asked, *scope, f"--as=system:serviceaccount:{account}"]
    answer = subprocess.run(
        [stage.node.control_plane.kubectl_path, *command],
        env=stage.node.control_plane.kubectl_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    verdict = answer.stdout.strip().splitlines()[-1:]
    assert verdict in (["yes"], ["no"]), answer.stderr
    return verdict == ["yes"]


@pytest.mark.usefixtures("speech")
def test_each_service_account_may_do_what_the_table_says_and_no_more(stage: Stage) -> None:
    wrong = [row for row in TABLE if allowed(stage, *row[:4]) is not row[4]]
    assert wrong == []


def test_pod_security_restricted_is_enforced_where_everything_runs(stage: Stage, speech: str, release: str) -> None:
    privileged = manifests.bystander("privileged")
    for namespace in (speech, release, MONITORING):
        spec = {**privileged["spec"], "hostNetwork": True}
        with pytest.raises(Exception, match="violates PodSecurity"):
            stage.apply({**privileged, "spec": spec}, namespace=namespace)
        assert all(pod["status"]["phase"] in ("Running", "Succeeded") for pod in stage.pods(namespace, ""))


def test_no_model_pod_holds_a_token_or_a_secret(stage: Stage, speech: str) -> None:
    for pod in stage.pods(speech, "app=embeddings"):
        sources = [source for volume in pod["spec"]["volumes"] for source in volume if source != "name"]
        assert "secret" not in sources
        assert "projected" not in sources


def test_a_pod_without_the_operators_key_reaches_the_port_and_is_refused(stage: Stage, speech: str, url: str) -> None:
    assert ask(url).failure == ""
    elsewhere = stage.namespace("elsewhere")
    pod = manifests.bystander("stranger", reference("sidecar"))
    pod["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    stage.apply(pod, namespace=elsewhere)
    stage.kubectl("wait", "--for=condition=Ready", "pod/stranger", "--timeout=50s", namespace=elsewhere)
    victim = stage.pods(speech, "app=embeddings")[0]
    address, uid = victim["status"]["podIP"], victim["metadata"]["uid"]
    answer = stage.kubectl("exec", "stranger", "--", "python", "-c", STRANGER, address, uid, namespace=elsewhere)
    found = json.loads(answer)
    assert found.pop("reached") is True
    assert found.pop("the metrics port") == 404  # it has no such path
    assert found.pop("the app's port") == 403
    # What is left never became an HTTP answer: the connection ended in TLS.
    assert all(isinstance(value, str) for value in found.values()), found
    log = stage.kubectl("logs", victim["metadata"]["name"], "-c", "model", namespace=speech)
    assert "stranger" not in log
