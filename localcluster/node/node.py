"""The whole cluster in one object: control plane, containerd, and the agents around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from localcluster.controlplane import ControlPlane
from localcluster.errors import KubectlFailed
from localcluster.node.agents import NODE_NAME, agents
from localcluster.node.containers import Containerd
from localcluster.node.namespaces import use_own_directories
from localcluster.node.network import NODE_ADDRESS, make_bridge
from localcluster.process import Process

READY_DEADLINE_SECONDS = 120.0


class Node:
    """Use in fresh namespaces (`namespaces.inside`), once: it takes /run and makes the only bridge.

    `sandbox_image` is what holds a pod's namespaces; any image that sleeps will do. `cgroup` exists already.
    """

    def __init__(self, directory: Path, *, sandbox_image: str, cgroup: str) -> None:
        self.directory = directory
        self._stack = ExitStack()
        make_bridge()
        use_own_directories(directory)
        self.control_plane = ControlPlane(directory / "control-plane", node_address=NODE_ADDRESS)
        self.containerd = Containerd(directory / "containerd", sandbox_image=sandbox_image)
        self.agents: list[Process] = agents(
            self.control_plane, directory / "agents", container_runtime=self.containerd.socket, cgroup=f"/{cgroup}"
        )
        self.kubectl: Callable[..., str] = self.control_plane.kubectl

    def __enter__(self) -> Self:
        try:
            self._stack.callback(self.containerd.stop)
            self.containerd.process.start()  # it gets ready while the control plane does
            self._stack.callback(self.control_plane.stop)
            self.control_plane.start()
            self.containerd.start()
            for agent in self.agents:
                self._stack.callback(agent.stop)
                agent.start()
            kubelet = next(agent for agent in self.agents if agent.name == "kubelet")
            kubelet.wait_until(self._ready, deadline_seconds=READY_DEADLINE_SECONDS, what="a Ready node")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _ready(self) -> bool:
        try:
            node = json.loads(self.kubectl("get", "node", NODE_NAME, "-o", "json"))
            self.kubectl("get", "serviceaccount", "default", "--namespace", "default")
        except KubectlFailed:
            return False
        conditions = {entry["type"]: entry["status"] for entry in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True"
