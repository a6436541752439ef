"""Writes kubeconfig files, with everything inlined so that a file works from any directory."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml

from localcluster.pki import KeyPair


def write_kubeconfig(
    path: Path,
    *,
    server: str,
    ca: Path,
    user: str,
    credentials: KeyPair | str,
    namespace: str = "default",
) -> Path:
    """`credentials` is a client certificate or a bearer token. Replaces what was there."""
    if isinstance(credentials, str):
        identity = {"token": credentials}
    else:
        identity = {
            "client-certificate-data": _inline(credentials.certificate),
            "client-key-data": _inline(credentials.key),
        }
    name = "dormouse-localcluster"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _inline(ca)}}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    return path


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
