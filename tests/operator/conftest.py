"""One API server and one Prometheus for all of these tests; a namespace and an operator for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane
from localcluster.prometheus import Prometheus
from localcluster.workspace import Workspace

from .world import OperatorProcess, World, operator_kubeconfig


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Prometheus]:
    workspace = Workspace()
    try:
        with Prometheus(workspace.path, scrape_interval_seconds=1) as running:
            yield running
    finally:
        workspace.remove()


@pytest.fixture(scope="session")
def kubeconfig(control_plane: ControlPlane) -> Path:
    """Of the operator's ServiceAccount, with the RBAC that we ship and nothing more."""
    return operator_kubeconfig(control_plane)


@pytest.fixture
def world(
    control_plane: ControlPlane, namespace: str, prometheus: Prometheus, kubeconfig: Path, tmp_path: Path
) -> Iterator[World]:
    """Nothing runs yet but the API server and Prometheus: `world.operator.start()`."""
    operator = OperatorProcess(kubeconfig, prometheus.url, tmp_path / "operator.log")
    made = World(control_plane, namespace, prometheus, operator)
    try:
        yield made
    finally:
        made.close()
