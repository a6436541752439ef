"""What makes a control plane and containerd a cluster that runs pods: controllers, scheduler, kubelet,
kube-proxy and DNS, each as an ordinary process.

Each has the identity that Kubernetes' built-in roles know; DNS has the admin's, since this cluster has no one
to protect from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from localcluster.binaries import ensure_binaries
from localcluster.controlplane import ControlPlane
from localcluster.kubeconfig import write_kubeconfig
from localcluster.node.network import NODE_ADDRESS, POD_RANGE
from localcluster.process import Process
from localcluster.recipes import NODE_ONLY

NODE_NAME = "node"
EVICTION_SIGNALS = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")


def agents(control_plane: ControlPlane, directory: Path, *, container_runtime: Path, cgroup: str) -> list[Process]:
    """In the order in which to start them."""
    writer = _Writer(control_plane, directory)
    return [
        _controller_manager(control_plane, writer),
        writer.process("kube-scheduler", f"--kubeconfig={writer.kubeconfig('system:kube-scheduler')}",
                       "--leader-elect=false", "--bind-address=127.0.0.1"),
        _kubelet(control_plane, writer, container_runtime, cgroup),
        _kube_proxy(writer),
        _coredns(writer),
    ]  # fmt: skip


class _Writer:
    """Puts each agent's identity and configuration into one directory."""

    def __init__(self, control_plane: ControlPlane, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._control_plane = control_plane
        self._binaries = ensure_binaries(NODE_ONLY)

    def kubeconfig(self, user: str, group: str | None = None) -> Path:
        name = user.replace(":", "-")
        pair = self._control_plane.authority.issue(name, common_name=user, organization=group)
        ca = self._control_plane.authority.certificate
        path = self.directory / f"{name}.kubeconfig"
        return write_kubeconfig(path, server=self._control_plane.url, ca=ca, user=user, credentials=pair)

    def configuration(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        return path

    def process(self, name: str, *arguments: str) -> Process:
        return Process(name, [self._binaries[name], *arguments], directory=self.directory)


def _controller_manager(control_plane: ControlPlane, writer: _Writer) -> Process:
    return writer.process(
        "kube-controller-manager",
        f"--kubeconfig={writer.kubeconfig('system:kube-controller-manager')}",
        f"--service-account-private-key-file={control_plane.signing_key}",
        f"--root-ca-file={control_plane.authority.certificate}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    )


def _kubelet(control_plane: ControlPlane, writer: _Writer, container_runtime: Path, cgroup: str) -> Process:
    serving = control_plane.authority.issue("kubelet", common_name="kubelet", addresses=(NODE_ADDRESS,))
    nowhere = writer.directory / "resolv.conf"
    nowhere.write_text("")
    configuration = writer.configuration(
        "kubelet.yaml",
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(control_plane.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "containerRuntimeEndpoint": f"unix://{container_runtime}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            "enforceNodeAllocatable": ["none"],
            "oomScoreAdj": 0,
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(nowhere),
            "volumePluginDir": str(writer.directory / "volume-plugins"),
            # The disk is the developer's: how full it is says nothing about the pods, and an image that was
            # collected could not be had again.
            "evictionHard": dict.fromkeys(
                ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"
            ),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "shutdownGracePeriod": "0s",
        },
    )
    return writer.process(
        "kubelet",
        f"--config={configuration}",
        f"--kubeconfig={writer.kubeconfig(f'system:node:{NODE_NAME}', 'system:nodes')}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
    )


def _kube_proxy(writer: _Writer) -> Process:
    configuration = writer.configuration(
        "kube-proxy.yaml",
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(writer.kubeconfig("system:kube-proxy"))},
            "hostnameOverride": NODE_NAME,
            "mode": "iptables",
            "clusterCIDR": POD_RANGE,
            "oomScoreAdj": 0,
            # Kernel-wide limits: not ours to change.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        },
    )
    return writer.process("kube-proxy", f"--config={configuration}")


def _coredns(writer: _Writer) -> Process:
    corefile = writer.directory / "Corefile"
    corefile.write_text(
        ".:53 {\n"
        f"    bind {NODE_ADDRESS}\n"
        "    errors\n"
        "    kubernetes cluster.local in-addr.arpa {\n"
        f"        kubeconfig {writer.kubeconfig('coredns', 'system:masters')}\n"
        "        ttl 5\n"
        "    }\n"
        "}\n"
    )
    return writer.process("coredns", f"-conf={corefile}")
