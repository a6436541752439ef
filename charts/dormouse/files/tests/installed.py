"""What `helm test` runs: the operator makes progress, and the API server knows ManagedModels."""

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEADLINE_SECONDS = 60.0


def eventually(what, check):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            answer = check()
            print(f"ok: {what}: {answer}")
            return
        except Exception as error:
            if time.monotonic() > deadline:
                sys.exit(f"FAILED: {what}: {error}. See: kubectl logs -l app.kubernetes.io/component=operator")
            time.sleep(1)


def operator_is_healthy():
    with urllib.request.urlopen(os.environ["OPERATOR"] + "/healthz", timeout=5) as answer:
        return answer.read().decode().strip()


def managed_models_are_known():
    headers = {"Authorization": "Bearer " + (ACCOUNT / "token").read_text().strip()}
    url = "https://kubernetes.default.svc/apis/dormouse.dev/v1alpha1"
    tls = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5, context=tls) as answer:
        names = [resource["name"] for resource in json.load(answer)["resources"]]
    if "managedmodels" not in names:
        raise LookupError(f"the API server knows only {names}")
    return "dormouse.dev/v1alpha1 managedmodels"


eventually("the operator is healthy", operator_is_healthy)
eventually("the API server knows ManagedModels", managed_models_are_known)
