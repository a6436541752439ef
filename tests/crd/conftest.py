"""Manifests as a user would write them, applied the way a user would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from localcluster import ControlPlane

Apply = Callable[..., str]


@pytest.fixture
def apply(control_plane: ControlPlane, namespace: str) -> Apply:
    """`apply(spec)` runs `kubectl apply` with that spec; returns its output, raises KubectlFailed."""

    def run(spec: dict[str, Any] | None, name: str = "tts") -> str:
        manifest: dict[str, Any] = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"name": name},
        }
        if spec is not None:
            manifest["spec"] = spec
        text = yaml.safe_dump(manifest)
        return control_plane.kubectl("apply", "--filename", "-", input=text, namespace=namespace)

    return run


@pytest.fixture
def stored(control_plane: ControlPlane, namespace: str) -> Callable[[], dict[str, Any]]:
    """What the API server made of the ManagedModel `tts`, defaults included."""

    def read() -> dict[str, Any]:
        path = f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels/tts"
        return control_plane.api.request("GET", path)

    return read
