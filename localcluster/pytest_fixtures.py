"""Fixtures on the real thing. Use from a conftest: `pytest_plugins = ["localcluster.pytest_fixtures"]`.

One control plane serves a whole session, since it needs seconds to start; each test gets a namespace of its
own. Tests that stop the API server or Prometheus should start their own, so that the others go on.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from localcluster.controlplane import ControlPlane
from localcluster.crd import apply_crd
from localcluster.workspace import Workspace


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd and kube-apiserver with the ManagedModel CRD, shared by the session: leave it as you found it."""
    workspace = Workspace()
    try:
        with ControlPlane(workspace.path) as running:
            apply_crd(running)
            yield running
    finally:
        workspace.remove()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace; it and what is in it (Pods, ManagedModels, …) are gone after the test."""
    name = f"test-{secrets.token_hex(4)}"
    control_plane.api.create_namespace(name)
    yield name
    control_plane.api.remove_namespace(name)
