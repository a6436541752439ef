"""The public surface is what `__all__` names: demo and benchmarks build on it."""

from __future__ import annotations

import localcluster


def test_everything_named_is_there_in_order() -> None:
    assert localcluster.__all__ == sorted(localcluster.__all__)
    assert all(hasattr(localcluster, name) for name in localcluster.__all__)


def test_nothing_more_is_promised() -> None:
    assert set(localcluster.__all__) == {
        "ControlPlane",
        "LocalCluster",
        "LocalClusterError",
        "Process",
        "Prometheus",
        "Sample",
        "Target",
        "register_pod",
        "remove_pod",
        "set_pod_status",
    }
