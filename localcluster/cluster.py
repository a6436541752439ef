"""A control plane and a Prometheus together: what a demo, a test or a benchmark starts with one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localcluster.binaries import ensure_binaries
from localcluster.controlplane import ControlPlane
from localcluster.crd import apply_crd
from localcluster.prometheus import Prometheus
from localcluster.workspace import Workspace


class LocalCluster:
    """`with LocalCluster() as cluster:` a Kubernetes API with the ManagedModel CRD, and a Prometheus.

    Several may run side by side. Everything is on 127.0.0.1 and in one directory (`directory`; by default a
    temporary one that is deleted at the end), and nothing is left running whichever way this process ends.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        scrape_interval_seconds: float = 1.0,
        prometheus_config: Mapping[str, Any] | None = None,
        rule_files: Sequence[Path] = (),
        api_server_flags: Sequence[str] = (),
    ) -> None:
        """Builds missing binaries at once, with progress on stderr; starts nothing yet."""
        ensure_binaries(("etcd", "kube-apiserver", "kubectl", "prometheus"))
        self._stack = ExitStack()
        self._workspace = Workspace(directory)
        self._stack.callback(self._workspace.remove)
        self.directory = self._workspace.path
        self.control_plane = ControlPlane(self.directory / "control-plane", api_server_flags=api_server_flags)
        self.prometheus = Prometheus(
            self.directory / "prometheus",
            scrape_interval_seconds=scrape_interval_seconds,
            config=prometheus_config,
            rule_files=rule_files,
        )
        self.kubeconfig = self.control_plane.kubeconfig
        self.kubectl = self.control_plane.kubectl

    def __enter__(self) -> Self:
        try:
            self._stack.callback(self.prometheus.stop)
            self._stack.callback(self.control_plane.stop)
            self.prometheus.process.start()  # it gets ready while the control plane does
            self.control_plane.start()
            self.prometheus.start()
            apply_crd(self.control_plane)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
