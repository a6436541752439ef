"""A world whose operator reaches the API server only by way of a proxy that can break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane
from localcluster.prometheus import Prometheus

from ..world import OPERATOR_NAMESPACE, OperatorProcess, World, operator_kubeconfig
from .api_proxy import ApiProxy


@dataclass
class Faulty:
    world: World
    proxy: ApiProxy


@pytest.fixture
def faulty(control_plane: ControlPlane, namespace: str, prometheus: Prometheus, tmp_path: Path) -> Iterator[Faulty]:
    operator_kubeconfig(control_plane)
    proxy = ApiProxy(control_plane, tmp_path)
    kubeconfig = proxy.kubeconfig(
        control_plane, OPERATOR_NAMESPACE, "dormouse-operator", tmp_path / "proxied.kubeconfig"
    )
    operator = OperatorProcess(kubeconfig, prometheus.url, tmp_path / "operator.log")
    world = World(control_plane, namespace, prometheus, operator)
    try:
        yield Faulty(world, proxy)
    finally:
        world.close()
        proxy.close()
